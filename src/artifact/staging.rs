//! A directory that appears under its name only when it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells the directories of one process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A new directory beside the one that it will become; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    at: PathBuf,
    target: PathBuf,
    published: bool,
}

/// Why a directory can't be made.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    #[error("{}: it is there already, and not an empty directory", .0.display())]
    Taken(PathBuf),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl Staging {
    /// Begins what will be `target`, which must not be there yet, or be empty.
    pub fn begin(target: &Path) -> Result<Staging, StagingError> {
        let at = |path: &Path, error| StagingError::Io { path: path.to_owned(), error };
        // A link to a directory stays, and is filled.
        let found = fs::canonicalize(target).or_else(|_| std::path::absolute(target));
        let target = found.map_err(|error| at(target, error))?;
        match fs::read_dir(&target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(false) => return Err(StagingError::Taken(target)),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(StagingError::Taken(target));
            }
            Err(error) => return Err(at(&target, error)),
        }
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| StagingError::Taken(target.clone()))?;
        let parent = target.parent().expect("because a path with a name has a parent");
        fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
        sweep(parent, &name);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let staged = parent.join(format!(".{name}.{}.{number}.partial", std::process::id()));
            match fs::create_dir(&staged) {
                Ok(()) => return Ok(Staging { at: staged, target, published: false }),
                // Another process had our number before: take the next.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(at(&staged, error)),
            }
        }
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Gives it its name, durably; all in it must be durable already.
    pub fn publish(mut self) -> Result<PathBuf, StagingError> {
        let at = |error: io::Error| match error.kind() {
            // Somebody else was faster.
            io::ErrorKind::DirectoryNotEmpty => StagingError::Taken(self.target.clone()),
            _ => StagingError::Io { path: self.target.clone(), error },
        };
        fs::rename(&self.at, &self.target).map_err(at)?;
        let parent = self.target.parent().expect("because a path with a name has a parent");
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(at)?;
        self.published = true;
        Ok(self.target.clone())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.at);
        }
    }
}

/// Removes what processes that were killed left of a directory of this name.
fn sweep(parent: &Path, name: &str) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let of = entry.file_name().to_str().and_then(|found| {
            let numbers = found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?;
            let (pid, _) = numbers.strip_suffix(".partial")?.split_once('.')?;
            rustix::process::Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)
        });
        let is_gone =
            of.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH));
        if is_gone {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether this is the name of a directory that was not finished.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".partial")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there is never written over, and what did not end leaves nothing.
    #[test]
    fn a_directory_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new/out");
        let staging = Staging::begin(&target).unwrap();
        fs::write(staging.path().join("half"), "x").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);

        let staging = Staging::begin(&target).unwrap();
        fs::write(staging.path().join("whole"), "x").unwrap();
        assert!(!target.exists());
        assert_eq!(staging.publish().unwrap(), target);
        assert!(target.join("whole").is_file());
        assert!(matches!(Staging::begin(&target), Err(StagingError::Taken(_))));

        // Two of one name are apart; what a killed process left goes.
        let third = dir.path().join("third");
        let left = dir.path().join(format!(".third.{}.0.partial", i32::MAX));
        fs::create_dir(&left).unwrap();
        let (one, other) = (Staging::begin(&third).unwrap(), Staging::begin(&third).unwrap());
        assert!(one.path() != other.path() && one.path().is_dir() && !left.exists());

        let (slow, fast) = (dir.path().join("two"), dir.path().join("two"));
        let staging = Staging::begin(&slow).unwrap();
        fs::create_dir(&fast).unwrap();
        fs::write(fast.join("faster"), "x").unwrap();
        assert!(matches!(staging.publish(), Err(StagingError::Taken(_))));

        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("empty", &link).unwrap();
        Staging::begin(&link).unwrap().publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(matches!(Staging::begin(&target.join("whole")), Err(StagingError::Taken(_))));
    }
}
