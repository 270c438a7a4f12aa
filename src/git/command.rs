//! git itself, for what only git knows: configuration, remotes, where a repository is.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
    /// What was read, where it is read once.
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    settings: OnceLock<Settings>,
    lfsconfig: OnceLock<Settings>,
}

impl Git {
    pub fn at(dir: impl Into<PathBuf>) -> Git {
        Git { dir: dir.into(), top: OnceLock::new(), common: OnceLock::new(), kept: None }
    }

    /// The same for one task that is short, or must not change its mind: the configuration is read once, and stays as it was.
    /// Each time that git is asked costs some milliseconds, and git-lfs starts eight agents one after the other.
    pub fn steady(self) -> Git {
        Git { kept: Some(Kept::default()), ..self }
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
        let read = || Settings::parse(&self.run(&["config", "--list", "-z"]).unwrap_or_default());
        self.kept.as_ref().map_or_else(read, |kept| kept.settings.get_or_init(read).clone())
    }

    /// One value of it.
    pub fn config(&self, key: &str) -> Option<String> {
        self.settings().get(key).map(str::to_owned)
    }

    /// `.lfsconfig`, as git-lfs reads it: from the work tree, the index, or HEAD.
    pub fn lfsconfig(&self) -> Settings {
        let read = || self.read_lfsconfig();
        self.kept.as_ref().map_or_else(read, |kept| kept.lfsconfig.get_or_init(read).clone())
    }

    fn read_lfsconfig(&self) -> Settings {
        let list = |from: &[&str]| self.run(&[&["config", "--list", "-z"], from].concat()).ok();
        let file = self.top().ok().map(|top| top.join(".lfsconfig")).filter(|file| file.is_file());
        let listing = match file.as_deref().and_then(Path::to_str) {
            Some(file) => list(&["--file", file]),
            None => {
                self.first_there(&[":.lfsconfig", "HEAD:.lfsconfig"]).and_then(|blob| list(&["--blob", blob]))
            }
        };
        Settings::parse(&listing.unwrap_or_default())
    }

    /// The first of these that names an object, none of which has a space in it.
    fn first_there<'name>(&self, names: &[&'name str]) -> Option<&'name str> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir).args(["cat-file", "--batch-check"]);
        let mut git =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        // A few short lines fit into the pipe, whatever git does.
        let asked = git.stdin.take().map(|mut stdin| stdin.write_all((names.join("\n") + "\n").as_bytes()));
        let told = git.wait_with_output().ok()?;
        asked?.ok()?;
        let told = String::from_utf8_lossy(&told.stdout);
        let there = |line: &str| line.split(' ').nth(1) == Some("blob");
        names.iter().zip(told.lines()).find(|(_, line)| there(line)).map(|(name, _)| *name)
    }

    /// The top directory of the work tree.
    pub fn top(&self) -> Result<PathBuf, GitError> {
        const BOTH: [&str; 4] =
            ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir"];
        if self.top.get().is_none()
            && let Ok(both) = self.run(&BOTH)
            && let [top, common] = both.lines().collect::<Vec<_>>()[..]
        {
            self.common.get_or_init(|| common.into());
            return Ok(self.top.get_or_init(|| top.into()).clone());
        }
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
