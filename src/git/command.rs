//! git itself, for what only git knows: configuration, remotes, where a repository is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

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
}

impl Git {
    pub fn at(dir: impl Into<PathBuf>) -> Git {
        Git { dir: dir.into() }
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

    /// One value of git's configuration, from any of its files.
    pub fn config(&self, key: &str) -> Option<String> {
        self.run(&["config", "--get", key]).ok().filter(|value| !value.is_empty())
    }

    /// All values of a key.
    pub fn config_all(&self, key: &str) -> Vec<String> {
        let values = self.run(&["config", "--get-all", key]).unwrap_or_default();
        values.lines().map(str::to_owned).collect()
    }

    /// One value of `.lfsconfig`, as git-lfs reads it: from the work tree, the index, or HEAD.
    pub fn lfsconfig(&self, key: &str) -> Option<String> {
        if let Ok(top) = self.run(&["rev-parse", "--show-toplevel"]) {
            let file = Path::new(&top).join(".lfsconfig");
            if file.is_file() {
                return self.run(&["config", "-f", file.to_str()?, "--get", key]).ok();
            }
        }
        let blob = |blob: &str| self.run(&["config", "--blob", blob, "--get", key]).ok();
        blob(":.lfsconfig").or_else(|| blob("HEAD:.lfsconfig"))
    }

    /// The directory with objects and refs, which all work trees of a repository share.
    pub fn common_dir(&self) -> Result<PathBuf, GitError> {
        self.run(&["rev-parse", "--path-format=absolute", "--git-common-dir"]).map(PathBuf::from)
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
