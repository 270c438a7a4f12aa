//! Approximations of an object, for whoever asked for one: never chosen by `encode`.
//!
//! What an approximation decodes to is known when it is made, and the same on every machine, so that a
//! store keeps it like any object: by its own bytes.

use std::borrow::Cow;

pub use super::lowrank::MAX_RANK;
use super::order::{converted, is_float};
use super::{Base, Codec, DecodeError, Encoded, lowrank, quantised};
use crate::derive::from_e4m3;
use crate::format::Dtype;

/// How much is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Every difference to the base, in 8 bits.
    Int8,
    /// The largest tenth of the differences, in 8 bits; the others are taken to be zero.
    SparseInt8,
    /// The largest terms of the difference of a matrix; other tensors stay as they are.
    Svd { rank: usize },
}

/// Bytes that stand for others, and how they are encoded.
#[derive(Debug, Clone)]
pub struct Approximation {
    /// What the payload decodes to.
    pub bytes: Vec<u8>,
    pub encoded: Encoded,
}

/// A number that can't be approximated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it holds NaN or infinity")]
pub struct NotFinite;

/// Approximates floats in rows of `row_len` (0: none) by their differences to a base of as many; none for other
/// types, and where a tier has nothing to offer.
///
/// # Errors
/// When a number of either is not finite, or a difference is not.
pub fn approximate(
    target: &[u8],
    dtype: Dtype,
    row_len: u64,
    base: Base<'_>,
    tier: Tier,
) -> Result<Option<Approximation>, NotFinite> {
    let counts = (target.len() / dtype.width(), base.bytes.len() / base.dtype.width());
    let known = matches!(dtype, Dtype::Bf16 | Dtype::F16 | Dtype::F32) && is_float(base.dtype);
    if !known || counts.0 != counts.1 || !target.len().is_multiple_of(dtype.width()) {
        return Ok(None);
    }
    let theirs = floats(base.bytes, base.dtype);
    let differences: Vec<f32> =
        floats(target, dtype).iter().zip(&theirs).map(|(target, base)| target - base).collect();
    if !differences.iter().all(|difference| difference.is_finite()) {
        return Err(NotFinite);
    }
    let (codec, made) = match tier {
        Tier::Int8 | Tier::SparseInt8 => {
            let sparse = tier == Tier::SparseInt8;
            let made = quantised::encode(differences, sparse, &theirs, dtype, base.dtype);
            (Codec::Quantised, Some(made))
        }
        Tier::Svd { rank } => {
            let made = lowrank::encode(&differences, row_len as usize, rank, &theirs, dtype, base.dtype);
            (Codec::LowRank, made)
        }
    };
    // Rounding to a narrow type may leave its range.
    let made = made.filter(|(_, bytes)| floats(bytes, dtype).iter().all(|weight| weight.is_finite()));
    Ok(made.map(|(payload, bytes)| Approximation { bytes, encoded: Encoded { codec, payload } }))
}

/// The types in a payload's first byte, and the number of elements, which the base must have as well.
pub(super) fn checked(
    dtypes: u8,
    base: &[u8],
    decoded_len: usize,
) -> Result<(Dtype, Dtype, usize), DecodeError> {
    let known = |tag| Dtype::from_tag(tag).filter(|dtype| is_float(*dtype));
    let (Some(dtype), Some(base_dtype)) = (known(dtypes & 15), known(dtypes >> 4)) else {
        return Err(DecodeError::Invalid { what: "dtype" });
    };
    let (found, expected) = (base.len() / base_dtype.width(), decoded_len / dtype.width());
    if found != expected || !decoded_len.is_multiple_of(dtype.width()) {
        return Err(DecodeError::Length { what: "elements of the base", expected, found });
    }
    Ok((dtype, base_dtype, expected))
}

/// Floats of any type as f32.
pub(super) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    // Its largest numbers stand where other types have infinities.
    if dtype == Dtype::F8E4M3 {
        return bytes.iter().map(|bits| from_e4m3(*bits)).collect();
    }
    let raw = converted(bytes, dtype, Dtype::F32).expect("because both are floats");
    raw.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
}

/// f32 rounded to another type of float.
pub(super) fn rounded(weights: impl Iterator<Item = f32>, dtype: Dtype) -> Vec<u8> {
    let raw: Vec<u8> = weights.flat_map(f32::to_le_bytes).collect();
    converted(&raw, Dtype::F32, dtype).map(Cow::into_owned).expect("because both are floats")
}

#[cfg(test)]
mod tests {
    use super::super::{decode, quantised::GROUP};
    use super::*;
    use proptest::prelude::*;

    const TIERS: [Tier; 3] = [Tier::Int8, Tier::SparseInt8, Tier::Svd { rank: 2 }];
    const COLUMNS: usize = 16;

    fn raw(weights: &[f32]) -> Vec<u8> {
        weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
    }

    fn approximated(target: &[f32], base: &[u8], tier: Tier) -> Result<Option<Approximation>, NotFinite> {
        approximate(&raw(target), Dtype::F32, COLUMNS as u64, Base { bytes: base, dtype: Dtype::F32 }, tier)
    }

    proptest! {
        /// What the encoder says it will be is what comes back; and 8 bits lie within half a step in each group.
        #[test]
        fn what_was_promised_comes_back(
            weights in prop::collection::vec((-1f32..1.0, -0.01f32..0.01), 0..300),
            tier in prop::sample::select(&TIERS[..]),
        ) {
            let base: Vec<f32> = weights.iter().map(|(base, _)| *base).collect();
            let target: Vec<f32> = weights.iter().map(|(base, step)| base + step).collect();
            let with = raw(&base);
            if let Some(found) = approximated(&target, &with, tier).unwrap() {
                let Encoded { codec, payload } = &found.encoded;
                let decoded = decode(*codec, payload, &[&with], found.bytes.len()).unwrap();
                prop_assert_eq!(&decoded, &found.bytes);
                let within = 0.01 / 127.0 * 1.02;
                let near = |(target, found): (&f32, f32)| (target - found).abs() <= within;
                prop_assert!(tier != Tier::Int8 || target.iter().zip(floats(&found.bytes, Dtype::F32)).all(near));
            }
        }

        /// A payload from a stranger is refused or gives as many bytes as it should, and never panics.
        #[test]
        fn any_payload_is_survived(
            payload in prop::collection::vec(any::<u8>(), 0..80),
            len in 0usize..64,
            codec in prop::sample::select(vec![Codec::Quantised, Codec::LowRank]),
        ) {
            if let Ok(bytes) = decode(codec, &payload, &[&vec![1; len * 4]], len * 4) {
                prop_assert_eq!(bytes.len(), len * 4);
            }
        }
    }

    /// 8 bits of E4M3 go up to 448; other types have infinities and NaN in that place.
    #[test]
    fn the_largest_numbers_of_e4m3_are_numbers() {
        let target: Vec<f32> = (0..4 * GROUP).map(|at| if at % 2 == 0 { 448.0 } else { -256.0 }).collect();
        let mut base: Vec<u8> = (0..4 * GROUP).map(|at| if at % 2 == 0 { 0x7e } else { 0xf8 }).collect();
        let with = |base: &[u8]| {
            let base = Base { bytes: base, dtype: Dtype::F8E4M3 };
            approximate(&raw(&target), Dtype::F32, COLUMNS as u64, base, Tier::Int8)
        };
        let Approximation { bytes, encoded } = with(&base).unwrap().unwrap();
        assert_eq!(floats(&bytes, Dtype::F32), target);
        assert_eq!(decode(encoded.codec, &encoded.payload, &[&base], bytes.len()).unwrap(), bytes);
        base[7] = 0x7f;
        assert_eq!(with(&base).unwrap_err(), NotFinite);
    }

    /// One wild weight must not cost the others their bits.
    #[test]
    fn an_outlier_costs_its_own_group() {
        let base = vec![0f32; 4 * GROUP];
        let mut target: Vec<f32> = (0..4 * GROUP).map(|at| 1e-4 * (at % 17) as f32).collect();
        target[70] = 1e4;
        let found = approximated(&target, &raw(&base), Tier::Int8).unwrap().unwrap();
        let found = floats(&found.bytes, Dtype::F32);
        let error = |at: usize| (found[at] - target[at]).abs();
        assert!((0..64).chain(128..256).all(|at| error(at) < 1e-5), "another group was ruined");
        assert!(error(70) < 1e4 / 127.0);
    }

    /// A difference that is a product of two thin matrices is what the largest terms are made for.
    #[test]
    fn a_product_comes_back_by_its_largest_terms() {
        let rows = 64;
        let base: Vec<f32> = (0..rows * COLUMNS).map(|at| (at as f32).sin()).collect();
        let product = |at: usize| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            1e-2 * (row as f32 * 0.3).sin() * (column as f32 * 0.7).cos()
        };
        let target: Vec<f32> = base.iter().enumerate().map(|(at, weight)| weight + product(at)).collect();
        let found = approximated(&target, &raw(&base), Tier::Svd { rank: 2 }).unwrap().unwrap();
        assert!(found.encoded.payload.len() < target.len(), "{} bytes", found.encoded.payload.len());
        let worst = floats(&found.bytes, Dtype::F32);
        let worst =
            worst.iter().zip(&target).map(|(found, target)| (found - target).abs()).fold(0.0, f32::max);
        // Factors are kept in 8 bits of precision.
        assert!(worst < 1e-4, "{worst}");
    }

    /// There is no step to NaN, and a guess would be a silent loss.
    #[test]
    fn what_is_not_finite_is_refused() {
        let with = raw(&[0.0, 1.0]);
        for bad in [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::MAX, f32::NEG_INFINITY]] {
            TIERS
                .iter()
                .for_each(|tier| assert_eq!(approximated(&bad, &with, *tier).unwrap_err(), NotFinite));
        }
        let base = Base { bytes: &with, dtype: Dtype::I32 };
        assert!(approximate(&with, Dtype::I32, 2, base, Tier::Int8).unwrap().is_none());
    }
}
