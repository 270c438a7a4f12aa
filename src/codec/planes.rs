//! Numbers without a base: each byte of an element in a plane of its own.
//!
//! The exponents of weights are few and far from equally likely, their mantissas are noise. Floats
//! are rotated left by one bit, so that the exponent of an 8-bit-exponent type fills the top byte
//! and the sign joins the mantissa. A bf16 tensor comes to two thirds; an f32 tensor that was bf16
//! has two planes of zeros, which cost two bytes each.
//!
//! Payload: dtype (one byte), the planes from the lowest byte on (see `bytes`), the odd bytes
//! behind the last whole element.

use std::borrow::Cow;

use crate::format::Dtype;

use super::order::is_float;
use super::payload::Reader;
use super::{DecodeError, bytes};

/// Encodes numbers of `dtype`.
pub(super) fn encode(bytes_: &[u8], dtype: Dtype) -> Vec<u8> {
    let width = dtype.width();
    let elements = bytes_.chunks_exact(width);
    let tail = elements.remainder();
    let rotate = is_float(dtype);
    let mut out = Vec::with_capacity(bytes_.len() / 2);
    out.push(dtype as u8);
    for plane in 0..width {
        let plane = match (width, rotate) {
            (2, true) => split::<2>(bytes_, plane, |x| u16::from_le_bytes(x).rotate_left(1).to_le_bytes()),
            (4, true) => split::<4>(bytes_, plane, |x| u32::from_le_bytes(x).rotate_left(1).to_le_bytes()),
            (8, true) => split::<8>(bytes_, plane, |x| u64::from_le_bytes(x).rotate_left(1).to_le_bytes()),
            (2, false) => split::<2>(bytes_, plane, |x| x),
            (4, false) => split::<4>(bytes_, plane, |x| x),
            (8, false) => split::<8>(bytes_, plane, |x| x),
            _ => split::<1>(bytes_, plane, |x| x),
        };
        bytes::encode(&plane, &mut out);
    }
    out.extend_from_slice(tail);
    out
}

fn split<const N: usize>(bytes: &[u8], plane: usize, turn: impl Fn([u8; N]) -> [u8; N]) -> Vec<u8> {
    bytes.as_chunks().0.iter().map(|&element| turn(element)[plane % N]).collect()
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtype = Dtype::from_tag(reader.byte("dtype")?).ok_or(DecodeError::Invalid { what: "dtype" })?;
    let (width, rotate) = (dtype.width(), is_float(dtype));
    let elements = decoded_len / width;
    let planes = (0..width).map(|_| bytes::decode(&mut reader, elements)).collect::<Result<Vec<_>, _>>()?;
    let mut out = vec![0; decoded_len];
    let (whole, tail) = out.split_at_mut(elements * width);
    match (width, rotate) {
        (2, true) => join::<2>(&planes, whole, |x| u16::from_le_bytes(x).rotate_right(1).to_le_bytes()),
        (4, true) => join::<4>(&planes, whole, |x| u32::from_le_bytes(x).rotate_right(1).to_le_bytes()),
        (8, true) => join::<8>(&planes, whole, |x| u64::from_le_bytes(x).rotate_right(1).to_le_bytes()),
        (2, false) => join::<2>(&planes, whole, |x| x),
        (4, false) => join::<4>(&planes, whole, |x| x),
        (8, false) => join::<8>(&planes, whole, |x| x),
        _ => join::<1>(&planes, whole, |x| x),
    }
    tail.copy_from_slice(reader.take(tail.len(), "odd bytes")?);
    reader.end()?;
    Ok(out)
}

fn join<const N: usize>(planes: &[Cow<[u8]>], out: &mut [u8], turn: impl Fn([u8; N]) -> [u8; N]) {
    let elements = out.as_chunks_mut().0;
    // One length for all slices lets the compiler drop the checks in the loop.
    let planes: [&[u8]; N] = std::array::from_fn(|plane| &planes[plane][..elements.len()]);
    for (index, element) in elements.iter_mut().enumerate() {
        *element = turn(std::array::from_fn(|plane| planes[plane][index]));
    }
}
