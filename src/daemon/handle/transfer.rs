//! Upload and download: one file between git-lfs, the store and a remote.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Handler;
use super::before::{Before, hints};
use crate::base::Hints;
use crate::codec::Effort;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply};
use crate::daemon::words;
use crate::draft::Draft;
use crate::format::OpenFile;
use crate::fsck;
use crate::id::Oid;
use crate::ingest::ingest;
use crate::progress::Progress;
use crate::recipe::Recipe;

impl Handler {
    pub(super) fn upload(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let stored = self.keep(oid, path, repo, progress)?;
        let moved = self.with_remote(remote, |far| far.push(&self.store, oid, &|_| progress(0)))?;
        Ok(Reply::Uploaded { stored, sent: moved.bytes })
    }

    /// Stores a file, with the parents that the client knows.
    pub(super) fn keep_here(
        &self,
        oid: Oid,
        path: &Path,
        parents: &[Oid],
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let hints = Hints { declared: parents.to_vec(), ..Hints::default() };
        Ok(Reply::Uploaded { stored: self.keep_one(oid, path, &hints, progress)?, sent: 0 })
    }

    /// Stores a file and, before it, what it is best compared with or computed from. Returns the new bytes.
    fn keep(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        progress: &Progress<'_>,
    ) -> Result<u64, Failure> {
        let history = repo.map(|repo| self.history(repo)).unwrap_or_default();
        let mut stored = 0;
        for (file, path) in Before::of(oid, path, &self.store, repo, &history) {
            let watch: &Progress<'_> = if file == oid { progress } else { &|_| progress(0) };
            let hints = hints(repo, &history, file);
            match self.keep_one(file, &path, &hints, watch) {
                // Another that can't be stored costs size, not the push.
                Err(_) if file != oid => continue,
                found => stored += found?,
            }
        }
        Ok(stored)
    }

    fn keep_one(
        &self,
        oid: Oid,
        path: &Path,
        hints: &Hints,
        progress: &Progress<'_>,
    ) -> Result<u64, Failure> {
        let flight = self.files.get(&oid, || Mutex::new(()));
        let _alone = flight.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.store.recipe(&oid), Ok(Some(recipe)) if self.is_whole(&recipe)) {
            return Ok(0);
        }
        let source = OpenFile::open(path).map_err(|error| words::file(path, &error))?;
        let done = ingest(&self.store, &source, oid, hints, Effort::Push, progress);
        Ok(done.map_err(|error| words::ingest(path, &error))?.stored)
    }

    pub(super) fn download(
        &self,
        oid: Oid,
        into: &Path,
        repo: Option<&Path>,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let wanted = self.ahead.ask(into, oid);
        let flight = self.files.get(&oid, || Mutex::new(()));
        let _turn = flight.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be ready by now: another connection was at it.
        if let Some(path) = wanted.or_else(|| self.ahead.ask(into, oid)) {
            return Ok(Reply::Downloaded { path });
        }
        let path = self.new_path(into, oid);
        self.provide(oid, &path, repo, remote, progress)?;
        Ok(Reply::Downloaded { path })
    }

    /// Makes a file at a new path, from the cache or anew. The caller holds the file's flight.
    pub(super) fn provide(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<(), Failure> {
        if !self.cache.take(oid, path) {
            self.rebuild_here(oid, path, repo, remote, progress)?;
            self.cache.offer(oid, path);
        }
        Ok(())
    }

    /// Rebuilds a file, fetching what the store lacks.
    fn rebuild_here(
        &self,
        oid: Oid,
        path: &Path,
        repo: Option<&Path>,
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<(), Failure> {
        if let Ok(Some(recipe)) = self.store.recipe(&oid) {
            match self.write_new(&recipe, path, progress) {
                // Objects went missing: they are fetched like those of a file that was never here.
                Err(failure) if failure.kind == Kind::NotFound => {}
                done => return done,
            }
        }
        let mut draft = Draft::into(new_file(path)?);
        let soon = || repo.and_then(|repo| self.revision_of(oid, repo)).into_iter().flatten().collect();
        let fetched = self.with_remote(remote, |far| {
            let recipe = far.fetch(&self.store, oid, &soon, Some(&mut draft), &|_| progress(0))?;
            // Before the next file comes that has this one as its base.
            let draft = Arc::new(draft);
            self.shelf.note(draft.clone());
            Ok((recipe, draft))
        });
        let rebuilt = fetched.and_then(|(recipe, draft)| {
            let done = draft.finish(&self.store, &recipe, progress);
            done.map(|()| recipe).map_err(|error| words::reconstruct(oid, &error))
        });
        let recipe = rebuilt.inspect_err(|_| drop(fs::remove_file(path)))?;
        // The whole file was just hashed.
        let proven = recipe.prove(oid).map_err(|error| Failure::new(Kind::Corrupt, error.to_string()))?;
        self.store.publish(&proven).map_err(|error| words::store(&error))
    }

    fn is_whole(&self, recipe: &Recipe) -> bool {
        recipe.parts.iter().all(|part| self.store.chain(&part.object).is_ok())
    }

    /// Sets aside the packs that make a file unreadable; false when there are none.
    pub(super) fn set_damage_aside(&self, oid: Oid) -> bool {
        let Ok(Some(recipe)) = self.store.recipe(&oid) else { return false };
        let damaged = fsck::damaged_packs(&self.store, &recipe);
        !damaged.is_empty() && damaged.iter().all(|pack| fsck::set_aside(&self.store, *pack).is_ok())
    }

    /// Writes a file that the store holds to a new path.
    pub(super) fn rebuild_to(
        &self,
        oid: Oid,
        path: &Path,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        self.write_new(&self.recipe(oid)?, path, progress)?;
        Ok(Reply::Rebuilt)
    }

    fn write_new(&self, recipe: &Recipe, path: &Path, progress: &Progress<'_>) -> Result<(), Failure> {
        let mut draft = Draft::into(new_file(path)?);
        draft.begin(recipe);
        let draft = Arc::new(draft);
        self.shelf.note(draft.clone());
        draft.finish(&self.store, recipe, progress).map_err(|error| {
            let _ = fs::remove_file(path);
            words::reconstruct(recipe.oid, &error)
        })
    }
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let create = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    create.map_err(|error| words::file(path, &error))
}
