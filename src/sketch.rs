//! A few sampled weights by which a file finds its nearest relative without reading either again.
//!
//! Samples stand at positions that depend on tensor names and shapes only, so the sketches of two
//! files with one layout compare weight by weight, whatever their dtypes are.

use std::io;

use crate::derive::Float;
use crate::format::{Cut, Dtype, Segment, Source};

/// Samples of one file, about.
const SAMPLES: u64 = 256;
/// Samples of a file with very many tensors.
const MOST_SAMPLES: usize = 2048;
/// Relative distance from which two models are strangers: independent weights lie at about 1.
pub const STRANGERS: f32 = 0.7;

/// The sampled weights of a file, tensors in the order of their names.
pub fn of(source: &dyn Source, cut: &Cut) -> io::Result<Vec<f32>> {
    let mut named: Vec<_> = cut.segments().iter().filter(|segment| !segment.name.is_empty()).collect();
    named.sort_by(|a, b| (&a.name, a.slice).cmp(&(&b.name, b.slice)));
    let tensors = named.iter().filter(|segment| segment.slice == 0).count() as u64;
    let per_tensor = (SAMPLES / tensors.max(1)).max(1);
    let mut sketch = Vec::new();
    let mut first = 0;
    for segment in named {
        let width = segment.dtype.width() as u64;
        let count = (segment.range.end - segment.range.start) / width;
        first = if segment.slice == 0 { 0 } else { first };
        for at in positions(segment, per_tensor, first, count).take(MOST_SAMPLES - sketch.len()) {
            let mut raw = [0; 8];
            let raw = &mut raw[..width as usize];
            source.read_at(raw, segment.range.start + at * width)?;
            sketch.push(weight(raw, segment.dtype));
        }
        first += count;
    }
    Ok(sketch)
}

/// Which of a segment's `count` elements are sampled; the segment's first is the tensor's `first`.
fn positions(
    segment: &Segment,
    per_tensor: u64,
    first: u64,
    count: u64,
) -> impl Iterator<Item = u64> + use<> {
    let elements = segment.shape.iter().fold(1, |product: u64, dim| product.saturating_mul(*dim));
    (0..if is_float(segment.dtype) { per_tensor } else { 0 })
        .map(move |sample| elements / (per_tensor + 1) * (sample + 1))
        .filter_map(move |at| at.checked_sub(first).filter(|at| *at < count))
}

/// The weight with these bytes.
fn weight(raw: &[u8], dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F64 => f64::from_le_bytes(raw.try_into().expect("because 8 bytes")) as f32,
        dtype => Float::of(dtype).map_or(0.0, |float| float.values(raw)[0]),
    }
}

/// Mean distance relative to the mean size of the weights; infinite when they can't be compared.
pub fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    if ours.is_empty() || ours.len() != theirs.len() {
        return f32::INFINITY;
    }
    let finite = |x: &f32| x.is_finite();
    let pairs = || ours.iter().zip(theirs).filter(|(a, b)| finite(a) && finite(b));
    let apart: f32 = pairs().map(|(a, b)| (a - b).abs()).sum();
    let size: f32 = pairs().map(|(a, b)| a.abs().max(b.abs())).sum();
    match (apart == 0.0, size > 0.0) {
        (true, _) => 0.0,
        (_, true) => apart / size,
        _ => f32::INFINITY,
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64)
}
