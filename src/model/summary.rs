//! One line about each tensor: enough for a text diff to show which ones changed.

use std::io;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::diff::DiffError;
use super::weights;
use crate::format::{self, Dtype, Format, Source};
use crate::id::ObjectId;
use crate::progress::Progress;
use crate::recipe::{Recipe, Tensor};
use crate::store::Store;

/// What a tensor is, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorSummary {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// Euclidean norm over the finite values; none for what is no numbers.
    pub norm: Option<f64>,
    /// BLAKE3 over the ids of its objects: equal only for equal bytes.
    pub digest: String,
}

/// A summary of each tensor of a stored file, in the file's order.
pub fn summary(
    store: &Store,
    recipe: &Recipe,
    progress: &Progress<'_>,
) -> Result<Vec<TensorSummary>, DiffError> {
    let mut slices = Vec::new();
    for part in &recipe.parts {
        let Some(Tensor { name, dtype, shape, .. }) = recipe.tensor_of(part) else { continue };
        slices.push(Slice { name, dtype: *dtype, shape, first: part.slice == 0, bytes: part.object });
    }
    summarise(&slices, |object| {
        let bytes = store.get(object)?;
        progress(bytes.len() as u64)?;
        Ok(bytes)
    })
}

/// The same of a file that lies anywhere.
pub fn summary_of(source: &dyn Source) -> io::Result<(Format, Vec<TensorSummary>)> {
    let cut = format::cut(source)?;
    let named = cut.segments().iter().filter(|segment| !segment.name.is_empty());
    let slices: Vec<_> = named
        .map(|segment| Slice {
            name: &segment.name,
            dtype: segment.dtype,
            shape: &segment.shape,
            first: segment.slice == 0,
            bytes: segment.range.clone(),
        })
        .collect();
    let read = |range: &Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        source.read_at(&mut bytes, range.start).map(|()| bytes)
    };
    Ok((cut.format(), summarise(&slices, read)?))
}

/// A piece of a tensor and where its bytes are.
struct Slice<'a, B> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a [u64],
    first: bool,
    bytes: B,
}

fn summarise<B: Sync, E: Send>(
    slices: &[Slice<'_, B>],
    read: impl Fn(&B) -> Result<Vec<u8>, E> + Sync,
) -> Result<Vec<TensorSummary>, E> {
    let tensors: Vec<_> = slices.chunk_by(|_, next| !next.first).collect();
    tensors.par_iter().map(|slices| summarise_tensor(slices, &read)).collect()
}

fn summarise_tensor<B, E>(
    slices: &[Slice<'_, B>],
    read: &impl Fn(&B) -> Result<Vec<u8>, E>,
) -> Result<TensorSummary, E> {
    let Slice { name, dtype, shape, .. } = slices[0];
    let mut digest = blake3::Hasher::new();
    let mut square = Some(0.0);
    for slice in slices {
        let bytes = read(&slice.bytes)?;
        digest.update(ObjectId::of(&bytes).as_bytes());
        let squares = weights::values(&bytes, dtype)
            .map(|values| values.filter(|value| value.is_finite()).map(|value| value * value).sum::<f64>());
        square = square.zip(squares).map(|(sum, more)| sum + more);
    }
    Ok(TensorSummary {
        name: name.to_owned(),
        dtype,
        shape: shape.to_owned(),
        norm: square.map(f64::sqrt),
        digest: digest.finalize().to_hex()[..16].to_owned(),
    })
}
