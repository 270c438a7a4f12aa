//! One line about each tensor: enough for a text diff to show which ones changed.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::diff::DiffError;
use super::weights;
use crate::format::Dtype;
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

/// A summary of each tensor of a file, in the file's order.
pub fn summary(
    store: &Store,
    recipe: &Recipe,
    progress: &Progress<'_>,
) -> Result<Vec<TensorSummary>, DiffError> {
    let mut grouped: Vec<(&Tensor, Vec<ObjectId>)> = Vec::new();
    for part in &recipe.parts {
        let Some(tensor) = recipe.tensor_of(part) else { continue };
        match grouped.last_mut() {
            Some((last, objects)) if std::ptr::eq(*last, tensor) => objects.push(part.object),
            _ => grouped.push((tensor, vec![part.object])),
        }
    }
    grouped.par_iter().map(|(tensor, objects)| summarise(store, tensor, objects, progress)).collect()
}

fn summarise(
    store: &Store,
    tensor: &Tensor,
    objects: &[ObjectId],
    progress: &Progress<'_>,
) -> Result<TensorSummary, DiffError> {
    let mut digest = blake3::Hasher::new();
    let mut square = Some(0.0);
    for object in objects {
        digest.update(object.as_bytes());
        if tensor.dtype != Dtype::Bytes {
            let bytes = store.get(object)?;
            progress(bytes.len() as u64)?;
            let squares = weights::values(&bytes, tensor.dtype).map(|values| {
                values.filter(|value| value.is_finite()).map(|value| value * value).sum::<f64>()
            });
            square = square.zip(squares).map(|(a, b)| a + b);
        } else {
            square = None;
        }
    }
    Ok(TensorSummary {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        norm: square.map(f64::sqrt),
        digest: digest.finalize().to_hex()[..16].to_owned(),
    })
}
