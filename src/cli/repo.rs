//! The repository the user stands in, and what `REV:PATH` means there.

use std::path::PathBuf;

use crate::daemon::message::{Failure, Kind, RemotePlace};
use crate::git::command::Git;
use crate::git::{History, Pointer};
use crate::id::Oid;
use crate::locator;

/// A git repository on disk.
pub struct Repo {
    pub git: Git,
    pub git_dir: PathBuf,
    /// From the top of the work tree to where the user stands, with a slash at its end; or empty.
    prefix: String,
}

/// A large file at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub revision: String,
    pub path: String,
    pub pointer: Pointer,
}

impl Repo {
    /// The repository around the current directory.
    pub fn here() -> Result<Repo, Failure> {
        let git = Git::at(".");
        let git_dir = git.common_dir().map_err(|_| {
            Failure::new(Kind::Fatal, "this is not a git repository").fix("run it inside one, or git init")
        })?;
        let prefix = git.run(&["rev-parse", "--show-prefix"]).unwrap_or_default();
        Ok(Repo { git, git_dir, prefix })
    }

    pub fn history(&self) -> Result<History, Failure> {
        History::read(&self.git_dir).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    }

    /// All large files of a revision.
    pub fn files(&self, revision: &str) -> Result<Vec<Place>, Failure> {
        let revision = self.commit(revision)?;
        let files = History::files_at(&self.git_dir, &revision)
            .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        let place = |(path, pointer)| Place { revision: revision.clone(), path, pointer };
        Ok(files.into_iter().map(place).collect())
    }

    /// What `REV`, `REV:PATH`, `PATH` or `REV:DIR` names: one file, or all below.
    pub fn find(&self, spec: &str) -> Result<Vec<Place>, Failure> {
        let (revision, path) = match spec.split_once(':') {
            Some((revision, path)) => {
                (if revision.is_empty() { "HEAD" } else { revision }, Some(path.to_owned()))
            }
            None if self.is_commit(spec) => (spec, None),
            None => ("HEAD", Some(format!("{}{spec}", self.prefix))),
        };
        let files = self.files(revision)?;
        let Some(path) = path else { return Ok(files) };
        let path = normal(&path);
        let below = format!("{path}/");
        let whole = path.is_empty();
        let found: Vec<_> =
            files.iter().filter(|f| whole || f.path == path || f.path.starts_with(&below)).cloned().collect();
        if found.is_empty() {
            let failure = Failure::new(Kind::NotFound, format!("{revision}:{path}: no large file there"));
            let known: Vec<_> = files.iter().take(5).map(|file| file.path.as_str()).collect();
            return Err(if known.is_empty() {
                failure
            } else {
                failure.fix(format!("it has: {}", known.join(", ")))
            });
        }
        Ok(found)
    }

    /// The same, where only one file is meant. A bare oid is a file too.
    pub fn find_one(&self, spec: &str) -> Result<Place, Failure> {
        if let Ok(oid) = spec.parse::<Oid>() {
            let pointer = Pointer { oid, size: 0 };
            return Ok(Place { revision: String::new(), path: String::new(), pointer });
        }
        let mut found = self.find(spec)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            count => {
                Err(Failure::new(Kind::Usage, format!("{spec} names {count} large files, expected one"))
                    .fix(format!("for example: {}", found[0].path)))
            }
        }
    }

    /// A path as the user typed it, from the top of the work tree.
    pub fn path(&self, typed: &str) -> String {
        normal(&format!("{}{typed}", self.prefix))
    }

    /// The store that a git remote leads to.
    pub fn remote(&self, name: &str, pushing: bool) -> Result<RemotePlace, Failure> {
        let found = locator::resolve(&self.git, name, pushing).map(RemotePlace::Directory);
        found.map_err(|error| crate::agent::in_words(&error))
    }

    /// The remote that a plain push would use.
    pub fn default_remote(&self) -> String {
        let branch = self.git.run(&["symbolic-ref", "--short", "-q", "HEAD"]).unwrap_or_default();
        let of_branch = self.git.config(&format!("branch.{branch}.remote"));
        let first = || self.git.run(&["remote"]).ok()?.lines().next().map(str::to_owned);
        of_branch.or_else(first).unwrap_or_else(|| "origin".into())
    }

    fn commit(&self, revision: &str) -> Result<String, Failure> {
        let spec = format!("{revision}^{{commit}}");
        self.git.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &spec]).map_err(|_| {
            let failure =
                Failure::new(Kind::NotFound, format!("{revision:?} is no revision of this repository"));
            failure.fix("see git log --oneline, git tag")
        })
    }

    fn is_commit(&self, text: &str) -> bool {
        self.commit(text).is_ok()
    }
}

/// Without `./`, doubled slashes and a slash at the end.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
