//! git itself, for what only git knows: configuration, remotes, where a repository is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::settings::Settings;

/// Why git did not answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git can't be run: {0}")]
    Spawn(std::io::Error),
    #[error("git {command}: {message}")]
    Failed { command: String, message: String },
}

/// The repository that commands act on: a directory in it, or the current one.
#[derive(Debug, Clone)]
pub struct Git {
    dir: PathBuf,
    top: OnceLock<PathBuf>,
    common: OnceLock<PathBuf>,
}

impl Git {
    pub fn at(dir: impl Into<PathBuf>) -> Git {
        Git { dir: dir.into(), top: OnceLock::new(), common: OnceLock::new() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs git and gives its output without the last line end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, GitError> {
        let output =
            Command::new("git").arg("-C").arg(&self.dir).args(args).output().map_err(GitError::Spawn)?;
        if !output.status.success() {
            let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let message = if message.is_empty() { output.status.to_string() } else { message };
            return Err(GitError::Failed { command: words.join(" "), message });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// Git's configuration, from all of its files.
    pub fn settings(&self) -> Settings {
        Settings::parse(&self.run(&["config", "--list", "-z"]).unwrap_or_default())
    }

    /// One value of it.
    pub fn config(&self, key: &str) -> Option<String> {
        self.settings().get(key).map(str::to_owned)
    }

    /// `.lfsconfig`, as git-lfs reads it: from the work tree, the index, or HEAD.
    pub fn lfsconfig(&self) -> Settings {
        let list = |from: &[&str]| self.run(&[&["config", "--list", "-z"], from].concat()).ok();
        let file = self.top().ok().map(|top| top.join(".lfsconfig")).filter(|file| file.is_file());
        let listing = match file.as_deref().and_then(Path::to_str) {
            Some(file) => list(&["--file", file]),
            None => list(&["--blob", ":.lfsconfig"]).or_else(|| list(&["--blob", "HEAD:.lfsconfig"])),
        };
        Settings::parse(&listing.unwrap_or_default())
    }

    /// The top directory of the work tree.
    pub fn top(&self) -> Result<PathBuf, GitError> {
        self.once(&self.top, "--show-toplevel")
    }

    /// The directory with objects and refs, which all work trees of a repository share.
    pub fn common_dir(&self) -> Result<PathBuf, GitError> {
        self.once(&self.common, "--git-common-dir")
    }

    fn once(&self, known: &OnceLock<PathBuf>, what: &str) -> Result<PathBuf, GitError> {
        if let Some(path) = known.get() {
            return Ok(path.clone());
        }
        let found = self.run(&["rev-parse", "--path-format=absolute", what]).map(PathBuf::from)?;
        Ok(known.get_or_init(|| found).clone())
    }

    /// Where git-lfs keeps its objects and temporary files.
    pub fn lfs_dir(&self) -> Result<PathBuf, GitError> {
        let common = self.common_dir()?;
        Ok(match self.config("lfs.storage") {
            Some(storage) => common.join(storage),
            None => common.join("lfs"),
        })
    }
}
