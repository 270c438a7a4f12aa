//! A few sampled weights by which a file finds its nearest relative without reading either again.
//!
//! Samples stand at positions that depend on tensor names and shapes only, so the sketches of two
//! files with one layout compare weight by weight, whatever their dtypes are.

use crate::format::{Dtype, Segment};
use crate::recipe::Layout;

/// Samples of one file, about.
const SAMPLES: u64 = 256;
/// Relative distance from which two models are strangers: independent weights lie at about 1.
pub const STRANGERS: f32 = 0.7;

/// Which elements of a segment are sampled: their indices in it.
pub fn positions(segment: &Segment, tensors: usize) -> impl Iterator<Item = u64> + use<> {
    let per_tensor = (SAMPLES / tensors.max(1) as u64).max(1);
    let total: u64 = segment.shape.iter().product::<u64>().max(1);
    let width = segment.dtype.width() as u64;
    let count = (segment.range.end - segment.range.start) / width;
    let first = u64::from(segment.slice) * slice_elements(segment);
    let numeric = is_float(segment.dtype) && !segment.name.is_empty();
    (0..if numeric { per_tensor } else { 0 })
        .map(move |sample| total / (per_tensor + 1) * (sample + 1))
        .filter_map(move |at| at.checked_sub(first).filter(|at| *at < count))
}

/// The weight at element `at` of a segment's bytes.
pub fn sample(bytes: &[u8], dtype: Dtype, at: u64) -> f32 {
    let width = dtype.width();
    let start = at as usize * width;
    let Some(raw) = bytes.get(start..start + width) else { return 0.0 };
    match dtype {
        Dtype::F32 => f32::from_le_bytes(raw.try_into().expect("because 4 bytes")),
        Dtype::F64 => f64::from_le_bytes(raw.try_into().expect("because 8 bytes")) as f32,
        Dtype::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([raw[0], raw[1]])) << 16),
        Dtype::F16 => half(u16::from_le_bytes([raw[0], raw[1]])),
        _ => 0.0,
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

/// Fingerprint of the names and shapes of the tensors of a file, whatever their dtypes and order.
pub fn layout<'a>(segments: impl Iterator<Item = &'a Segment>) -> Option<Layout> {
    let mut tensors: Vec<_> = segments.filter(|s| !s.shape.is_empty() && s.slice == 0).collect();
    if tensors.is_empty() {
        return None;
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        hasher.update(&(tensor.name.len() as u64).to_le_bytes()).update(tensor.name.as_bytes());
        hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
        tensor.shape.iter().for_each(|dim| drop(hasher.update(&dim.to_le_bytes())));
    }
    Some(hasher.finalize().as_bytes()[..16].try_into().expect("because a hash has 32 bytes"))
}

/// Elements of every slice of a tensor but its last, as the cutters make them.
fn slice_elements(segment: &Segment) -> u64 {
    crate::format::slice_elements(segment.row_len)
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::Bf16 | Dtype::F32 | Dtype::F64)
}

/// IEEE 754 binary16 to binary32, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}
