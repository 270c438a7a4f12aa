//! What rows and columns have in common: the part of a matrix's differences that a few outer products tell.
//!
//! Each step of training moves a matrix by outer products of what came in and what went wrong, and many of them
//! agree: most tokens move an output embedding one and the same way, since no batch has them. So two thin factors
//! of small integers (see `factors`) say what each weight is expected to move by; the base moved so, in the order of
//! its type and between its numbers, says what difference to expect, and only what is left is coded. All
//! is f32 arithmetic in a fixed order, without a fused operation: the same on all machines.

mod factors;
mod fit;
mod symmetric;
#[cfg(test)]
mod tests;

use crate::format::Dtype;

use super::hint::Expected;
use super::lanes::{Each, GROUP, Lanes};
use super::order::Word;

pub(super) use factors::Factors;
pub(super) use fit::{Search, fit};

/// Bits of a difference's fraction.
const FRACTION_BITS: u32 = 16;
/// The class of what lies between two numbers, by how near it is to the middle: in steps of 1/32.
const CLASS_OF: [u8; 16] = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7];
const CLASS_SHIFT: u32 = FRACTION_BITS - 5;
/// No difference is expected to be more, so that fractions fit.
const FARTHEST: i32 = 1 << 27;
const F16_FRACTION_BITS: u32 = 13;

/// Float types that f32 arithmetic serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Float {
    F16,
    Bf16,
    F32,
}

impl Float {
    fn of(dtype: Dtype) -> Option<Float> {
        Some(match dtype {
            Dtype::F16 => Float::F16,
            Dtype::Bf16 => Float::Bf16,
            Dtype::F32 => Float::F32,
            _ => return None,
        })
    }

    /// The value of a number with these bits; those of infinities and NaN are as if exponents went on.
    #[inline(always)]
    fn value(self, bits: u32) -> f32 {
        match self {
            Float::Bf16 => f32::from_bits(bits << 16),
            Float::F32 => f32::from_bits(bits),
            Float::F16 => {
                let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
                let subnormal = magnitude as f32 * F16_SUBNORMAL;
                let normal = f32::from_bits((magnitude << F16_FRACTION_BITS) + F16_BIAS);
                let value = if magnitude < 1 << 10 { subnormal } else { normal };
                f32::from_bits(value.to_bits() | sign)
            }
        }
    }

    /// Whether a number with these bits is one.
    #[inline(always)]
    fn is_finite(self, bits: u32) -> bool {
        let exponent = match self {
            Float::F16 => 0x7c00,
            Float::Bf16 => 0x7f80,
            Float::F32 => 0x7f80_0000,
        };
        bits & exponent != exponent
    }

    /// Where a value lies in the order of the type, between its numbers: with as many bits of fraction as f32 has more.
    #[inline(always)]
    fn place(self, value: f32) -> i32 {
        let bits = value.to_bits();
        match self {
            Float::Bf16 | Float::F32 => ordered(bits),
            Float::F16 => {
                let (sign, magnitude) = (bits >> 31, bits & !(1 << 31));
                let normal = magnitude.wrapping_sub(F16_BIAS);
                // Below the smallest normal number, steps are of one size.
                let subnormal = (f32::from_bits(magnitude).min(F16_LEAST_NORMAL) * F16_STEPS) as u32;
                let place = if magnitude < F16_LEAST_NORMAL.to_bits() { subnormal } else { normal };
                ordered(place | sign << 31)
            }
        }
    }
}

/// The exponent biases of f32 and f16 apart, in place.
const F16_BIAS: u32 = (127 - 15) << 23;
/// 2^-24, the smallest f16.
const F16_SUBNORMAL: f32 = 1.0 / (1 << 24) as f32;
/// 2^-14.
const F16_LEAST_NORMAL: f32 = 1.0 / (1 << 14) as f32;
/// Subnormal numbers, and fractions of them.
const F16_STEPS: f32 = (1u64 << (24 + F16_FRACTION_BITS)) as f32;

#[inline(always)]
fn ordered(bits: u32) -> i32 {
    (bits ^ ((bits as i32 >> 31) as u32 >> 1)) as i32
}

/// The factors, as decoding wants them.
pub(super) struct Product<W> {
    float: Float,
    row_len: usize,
    rank: usize,
    /// Row after row of the matrix, `rank` factors each.
    left: Vec<f32>,
    /// Term after term, a factor for each column.
    right: Vec<f32>,
    word: std::marker::PhantomData<W>,
}

impl<W: Word> Product<W> {
    /// `None` for types without fractions.
    pub fn new(factors: &Factors, dtype: Dtype) -> Option<Self> {
        let (left, right) = factors.values();
        let (float, word) = (Float::of(dtype)?, std::marker::PhantomData);
        Some(Self { float, row_len: factors.row_len, rank: factors.rank, left, right, word })
    }

    /// What is expected of the group with this number.
    #[inline(always)]
    pub fn expected<L: Lanes>(&self, lanes: L, number: usize, base: &Each<W>) -> Expected<W> {
        let moved = self.moved(number);
        match self.float {
            Float::Bf16 => between(lanes, Float::Bf16, 0, &moved, base),
            Float::F16 => between(lanes, Float::F16, FRACTION_BITS - F16_FRACTION_BITS, &moved, base),
            Float::F32 => whole(&moved, base),
        }
    }

    /// How far each weight of a group is expected to move.
    #[inline(always)]
    fn moved(&self, number: usize) -> Each<f32> {
        let (row, column) = (number * GROUP / self.row_len, number * GROUP % self.row_len);
        let mut moved = Each::of(0f32);
        let left = &self.left[row * self.rank..][..self.rank];
        for (left, right) in left.iter().zip(self.right.chunks_exact(self.row_len)) {
            let right: &[f32; GROUP] = right[column..].first_chunk().expect("because rows are whole groups");
            for (moved, right) in moved.iter_mut().zip(right) {
                *moved += left * right;
            }
        }
        moved
    }
}

/// What is expected where numbers are steps, and fractions of them tell to which side differences tend.
#[inline(always)]
fn between<W: Word, L: Lanes>(
    lanes: L,
    float: Float,
    shift: u32,
    moved: &Each<f32>,
    base: &Each<W>,
) -> Expected<W> {
    let mut expected = Expected::none();
    let mut parts = Each::of(0u8);
    for lane in 0..GROUP {
        let bits = base[lane].to_u64() as u32;
        let far = distance(float, bits, moved[lane]).clamp(-FARTHEST, FARTHEST) << shift;
        let whole = (far + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
        let rest = far - (whole << FRACTION_BITS);
        expected.whole[lane] = W::from_u64(whole as u64);
        expected.turned[lane] = W::from_u64((rest >> 31) as u64);
        parts[lane] = (rest.unsigned_abs() >> CLASS_SHIFT).min(15) as u8;
    }
    expected.classes = lanes.look_up(&CLASS_OF, &parts);
    expected
}

/// What is expected where steps are so small that fractions say nothing.
#[inline(always)]
fn whole<W: Word>(moved: &Each<f32>, base: &Each<W>) -> Expected<W> {
    let mut expected = Expected::none();
    for ((whole, &base), &moved) in expected.whole.iter_mut().zip(base).zip(moved) {
        *whole = W::from_u64(distance(Float::F32, base.to_u64() as u32, moved) as u64);
    }
    expected
}

/// How far a number lies from where it is expected, away from zero when positive.
#[inline(always)]
fn distance(float: Float, bits: u32, moved: f32) -> i32 {
    let value = float.value(bits);
    let distance = float.place(value + moved).wrapping_sub(float.place(value));
    let fold = (value.to_bits() as i32) >> 31;
    let folded = (distance ^ fold).wrapping_sub(fold);
    if float.is_finite(bits) { folded } else { 0 }
}
