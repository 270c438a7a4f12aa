//! Which tensors of a model changed, and by how much.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::weights;
use crate::format::Dtype;
use crate::id::ObjectId;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Recipe, Tensor};
use crate::store::{Store, StoreError};

/// How one tensor differs between two files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorDiff {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: Dtype,
    pub change: Change,
}

/// What happened to a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    Same,
    Added,
    Removed,
    /// Shape or type differ: the values are not compared.
    Reshaped {
        old_shape: Vec<u64>,
        old_dtype: Dtype,
    },
    Changed {
        /// Elements, and those whose bits differ.
        elements: u64,
        changed: u64,
        /// Euclidean norm of the difference, and of the old tensor; non-finite values are left out.
        norm: f64,
        old_norm: f64,
        /// Largest absolute difference.
        max: f64,
    },
}

/// Why two files can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Compares two files by the names of their tensors; equal objects are not even read.
pub fn diff(
    store: &Store,
    old: &Recipe,
    new: &Recipe,
    progress: &Progress<'_>,
) -> Result<Vec<TensorDiff>, DiffError> {
    let (old_tensors, new_tensors) = (by_name(old), by_name(new));
    let mut diffs = Vec::new();
    for (name, (tensor, slices)) in &new_tensors {
        let change = match old_tensors.get(name) {
            None => Change::Added,
            Some((before, before_slices)) => change(store, before, before_slices, tensor, slices, progress)?,
        };
        diffs.push(entry(tensor, change));
    }
    let removed = old_tensors.iter().filter(|(name, _)| !new_tensors.contains_key(*name));
    diffs.extend(removed.map(|(_, (tensor, _))| entry(tensor, Change::Removed)));
    Ok(diffs)
}

type Slices = Vec<ObjectId>;

fn by_name(recipe: &Recipe) -> BTreeMap<&str, (&Tensor, Slices)> {
    let mut tensors: BTreeMap<&str, (&Tensor, Slices)> = BTreeMap::new();
    for part in &recipe.parts {
        if let Some(tensor) = recipe.tensor_of(part) {
            let (_, slices) = tensors.entry(&tensor.name).or_insert((tensor, Vec::new()));
            slices.push(part.object);
        }
    }
    tensors
}

fn entry(tensor: &Tensor, change: Change) -> TensorDiff {
    TensorDiff { name: tensor.name.clone(), shape: tensor.shape.clone(), dtype: tensor.dtype, change }
}

fn change(
    store: &Store,
    old: &Tensor,
    old_slices: &Slices,
    new: &Tensor,
    new_slices: &Slices,
    progress: &Progress<'_>,
) -> Result<Change, DiffError> {
    if (&old.shape, old.dtype, old_slices.len()) != (&new.shape, new.dtype, new_slices.len()) {
        return Ok(Change::Reshaped { old_shape: old.shape.clone(), old_dtype: old.dtype });
    }
    if old_slices == new_slices {
        return Ok(Change::Same);
    }
    let dtype = new.dtype;
    let pairs: Vec<_> = old_slices.iter().zip(new_slices).collect();
    let sums = pairs.par_iter().map(|(old, new)| compare_slice(store, old, new, dtype, progress));
    // Sums of floats depend on their order: one that the pool chose would give other digits each time.
    let sums: Result<Vec<Sums>, DiffError> = sums.collect();
    let sum = sums?.iter().fold(Sums::default(), |sum, slice| sum.add(slice));
    Ok(Change::Changed {
        elements: sum.elements,
        changed: sum.changed,
        norm: sum.square.sqrt(),
        old_norm: sum.old_square.sqrt(),
        max: sum.max,
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    elements: u64,
    changed: u64,
    square: f64,
    old_square: f64,
    max: f64,
}

impl Sums {
    fn add(&self, other: &Sums) -> Sums {
        Sums {
            elements: self.elements + other.elements,
            changed: self.changed + other.changed,
            square: self.square + other.square,
            old_square: self.old_square + other.old_square,
            max: self.max.max(other.max),
        }
    }
}

fn compare_slice(
    store: &Store,
    old: &ObjectId,
    new: &ObjectId,
    dtype: Dtype,
    progress: &Progress<'_>,
) -> Result<Sums, DiffError> {
    let (before, after) = (store.get(old)?, store.get(new)?);
    progress(after.len() as u64)?;
    let width = dtype.width();
    let mut sums = Sums { elements: (after.len() / width) as u64, ..Sums::default() };
    sums.changed =
        before.chunks(width).zip(after.chunks(width)).filter(|(old, new)| old != new).count() as u64;
    if let (Some(before), Some(after)) = (weights::values(&before, dtype), weights::values(&after, dtype)) {
        for (old, new) in before.zip(after) {
            let step = new - old;
            if step.is_finite() {
                sums.square += step * step;
                sums.old_square += old * old;
                sums.max = sums.max.max(step.abs());
            }
        }
    }
    Ok(sums)
}
