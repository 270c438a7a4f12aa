//! Questions about what is stored: costs, differences, whether files come back.

use std::ops::Range;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::Handler;
use crate::census;
use crate::daemon::message::{Failure, FileAnswer, Kind, RemotePlace, Reply, Verdict};
use crate::daemon::words;
use crate::dataset;
use crate::fsck;
use crate::id::Oid;
use crate::model;
use crate::progress::Progress;

/// Bytes in one answer, unless a single object has more; with base64 the largest one fits a message.
const MOST_READ_BYTES: usize = 8 << 20;

impl Handler {
    pub(super) fn files_cost(&self, oids: &[Oid]) -> Result<Reply, Failure> {
        let files: Vec<_> = oids.iter().map(|oid| self.file_cost(*oid)).collect();
        let stored = files.iter().filter_map(|file| match file {
            FileAnswer::Stored(cost) => Some(cost.oid),
            _ => None,
        });
        let total = census::total(&self.store, &stored.collect::<Vec<_>>()).map_err(|e| words::store(&e))?;
        Ok(Reply::Files { files, total })
    }

    fn file_cost(&self, oid: Oid) -> FileAnswer {
        let recipe = match self.store.recipe(&oid) {
            Ok(Some(recipe)) => recipe,
            Ok(None) => return FileAnswer::Missing(oid),
            Err(error) => return FileAnswer::Damaged { oid, why: error.to_string() },
        };
        match census::file(&self.store, &recipe) {
            Ok(cost) => FileAnswer::Stored(cost),
            Err(error) => FileAnswer::Damaged { oid, why: error.to_string() },
        }
    }

    pub(super) fn tensors(&self, oid: Oid) -> Result<Reply, Failure> {
        let tensors = census::tensors(&self.store, &self.recipe(oid)?).map_err(|e| words::store(&e))?;
        Ok(Reply::Tensors { tensors })
    }

    pub(super) fn diff(&self, old: Oid, new: Oid, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let (old, new) = (self.recipe(old)?, self.recipe(new)?);
        let tensors = model::diff(&self.store, &old, &new, progress).map_err(|error| diff_failed(&error))?;
        Ok(Reply::Diff { tensors })
    }

    pub(super) fn summary(&self, oid: Oid, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let recipe = self.recipe(oid)?;
        let tensors = model::summary(&self.store, &recipe, progress).map_err(|error| diff_failed(&error))?;
        Ok(Reply::Summary { format: recipe.format, size: recipe.size, tensors })
    }

    pub(super) fn read(&self, oid: Oid, wanted: Range<u64>) -> Result<Reply, Failure> {
        let recipe = self.recipe(oid)?;
        let piece = dataset::pieces(&self.store, &recipe, wanted, MOST_READ_BYTES);
        let piece = piece.map_err(|error| words::store(&error))?;
        let bytes = BASE64_STANDARD.encode(&piece.bytes);
        Ok(Reply::Read { size: recipe.size, start: piece.start, bytes })
    }

    pub(super) fn verify(&self, oids: &[Oid], progress: &Progress<'_>) -> Result<Reply, Failure> {
        let verdict = |oid: &Oid| {
            let checked = self.recipe(*oid).and_then(|recipe| {
                fsck::verify(&self.store, &recipe, progress).map_err(|error| words::reconstruct(*oid, &error))
            });
            Verdict { oid: *oid, failure: checked.err() }
        };
        Ok(Reply::Verified { files: oids.iter().map(verdict).collect() })
    }

    pub(super) fn remote_has(
        &self,
        oids: &[Oid],
        remote: &RemotePlace,
        progress: &Progress<'_>,
    ) -> Result<Reply, Failure> {
        let has = self.with_remote(remote, |far| far.has_all(oids, progress))?;
        Ok(Reply::RemoteHas { has })
    }

    pub(super) fn census(&self) -> Result<Reply, Failure> {
        let oids = self.store.oids().map_err(|error| words::store(&error))?;
        let (mut files, mut damaged) = (Vec::new(), Vec::new());
        for oid in oids {
            match self.file_cost(oid) {
                FileAnswer::Stored(cost) => files.push(cost),
                FileAnswer::Damaged { .. } => damaged.push(oid),
                FileAnswer::Missing(_) => {}
            }
        }
        files.sort_by_key(|file| (std::cmp::Reverse(file.stored), file.oid));
        let stored: Vec<_> = files.iter().map(|file| file.oid).collect();
        let total = census::total(&self.store, &stored).map_err(|error| words::store(&error))?;
        let pack_bytes = census::pack_bytes(&self.store).map_err(|error| words::store(&error))?;
        Ok(Reply::Census { files, total, damaged, pack_bytes })
    }
}

fn diff_failed(error: &model::DiffError) -> Failure {
    match error {
        model::DiffError::Store(error) => words::store(error),
        model::DiffError::Cancelled(_) => Failure::new(Kind::Fatal, error.to_string()),
    }
}
