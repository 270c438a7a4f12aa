//! Products come back from all machines the same, save what they should, and do no harm.

use proptest::prelude::*;

use super::super::{Base, Codec, Effort, decode, encode, on_each_kind, ulp};
use super::*;
use crate::codec::Encoded;

const FLOATS: [Dtype; 3] = [Dtype::F16, Dtype::Bf16, Dtype::F32];

/// Normal numbers, about.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        let mut sum = 0.0;
        for _ in 0..4 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            sum += (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
        sum
    }
}

fn bits(dtype: Dtype, value: f32) -> Vec<u8> {
    match dtype {
        Dtype::F32 => value.to_le_bytes().to_vec(),
        Dtype::Bf16 => (((value.to_bits() + 0x8000) >> 16) as u16).to_le_bytes().to_vec(),
        // Cut, not rounded: any numbers will do.
        _ => ((Float::F16.place(value) >> F16_FRACTION_BITS) as u16).to_le_bytes().to_vec(),
    }
}

/// A matrix, and the same after it moved.
fn pair(dtype: Dtype, rows: usize, columns: usize, seed: u64, alone: f32) -> [Vec<u8>; 2] {
    let mut random = noise(seed);
    let base: Vec<u8> = (0..rows * columns).flat_map(|_| bits(dtype, random().abs() * 0.02)).collect();
    let target = moved(dtype, &base, columns, seed + 1, alone);
    [base, target]
}

/// A matrix after it moved along two directions, and by noise of this size beside them.
fn moved(dtype: Dtype, base: &[u8], columns: usize, seed: u64, alone: f32) -> Vec<u8> {
    let (mut random, float) = (noise(seed), Float::of(dtype).unwrap());
    let rows = base.len() / dtype.width() / columns;
    let mut vector = |len: usize| (0..len).map(|_| random()).collect::<Vec<f32>>();
    let factors = [vector(rows), vector(columns), vector(rows), vector(columns)];
    let weight = |(at, bytes): (usize, &[u8])| {
        let (row, column) = (at / columns, at % columns);
        let along = factors[0][row] * factors[1][column] + factors[2][row] * factors[3][column];
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        bits(dtype, (float.value(number) + 3e-4 * (along + alone * random())).abs())
    };
    base.chunks_exact(dtype.width()).enumerate().flat_map(weight).collect()
}

fn product(target: &[u8], dtype: Dtype, columns: usize, base: &[u8], effort: Effort) -> Encoded {
    ulp::encode(
        target,
        dtype,
        columns as u64,
        Base { bytes: base, dtype },
        None,
        Some(Search { effort, times: 1 }),
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever numbers stand among them, payloads are the same on all machines, and read on each.
    #[test]
    fn payloads_are_the_same_on_every_machine(
        dtype in prop::sample::select(&FLOATS),
        rows in 130usize..200,
        groups in 2usize..5,
        seed in 0..u64::MAX,
        odd in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..40),
    ) {
        let columns = groups * GROUP;
        let [mut base, mut target] = pair(dtype, rows, columns, seed, 0.1);
        for (at, number) in odd {
            let bytes = if number & 1 == 0 { &mut base } else { &mut target };
            let at = at.index(rows * columns) * dtype.width();
            // Infinities and NaN, too.
            let number = if number & 2 == 0 { number } else { number | 0x7f80_7f80 };
            bytes[at..at + dtype.width()].copy_from_slice(&number.to_le_bytes()[..dtype.width()]);
        }
        for effort in [Effort::Push, Effort::Repack] {
            let again = || {
                let encoded = product(&target, dtype, columns, &base, effort);
                let decoded = decode(encoded.codec, &encoded.payload, &[&base], target.len()).unwrap();
                (encoded.codec, encoded.payload, decoded)
            };
            let (codec, payload, _) = again();
            // Of steps this fine, two directions may be too small a part.
            prop_assert!(codec == Codec::UlpProduct || dtype == Dtype::F32);
            for (kind, (_, found, decoded)) in on_each_kind(again) {
                prop_assert_eq!(&found, &payload, "{:?}", kind);
                prop_assert_eq!(&decoded, &target, "{:?}", kind);
            }
        }
    }

    /// A payload that is nearly right is an error, or bytes that the store's hash then judges.
    #[test]
    fn no_damage_panics(flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4), bit in 0u32..8, head: bool) {
        let [base, target] = pair(Dtype::Bf16, 130, 128, 7, 0.3);
        let mut payload = product(&target, Dtype::Bf16, 128, &base, Effort::Push).payload;
        for flip in flips {
            let len = if head { 64 } else { payload.len() };
            payload[flip.index(len)] ^= 1 << bit;
        }
        for len in [target.len(), 256, 0] {
            if let Ok(found) = decode(Codec::UlpProduct, &payload, &[&base], len) {
                prop_assert_eq!(found.len(), len);
            }
        }
    }
}

/// What rows and columns have in common is told by their factors; of what they have not, nothing is.
#[test]
fn what_rows_have_in_common_is_told_once() {
    for dtype in FLOATS {
        let [base, target] = pair(dtype, 512, 256, 3, 0.1);
        let plain = ulp::encode(&target, dtype, 256, Base { bytes: &base, dtype }, None, None).unwrap();
        let found = product(&target, dtype, 256, &base, Effort::Push);
        assert_eq!((plain.codec, found.codec), (Codec::Ulp, Codec::UlpProduct), "{dtype:?}");
        // Noise of a tenth takes three bits less of a weight; the factors take some of that.
        let bits = |payload: &[u8]| 8.0 * payload.len() as f64 / (512.0 * 256.0);
        let saved = bits(&plain.payload) - bits(&found.payload);
        assert!(saved > 1.2, "{dtype:?}: {saved:.2} bits");

        let [base, target] = pair(dtype, 512, 256, 3, 50.0);
        let encoded = encode(&target, dtype, 256, &[Base { bytes: &base, dtype }], Effort::Push);
        assert_eq!(encoded.codec, Codec::Ulp, "{dtype:?}");
    }
}

/// The step before says something of what the factors leave, and both come back from all machines.
#[test]
fn a_product_and_the_step_before_go_together() {
    for dtype in FLOATS {
        let [previous, base] = pair(dtype, 200, 128, 5, 0.1);
        let target = moved(dtype, &base, 128, 8, 0.1);
        let bases = [&base, &previous].map(|bytes| Base { bytes, dtype });
        let again = || {
            let encoded = ulp::encode(
                &target,
                dtype,
                128,
                bases[0],
                Some(bases[1]),
                Some(Search { effort: Effort::Repack, times: 1 }),
            )
            .unwrap();
            let found = decode(encoded.codec, &encoded.payload, &[&base, &previous], target.len()).unwrap();
            (encoded.codec, encoded.payload, found)
        };
        let wide = again();
        for (kind, (codec, payload, found)) in on_each_kind(again) {
            assert_eq!((codec, &payload), (wide.0, &wide.1), "{dtype:?} {kind:?}");
            assert!(found == target, "{dtype:?} {kind:?}");
        }
        assert_eq!(wide.0, Codec::UlpProductChain, "{dtype:?}");
    }
}

/// f16 lies evenly in the order of f32, subnormal numbers included: each number at its own place, between its neighbours.
#[test]
fn every_half_float_is_at_its_place() {
    for bits in (0..0x7c00u32).chain(0x8000..0xfc00) {
        let place = Float::F16.place(Float::F16.value(bits));
        let ordered = i32::from((bits as u16 ^ ((bits as i16 >> 15) as u16 >> 1)) as i16);
        let sign = if bits & 0x8000 == 0 { 0 } else { (1 << F16_FRACTION_BITS) - 1 };
        assert_eq!(place, (ordered << F16_FRACTION_BITS) + sign, "{bits:04x}");
    }
    for bits in 1..0x7bffu32 {
        let [before, own, behind] = [bits - 1, bits, bits + 1].map(|bits| Float::F16.value(bits));
        assert!(Float::F16.place(own + (behind - own) / 4.0) > Float::F16.place(own), "{bits:04x}");
        assert!(Float::F16.place(own - (own - before) / 4.0) < Float::F16.place(own), "{bits:04x}");
    }
}

/// Factors of more terms, or of other lengths, than the matrix can have are refused before anything is allocated.
#[test]
fn factors_must_fit_the_matrix() {
    let [base, target] = pair(Dtype::Bf16, 130, 128, 7, 0.3);
    let payload = product(&target, Dtype::Bf16, 128, &base, Effort::Push).payload;
    for (at, value) in [(1, 0x7f), (2, 0xff), (3, 0x05)] {
        let mut bad = payload.clone();
        bad[at] = value;
        let found = decode(Codec::UlpProduct, &bad, &[&base], target.len());
        assert!(found.is_err(), "byte {at}");
    }
}
