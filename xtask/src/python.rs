//! Packages from PyPI in homes of their own below `target/`, so that the system's Python stays as it is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::binary::workspace;

/// A virtual environment.
pub struct Venv(PathBuf);

impl Venv {
    /// The one in that directory of `target/`; made when something is installed.
    pub fn below_target(directory: &str) -> Venv {
        Venv(workspace().join("target").join(directory).join("venv"))
    }

    /// A program that is installed there.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.join("bin").join(name)).filter(|path| path.is_file())
    }

    /// Installs packages, as pip calls them.
    pub fn install(&self, packages: &[&str]) -> Result<(), Failure> {
        if self.program("pip").is_none() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&self.0))?;
        }
        let quiet = ["install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(self.0.join("bin/pip")).args(quiet).args(packages))
    }
}

/// Runs a command that has nothing to say unless it fails.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{program} ended with {}\n{}", done.status, crate::home::said(&done))),
    }
}
