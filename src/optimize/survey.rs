//! What a source is made of: its tensors, the type of most of its bytes, and whether it was dequantised.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::size::Tensor;
use crate::convert::grid_of;
use crate::derive::Float;
use crate::format::{self, Cut, Source};
use crate::model::weights;

/// A source, as far as its header tells, and samples of its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Everything before the first tensor.
    pub header_bytes: u64,
    pub tensors: Vec<Tensor>,
    /// Of most of its bytes, such as `F16`, or `quantised`.
    pub dtype: String,
    /// The type on whose grid its weights lie.
    pub dequantised_from: Option<String>,
}

/// Of one tensor, about.
const SAMPLE_BYTES: u64 = 64 << 10;
/// Tensors that are looked at.
const SAMPLES: usize = 12;

/// Surveys a GGUF file.
///
/// # Errors
/// Those of reading.
pub fn survey(source: &dyn Source) -> io::Result<Survey> {
    let cut = format::cut(source)?;
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut bytes_by_dtype: BTreeMap<String, u64> = BTreeMap::new();
    for segment in cut.segments().iter().filter(|segment| !segment.name.is_empty()) {
        let bytes = segment.range.end - segment.range.start;
        *bytes_by_dtype.entry(name(segment.dtype)).or_default() += bytes;
        if segment.slice == 0 {
            let columns = segment.shape.last().copied().unwrap_or(1);
            let rows = segment.shape.iter().rev().skip(1).product();
            tensors.push(Tensor { name: segment.name.clone(), columns, rows });
        }
    }
    let head = cut.segments().iter().find(|segment| !segment.name.is_empty());
    let header_bytes = head.map_or(source.len(), |segment| segment.range.start);
    let dtype =
        bytes_by_dtype.into_iter().max_by_key(|(_, bytes)| *bytes).map_or_else(String::new, |(name, _)| name);
    let dequantised_from = dequantised_from(source, &cut)?;
    Ok(Survey { header_bytes, tensors, dtype, dequantised_from })
}

fn name(dtype: format::Dtype) -> String {
    match dtype {
        format::Dtype::Bytes => "quantised".to_owned(),
        dtype => format!("{dtype:?}").to_uppercase(),
    }
}

/// The type that most of the sampled matrices lie on the grid of.
fn dequantised_from(source: &dyn Source, cut: &Cut) -> io::Result<Option<String>> {
    let is_matrix =
        |segment: &&format::Segment| segment.slice == 0 && segment.shape.len() == 2 && segment.shape[0] > 1;
    let matrices: Vec<_> = cut.segments().iter().filter(is_matrix).collect();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let step = (matrices.len() / SAMPLES).max(1);
    let sampled: Vec<_> = matrices.iter().step_by(step).take(SAMPLES).collect();
    for segment in &sampled {
        let row = segment.shape[1];
        let rows = SAMPLE_BYTES.div_ceil(row.saturating_mul(segment.dtype.width() as u64).max(1));
        let wanted = rows.saturating_mul(row).saturating_mul(segment.dtype.width() as u64);
        let mut bytes = vec![0; wanted.min(segment.range.end - segment.range.start) as usize];
        source.read_at(&mut bytes, segment.range.start)?;
        let Some(stored) = Float::of(segment.dtype) else { continue };
        if let Some(values) = weights::values(&bytes, segment.dtype) {
            let values: Vec<f32> = values.map(|value| value as f32).collect();
            if let Some(grid) = grid_of(&values, row as usize, stored) {
                *found.entry(grid.name()).or_default() += 1;
            }
        }
    }
    let most = found.into_iter().max_by_key(|(_, count)| *count);
    Ok(most.filter(|(_, count)| 2 * count > sampled.len()).map(|(name, _)| name.to_owned()))
}
