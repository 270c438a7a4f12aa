//! A throw-away home: an environment in which git, git-lfs and git-sparse see nothing of the user's.
//!
//! The environment is built from nothing rather than cleaned: a `GIT_DIR` from a hook, a user's
//! `GIT_CONFIG_COUNT` or a proxy variable must not reach what runs in here. The paths are short, as
//! the daemon's socket below `run/` has to fit into the 104 bytes that some systems allow.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Failure;

/// Variables of the outer environment that say how to run, not what to do.
const PASSED_ON: [&str; 4] = ["TERM", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "SystemRoot"];

/// A directory with a home of its own; its daemon ends and the directory goes when it is dropped.
pub struct Home {
    root: PathBuf,
    // `None` once the directory is to be kept.
    directory: Option<tempfile::TempDir>,
    variables: Vec<(String, String)>,
}

impl Home {
    /// Makes a home in which `git sparse` is the file `binary`.
    pub fn new(binary: &Path) -> Result<Home, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("gs")
            .tempdir_in(short_temporary_directory())
            .map_err(|error| format!("a directory for a throw-away home: {error}"))?;
        let root = directory
            .path()
            .canonicalize()
            .map_err(|error| format!("{}: {error}", directory.path().display()))?;
        let home = Home { root, directory: Some(directory), variables: Vec::new() };
        for below in ["home", "run", "bin", "tmp"] {
            create_private_directory(&home.path(below))?;
        }
        home.put_on_path("git-sparse", binary)?;
        write(
            &home.path("home/.gitconfig"),
            "[user]\n\tname = Throw Away\n\temail = throw.away@example.invalid\n\
             [init]\n\tdefaultBranch = main\n\
             [advice]\n\tdetachedHead = false\n\
             [protocol \"file\"]\n\tallow = always\n",
        )?;
        Ok(home)
    }

    /// A path below this home's directory, where repositories may be made, too.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// Makes `program` the first of its name on this home's PATH.
    pub fn put_on_path(&self, name: &str, program: &Path) -> Result<(), Failure> {
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        let link = self.path("bin").join(name);
        #[cfg(unix)]
        let done = std::os::unix::fs::symlink(&program, &link);
        #[cfg(not(unix))]
        let done = fs::copy(&program, &link).map(drop);
        done.map_err(|error| format!("{} -> {}: {error}", link.display(), program.display()))
    }

    /// Sets a variable for everything that runs in this home from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// A command that sees this home and nothing of the user's.
    pub fn command(&self, program: impl AsRef<OsStr>, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let outer = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.path("bin")].into_iter().chain(std::env::split_paths(&outer));
        command.env("PATH", std::env::join_paths(path).expect("because PATH was split at the same sign"));
        for (name, below) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_DATA_HOME", "home/.local/share"),
            ("XDG_STATE_HOME", "home/.local/state"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ] {
            command.env(name, self.path(below));
        }
        command.env("LC_ALL", "C.UTF-8").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        // No hub is asked in here, unless a test brings one.
        command.env("HF_HUB_OFFLINE", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `git ARGUMENTS` in `directory`; its standard output, or what it was and what it said.
    pub fn git(&self, directory: &Path, arguments: &[&str]) -> Result<String, Failure> {
        self.run("git", directory, arguments)
    }

    /// Runs `program ARGUMENTS` in `directory`; its standard output, or what it was and what it said.
    pub fn run(&self, program: &str, directory: &Path, arguments: &[&str]) -> Result<String, Failure> {
        let output = self
            .command(program, directory)
            .args(arguments)
            .output()
            .map_err(|error| format!("{program} {}: {error}", arguments.join(" ")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "`{program} {}` in {} ended with {}\n{}",
            arguments.join(" "),
            directory.display(),
            output.status,
            said(&output)
        ))
    }

    /// Asks this home's daemon to end, if one runs.
    pub fn stop_daemon(&self) {
        // No daemon, or a binary too broken to ask: then there is nothing to stop.
        let _ = self.command("git-sparse", &self.root).args(["daemon", "stop"]).output();
    }

    /// Leaves the directory where it is when this home is dropped, and says where that is.
    pub fn keep(&mut self) -> &Path {
        if let Some(directory) = self.directory.take() {
            let _ = directory.keep();
        }
        &self.root
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.stop_daemon();
        if self.directory.is_some() {
            make_removable(&self.root);
        }
    }
}

/// Everything that a command said, for an error's text.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `/tmp` where there is one: macOS' own directory alone has 49 bytes.
fn short_temporary_directory() -> PathBuf {
    let short = Path::new("/tmp");
    if cfg!(unix) && short.is_dir() { short.into() } else { std::env::temp_dir() }
}

fn create_private_directory(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Gives back the right to delete to directories that a test took it from.
fn make_removable(directory: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                make_removable(&entry.path());
            }
        }
    }
    #[cfg(not(unix))]
    let _ = directory;
}
