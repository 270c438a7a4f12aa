//! Recipe → file: decode the parts in parallel, write and hash them in order.
//!
//! The file's SHA-256 proves all of its objects at once; each by its own id would take half as long again.
//! Memory is bounded by two batches whatever the file's size: one is decoded while the other is
//! hashed and written.

use std::io::{self, Write};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::id::Oid;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Recipe, RecipeError};
use crate::store::{Store, StoreError};

/// Decoded bytes that are decoded together.
const BATCH_BYTES: u64 = 32 << 20;

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
    let mut decoded: Vec<Vec<u8>> = Vec::new();
    let mut batches = batches(&recipe.parts);
    loop {
        let next = batches.next();
        let (written, ahead) = rayon::join(
            || write_batch(&decoded, &mut hasher, out, progress),
            || next.map(|parts| decode_batch(store, parts)).transpose(),
        );
        written?;
        match ahead? {
            Some(batch) => decoded = batch,
            None => return Ok(Oid::from_bytes(hasher.finalize().into())),
        }
    }
}

fn decode_batch(store: &Store, parts: &[Part]) -> Result<Vec<Vec<u8>>, ReconstructError> {
    let decode = |part: &Part| {
        let bytes = store.get_unproven(&part.object)?;
        match bytes.len() == part.len as usize {
            true => Ok(bytes),
            false => {
                Err(ReconstructError::Length { object: part.object, expected: part.len, found: bytes.len() })
            }
        }
    };
    parts.par_iter().map(decode).collect()
}

fn write_batch(
    batch: &[Vec<u8>],
    hasher: &mut Sha256,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<(), ReconstructError> {
    for bytes in batch {
        hasher.update(bytes);
        out.write_all(bytes).map_err(ReconstructError::Write)?;
        progress(bytes.len() as u64)?;
    }
    Ok(())
}

/// Neighbouring parts in groups of about `BATCH_BYTES`.
fn batches(parts: &[Part]) -> impl Iterator<Item = &[Part]> {
    let mut rest = parts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |part: &&Part| {
            let before = bytes;
            bytes += u64::from(part.len);
            before < BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count();
        let (batch, tail) = rest.split_at(count);
        rest = tail;
        (count > 0).then_some(batch)
    })
}
