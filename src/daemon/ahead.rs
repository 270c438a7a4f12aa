//! What git-lfs will ask for next: the other files of a revision, and which of them are rebuilt already.
//!
//! git-lfs hashes each file that it gets before it asks for another. In that time the daemon rebuilds
//! one that nobody has asked for yet, into the directory where it is wanted, so that handing it
//! over is a name. One file is rebuilt ahead at a time; what nobody took goes with the last connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use super::message::{RemotePlace, Request};
use crate::id::Oid;

/// All directories that files are downloaded to at present.
#[derive(Default)]
pub struct Ahead {
    directories: Mutex<HashMap<PathBuf, Revision>>,
    /// Held while a file is rebuilt ahead: one at a time, so that memory stays bounded.
    working: Mutex<()>,
}

/// The files of the revision that is downloaded to one directory.
#[derive(Default)]
struct Revision {
    callers: usize,
    listed: bool,
    /// Not begun yet, in the order in which git-lfs will ask.
    waiting: VecDeque<Oid>,
    asked: HashSet<Oid>,
    ready: HashMap<Oid, PathBuf>,
}

/// One connection, and where it wants its files.
#[derive(Default)]
pub struct Caller {
    target: OnceLock<Target>,
    gone: AtomicBool,
}

#[derive(Debug, Clone)]
pub struct Target {
    pub into: PathBuf,
    pub repo: PathBuf,
    pub remote: RemotePlace,
}

impl Caller {
    /// Where this connection's files go, once it has asked for one.
    pub fn target(&self) -> Option<&Target> {
        self.target.get()
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Ahead {
    /// The right to rebuild a file ahead, unless somebody does that now.
    pub fn begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.working.try_lock() {
            Ok(begun) => Some(begun),
            Err(TryLockError::Poisoned(broken)) => Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Notes where a connection wants its files, at its first download.
    pub fn meet(&self, caller: &Caller, request: &Request) {
        let Request::Download { into, repo: Some(repo), remote, .. } = request else { return };
        let target = Target { into: into.clone(), repo: repo.clone(), remote: remote.clone() };
        if caller.target.set(target).is_ok() {
            self.lock().entry(into.clone()).or_default().callers += 1;
        }
    }

    /// Forgets a connection; with the last one of a directory go the files that nobody took. Whether no connection is
    /// left that downloads.
    pub fn leave(&self, caller: &Caller) -> bool {
        caller.gone.store(true, Ordering::Relaxed);
        let mut directories = self.lock();
        if let Some(target) = caller.target()
            && let Some(revision) = directories.get_mut(&target.into)
        {
            revision.callers -= 1;
            if revision.callers == 0 {
                let revision = directories.remove(&target.into).unwrap_or_default();
                revision.ready.into_values().for_each(discard);
            }
        }
        directories.is_empty()
    }

    /// Notes that a file is wanted; the path at which it is ready, if it is, is the caller's from now on.
    pub fn ask(&self, into: &Path, oid: Oid) -> Option<PathBuf> {
        let mut directories = self.lock();
        let revision = directories.get_mut(into)?;
        revision.asked.insert(oid);
        revision.ready.remove(&oid)
    }

    /// The next file that nobody has asked for. `list` gives all of the revision, the first time. None
    /// before a second file was asked for: who wants one file may not want the others.
    pub fn next(&self, into: &Path, list: impl FnOnce() -> Vec<Oid>) -> Option<Oid> {
        let must_list = {
            let mut directories = self.lock();
            let revision = directories.get_mut(into)?;
            if revision.asked.len() < 2 {
                return None;
            }
            !std::mem::replace(&mut revision.listed, true)
        };
        if must_list {
            // Reading a large tree takes a while: not under the lock.
            let oids = list();
            self.lock().get_mut(into)?.waiting.extend(oids);
        }
        let mut directories = self.lock();
        let revision = directories.get_mut(into)?;
        loop {
            let oid = revision.waiting.pop_front()?;
            if !revision.asked.contains(&oid) {
                return Some(oid);
            }
        }
    }

    /// Whether a file was asked for since it was the next.
    pub fn is_asked(&self, into: &Path, oid: Oid) -> bool {
        self.lock().get(into).is_none_or(|revision| revision.asked.contains(&oid))
    }

    /// Forgets all connections, when the daemon goes.
    pub fn leave_all(&self) {
        let revisions = std::mem::take(&mut *self.lock());
        revisions.into_values().for_each(|revision| revision.ready.into_values().for_each(discard));
    }

    /// Takes in a file that was rebuilt ahead.
    pub fn put(&self, into: &Path, oid: Oid, path: PathBuf) {
        match self.lock().get_mut(into) {
            Some(revision) => drop(revision.ready.insert(oid, path)),
            None => discard(path),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Revision>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that stays behind in a temporary directory is swept by git-lfs one day.
fn discard(path: PathBuf) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(ahead: &Ahead, into: &Path) -> Caller {
        let caller = Caller::default();
        let remote = RemotePlace::Directory(PathBuf::from("/remote"));
        let repo = Some(PathBuf::from("/repo"));
        ahead.meet(
            &caller,
            &Request::Download { oid: Oid::of(b"first"), into: into.to_owned(), repo, remote },
        );
        caller
    }

    /// What was asked for is not rebuilt twice, what is ready is handed out once, and nothing stays behind.
    #[test]
    fn files_are_rebuilt_once_and_handed_out_once() {
        let dir = tempfile::tempdir().unwrap();
        let (ahead, [a, b, c]) = (Ahead::default(), [b"a", b"b", b"c"].map(|name| Oid::of(name)));
        let callers = [caller(&ahead, dir.path()), caller(&ahead, dir.path())];
        assert_eq!(ahead.ask(dir.path(), a), None);
        assert_eq!(ahead.next(dir.path(), || panic!("one file was asked for")), None);
        assert_eq!(ahead.ask(dir.path(), Oid::of(b"d")), None);
        let all = || vec![a, b, c];
        assert_eq!(ahead.next(dir.path(), all), Some(b));
        assert_eq!(ahead.next(dir.path(), || panic!("it is listed already")), Some(c));
        assert_eq!(ahead.next(dir.path(), Vec::new), None);
        let paths = ["b", "c"].map(|name| dir.path().join(name));
        paths.iter().for_each(|path| fs::write(path, "rebuilt").unwrap());
        ahead.put(dir.path(), b, paths[0].clone());
        ahead.put(dir.path(), c, paths[1].clone());
        assert_eq!(ahead.ask(dir.path(), b), Some(paths[0].clone()));
        assert_eq!(ahead.ask(dir.path(), b), None);
        assert!(ahead.is_asked(dir.path(), b) && !ahead.is_asked(dir.path(), c));
        assert!(!ahead.leave(&callers[0]));
        assert!(callers[0].is_gone() && paths[1].exists());
        assert!(ahead.leave(&callers[1]), "no connection is left");
        assert!(!paths[1].exists(), "a file that nobody took stayed");
        assert!(paths[0].exists(), "a file that was handed out went away");
        fs::write(&paths[1], "rebuilt too late").unwrap();
        ahead.put(dir.path(), c, paths[1].clone());
        assert!(!paths[1].exists());
    }
}
