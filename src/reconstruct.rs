//! Recipe → file: decode the parts in parallel, write and hash them in order.
//!
//! The file's SHA-256 proves all of its objects at once; each by its own id would take half as long again.
//! Memory is bounded whatever the file's size.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::id::Oid;
use crate::pipeline::in_order;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Recipe, RecipeError};
use crate::store::{Store, StoreError};

/// Decoded bytes that are under way.
pub(crate) const AHEAD_BYTES: u64 = 48 << 20;

/// Why a file did not come back.
#[derive(Debug, thiserror::Error)]
pub enum ReconstructError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("write the file: {0}")]
    Write(io::Error),
    #[error("object {object}: expected {expected} bytes, decoded {found}")]
    Length { object: crate::id::ObjectId, expected: u32, found: usize },
    #[error("{0}")]
    Hash(RecipeError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Writes the file that `recipe` describes to `out`, and fails unless it hashes to the recipe's oid.
pub fn reconstruct(
    store: &Store,
    recipe: &Recipe,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<(), ReconstructError> {
    let found = rebuild(store, recipe, out, progress)?;
    check(store, recipe, found)
}

/// Whether the file is the one that the recipe is of, by its hash.
pub(crate) fn check(store: &Store, recipe: &Recipe, found: Oid) -> Result<(), ReconstructError> {
    if found != recipe.oid {
        // Some object is not what its id says: name it.
        recipe.parts.iter().try_for_each(|part| store.get(&part.object).map(drop))?;
        return Err(ReconstructError::Hash(RecipeError::Unproven { expected: recipe.oid, found }));
    }
    Ok(())
}

/// The SHA-256 of what `recipe` gives, without keeping it.
pub fn rehash(store: &Store, recipe: &Recipe, progress: &Progress<'_>) -> Result<Oid, ReconstructError> {
    rebuild(store, recipe, &mut io::sink(), progress)
}

fn rebuild(
    store: &Store,
    recipe: &Recipe,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<Oid, ReconstructError> {
    let mut hasher = Sha256::new();
    let take = |_: &Part, bytes: Vec<u8>| {
        hasher.update(&bytes);
        out.write_all(&bytes).map_err(ReconstructError::Write)?;
        progress(bytes.len() as u64)?;
        Ok(())
    };
    in_order(&recipe.parts, |part| u64::from(part.len), AHEAD_BYTES, |part| decode(store, part), take)?;
    Ok(Oid::from_bytes(hasher.finalize().into()))
}

/// A part's bytes, which the file's hash will prove.
pub(crate) fn decode(store: &Store, part: &Part) -> Result<Vec<u8>, ReconstructError> {
    let bytes = store.get_unproven(&part.object)?;
    match bytes.len() == part.len as usize {
        true => Ok(bytes),
        false => {
            Err(ReconstructError::Length { object: part.object, expected: part.len, found: bytes.len() })
        }
    }
}
