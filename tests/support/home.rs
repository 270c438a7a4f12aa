//! A home for one test: the demo's throw-away home, with a failure that ends the test.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output};

use xtask::home::said;

/// Which process opens the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The daemon, started by the first agent: what a user has.
    Daemon,
    /// Each process by itself (`GIT_SPARSE_NO_DAEMON=1`).
    InProcess,
}

/// A throw-away home in which `git sparse` is the binary under test; its daemon ends with it.
///
/// `GIT_SPARSE_TEST_GIT_LFS` names another git-lfs binary than the first on PATH.
pub struct Home(xtask::home::Home);

impl Home {
    /// A home in which git-lfs and git-sparse are installed, as a user does it.
    pub fn new(mode: Mode) -> Home {
        let home = Home::bare(mode);
        home.git(&home.path(""), &["lfs", "install", "--skip-repo"]);
        home.git(&home.path(""), &["sparse", "install"]);
        home
    }

    /// A home in which nothing is installed yet.
    pub fn bare(mode: Mode) -> Home {
        let binary = Path::new(env!("CARGO_BIN_EXE_git-sparse"));
        let mut home = xtask::home::Home::new(binary).unwrap_or_else(|failure| panic!("{failure}"));
        if let Some(git_lfs) = std::env::var_os("GIT_SPARSE_TEST_GIT_LFS") {
            home.put_on_path("git-lfs", Path::new(&git_lfs)).unwrap_or_else(|failure| panic!("{failure}"));
        }
        if mode == Mode::InProcess {
            home.set("GIT_SPARSE_NO_DAEMON", "1");
        }
        Home(home)
    }

    /// Sets a variable of this home's environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.set(name, value);
    }

    /// Puts this home's store elsewhere.
    pub fn set_store(&mut self, directory: &Path) {
        self.0.set("GIT_SPARSE_DIR", directory.to_str().expect("because a test's paths are UTF-8"));
    }

    /// Runs `git ARGUMENTS` in `directory`, which must succeed; its standard output.
    #[track_caller]
    pub fn git(&self, directory: &Path, arguments: &[&str]) -> String {
        self.run("git", directory, arguments)
    }

    /// Runs a program in `directory`, which must succeed; its standard output.
    #[track_caller]
    pub fn run(&self, program: &str, directory: &Path, arguments: &[&str]) -> String {
        self.0.run(program, directory, arguments).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Runs `git ARGUMENTS`, which must fail; all it said.
    #[track_caller]
    pub fn git_fails(&self, directory: &Path, arguments: &[&str]) -> String {
        let output = self.output(self.command("git", directory).args(arguments));
        assert!(!output.status.success(), "`git {}` should fail:\n{}", arguments.join(" "), said(&output));
        said(&output)
    }

    /// Whether this home's daemon runs.
    #[track_caller]
    pub fn daemon_runs(&self) -> bool {
        let told = self.run("git-sparse", &self.path(""), &["daemon", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        !status["daemon"].is_null()
    }

    /// Runs a command to its end, whatever that is.
    #[track_caller]
    pub fn output(&self, command: &mut Command) -> Output {
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Runs `git ARGUMENTS` with variables of its own, which must succeed; its standard output.
    #[track_caller]
    pub fn git_with(
        &self,
        variables: &[(&str, impl AsRef<OsStr>)],
        directory: &Path,
        arguments: &[&str],
    ) -> String {
        let mut command = self.command("git", directory);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        let output = self.output(&mut command);
        assert!(
            output.status.success(),
            "`git {}` ended with {}:\n{}",
            arguments.join(" "),
            output.status,
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Deref for Home {
    type Target = xtask::home::Home;

    fn deref(&self) -> &xtask::home::Home {
        &self.0
    }
}
