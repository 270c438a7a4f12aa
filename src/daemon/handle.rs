//! Does what a request asks. The one place that holds a `Store`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::flight::Flights;
use super::lock::{self, Lock};
use super::message::{Failure, Kind, RemotePlace, Reply, Request};
use super::place::{self, Place};
use super::words;
use crate::backend::{Local, Privacy};
use crate::base::Hints;
use crate::codec::Effort;
use crate::format::Source;
use crate::git::{History, lineage};
use crate::id::Oid;
use crate::ingest::ingest;
use crate::progress::Progress;
use crate::reconstruct::reconstruct;
use crate::store::Store;
use crate::sync::{self, Remote};

/// How many parents of a file are stored before it, when they lie at hand.
const MOST_ANCESTORS: usize = 64;

/// The store, locked, and what is known of remotes.
pub struct Handler {
    store: Store,
    remotes: Flights<RemotePlace, Mutex<Remote>>,
    files: Flights<Oid, Mutex<()>>,
    rebuilt: AtomicU64,
    place: Place,
    _lock: Lock,
}

/// An open file as a source of bytes.
struct OpenFile {
    file: File,
    len: u64,
}

impl Handler {
    /// Opens the store under its lock.
    pub fn open(place: &Place, role: &str, patience: Duration) -> Result<Handler, Failure> {
        place.prepare()?;
        let lock = lock::acquire(&place.store, role, patience)?;
        let store = Store::open(&place.store, &place::boot_id()).map_err(|error| words::store(&error))?;
        let (remotes, files) = (Flights::default(), Flights::default());
        Ok(Handler { store, remotes, files, rebuilt: AtomicU64::new(0), place: place.clone(), _lock: lock })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Does one request. Those about the daemon itself are answered by the server before they come here.
    pub fn handle(&self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        match request {
            Request::Upload { oid, path, repo, remote } => {
                self.upload(*oid, path, repo.as_deref(), remote, progress)
            }
            Request::Download { oid, into, repo: _, remote } => self.download(*oid, into, remote, progress),
            Request::Hello { .. } | Request::Status | Request::Stop => {
                Err(Failure::new(Kind::Usage, "this request is for a daemon, and there is none"))
            }
        }
    }

    fn upload(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let stored = self.keep(oid, path, repo, progress)?;
        let remote = self.remote(remote);
        let mut remote = remote.lock().unwrap_or_else(|broken| broken.into_inner());
        let moved =
            sync::push(&self.store, &mut remote, oid, &|_| progress(0)).map_err(|e| words::sync(&e))?;
        Ok(Reply::Uploaded { stored, sent: moved.bytes })
    }

    /// Stores a file and, before it, the parents it is best compared with. Returns the new bytes.
    fn keep(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        progress: &Progress<'_>,
    ) -> Result<u64, Failure> {
        let history = repo.and_then(|repo| History::read(repo).ok()).unwrap_or_default();
        let mut stored = 0;
        for (ancestor, path) in self.ancestors(oid, path, repo, &history) {
            let watch: &Progress<'_> = if ancestor == oid { progress } else { &|_| progress(0) };
            let hints = hints(repo, &history, ancestor);
            match self.keep_one(ancestor, &path, &hints, watch) {
                // A parent that can't be stored costs size, not the push.
                Err(_) if ancestor != oid => continue,
                found => stored += found?,
            }
        }
        Ok(stored)
    }

    /// The file and those of its parents that lie in git-lfs' cache and not in the store, oldest first.
    fn ancestors(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        history: &History,
    ) -> Vec<(Oid, PathBuf)> {
        let mut chain = vec![(oid, path.to_owned())];
        while chain.len() < MOST_ANCESTORS {
            let hints = hints(repo, history, chain[chain.len() - 1].0);
            let parents = hints.earlier.iter().chain(&hints.declared);
            let mut parents = parents.filter(|parent| !chain.iter().any(|(known, _)| known == *parent));
            let Some(parent) = parents.next() else { break };
            let Some(path) = beside(path, *parent).filter(|path| path.is_file()) else { break };
            if self.store.has(parent).unwrap_or(true) {
                break;
            }
            chain.push((*parent, path));
        }
        chain.reverse();
        chain
    }

    fn keep_one(
        &self,
        oid: Oid,
        path: &Path,
        hints: &Hints,
        progress: &Progress<'_>,
    ) -> Result<u64, Failure> {
        let flight = self.files.get(&oid, || Mutex::new(()));
        let _alone = flight.lock().unwrap_or_else(|broken| broken.into_inner());
        if matches!(self.store.recipe(&oid), Ok(Some(_))) {
            return Ok(0);
        }
        let source = OpenFile::open(path).map_err(|error| words::file(path, &error))?;
        let done = ingest(&self.store, &source, oid, hints, Effort::Push, progress);
        Ok(done.map_err(|error| words::ingest(path, &error))?.stored)
    }

    fn download(
        &self,
        oid: Oid,
        into: &Path,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let flight = self.files.get(&oid, || Mutex::new(()));
        let alone = flight.lock().unwrap_or_else(|broken| broken.into_inner());
        let known = self.store.recipe(&oid).map_err(|error| words::store(&error))?;
        let fresh = known.is_none();
        let recipe = match known {
            Some(recipe) => recipe,
            None => {
                let remote = self.remote(remote);
                let mut remote = remote.lock().unwrap_or_else(|broken| broken.into_inner());
                let fetched = sync::fetch(&self.store, &mut remote, oid, &|_| progress(0));
                fetched.map_err(|error| words::sync(&error))?.0
            }
        };
        let alone = fresh.then_some(alone);
        let number = self.rebuilt.fetch_add(1, Ordering::Relaxed);
        let path = into.join(format!("git-sparse-{}-{number}-{oid}", std::process::id()));
        let mut file = create_new(&path).map_err(|error| words::file(&path, &error))?;
        if let Err(error) = reconstruct(&self.store, &recipe, &mut file, progress) {
            let _ = fs::remove_file(&path);
            return Err(words::reconstruct(oid, &error));
        }
        if fresh {
            let proven = recipe.prove(oid).map_err(|error| Failure::new(Kind::Corrupt, error.to_string()))?;
            self.store.publish(&proven).map_err(|error| words::store(&error))?;
        }
        drop(alone);
        Ok(Reply::Downloaded { path })
    }

    fn remote(&self, place: &RemotePlace) -> std::sync::Arc<Mutex<Remote>> {
        self.remotes.get(place, || {
            let RemotePlace::Directory(path) = place;
            Mutex::new(Remote::new(Box::new(Local::new(path, Privacy::Shared))))
        })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl OpenFile {
    fn open(path: &Path) -> io::Result<OpenFile> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        match found.is_file() {
            true => Ok(OpenFile { file, len: found.len() }),
            false => Err(io::Error::other("not a regular file")),
        }
    }
}

impl Source for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }
}

fn hints(repo: Option<&Path>, history: &History, oid: Oid) -> Hints {
    let declared = repo.and_then(|repo| lineage::declared(repo, history, oid).ok()).unwrap_or_default();
    Hints { earlier: history.earlier(oid), declared }
}

/// Where git-lfs keeps `other`, given where it keeps the file at `path` (`objects/ab/cd/<oid>`).
fn beside(path: &Path, other: Oid) -> Option<PathBuf> {
    let objects = path.parent()?.parent()?.parent()?;
    let other = other.to_string();
    Some(objects.join(&other[..2]).join(&other[2..4]).join(&other))
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
