//! One line about each tensor: enough for a text diff to show which ones changed.

use std::collections::HashMap;
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
        slices.push(Slice { name, dtype: *dtype, shape, bytes: part.object });
    }
    summarise(slices, |object| {
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
            bytes: segment.range.clone(),
        })
        .collect();
    let read = |range: &Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        source.read_at(&mut bytes, range.start).map(|()| bytes)
    };
    Ok((cut.format(), summarise(slices, read)?))
}

/// A piece of a tensor and where its bytes are.
struct Slice<'a, B> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a [u64],
    bytes: B,
}

fn summarise<B: Sync, E: Send>(
    slices: Vec<Slice<'_, B>>,
    read: impl Fn(&B) -> Result<Vec<u8>, E> + Sync,
) -> Result<Vec<TensorSummary>, E> {
    let tensors = by_name(slices);
    tensors.par_iter().map(|slices| summarise_tensor(slices, &read)).collect()
}

/// The slices of each tensor, in the file's order; those of a column of a table lie apart.
fn by_name<B>(slices: Vec<Slice<'_, B>>) -> Vec<Vec<Slice<'_, B>>> {
    let mut places = HashMap::new();
    let mut tensors: Vec<Vec<_>> = Vec::new();
    for slice in slices {
        let place = *places.entry(slice.name).or_insert(tensors.len());
        match tensors.get_mut(place) {
            Some(tensor) => tensor.push(slice),
            None => tensors.push(vec![slice]),
        }
    }
    tensors
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A change in the second group of rows of a table must show in its column, and in no other.
    #[test]
    fn a_column_is_one_line() {
        let table = include_bytes!("../../tests/data/parquet/fastparquet.parquet");
        let (format, before) = summary_of(&table.as_slice()).unwrap();
        assert_eq!(format, Format::Parquet);
        let names: Vec<_> = before.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "word", "score", "flag", "/footer"]);

        let cut = format::cut(&table.as_slice()).unwrap();
        let last = cut.segments().iter().rfind(|segment| segment.name == "score").unwrap();
        assert!(last.slice > 0);
        let mut changed = table.to_vec();
        changed[last.range.end as usize - 1] ^= 1;
        let (_, after) = summary_of(&changed).unwrap();
        let differ: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert_eq!(differ.len(), 1);
        assert_eq!(differ[0].0.name, "score");
    }
}
