//! The repository the user stands in, and what `REV:PATH` means there.

use std::path::{Path, PathBuf};

use crate::daemon::message::{Failure, Kind, RemotePlace};
use crate::daemon::reach;
use crate::git::command::Git;
use crate::git::{History, Pointer};
use crate::id::Oid;

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
                (if revision.is_empty() { "HEAD" } else { revision }, Some(self.in_tree(path)?))
            }
            None if self.is_commit(spec) => (spec, None),
            None => ("HEAD", Some(self.path(spec)?)),
        };
        let files = self.files(revision)?;
        let Some(path) = path else { return Ok(files) };
        let below = format!("{path}/");
        let whole = path.is_empty();
        let found: Vec<_> =
            files.iter().filter(|f| whole || f.path == path || f.path.starts_with(&below)).cloned().collect();
        if found.is_empty() {
            let told = match spec.contains(':') {
                true => format!("{revision}:{path}: no large file there"),
                false => format!("{spec}: no revision of this name, and no large file of this name in HEAD"),
            };
            let failure = Failure::new(Kind::NotFound, told);
            let known: Vec<_> = files.iter().take(5).map(|file| file.path.as_str()).collect();
            return Err(if known.is_empty() {
                failure
            } else {
                failure.fix(format!("{revision} has: {}", known.join(", ")))
            });
        }
        Ok(found)
    }

    /// The same, where only one file is meant.
    fn find_one(&self, spec: &str) -> Result<Place, Failure> {
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
    pub fn path(&self, typed: &str) -> Result<String, Failure> {
        let outside = || {
            Failure::new(Kind::Usage, format!("{typed}: outside of this repository"))
                .fix("name a path in its work tree")
        };
        let from_top = match Path::new(typed).is_absolute() {
            true => self.below_top(Path::new(typed)).ok_or_else(outside)?,
            false => format!("{}{typed}", self.prefix),
        };
        normal(&from_top).ok_or_else(outside)
    }

    /// The path of `REV:PATH`: from the top, unless it begins with `./` or `../`, as git has it.
    pub fn in_tree(&self, path: &str) -> Result<String, Failure> {
        let is_relative = matches!(path.split('/').next(), Some("." | ".."));
        if is_relative || Path::new(path).is_absolute() {
            return self.path(path);
        }
        normal(path).ok_or_else(|| Failure::new(Kind::Usage, format!("{path}: outside of this repository")))
    }

    /// An absolute path from the top of the work tree. It need not exist: HEAD may have it alone.
    fn below_top(&self, path: &Path) -> Option<String> {
        let top = self.git.top().ok()?;
        let below = path.strip_prefix(&top).map(Path::to_owned).ok().or_else(|| {
            // git names the top without links; the user may have come through one.
            let (there, rest) = path
                .ancestors()
                .find_map(|dir| Some((dir.canonicalize().ok()?, path.strip_prefix(dir).ok()?)))?;
            there.join(rest).strip_prefix(&top).map(Path::to_owned).ok()
        });
        below?.to_str().map(str::to_owned)
    }

    /// The store that a git remote leads to.
    pub fn remote(&self, name: &str, pushing: bool) -> Result<RemotePlace, Failure> {
        reach::find(&self.git, name, pushing)
    }

    /// The remote that a plain push would use.
    pub fn default_remote(&self) -> String {
        let branch = self.git.run(&["symbolic-ref", "--short", "-q", "HEAD"]).unwrap_or_default();
        // A dot is this repository itself: the branch follows another local one.
        let of_branch = self.git.config(&format!("branch.{branch}.remote")).filter(|name| name != ".");
        let first = || self.git.run(&["remote"]).ok()?.lines().next().map(str::to_owned);
        of_branch.or_else(first).unwrap_or_else(|| "origin".into())
    }

    /// The commit that a revision names.
    pub fn commit(&self, revision: &str) -> Result<String, Failure> {
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

/// The file that `REV:PATH`, `PATH` or a SHA-256 names; for the last no repository is needed.
pub fn file(spec: &str) -> Result<Place, Failure> {
    match spec.parse::<Oid>() {
        Ok(oid) => {
            Ok(Place { revision: String::new(), path: String::new(), pointer: Pointer { oid, size: 0 } })
        }
        Err(_) => Repo::here().map_err(or_a_hash)?.find_one(spec),
    }
}

fn or_a_hash(failure: Failure) -> Failure {
    failure.fix("run it inside one, or name the file by its SHA-256, 64 hexadecimal digits")
}

/// Without `./`, doubled slashes and a slash at the end; none when it leads out at the top.
fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that leads out of the repository must not come back in as another file.
    #[test]
    fn paths_are_made_plain_and_stay_inside() {
        assert_eq!(normal("a/./b//c/").as_deref(), Some("a/b/c"));
        assert_eq!(normal("a/b/../c").as_deref(), Some("a/c"));
        assert_eq!(normal("").as_deref(), Some(""));
        assert_eq!(normal("a/../../c"), None);
    }
}
