//! What a table takes in an artifact, by storing it in a directory that goes at once.
//!
//! Rows are found by all columns of both tables, so a part of one tells nothing of where the others went.

use std::collections::HashSet;
use std::path::Path;

use super::held::{self, BaseFile};
use super::staging::{Staging, StagingError};
use super::tree::TreeFile;
use crate::backend::{Local, Privacy};
use crate::codec::Effort;
use crate::format::OpenFile;
use crate::id::ObjectId;
use crate::ingest::{Against, IngestError, appraise, ingest_against};
use crate::pack::Record;
use crate::progress::Progress;
use crate::recipe::Reason;

/// What was found out about one table.
pub(super) struct Trial {
    /// Bytes that it takes with the base, and without.
    pub delta: u64,
    pub whole: u64,
    /// Bytes that the base has as they are.
    pub same: u64,
    /// Whether the base has all of it.
    pub is_same: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("{0}")]
    Scratch(#[from] StagingError),
    #[error("{0}")]
    Store(#[from] IngestError),
}

/// Stores a table, or a share of it, against some of the base, if there are any, and alone; each in a directory of its own
/// beside `scratch`, since what a table takes may not fit in memory.
pub(super) fn trial(
    source: &OpenFile,
    share: f64,
    bases: Vec<(&TreeFile, OpenFile)>,
    scratch: &Path,
    progress: &Progress<'_>,
) -> Result<Trial, TrialError> {
    let alone = stored(source, share, Vec::new(), scratch, progress)?;
    if bases.is_empty() {
        return Ok(Trial { delta: alone.bytes, whole: alone.bytes, same: 0, is_same: false });
    }
    let outlined = |(file, base): (&TreeFile, OpenFile)| {
        let (recipe, inside) = held::outline(&base, progress).map_err(|error| match error {
            held::OutlineError::Read(error) => IngestError::Read(error),
            held::OutlineError::Cancelled(error) => IngestError::Cancelled(error),
        })?;
        Ok(BaseFile { path: file.path.clone(), recipe, file: base, inside })
    };
    let bases = bases.into_iter().map(outlined).collect::<Result<_, IngestError>>()?;
    let beside = stored(source, share, bases, scratch, progress)?;
    Ok(Trial { delta: beside.bytes, whole: alone.bytes, same: beside.same, is_same: beside.new_objects == 0 })
}

/// What storing a table took.
struct Stored {
    bytes: u64,
    /// Bytes of the table that the base has as they are.
    same: u64,
    new_objects: u64,
}

/// Stores a table in a directory that goes.
fn stored(
    source: &OpenFile,
    share: f64,
    bases: Vec<BaseFile>,
    scratch: &Path,
    progress: &Progress<'_>,
) -> Result<Stored, TrialError> {
    let directory = Staging::begin(scratch)?;
    let kept = Local::new(directory.path(), Privacy::Private);
    let mut against = Against { plain: held::plain(&bases), ..Against::default() };
    for base in &bases {
        against.counterparts.add(&base.recipe);
        match against.base {
            Some(_) => against.further.push(base.recipe.oid),
            None => against.base = Some((base.recipe.oid, Reason::Declared)),
        }
        let proven =
            base.recipe.clone().prove(base.recipe.oid).expect("because the recipe was made of this hash");
        crate::store::write_recipe(&kept, &proven).map_err(IngestError::from)?;
    }
    let parts = bases.iter().flat_map(|base| &base.recipe.parts);
    let in_base: HashSet<ObjectId> = parts.map(|part| part.object).collect();
    let store = held::store(kept, bases);
    if share < 1.0 {
        let found = appraise(&store, source, against, Effort::Push, share, progress)?;
        let bytes = found.stored + found.new_objects * Record::BYTES as u64;
        return Ok(Stored { bytes, same: found.same, new_objects: found.new_objects });
    }
    let done = ingest_against(&store, source, against, Effort::Push, progress)?;
    let recipe = store.recipe(&done.oid).map_err(IngestError::from)?;
    let parts = recipe.iter().flat_map(|recipe| &recipe.parts);
    let same = parts.filter(|part| in_base.contains(&part.object)).map(|part| u64::from(part.len)).sum();
    let bytes = done.stored + done.new_objects * Record::BYTES as u64;
    Ok(Stored { bytes, same, new_objects: done.new_objects })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::progress::unwatched;

    /// What is stored for a trial lies on disk as long as that takes, and no longer.
    #[test]
    fn a_trial_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tables/contrib-1.parquet");
        let source = OpenFile::open(&place).unwrap();
        let was_used = AtomicBool::new(false);
        let is_used = || std::fs::read_dir(dir.path()).unwrap().next().is_some();
        let progress = |_| {
            was_used.fetch_or(is_used(), Ordering::Relaxed);
            Ok(())
        };
        let found = trial(&source, 1.0, Vec::new(), &dir.path().join("scratch"), &progress).unwrap();
        assert!(found.whole > 1000 && was_used.into_inner() && !is_used());
        let file = TreeFile { path: "contrib-1.parquet".into(), place: place.clone() };
        let base = vec![(&file, OpenFile::open(&place).unwrap())];
        let found = trial(&source, 1.0, base, &dir.path().join("scratch"), &unwatched).unwrap();
        assert!(found.is_same && found.same == std::fs::metadata(&place).unwrap().len() && !is_used());
    }
}
