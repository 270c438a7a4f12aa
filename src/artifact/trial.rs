//! What a table takes in an artifact, by storing it where nothing is kept.
//!
//! Rows are found by all columns of both tables, so a part of one tells nothing of where the others went.

use super::held::{self, BaseFile};
use super::tree::TreeFile;
use crate::backend::Memory;
use crate::codec::Effort;
use crate::counterpart::Counterparts;
use crate::format::OpenFile;
use crate::ingest::{Against, IngestError, ingest_against};
use crate::pack::Record;
use crate::progress::Progress;
use crate::recipe::Reason;

/// What was found out about one table.
pub(super) struct Trial {
    /// Bytes that it takes with the base, and without.
    pub delta: u64,
    pub whole: u64,
    /// Whether the base has all of it.
    pub is_same: bool,
}

/// Stores a table against one of the base, if there is one, and alone.
pub(super) fn trial(
    source: &OpenFile,
    base: Option<(&TreeFile, OpenFile)>,
    progress: &Progress<'_>,
) -> Result<Trial, IngestError> {
    let alone = stored(source, None, progress)?;
    let Some((file, base)) = base else {
        return Ok(Trial { delta: alone.0, whole: alone.0, is_same: false });
    };
    let recipe = held::outline(&base, progress).map_err(|error| match error {
        held::OutlineError::Read(error) => IngestError::Read(error),
        held::OutlineError::Cancelled(error) => IngestError::Cancelled(error),
    })?;
    let base = BaseFile { path: file.path.clone(), recipe, file: base };
    let (delta, is_same) = stored(source, Some(base), progress)?;
    Ok(Trial { delta, whole: alone.0, is_same })
}

/// Bytes that a table takes, and whether nothing of it was new.
fn stored(
    source: &OpenFile,
    base: Option<BaseFile>,
    progress: &Progress<'_>,
) -> Result<(u64, bool), IngestError> {
    let mut against = Against::default();
    if let Some(base) = &base {
        against.counterparts = Counterparts::of(&base.recipe);
        against.base = Some((base.recipe.oid, Reason::Declared));
    }
    let memory = Memory::default();
    if let Some(base) = &base {
        let proven =
            base.recipe.clone().prove(base.recipe.oid).expect("because the recipe was made of this hash");
        crate::store::write_recipe(&memory, &proven)?;
    }
    let store = held::store(memory, base.into_iter().collect());
    let done = ingest_against(&store, source, against, Effort::Push, progress)?;
    Ok((done.stored + done.new_objects * Record::BYTES as u64, done.new_objects == 0))
}
