//! What a fresh machine may lack: git-lfs, from the system's own package manager.
//!
//! Rust and git are taken for granted, as without them nobody gets this far.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// A package manager, and the commands that install git-lfs with it.
struct Manager {
    program: &'static str,
    needs_root: bool,
    commands: &'static [&'static [&'static str]],
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        needs_root: true,
        commands: &[&["apt-get", "update", "-q"], &["apt-get", "install", "-q", "-y", "git-lfs"]],
    },
    Manager { program: "dnf", needs_root: true, commands: &[&["dnf", "install", "-y", "git-lfs"]] },
    Manager {
        program: "pacman",
        needs_root: true,
        commands: &[&["pacman", "-Sy", "--noconfirm", "--needed", "git-lfs"]],
    },
    Manager { program: "zypper", needs_root: true, commands: &[&["zypper", "-n", "install", "git-lfs"]] },
    Manager { program: "apk", needs_root: true, commands: &[&["apk", "add", "git-lfs"]] },
    Manager { program: "brew", needs_root: false, commands: &[&["brew", "install", "git-lfs"]] },
];

/// How commands become root's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Root {
    Already,
    Sudo,
    No,
}

/// Installs git-lfs if it is missing and says on stderr what it did.
pub fn run() -> Result<(), Failure> {
    if let Some(version) = first_line("git", &["lfs", "version"]) {
        eprintln!("git-lfs is there: {version}");
        return Ok(());
    }
    if first_line("git", &["--version"]).is_none() {
        return Err("git is missing: install it, then run this again".into());
    }
    let commands = plan(|program| on_path(program).is_some(), root())?;
    for command in commands {
        eprintln!("git-lfs is missing: running `{}`", command.join(" "));
        install(&command)?;
    }
    match first_line("git", &["lfs", "version"]) {
        Some(version) => {
            eprintln!("installed {version}");
            Ok(())
        }
        None => Err("git-lfs was installed, but `git lfs version` still fails: is it on PATH?".into()),
    }
}

/// Installs what the power-cut tests need, where that is to be had; those tests say it if it is not.
pub fn for_power_cuts() {
    if on_path("mkfs.xfs").is_none() {
        try_package("xfsprogs");
    }
}

/// The same for repositories over ssh. The tests start servers of their own: the package's own, open to the network, is not
/// wanted.
pub fn for_ssh() {
    if sshd().is_some() {
        return;
    }
    // Debian's packages ask this program before they start anything (invoke-rc.d(8)); a machine that has one keeps it.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let is_ours =
        root() == Root::Already && on_path("apt-get").is_some() && !policy.exists() && forbid(policy).is_ok();
    try_package("openssh-server");
    if is_ours {
        let _ = fs::remove_file(policy);
    }
}

/// Installs Python with what makes homes for its packages, where that is to be had.
pub fn for_python() {
    if first_line("python3", &["-c", "import ensurepip, venv; print(1)"]).is_none() {
        try_package("python3-venv");
    }
}

/// A program that says no.
fn forbid(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    file.write_all(b"#!/bin/sh\n# Of git sparse's `cargo xtask test`, while it installs a package; may be removed.\nexit 101\n")
}

/// What building the engine takes beside Rust, as each system's packages are called: cmake, a C++ compiler, and
/// the library that reads C headers.
const FOR_ENGINE: [(&str, &[&str]); 6] = [
    ("apt-get", &["apt-get", "install", "-q", "-y", "cmake", "g++", "libclang-dev"]),
    ("dnf", &["dnf", "install", "-y", "cmake", "gcc-c++", "clang-devel"]),
    ("pacman", &["pacman", "-Sy", "--noconfirm", "--needed", "cmake", "gcc", "clang"]),
    ("zypper", &["zypper", "-n", "install", "cmake", "gcc-c++", "clang-devel"]),
    ("apk", &["apk", "add", "cmake", "g++", "clang-dev"]),
    ("brew", &["brew", "install", "cmake", "llvm"]),
];

/// Installs what the engine is built with, if it is missing.
pub fn for_engine() -> Result<(), Failure> {
    if on_path("cmake").is_some() && on_path("c++").is_some() && has_libclang() {
        return Ok(());
    }
    let Some((manager, command)) = FOR_ENGINE.iter().find(|(manager, _)| on_path(manager).is_some()) else {
        return Err(
            "the engine is built with cmake, a C++ compiler and libclang: install them, then run this again"
                .into(),
        );
    };
    let prefix: &[&str] = match (*manager, root()) {
        ("brew", _) | (_, Root::Already) => &[],
        (_, Root::Sudo) => &["sudo", "-n"],
        (_, Root::No) => {
            return Err(format!(
                "the engine is built with tools that are missing.\n  fix: sudo {}",
                command.join(" ")
            ));
        }
    };
    if *manager == "apt-get" {
        install(&[prefix, &["apt-get", "update", "-q"]].concat())?;
    }
    eprintln!("tools that build the engine are missing: running `{}`", command.join(" "));
    install(&[prefix, command].concat())
}

/// Whether the library is where bindgen looks for it.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() || on_path("llvm-config").is_some() {
        return true;
    }
    let holds = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("libclang"))
    };
    let below = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let own =
        below("/usr/lib").filter(|dir| dir.to_string_lossy().contains("llvm")).map(|dir| dir.join("lib"));
    let system =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib"].map(PathBuf::from);
    let multiarch = below("/usr/lib").filter(|dir| dir.to_string_lossy().contains("-linux-gnu"));
    own.chain(system).chain(multiarch).any(|dir| holds(&dir))
}

/// Installs a package that tests can do without.
fn try_package(package: &'static str) {
    if root() != Root::Already || on_path("apt-get").is_none() {
        return;
    }
    for command in [&["apt-get", "update", "-q"][..], &["apt-get", "install", "-q", "-y", package]] {
        eprintln!("{package} is missing: running `{}`", command.join(" "));
        if let Err(failure) = install(command) {
            return eprintln!("SKIPPED: {package} can't be installed: {failure}");
        }
    }
}

/// Where the ssh server is: often not on PATH.
pub fn sshd() -> Option<PathBuf> {
    let usual = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from);
    on_path("sshd").or_else(|| usual.into_iter().find(|file| is_program(file)))
}

/// Where `program` is on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

/// Decides which commands install git-lfs here, or says what a person can do about it.
fn plan(is_there: impl Fn(&str) -> bool, root: Root) -> Result<Vec<Vec<&'static str>>, Failure> {
    let Some(manager) = MANAGERS.iter().find(|manager| is_there(manager.program)) else {
        let known = MANAGERS.map(|manager| manager.program).join(", ");
        return Err(format!(
            "git-lfs is missing, and none of {known} is here to install it.\n  \
             fix: install git-lfs 3.0 or newer (https://git-lfs.com), then run this again"
        ));
    };
    let prefix: &[&str] = match (manager.needs_root, root) {
        (false, _) | (true, Root::Already) => &[],
        (true, Root::Sudo) => &["sudo", "-n"],
        (true, Root::No) => {
            let by_hand: Vec<String> =
                manager.commands.iter().map(|command| format!("sudo {}", command.join(" "))).collect();
            return Err(format!(
                "git-lfs is missing, and installing it needs root.\n  fix: {}",
                by_hand.join(" && ")
            ));
        }
    };
    Ok(manager.commands.iter().map(|command| [prefix, command].concat()).collect())
}

fn install(command: &[&str]) -> Result<(), Failure> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{}` ended with {}\n{}  fix: install {} by hand, then run this again",
        command.join(" "),
        output.status,
        crate::home::said(&output),
        command.last().unwrap_or(&"it")
    ))
}

fn root() -> Root {
    match first_line("id", &["-u"]).as_deref() {
        Some("0") => Root::Already,
        _ if first_line("sudo", &["-n", "echo", "yes"]).is_some() => Root::Sudo,
        _ => Root::No,
    }
}

/// The first line that a command prints, if it is there and succeeds.
pub fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.with_extension("exe").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On Debian as root, apt-get runs as it is; with a password-less sudo, through that.
    #[test]
    fn a_plan_uses_the_manager_that_is_there() {
        let debian = |program: &str| program == "apt-get";
        assert_eq!(
            plan(debian, Root::Already).expect("a plan"),
            [vec!["apt-get", "update", "-q"], vec!["apt-get", "install", "-q", "-y", "git-lfs"]]
        );
        assert_eq!(plan(debian, Root::Sudo).expect("a plan")[0], ["sudo", "-n", "apt-get", "update", "-q"]);
        assert_eq!(plan(|name| name == "brew", Root::No).expect("a plan")[0][0], "brew");
    }

    /// Where nothing can be installed, a person reads the command to type.
    #[test]
    fn without_root_or_manager_the_fix_is_named() {
        let failure = plan(|name| name == "dnf", Root::No).expect_err("no root");
        assert!(failure.contains("fix: sudo dnf install -y git-lfs"), "{failure}");
        let failure = plan(|_| false, Root::Already).expect_err("no manager");
        assert!(failure.contains("fix: install git-lfs 3.0 or newer"), "{failure}");
    }
}
