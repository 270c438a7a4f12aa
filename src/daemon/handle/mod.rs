//! Does what a request asks. The one place that holds a `Store`.

mod before;
mod far;
mod foresee;
mod inspect;
mod maintain;
mod transfer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::ahead::{Ahead, Caller};
use super::cache::{self, Cache};
use super::flight::Flights;
use super::lock::{self, Lock};
use super::message::{Failure, Kind, RemotePlace, Reply, Request};
use super::place::{self, Place};
use super::shelf::Recent;
use super::words;
use crate::backend::{Backend, Local, Privacy};
use crate::git::command::Git;
use crate::git::{History, Tips};
use crate::id::Oid;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use far::Far;

/// Configuration key of the cap on rebuilt files, in bytes.
const CACHE_KEY: &str = "gitsparse.cachesize";
/// Staged files older than this belong to a process that died.
const STALE: Duration = Duration::from_secs(3600);

/// The store, locked, and what is known of remotes.
pub struct Handler {
    store: Store,
    shelf: Arc<Recent>,
    cache: Cache,
    remotes: Flights<String, Mutex<Option<Far>>>,
    files: Flights<Oid, Mutex<()>>,
    ahead: Ahead,
    /// The history that was read last: all files of a push ask for the same one.
    history: Mutex<Option<(PathBuf, Tips, Arc<History>)>>,
    /// Verbs that take packs away run alone.
    alone: RwLock<()>,
    rebuilt: AtomicU64,
    place: Place,
    _lock: Lock,
}

impl Handler {
    /// Opens the store under its lock.
    pub fn open(place: &Place, role: &str, patience: Duration) -> Result<Handler, Failure> {
        place.prepare()?;
        let lock = lock::acquire(&place.store, role, patience)?;
        // What a dead process left in tmp/ is in nobody's way; a failure to sweep is no reason to stop.
        let _ = Local::new(&place.store, Privacy::Private).sweep(STALE);
        let shelf = Arc::<Recent>::default();
        let store = Store::open(&place.store, &place::boot_id(), Box::new(shelf.clone()))
            .map_err(|error| words::store(&error))?;
        let limit = Git::at("/").config(CACHE_KEY).and_then(|text| text.parse().ok());
        Ok(Handler {
            store,
            shelf,
            cache: Cache::new(&place.cache, limit.unwrap_or(cache::DEFAULT_LIMIT)),
            remotes: Flights::default(),
            files: Flights::default(),
            ahead: Ahead::default(),
            history: Mutex::new(None),
            alone: RwLock::new(()),
            rebuilt: AtomicU64::new(0),
            place: place.clone(),
            _lock: lock,
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Notes what a connection asks for, and that it is gone.
    pub fn meet(&self, caller: &Caller, request: &Request) {
        self.ahead.meet(caller, request);
    }

    pub fn leave(&self, caller: &Caller) {
        if self.ahead.leave(caller) {
            self.shelf.let_go();
        }
    }

    /// Takes away what no connection came for; the daemon goes.
    pub fn leave_all(&self) {
        self.ahead.leave_all();
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Does one request. Those about the daemon itself are answered by the server before they come here.
    pub fn handle(&self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        match request {
            Request::Fsck { repair: true, .. } | Request::Gc { .. } | Request::Repack => {
                let _alone = self.exclusive();
                self.maintain(request, progress)
            }
            Request::Download { oid, .. } | Request::Upload { oid, .. } => {
                let first = self.serve_shared(request, progress);
                match first {
                    // What is damaged here is whole elsewhere: at the remote, or in git-lfs' cache. It is set
                    // aside, and stored anew.
                    Err(failure) if failure.kind == Kind::Corrupt => {
                        let _alone = self.exclusive();
                        if !self.set_damage_aside(*oid) {
                            return Err(failure);
                        }
                    }
                    done => return done,
                }
                self.serve_shared(request, progress)
            }
            _ => self.serve_shared(request, progress),
        }
    }

    fn serve_shared(&self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let _shared = self.shared();
        self.serve(request, progress)
    }

    fn serve(&self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        match request {
            Request::Upload { oid, path, repo, remote } => {
                self.upload(*oid, path, repo.as_deref(), remote, progress)
            }
            Request::Keep { oid, path, parents } => self.keep_here(*oid, path, parents, progress),
            Request::Download { oid, into, repo, remote } => {
                self.download(*oid, into, repo.as_deref(), remote, progress)
            }
            Request::Rebuild { oid, path } => self.rebuild_to(*oid, path, progress),
            Request::Files { oids } => self.files_cost(oids),
            Request::Tensors { oid } => self.tensors(*oid),
            Request::Summary { oid } => self.summary(*oid, progress),
            Request::Diff { old, new } => self.diff(*old, *new, progress),
            Request::Read { oid, start, end } => self.read(*oid, *start..*end),
            Request::Verify { oids } => self.verify(oids, progress),
            Request::RemoteHas { oids, remote } => self.remote_has(oids, remote, progress),
            Request::Census => self.census(),
            Request::CacheList => Ok(self.cache_list()),
            Request::CachePrune { all } => Ok(self.cache_prune(*all)),
            Request::CachePin { oid, pinned } => self.cache_pin(*oid, *pinned, progress),
            other => self.maintain(other, progress),
        }
    }

    fn maintain(&self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        match request {
            Request::Fsck { depth, repair, remote } => self.fsck(*depth, *repair, remote.as_ref(), progress),
            Request::Gc { dry_run, grace_seconds } => self.gc(*dry_run, *grace_seconds),
            Request::GcRemote { remote, reached, forget, dry_run, grace_seconds } => {
                self.gc_remote(remote, reached.as_ref(), *forget, *dry_run, *grace_seconds, progress)
            }
            Request::Repack => self.repack(progress),
            _ => Err(Failure::new(Kind::Usage, "this request is for a daemon, and there is none")),
        }
    }

    fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.alone.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.alone.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a remote. One at a time: of two files that share objects the second finds them here.
    fn with_remote<T>(
        &self,
        place: &RemotePlace,
        work: impl FnOnce(&mut Far) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let remote = self.remotes.get(&place.name(), || Mutex::new(None));
        let mut remote = remote.lock().unwrap_or_else(PoisonError::into_inner);
        if remote.as_ref().is_none_or(|far| !far.leads_to(place)) {
            *remote = Some(Far::at(place, &self.place.store.join("tmp"))?);
        }
        work(remote.as_mut().expect("because it was just set"))
    }

    /// The history of a repository; empty when it can't be read, since it only helps to find bases.
    fn history(&self, repo: &std::path::Path) -> Arc<History> {
        let Ok(tips) = History::tips(repo) else { return Arc::default() };
        let mut last = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, known, history)) = &*last
            && path == repo
            && *known == tips
        {
            return history.clone();
        }
        let history = Arc::new(History::read(repo).unwrap_or_default());
        *last = Some((repo.to_owned(), tips, history.clone()));
        history
    }

    /// The recipe of a file that must be here.
    fn recipe(&self, oid: Oid) -> Result<Recipe, Failure> {
        let recipe = self.store.recipe(&oid).map_err(|error| words::store(&error))?;
        recipe.ok_or_else(|| words::store(&crate::store::StoreError::NoFile(oid)))
    }

    /// A path in `dir` that no other rebuilt file has.
    fn new_path(&self, dir: &std::path::Path, oid: Oid) -> PathBuf {
        let number = self.rebuilt.fetch_add(1, Ordering::Relaxed);
        dir.join(format!("git-sparse-{}-{number}-{oid}", std::process::id()))
    }
}
