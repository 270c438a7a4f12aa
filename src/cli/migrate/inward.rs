//! The move in: batches of files, oldest first, from git-lfs into the store and its remote.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;

use super::batch;
use super::depot::{self, Depot};
use super::lfs::{self, Absence, Outcome};
use super::survey::Survey;
use super::told::Missing;
use crate::cli::watch::Bar;
use crate::cli::{doctor, interrupt, report, unexpected, watch};
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::daemon::words;
use crate::git::pointer::object_path;
use crate::git::{Appearance, Pointer};
use crate::id::Oid;

/// Oids that one message asks for.
const MOST_ASKED: usize = 100_000;

/// One run.
pub struct Inward<'a> {
    pub survey: &'a Survey,
    pub depot: &'a Depot,
    pub client: Client,
    pub remote: RemotePlace,
    /// Settings for git-lfs: the server, where the user names one.
    pub settings: Vec<String>,
    pub bar: Bar,
    /// What is in `.git/lfs/objects` for this batch alone, and what was for those before.
    pub fetched: BTreeSet<Oid>,
    pub done: BTreeSet<Oid>,
    pub batch_bytes: Option<u64>,
    pub keep: bool,
    pub missing: Vec<Missing>,
    pub moved: usize,
    pub sent: u64,
}

impl Inward<'_> {
    /// Moves these, and counts what is missing; an error when there is no use in going on.
    pub fn all(&mut self, todo: &[&Appearance]) -> Result<(), Failure> {
        let free = doctor::free_bytes(&self.depot.objects);
        // What is here already takes no more space.
        let is_here = |file: &Appearance| depot::is_there(&self.depot.objects, &file.pointer);
        let sizes: Vec<_> =
            todo.iter().map(|file| if is_here(file) { 0 } else { file.pointer.size }).collect();
        batch::refuse_too_large(todo, &sizes, free)?;
        let mut luck = batch::Luck::default();
        for range in batch::cut(&sizes, batch::most_bytes(self.batch_bytes, free)) {
            let (before, missing) = (self.moved, self.missing.len());
            self.batch(&todo[range])?;
            luck.count(self.moved - before, &self.missing[missing..])?;
        }
        // A git-lfs that outlived a run that was killed may have brought one a second time.
        let done = std::mem::take(&mut self.done);
        self.drop_copies(&done)
    }

    fn batch(&mut self, files: &[&Appearance]) -> Result<(), Failure> {
        let mut outcome = self.fetch(files)?;
        for file in files {
            let pointer = file.pointer;
            let path = object_path(&self.depot.objects, pointer.oid);
            if !depot::is_there(&self.depot.objects, &pointer) {
                self.miss(file, outcome.as_ref());
                continue;
            }
            let mut stored = self.store(file);
            if stored.as_ref().is_err_and(|failure| failure.kind == Kind::Corrupt)
                && !depot::is_right(&path, pointer.oid)?
            {
                set_aside(self.depot, file)?;
                outcome = self.fetch(&[file])?;
                if !depot::is_there(&self.depot.objects, &pointer) {
                    self.miss(file, outcome.as_ref());
                    continue;
                }
                stored = self.store(file);
            }
            stored?;
            self.moved += 1;
            if !self.keep && self.fetched.contains(&pointer.oid) {
                depot::gone(&path)?;
            }
        }
        self.done.append(&mut self.fetched);
        self.depot.note_fetched(&self.fetched)
    }

    fn store(&mut self, file: &Appearance) -> Result<(), Failure> {
        if interrupt::flag().load(Ordering::Relaxed) {
            return Err(lfs::stopped());
        }
        let request = Request::Upload {
            oid: file.pointer.oid,
            path: object_path(&self.depot.objects, file.pointer.oid),
            repo: Some(self.survey.repo.git_dir.clone()),
            remote: self.remote.clone(),
        };
        match watch::call_within(&mut self.client, &request, &self.bar, file.pointer.size) {
            Ok(Reply::Uploaded { sent, .. }) => {
                self.sent += sent;
                Ok(())
            }
            Ok(_) => Err(unexpected()),
            Err(_) if interrupt::flag().load(Ordering::Relaxed) => Err(lfs::stopped()),
            Err(failure) => Err(failure),
        }
    }

    /// Has git-lfs bring what is not here.
    fn fetch(&mut self, files: &[&Appearance]) -> Result<Option<Outcome>, Failure> {
        let mut wanted = Vec::new();
        for file in files.iter().filter(|file| !depot::is_there(&self.depot.objects, &file.pointer)) {
            if object_path(&self.depot.objects, file.pointer.oid).exists() {
                set_aside(self.depot, file)?;
            }
            wanted.push(file.pointer);
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        self.fetched.extend(wanted.iter().map(|pointer| pointer.oid));
        self.depot.note_fetched(&self.fetched)?;
        let commit = self.depot.select(&wanted)?;
        let (git, scratch) = (&self.survey.repo.git, self.depot.scratch());
        let fetch = || lfs::fetch(git, &scratch, &self.settings, &self.survey.remote, &commit);
        let outcome = self.bar.aside(fetch)?;
        let is_away =
            |pointer: &Pointer| !depot::is_there(&self.depot.objects, pointer) && !outcome.names(pointer.oid);
        // To go on would store later versions before those they are best compared with.
        match wanted.iter().all(is_away) {
            true => Err(batch::away(&outcome.last_words())),
            false => Ok(Some(outcome)),
        }
    }

    fn miss(&mut self, file: &Appearance, outcome: Option<&Outcome>) {
        let oid = file.pointer.oid;
        let (absence, why) = match outcome {
            Some(outcome) => (outcome.absence(oid), outcome.about(oid)),
            None => (Absence::Failed, "it went while it was to be stored".to_owned()),
        };
        self.missing.push(Missing::new(file, absence, why));
    }

    /// Takes away copies of which the store has the file.
    fn drop_copies(&self, oids: &BTreeSet<Oid>) -> Result<(), Failure> {
        let missing: BTreeSet<_> = self.missing.iter().map(|file| file.oid).collect();
        let kept = |oid: &&Oid| self.keep || missing.contains(oid);
        let gone = oids.iter().filter(|oid| !kept(oid));
        gone.map(|oid| object_path(&self.depot.objects, *oid)).try_for_each(|path| depot::gone(&path))
    }

    /// What a killed run fetched goes, where the store has it by now; the rest is for its batch.
    pub fn adopt(&mut self, present: &BTreeSet<Oid>) -> Result<(), Failure> {
        let left = self.depot.fetched();
        let (there, waiting): (BTreeSet<_>, BTreeSet<_>) =
            left.into_iter().partition(|oid| present.contains(oid));
        self.fetched = waiting;
        self.drop_copies(&there)
    }
}

/// Which of the files the store at `remote` has whole.
pub fn has(client: &mut Client, files: &[Appearance], remote: &RemotePlace) -> Result<Vec<bool>, Failure> {
    let mut all = Vec::with_capacity(files.len());
    for part in files.chunks(MOST_ASKED) {
        let oids = part.iter().map(|file| file.pointer.oid).collect();
        let request = Request::RemoteHas { oids, remote: remote.clone() };
        let Reply::RemoteHas { has } = watch::call_with(client, &request, "")? else {
            return Err(unexpected());
        };
        all.extend(has);
    }
    Ok(all)
}

/// A local copy that is not what its name says goes where `git lfs fsck` puts such: `lfs/bad`.
fn set_aside(depot: &Depot, file: &Appearance) -> Result<(), Failure> {
    let oid = file.pointer.oid;
    let path = object_path(&depot.objects, oid);
    let bad = depot.objects.with_file_name("bad");
    let target = bad.join(oid.to_string());
    fs::create_dir_all(&bad)
        .and_then(|()| fs::rename(&path, &target))
        .map_err(|error| words::file(&path, &error))?;
    report::note(&format!(
        "{}: the copy in .git/lfs/objects is damaged, and in .git/lfs/bad now: {oid}",
        file.path
    ));
    Ok(())
}
