//! Differences to a base in steps of a few bits: lossy, and only for whoever asked for it.
//!
//! In groups of 64 each difference is a whole number of steps, at most 127 either way; a group's step is
//! a 127th of its largest difference, so that an outlier costs its own group and no other. Decoding
//! is exact: the same bytes on every machine, since each weight is one product, one sum and one rounding.
//!
//! Payload (docs/format.md, "Payloads"): dtypes; steps as bf16, low bytes, then high bytes; numbers.

use std::borrow::Cow;

use super::order::{converted, is_float};
use super::payload::Reader;
use super::{Base, DecodeError, bytes};
use crate::format::Dtype;

/// Weights that have one step.
const GROUP: usize = 64;
/// The largest number of steps.
const MOST: f32 = 127.0;
/// Of the differences, `SparseInt8` keeps about one in this many.
const KEEPS: usize = 10;

/// How much is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Every difference, in 8 bits.
    Int8,
    /// The largest tenth of the differences, in 8 bits; the others are taken to be zero.
    SparseInt8,
}

/// Bytes that stand for others, and how they are encoded.
#[derive(Debug, Clone)]
pub struct Approximation {
    /// What the payload decodes to.
    pub bytes: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A number that no step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it holds NaN or infinity")]
pub struct NotFinite;

/// Approximates floats by their differences to a base of as many; none for other types.
///
/// # Errors
/// When a number of either is not finite, or a difference is not.
pub fn approximate(
    target: &[u8],
    dtype: Dtype,
    base: Base<'_>,
    tier: Tier,
) -> Result<Option<Approximation>, NotFinite> {
    let counts = (target.len() / dtype.width(), base.bytes.len() / base.dtype.width());
    let known = |dtype| matches!(dtype, Dtype::Bf16 | Dtype::F16 | Dtype::F32);
    if !known(dtype)
        || !is_float(base.dtype)
        || counts.0 != counts.1
        || !target.len().is_multiple_of(dtype.width())
    {
        return Ok(None);
    }
    let theirs = floats(base.bytes, base.dtype);
    let mut differences: Vec<f32> =
        floats(target, dtype).iter().zip(&theirs).map(|(target, base)| target - base).collect();
    if !differences.iter().all(|difference| difference.is_finite()) {
        return Err(NotFinite);
    }
    if tier == Tier::SparseInt8 {
        drop_small(&mut differences);
    }
    let steps: Vec<u16> = differences.chunks(GROUP).map(step_of).collect();
    let numbers: Vec<i8> = differences
        .chunks(GROUP)
        .zip(&steps)
        .flat_map(|(group, step)| group.iter().map(|difference| number_of(*difference, value(*step))))
        .collect();
    let mut payload = vec![dtype as u8 | (base.dtype as u8) << 4];
    for byte in 0..2 {
        bytes::encode(&steps.iter().map(|step| step.to_le_bytes()[byte]).collect::<Vec<_>>(), &mut payload);
    }
    bytes::encode(&numbers.iter().map(|number| *number as u8).collect::<Vec<_>>(), &mut payload);
    Ok(Some(Approximation { bytes: applied(&theirs, &steps, &numbers, dtype), payload }))
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtypes = reader.byte("dtypes")?;
    let known = |tag| Dtype::from_tag(tag).filter(|dtype| is_float(*dtype));
    let (Some(dtype), Some(base_dtype)) = (known(dtypes & 15), known(dtypes >> 4)) else {
        return Err(DecodeError::Invalid { what: "dtype" });
    };
    let (found, expected) = (base.len() / base_dtype.width(), decoded_len / dtype.width());
    if found != expected || !decoded_len.is_multiple_of(dtype.width()) {
        return Err(DecodeError::Length { what: "elements of the base", expected, found });
    }
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
    let raw: Vec<u8> = weights.flat_map(f32::to_le_bytes).collect();
    converted(&raw, Dtype::F32, dtype).map(Cow::into_owned).expect("because both are floats")
}

fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let raw = converted(bytes, dtype, Dtype::F32).expect("because both are floats");
    raw.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(weights: &[f32]) -> Vec<u8> {
        weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
    }

    proptest! {
        /// What the encoder says it will be is what comes back; and it lies within half a step, in each group.
        #[test]
        fn what_was_promised_comes_back(
            weights in prop::collection::vec((-1f32..1.0, -0.01f32..0.01), 0..300),
            sparse in any::<bool>(),
        ) {
            let base: Vec<f32> = weights.iter().map(|(base, _)| *base).collect();
            let target: Vec<f32> = weights.iter().map(|(base, step)| base + step).collect();
            let tier = if sparse { Tier::SparseInt8 } else { Tier::Int8 };
            let with = raw(&base);
            let found = approximate(&raw(&target), Dtype::F32, Base { bytes: &with, dtype: Dtype::F32 }, tier);
            let found = found.unwrap().unwrap();
            prop_assert_eq!(&decode(&found.payload, &with, found.bytes.len()).unwrap(), &found.bytes);
            if tier == Tier::Int8 {
                for (group, numbers) in target.chunks(GROUP).zip(floats(&found.bytes, Dtype::F32).chunks(GROUP)) {
                    let most = 0.01 / MOST * 1.02;
                    for (target, found) in group.iter().zip(numbers) {
                        prop_assert!((target - found).abs() <= most, "{} {}", target, found);
                    }
                }
            }
        }

        /// A payload from a stranger is refused or gives as many bytes as it should, and never panics.
        #[test]
        fn any_payload_is_survived(payload in prop::collection::vec(any::<u8>(), 0..80), len in 0usize..64) {
            if let Ok(bytes) = decode(&payload, &vec![1; len * 4], len * 4) {
                prop_assert_eq!(bytes.len(), len * 4);
            }
        }
    }

    /// One wild weight must not cost the others their bits.
    #[test]
    fn an_outlier_costs_its_own_group() {
        let base = vec![0f32; 4 * GROUP];
        let mut target: Vec<f32> = (0..4 * GROUP).map(|at| 1e-4 * (at % 17) as f32).collect();
        target[70] = 1e4;
        let with = raw(&base);
        let found =
            approximate(&raw(&target), Dtype::F32, Base { bytes: &with, dtype: Dtype::F32 }, Tier::Int8);
        let found = floats(&found.unwrap().unwrap().bytes, Dtype::F32);
        let error = |at: usize| (found[at] - target[at]).abs();
        assert!((0..64).chain(128..256).all(|at| error(at) < 1e-5), "another group was ruined");
        assert!(error(70) < 1e4 / MOST);
    }

    /// There is no number of steps to NaN, and a guess would be a silent loss.
    #[test]
    fn what_is_not_finite_is_refused() {
        let with = raw(&[0.0, 1.0]);
        let base = Base { bytes: &with, dtype: Dtype::F32 };
        for bad in [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::MAX, f32::NEG_INFINITY]] {
            assert_eq!(approximate(&raw(&bad), Dtype::F32, base, Tier::Int8).unwrap_err(), NotFinite);
        }
        let ints = approximate(&with, Dtype::I32, Base { bytes: &with, dtype: Dtype::I32 }, Tier::Int8);
        assert!(ints.unwrap().is_none());
    }
}
