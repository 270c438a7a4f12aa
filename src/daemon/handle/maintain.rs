//! Care of the store and the cache: fsck, gc, repack, and what is kept rebuilt.

use std::time::SystemTime;

use super::Handler;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply};
use crate::daemon::words;
use crate::fsck;
use crate::gc;
use crate::id::Oid;
use crate::progress::Progress;
use crate::repack::{RepackError, repack};

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

    pub(super) fn repack(&self, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let done = repack(&self.store, now(), progress).map_err(|error| match &error {
            RepackError::Store(inner) => words::store(inner),
            RepackError::Proof(_) => {
                Failure::new(Kind::Corrupt, error.to_string()).fix("look for damage: git sparse fsck")
            }
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

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
