//! Rebuilds the file that a connection will probably ask for next.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::Handler;
use crate::daemon::ahead::{Caller, Target};
use crate::git::command::Git;
use crate::git::settings::Settings;
use crate::git::{History, Pointer, pointer};
use crate::id::Oid;
use crate::progress::Cancelled;

impl Handler {
    /// Rebuilds one file of the revision of `oid`, which the caller was just given, unless it hangs up
    /// or `stop` says so. Nobody waits for this: what fails here fails again, and is told, when asked for.
    pub fn foresee(&self, caller: &Caller, oid: Oid, stop: &(dyn Fn() -> bool + Sync)) {
        let Some(target) = caller.target() else { return };
        let Some(_alone_ahead) = self.ahead.begin() else { return };
        let _shared = self.shared();
        let list = || self.missing_of(oid, target).unwrap_or_default();
        let Some(next) = self.ahead.next(&target.into, list) else { return };
        let flight = self.files.get(&next, || Mutex::new(()));
        let _turn = flight.lock().unwrap_or_else(PoisonError::into_inner);
        // A wait for the flight was a wait for whoever asked.
        if self.ahead.is_asked(&target.into, next) {
            return;
        }
        let path = self.new_path(&target.into, next);
        let progress = |_| if caller.is_gone() || stop() { Err(Cancelled) } else { Ok(()) };
        match self.provide(next, &path, Some(&target.repo), &target.remote, &progress) {
            Ok(()) => self.ahead.put(&target.into, next, path),
            Err(_) => drop(fs::remove_file(path)),
        }
    }

    /// Files of the revision that are not there yet; none where the configuration says that only some are wanted.
    fn missing_of(&self, oid: Oid, target: &Target) -> Option<Vec<Oid>> {
        let git = Git::at(&target.repo);
        let chooses = |settings: &Settings| {
            let keys = ["lfs.fetchinclude", "lfs.fetchexclude", "core.sparsecheckout"];
            keys.iter().any(|key| settings.get(key).is_some_and(|value| value != "false"))
        };
        if chooses(&git.settings()) || chooses(&git.lfsconfig()) {
            return None;
        }
        let objects = target.into.parent()?.join("objects");
        let mut oids = self.revision_of(oid, &target.repo)?;
        oids.retain(|oid| !pointer::object_path(&objects, *oid).is_file());
        Some(oids)
    }

    /// The files of the revision that is checked out, as far as one can tell: HEAD, or else the newest
    /// commit with this file.
    pub(super) fn revision_of(&self, oid: Oid, repo: &Path) -> Option<Vec<Oid>> {
        let files = |revision: &str| History::files_at(repo, revision).ok();
        let has_it = |files: &Vec<_>| files.iter().any(|(_, pointer): &(_, Pointer)| pointer.oid == oid);
        let files = files("HEAD").filter(has_it).or_else(|| {
            let history = self.history(repo);
            let commit = history.places(oid).next().map(|(_, version)| version.commit.clone());
            files(&commit?)
        })?;
        Some(files.into_iter().map(|(_, pointer)| pointer.oid).collect())
    }
}
