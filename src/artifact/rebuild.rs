//! Artifact and base → the files of the fine-tune.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::open::{Artifact, OpenError};
use crate::progress::Progress;
use crate::reconstruct::{ReconstructError, reconstruct, rehash};
use crate::store::Store;

/// Bytes that a file is written by.
const WRITE_BYTES: usize = 1 << 20;

/// Why a fine-tune did not come back.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{path}: {error}")]
    Reconstruct { path: String, error: Box<ReconstructError> },
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{}: {needed} bytes are needed and {free} are free", path.display())]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
}

impl RebuildError {
    /// True when the caller wanted it to end.
    pub fn is_cancelled(&self) -> bool {
        match self {
            RebuildError::Open(error) => matches!(error, OpenError::Cancelled(_)),
            RebuildError::Reconstruct { error, .. } => matches!(**error, ReconstructError::Cancelled(_)),
            _ => false,
        }
    }
}

/// Writes all files of the fine-tune below the empty directory `dir`, durably, each proven by its SHA-256.
///
/// `store` is what `Artifact::on` gave for the base.
pub fn rebuild(
    artifact: &Artifact,
    store: &Store,
    dir: &Path,
    progress: &Progress<'_>,
) -> Result<(), RebuildError> {
    make_sure_it_fits(dir, artifact.manifest.fine_tune.size())?;
    for (entry, recipe) in artifact.recipes()? {
        let path = dir.join(&entry.path);
        let parent = path.parent().expect("because a file below a directory has one");
        let failed = |error| RebuildError::Write { path: path.clone(), error };
        fs::create_dir_all(parent).map_err(failed)?;
        let mut file = BufWriter::with_capacity(WRITE_BYTES, File::create_new(&path).map_err(failed)?);
        reconstruct(store, &recipe, &mut file, progress).map_err(|error| RebuildError::Reconstruct {
            path: entry.path.clone(),
            error: Box::new(error),
        })?;
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Rebuilds all files of the fine-tune without keeping them.
pub fn try_out(artifact: &Artifact, store: &Store, progress: &Progress<'_>) -> Result<(), RebuildError> {
    for (entry, recipe) in artifact.recipes()? {
        let failed = |error| RebuildError::Reconstruct { path: entry.path.clone(), error: Box::new(error) };
        let found = rehash(store, &recipe, progress).map_err(failed)?;
        recipe.prove(found).map_err(|error| failed(ReconstructError::Hash(error)))?;
    }
    Ok(())
}

/// A small artifact may stand for more than any disk holds: that shows before anything is written.
fn make_sure_it_fits(dir: &Path, needed: u64) -> Result<(), RebuildError> {
    let error = |error: rustix::io::Errno| RebuildError::Write { path: dir.to_owned(), error: error.into() };
    let found = rustix::fs::statvfs(dir).map_err(error)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    match needed <= free {
        true => Ok(()),
        false => Err(RebuildError::NoRoom { path: dir.to_owned(), needed, free }),
    }
}
