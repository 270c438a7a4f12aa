//! Care of the store and the cache: fsck, gc, repack, and what is kept rebuilt.

use std::time::SystemTime;

use super::Handler;
use crate::backend::Name;
use crate::daemon::message::{Failure, Kind, Reached, RemotePlace, Reply};
use crate::daemon::words;
use crate::fsck;
use crate::gc;
use crate::git::reach;
use crate::id::Oid;
use crate::progress::Progress;
use crate::repack::{RepackError, repack};
use crate::store;
use crate::sync;

impl Handler {
    pub(super) fn fsck(
        &self,
        depth: fsck::Depth,
        repair: bool,
        remote: Option<&RemotePlace>,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let mut report = fsck::check(&self.store, depth, progress).map_err(|error| words::store(&error))?;
        if repair && !report.problems.is_empty() {
            let mut refetch = |oid| {
                let place = remote.ok_or("no remote was named")?;
                let done = self.with_remote(place, |far| far.refetch(&self.store, oid, progress));
                done.map_err(|failure| failure.message)
            };
            report = fsck::repair(&self.store, &report, Some(&mut refetch), progress)
                .map_err(|error| words::store(&error))?;
        }
        Ok(Reply::Fsck { report })
    }

    pub(super) fn gc(&self, dry_run: bool, grace_seconds: u64) -> Result<Reply, Failure> {
        let now = now();
        let refused = |error| {
            let failure = words::store(&error);
            let message = format!("gc refused, since the store is not whole: {}", failure.message);
            Failure { message, ..failure }
        };
        let plan = gc::plan(&self.store, now, grace_seconds).map_err(refused)?;
        if !dry_run {
            gc::carry_out(&self.store, &plan, now).map_err(|error| words::store(&error))?;
        }
        Ok(Reply::Gc { plan })
    }

    /// Collects at a remote. Others may be at it, also this daemon's own pushes: that is the protocol's affair.
    pub(super) fn gc_remote(
        &self,
        remote: &RemotePlace,
        reached: Option<&Reached>,
        forget: bool,
        dry_run: bool,
        grace: u64,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let backend = super::far::storage(remote, &self.place.store.join("tmp"))?;
        let there = |error| sync::SyncError::There { place: backend.place(), error: Box::new(error) };
        let config = backend.len(Name::Config).map_err(|error| words::sync(&there(error.into())))?;
        if config.is_none() {
            // Nobody pushed anything yet.
            return Ok(Reply::GcRemote { plan: gc::remote::Plan::default() });
        }
        store::check_config(&*backend).map_err(|error| words::sync(&there(error)))?;
        let oids = reached.map(|reached| reach::oids(&reached.repo, &reached.tips)).transpose();
        let oids = oids.map_err(|error| {
            Failure::new(Kind::Refused, format!("what can still be asked for is not known: {error}"))
                .fix("run it in a clone with all of the history: git fetch --unshallow, or a new git clone")
        })?;
        let is_reached = |oid: &Oid| oids.as_ref().is_some_and(|oids| oids.contains(oid));
        let rules = gc::remote::Rules {
            grace,
            reached: if oids.is_some() { Some(&is_reached) } else { None },
            forget: forget.then_some(grace),
        };
        let plan = gc::remote::plan(&*backend, rules, progress).map_err(|error| refused(&error))?;
        if !dry_run {
            let id = getrandom::u32().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
            gc::remote::carry_out(&*backend, &plan, rules, id, progress).map_err(|error| refused(&error))?;
        }
        Ok(Reply::GcRemote { plan })
    }

    pub(super) fn repack(&self, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let done = repack(&self.store, now(), progress).map_err(|error| match &error {
            RepackError::Store(inner) => words::store(inner),
            RepackError::Proof(_) => {
                Failure::new(Kind::Corrupt, error.to_string()).fix("look for damage: git sparse fsck")
            }
            RepackError::Unknown(_) => Failure::new(Kind::Fatal, error.to_string()).fix(
                "free some space, or remove index/ in the store while no daemon runs: it is made again; then repack once more",
            ),
            RepackError::Cancelled(_) => Failure::new(Kind::Fatal, error.to_string()),
        })?;
        Ok(Reply::Repacked { done })
    }

    pub(super) fn cache_list(&self) -> Reply {
        Reply::Cache { files: self.cache.list(), limit: self.cache.limit() }
    }

    pub(super) fn cache_prune(&self, all: bool) -> Reply {
        self.cache.shrink(if all { 0 } else { self.cache.limit() });
        self.cache_list()
    }

    /// Pins a file, rebuilding it into the cache if it is not there.
    pub(super) fn cache_pin(
        &self,
        oid: Oid,
        pinned: bool,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let path = self.cache.path(oid);
        let failed = |error| words::file(&path, &error);
        if pinned && !path.is_file() {
            self.cache.prepare().map_err(failed)?;
            let staged = self.new_path(path.parent().expect("because a cached file has a folder"), oid);
            self.rebuild_to(oid, &staged, progress)?;
            std::fs::rename(&staged, &path).map_err(failed)?;
        }
        self.cache.pin(oid, pinned).map_err(failed)?;
        Ok(self.cache_list())
    }
}

fn refused(error: &sync::SyncError) -> Failure {
    let failure = words::sync(error);
    match failure.kind {
        Kind::Corrupt | Kind::NotFound => {
            let message = format!("gc refused, since the remote is not whole: {}", failure.message);
            Failure { message, ..failure }
        }
        _ => failure,
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
