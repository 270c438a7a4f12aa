//! BitX: XOR with the base, bytes grouped by significance, zstd level 3.
//!
//! From the description in Wang et al., "ZipLLM: Efficient LLM Storage via Model-Aware Synergistic
//! Data Deduplication and Compression" (NSDI '26). Chunks are of 1 MiB, each byte group a frame.

use zstd::bulk::{Compressor, Decompressor};

const CHUNK_BYTES: usize = 1 << 20;
const LEVEL: i32 = 3;

/// How the bytes of a difference are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// All first bytes of the numbers, then all second ones, …
    Bytes,
    /// As the published program has it, which knows 16-bit lanes only (an f32 is two of them): the
    /// exponent bits of bf16, then sign and mantissa.
    Lanes,
}

/// `target` and `base` are of one length, in numbers of `width` bytes.
pub fn encode(target: &[u8], base: &[u8], width: usize, groups: Groups) -> Vec<u8> {
    let mut compressor = Compressor::new(LEVEL).expect("because zstd knows this level");
    let mut out = Vec::new();
    let mut planes = Vec::new();
    for (target, base) in target.chunks(CHUNK_BYTES).zip(base.chunks(CHUNK_BYTES)) {
        planes.clear();
        planes.resize(target.len(), 0);
        match (groups, width) {
            (Groups::Lanes, 2 | 4) => split_lanes(target, base, &mut planes),
            (_, 2) => split_bytes::<2>(target, base, &mut planes),
            (_, 4) => split_bytes::<4>(target, base, &mut planes),
            _ => split_bytes::<1>(target, base, &mut planes),
        }
        for plane in planes.chunks(planes.len().div_ceil(count(groups, width))) {
            let frame = compressor.compress(plane).expect("because compression into memory can't fail");
            out.extend((frame.len() as u32).to_le_bytes());
            out.extend(frame);
        }
    }
    out
}

/// The inverse of [`encode`].
pub fn decode(mut frames: &[u8], base: &[u8], width: usize, groups: Groups) -> Vec<u8> {
    let mut decompressor = Decompressor::new().expect("because there is memory");
    let mut out = vec![0; base.len()];
    let mut planes = vec![0; CHUNK_BYTES.min(base.len())];
    for (target, base) in out.chunks_mut(CHUNK_BYTES).zip(base.chunks(CHUNK_BYTES)) {
        let planes = &mut planes[..target.len()];
        for plane in planes.chunks_mut(target.len().div_ceil(count(groups, width))) {
            let (len, rest) = frames.split_first_chunk().expect("because we encoded it");
            let (frame, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            decompressor.decompress_to_buffer(frame, plane).expect("because we encoded it");
            frames = rest;
        }
        match (groups, width) {
            (Groups::Lanes, 2 | 4) => join_lanes(planes, base, target),
            (_, 2) => join_bytes::<2>(planes, base, target),
            (_, 4) => join_bytes::<4>(planes, base, target),
            _ => join_bytes::<1>(planes, base, target),
        }
    }
    out
}

fn count(groups: Groups, width: usize) -> usize {
    match (groups, width) {
        (Groups::Lanes, 2 | 4) => 2,
        (_, 2 | 4) => width,
        _ => 1,
    }
}

fn split_bytes<const WIDTH: usize>(target: &[u8], base: &[u8], planes: &mut [u8]) {
    let (target, base) = (target.as_chunks::<WIDTH>().0, base.as_chunks::<WIDTH>().0);
    for (at, plane) in planes.chunks_exact_mut(target.len()).enumerate() {
        for ((out, target), base) in plane.iter_mut().zip(target).zip(base) {
            *out = target[at] ^ base[at];
        }
    }
}

fn join_bytes<const WIDTH: usize>(planes: &[u8], base: &[u8], target: &mut [u8]) {
    let (target, base) = (target.as_chunks_mut::<WIDTH>().0, base.as_chunks::<WIDTH>().0);
    for (at, plane) in planes.chunks_exact(target.len()).enumerate() {
        for ((target, base), plane) in target.iter_mut().zip(base).zip(plane) {
            target[at] = plane ^ base[at];
        }
    }
}

fn split_lanes(target: &[u8], base: &[u8], planes: &mut [u8]) {
    let (exponents, rest) = planes.split_at_mut(planes.len() / 2);
    let lanes = target.as_chunks().0.iter().zip(base.as_chunks().0);
    for (((target, base), exponent), rest) in lanes.zip(exponents).zip(rest) {
        let lane = u16::from_le_bytes(*target) ^ u16::from_le_bytes(*base);
        *exponent = (lane >> 7) as u8;
        *rest = (lane >> 15 << 7) as u8 | (lane & 0x7f) as u8;
    }
}

fn join_lanes(planes: &[u8], base: &[u8], target: &mut [u8]) {
    let (exponents, rest) = planes.split_at(planes.len() / 2);
    let lanes = target.as_chunks_mut().0.iter_mut().zip(base.as_chunks().0);
    for (((target, base), &exponent), &rest) in lanes.zip(exponents).zip(rest) {
        let lane = u16::from(rest >> 7) << 15 | u16::from(exponent) << 7 | u16::from(rest & 0x7f);
        *target = (lane ^ u16::from_le_bytes(*base)).to_le_bytes();
    }
}
