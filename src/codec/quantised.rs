//! Differences to a base in steps of a few bits: lossy, and only for whoever asked for it.
//!
//! In groups of 64 each difference is a whole number of steps, at most 127 either way; a group's step is
//! a 127th of its largest difference, so that an outlier costs its own group and no other. Decoding
//! is exact: the same bytes on every machine, since each weight is one product, one sum and one rounding.
//!
//! Payload (docs/format.md, "Payloads"): dtypes; steps as bf16, low bytes, then high bytes; numbers.

use super::lossy::{self, floats, rounded};
use super::payload::Reader;
use super::{DecodeError, bytes};
use crate::format::Dtype;

/// Weights that have one step.
pub(super) const GROUP: usize = 64;
/// The largest number of steps.
const MOST: f32 = 127.0;
/// Where only the largest differences are kept, about one in this many is.
const KEEPS: usize = 10;

/// A payload for these differences to `base`, which has `base_dtype`, and what it decodes to.
pub(super) fn encode(
    mut differences: Vec<f32>,
    sparse: bool,
    theirs: &[f32],
    dtype: Dtype,
    base_dtype: Dtype,
) -> (Vec<u8>, Vec<u8>) {
    if sparse {
        drop_small(&mut differences);
    }
    let steps: Vec<u16> = differences.chunks(GROUP).map(step_of).collect();
    let numbers: Vec<i8> = differences
        .chunks(GROUP)
        .zip(&steps)
        .flat_map(|(group, step)| group.iter().map(|difference| number_of(*difference, value(*step))))
        .collect();
    let mut payload = vec![dtype as u8 | (base_dtype as u8) << 4];
    for byte in 0..2 {
        bytes::encode(&steps.iter().map(|step| step.to_le_bytes()[byte]).collect::<Vec<_>>(), &mut payload);
    }
    bytes::encode(&numbers.iter().map(|number| *number as u8).collect::<Vec<_>>(), &mut payload);
    let decoded = applied(theirs, &steps, &numbers, dtype);
    (payload, decoded)
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtypes = reader.byte("dtypes")?;
    let (dtype, base_dtype, expected) = lossy::checked(dtypes, base, decoded_len)?;
    let groups = expected.div_ceil(GROUP);
    let (low, high) = (bytes::decode(&mut reader, groups)?, bytes::decode(&mut reader, groups)?);
    let steps: Vec<u16> =
        low.iter().zip(&high).map(|(low, high)| u16::from_le_bytes([*low, *high])).collect();
    let numbers: Vec<i8> = bytes::decode(&mut reader, expected)?.iter().map(|byte| *byte as i8).collect();
    reader.end()?;
    Ok(applied(&floats(base, base_dtype), &steps, &numbers, dtype))
}

/// The weights that lie so many steps from the base.
fn applied(base: &[f32], steps: &[u16], numbers: &[i8], dtype: Dtype) -> Vec<u8> {
    let groups = base.chunks(GROUP).zip(numbers.chunks(GROUP)).zip(steps);
    let weights = groups.flat_map(|((base, numbers), step)| {
        base.iter().zip(numbers).map(|(base, number)| base + f32::from(*number) * value(*step))
    });
    rounded(weights, dtype)
}

/// Makes zeros of all but the largest tenth.
fn drop_small(differences: &mut [f32]) {
    let mut magnitudes: Vec<f32> = differences.iter().map(|difference| difference.abs()).collect();
    let Some(last) = magnitudes.len().checked_sub(1) else { return };
    let at = last - magnitudes.len() / KEEPS;
    let (_, &mut least, _) = magnitudes.select_nth_unstable_by(at.min(last), f32::total_cmp);
    differences.iter_mut().filter(|difference| difference.abs() < least).for_each(|small| *small = 0.0);
}

/// A 127th of the largest difference as bf16, rounded up, so that no number is beyond 127.
fn step_of(group: &[f32]) -> u16 {
    let most = group.iter().fold(0f32, |most, difference| most.max(difference.abs()));
    let bits = (most / MOST).to_bits();
    (bits >> 16) as u16 + u16::from(bits & 0xffff != 0)
}

/// A step that is stored as bf16.
fn value(step: u16) -> f32 {
    f32::from_bits(u32::from(step) << 16)
}

fn number_of(difference: f32, step: f32) -> i8 {
    if step == 0.0 { 0 } else { (difference / step).round().clamp(-MOST, MOST) as i8 }
}
