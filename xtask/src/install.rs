//! Installs `git-sparse` for a user: the binary, its man pages, its completions, its keys in git config.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Failure, binary, prerequisites, tree};

/// Where the parts go.
struct Places {
    bin: PathBuf,
    man: PathBuf,
    // Each shell looks into a directory of its own below this one.
    share: PathBuf,
}

/// Builds and installs below `prefix`, or for the user that runs this, and says where everything went.
///
/// Ends with `git sparse install`, which tells git-lfs about the agent.
/// `engine` also builds and installs the engine, which runs models for `eval`, `optimize` and `route`.
pub fn run(prefix: Option<&Path>, engine: bool) -> Result<(), Failure> {
    prerequisites::run()?;
    let places = places(prefix)?;
    if engine {
        prerequisites::for_engine()?;
        let installed = install_binary(&binary::engine()?, &places.bin)?;
        println!("engine       {}", installed.display());
    }
    let built = binary::release()?;
    let installed = install_binary(&built, &places.bin)?;
    generate(&installed, "man", &places.man)?;
    let completions = install_completions(&installed, &places.share)?;
    finish(Command::new(&installed).arg("install"), "git sparse install")?;
    println!("binary       {}", installed.display());
    println!("man pages    {}", places.man.display());
    for completion in completions {
        println!("completion   {}", completion.display());
    }
    if !is_on_path(&places.bin) {
        println!("{} is not on PATH: add it, so that git finds `git sparse`", places.bin.display());
    }
    Ok(())
}

/// With no prefix the binary goes where cargo puts binaries, as that is on PATH wherever Rust is.
///
/// `man` looks into `share/man` beside each `bin` on PATH, so the pages lie beside it in both cases.
fn places(prefix: Option<&Path>) -> Result<Places, Failure> {
    let prefix = match prefix {
        Some(prefix) => std::path::absolute(prefix).map_err(|error| format!("--prefix: {error}"))?,
        None => cargo_home()?,
    };
    Ok(Places { bin: prefix.join("bin"), man: prefix.join("share/man/man1"), share: prefix.join("share") })
}

fn cargo_home() -> Result<PathBuf, Failure> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().ok_or("no home directory is known: give --prefix DIR")?;
    Ok(home.join(".cargo"))
}

/// Puts the binary in place by a rename: a running agent or daemon keeps the file that it started from.
fn install_binary(built: &Path, bin: &Path) -> Result<PathBuf, Failure> {
    let name = built.file_name().ok_or("the built binary has no name")?;
    let target = bin.join(name);
    let unfinished = bin.join(".git-sparse-new");
    fs::create_dir_all(bin)
        .and_then(|()| fs::copy(built, &unfinished))
        .and_then(|_| fs::rename(&unfinished, &target))
        .map_err(|error| format!("{} -> {}: {error}", built.display(), target.display()))?;
    Ok(target)
}

/// Has the binary write its completions, and puts each where its shell looks for it.
fn install_completions(installed: &Path, share: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unsorted = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    generate(installed, "completions", unsorted.path())?;
    let mut targets = Vec::new();
    for name in tree::files(unsorted.path())? {
        let target = share.join(completion_place(&name.to_string_lossy()));
        tree::copy(&unsorted.path().join(name), &target)?;
        targets.push(target);
    }
    Ok(targets)
}

/// bash and fish load a file named after the command when it is completed first, zsh one with a `_`.
fn completion_place(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((command, "bash")) => format!("bash-completion/completions/{command}"),
        Some((_, "fish")) => format!("fish/vendor_completions.d/{name}"),
        None if name.starts_with('_') => format!("zsh/site-functions/{name}"),
        _ => format!("git-sparse/completions/{name}"),
    }
}

fn generate(installed: &Path, what: &str, directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new(installed);
    // It says where it wrote, which may be a directory that is gone when the user reads of it.
    let quiet = command.args(["generate", what]).arg(directory).stdout(Stdio::null());
    finish(quiet, &format!("git sparse generate {what}"))
}

fn finish(command: &mut Command, name: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` ended with {status}")),
        Err(error) => Err(format!("`{name}`: {error}")),
    }
}

fn is_on_path(directory: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|entry| entry == directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Man pages are found only if they lie in `share/man` beside the `bin` that is on PATH.
    #[test]
    fn man_pages_lie_beside_the_binary() {
        let places = places(Some(Path::new("/opt/sparse"))).expect("places");
        assert_eq!(places.bin, Path::new("/opt/sparse/bin"));
        assert_eq!(places.man, Path::new("/opt/sparse/share/man/man1"));
    }

    /// Completions that no shell finds are as good as none.
    #[test]
    fn each_shell_finds_its_completion() {
        assert_eq!(completion_place("git-sparse.bash"), "bash-completion/completions/git-sparse");
        assert_eq!(completion_place("_git-sparse"), "zsh/site-functions/_git-sparse");
        assert_eq!(completion_place("git-sparse.fish"), "fish/vendor_completions.d/git-sparse.fish");
        assert_eq!(completion_place("git-sparse.elv"), "git-sparse/completions/git-sparse.elv");
    }

    /// An update replaces the file and leaves no half-written one behind.
    #[test]
    fn an_installed_binary_is_replaced_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let built = directory.path().join("git-sparse");
        let bin = directory.path().join("bin");
        for text in ["old", "new"] {
            fs::write(&built, text).expect("a file");
            let target = install_binary(&built, &bin).expect("installed");
            assert_eq!(fs::read_to_string(target).expect("a file"), text);
        }
        assert_eq!(fs::read_dir(&bin).expect("a directory").count(), 1);
    }
}
