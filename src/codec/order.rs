//! Numbers as integers in the order of their values, and one float format as another.
//!
//! The bits of a float, with those below the sign flipped where it is negative, compare as signed
//! integers like the floats do: neighbours in value are neighbours as integers, so a small step
//! of training is a small difference. The map works on bits and loses none: NaN payloads, −0 and
//! subnormals come back.

use std::borrow::Cow;

use crate::format::Dtype;

use super::lanes::{Each, GROUP};

/// How a float is laid out below its sign bit.
#[derive(Clone, Copy)]
struct Layout {
    exponent_bits: u32,
    mantissa_bits: u32,
}

fn layout(dtype: Dtype) -> Option<Layout> {
    let (exponent_bits, mantissa_bits) = match dtype {
        Dtype::F8E4M3 => (4, 3),
        Dtype::F8E5M2 => (5, 2),
        Dtype::F16 => (5, 10),
        Dtype::Bf16 => (8, 7),
        Dtype::F32 => (8, 23),
        Dtype::F64 => (11, 52),
        _ => return None,
    };
    Some(Layout { exponent_bits, mantissa_bits })
}

pub(super) fn is_float(dtype: Dtype) -> bool {
    layout(dtype).is_some()
}

/// An unsigned integer as wide as an element, with what the codecs do to it.
pub(super) trait Word: Copy + Default + Ord {
    const BITS: u32;
    /// How many times 64 bits a group is.
    const WORDS: usize = GROUP * Self::BITS as usize / u64::BITS as usize;
    fn load(bytes: &[u8]) -> Self;
    fn store(self, bytes: &mut [u8]);
    /// Up to 64 numbers, with zeros behind.
    fn load_group(bytes: &[u8]) -> Each<Self>;
    /// Appends the first `len` of them.
    fn append_group(group: &Each<Self>, len: usize, out: &mut Vec<u8>);
    /// 64 bits of a group, the first number lowest.
    fn packed(group: &Each<Self>, at: usize) -> u64;
    /// The reverse.
    fn unpack(word: u64, at: usize, group: &mut Each<Self>);
    fn from_u64(value: u64) -> Self;
    fn to_u64(self) -> u64;
    /// As a signed number.
    fn to_i64(self) -> i64;
    fn low_byte(self) -> u8;
    /// How far it lies from zero as a signed number.
    fn magnitude(self) -> f32;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// All ones where the top bit is set.
    fn sign(self) -> Self;
    fn shl(self, bits: u32) -> Self;
    /// Arithmetic shift.
    fn sar(self, bits: u32) -> Self;
    /// Logical shift.
    fn shr(self, bits: u32) -> Self;
}

macro_rules! word {
    ($unsigned:ty, $signed:ty) => {
        impl Word for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;

            #[inline(always)]
            fn load(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("because callers cut by width"))
            }
            #[inline(always)]
            fn store(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
            #[inline(always)]
            fn load_group(bytes: &[u8]) -> Each<Self> {
                let elements = bytes.as_chunks().0;
                let mut group = Each::of(0);
                // A whole group by itself: a loop of known length is a few instructions.
                match elements.first_chunk::<GROUP>() {
                    Some(whole) => {
                        group.iter_mut().zip(whole).for_each(|(to, from)| *to = Self::from_le_bytes(*from))
                    }
                    None => {
                        group.iter_mut().zip(elements).for_each(|(to, from)| *to = Self::from_le_bytes(*from))
                    }
                }
                group
            }
            #[inline(always)]
            fn append_group(group: &Each<Self>, len: usize, out: &mut Vec<u8>) {
                let mut elements = [[0; Self::BITS as usize / 8]; GROUP];
                elements.iter_mut().zip(group).for_each(|(to, from)| *to = from.to_le_bytes());
                match len {
                    GROUP => out.extend_from_slice(elements.as_flattened()),
                    _ => out.extend_from_slice(elements[..len].as_flattened()),
                }
            }
            #[inline(always)]
            fn packed(group: &Each<Self>, at: usize) -> u64 {
                const EACH: usize = GROUP / <$unsigned as Word>::WORDS;
                let numbers = group.as_chunks::<EACH>().0[at].iter().rev();
                numbers.fold(0, |word, number| word.unbounded_shl(Self::BITS) | u64::from(*number))
            }
            #[inline(always)]
            fn unpack(word: u64, at: usize, group: &mut Each<Self>) {
                const EACH: usize = GROUP / <$unsigned as Word>::WORDS;
                let numbers = group.as_chunks_mut::<EACH>().0[at].iter_mut();
                numbers.zip(0..).for_each(|(to, place)| *to = (word >> (place * Self::BITS)) as $unsigned);
            }
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $unsigned
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                i64::from(self as $signed)
            }
            #[inline(always)]
            fn low_byte(self) -> u8 {
                self as u8
            }
            #[inline(always)]
            fn magnitude(self) -> f32 {
                (self as $signed as f32).abs()
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            fn sign(self) -> Self {
                (self as $signed >> (Self::BITS - 1)) as $unsigned
            }
            #[inline(always)]
            fn shl(self, bits: u32) -> Self {
                self.wrapping_shl(bits)
            }
            #[inline(always)]
            fn sar(self, bits: u32) -> Self {
                (self as $signed).wrapping_shr(bits) as $unsigned
            }
            #[inline(always)]
            fn shr(self, bits: u32) -> Self {
                self.wrapping_shr(bits)
            }
        }
    };
}

word!(u8, i8);
word!(u16, i16);
word!(u32, i32);
word!(u64, i64);

/// How the bits of a type become ordered integers; integers already are.
#[derive(Clone, Copy)]
pub(super) struct Order<W> {
    /// Bits to flip below a set sign bit.
    flip: W,
    /// All ones where differences are taken away from zero rather than upwards.
    fold: W,
    mantissa_bits: u32,
    exponent_mask: W,
    /// Low bits that are zero in every weight, and left out.
    grid_bits: u32,
}

impl<W: Word> Order<W> {
    /// The order of `dtype`, which is as wide as `W`, for weights whose `grid_bits` low bits are zero.
    pub fn new(dtype: Dtype, grid_bits: u32) -> Self {
        let ones = W::from_u64(u64::MAX);
        let zero = W::default();
        match layout(dtype) {
            Some(Layout { exponent_bits, mantissa_bits }) => Self {
                flip: ones.shr(1),
                fold: ones,
                mantissa_bits,
                exponent_mask: W::from_u64((1 << exponent_bits) - 1),
                grid_bits,
            },
            None => Self { flip: zero, fold: zero, mantissa_bits: 0, exponent_mask: zero, grid_bits },
        }
    }

    pub fn has_grid(&self) -> bool {
        self.grid_bits > 0
    }

    /// The exponent field; 0 for integers.
    #[inline(always)]
    pub fn exponent(&self, bits: W) -> W {
        bits.shr(self.mantissa_bits).and(self.exponent_mask)
    }

    /// The nearest weight on the grid, ties to even; it only predicts, so an overflow may be anything.
    #[inline(always)]
    pub fn snap(&self, bits: W) -> W {
        if self.grid_bits == 0 {
            return bits;
        }
        let odd = bits.to_u64() >> self.grid_bits & 1;
        let half = (1u64 << (self.grid_bits - 1)) - 1 + odd;
        bits.plus(W::from_u64(half)).and(W::from_u64(u64::MAX).shl(self.grid_bits))
    }

    #[inline(always)]
    fn ordered<const GRID: bool>(&self, bits: W) -> W {
        let ordered = bits.xor(bits.sign().and(self.flip));
        if GRID { ordered.sar(self.grid_bits) } else { ordered }
    }

    /// How far each target lies from its base, away from zero when positive.
    #[inline(always)]
    pub fn differences(&self, targets: &Each<W>, bases: &Each<W>) -> Each<W> {
        match self.has_grid() {
            true => self.differences_on::<true>(targets, bases),
            false => self.differences_on::<false>(targets, bases),
        }
    }

    #[inline(always)]
    fn differences_on<const GRID: bool>(&self, targets: &Each<W>, bases: &Each<W>) -> Each<W> {
        let mut differences = Each::of(W::default());
        for ((difference, &target), &base) in differences.iter_mut().zip(targets).zip(bases) {
            let fold = base.sign().and(self.fold);
            let distance = self.ordered::<GRID>(target).minus(self.ordered::<GRID>(base));
            *difference = distance.xor(fold).minus(fold);
        }
        differences
    }

    /// The numbers that lie at these differences from their bases.
    #[inline(always)]
    pub fn apply(&self, differences: &Each<W>, bases: &Each<W>) -> Each<W> {
        match self.has_grid() {
            true => self.apply_on::<true>(differences, bases),
            false => self.apply_on::<false>(differences, bases),
        }
    }

    #[inline(always)]
    fn apply_on<const GRID: bool>(&self, differences: &Each<W>, bases: &Each<W>) -> Each<W> {
        let on_grid = W::from_u64(u64::MAX).shl(self.grid_bits);
        let mut targets = Each::of(W::default());
        for ((target, &difference), &base) in targets.iter_mut().zip(differences).zip(bases) {
            let fold = base.sign().and(self.fold);
            let ordered = self.ordered::<GRID>(base).plus(difference.xor(fold).minus(fold));
            let ordered = if GRID { ordered.shl(self.grid_bits) } else { ordered };
            let bits = ordered.xor(ordered.sign().and(self.flip));
            *target = if GRID { bits.and(on_grid) } else { bits };
        }
        targets
    }
}

/// The elements of `base` as numbers of another type, to be the base of such numbers.
///
/// `None` where they are no likely neighbours: integers of another width. The result only predicts,
/// so it need not be what a framework computes for NaN or overflow, but it is the same everywhere.
pub(super) fn converted<'a>(base: &'a [u8], from: Dtype, to: Dtype) -> Option<Cow<'a, [u8]>> {
    if from == to {
        return Some(Cow::Borrowed(base));
    }
    match (layout(from), layout(to)) {
        (Some(from_layout), Some(to_layout)) => {
            let (width, to_width) = (from.width(), to.width());
            let mut out = Vec::with_capacity(base.len() / width * to_width);
            for element in base.chunks_exact(width) {
                let mut bits = [0; 8];
                bits[..width].copy_from_slice(element);
                let bits = convert(u64::from_le_bytes(bits), from_layout, to_layout);
                out.extend_from_slice(&bits.to_le_bytes()[..to_width]);
            }
            Some(Cow::Owned(out))
        }
        (None, None) if from.width() == to.width() => Some(Cow::Borrowed(base)),
        _ => None,
    }
}

/// One float in another format, rounded to the nearest, ties to even.
fn convert(bits: u64, from: Layout, to: Layout) -> u64 {
    let sign = bits >> (from.exponent_bits + from.mantissa_bits) & 1;
    let exponent = bits >> from.mantissa_bits & ((1 << from.exponent_bits) - 1);
    let mantissa = bits & ((1 << from.mantissa_bits) - 1);
    let magnitude = magnitude(exponent, mantissa, from, to);
    sign << (to.exponent_bits + to.mantissa_bits) | magnitude
}

fn magnitude(exponent: u64, mantissa: u64, from: Layout, to: Layout) -> u64 {
    let infinity = ((1u64 << to.exponent_bits) - 1) << to.mantissa_bits;
    if exponent == (1 << from.exponent_bits) - 1 {
        return infinity | if mantissa == 0 { 0 } else { 1 << (to.mantissa_bits - 1) };
    }
    // The value is significand · 2^scale, with the significand's top bit at `from.mantissa_bits`.
    let bias = |layout: Layout| (1i64 << (layout.exponent_bits - 1)) - 1;
    let (mut significand, mut power) = (mantissa | 1 << from.mantissa_bits, exponent as i64 - bias(from));
    if exponent == 0 {
        if mantissa == 0 {
            return 0;
        }
        let shift = mantissa.leading_zeros() - (63 - from.mantissa_bits);
        (significand, power) = (mantissa << shift, 1 - bias(from) - i64::from(shift));
    }
    let field = power + bias(to);
    if field >= (1 << to.exponent_bits) - 1 {
        return infinity;
    }
    // Subnormal results keep fewer bits, and none when they are far too small.
    let lost = i64::from(from.mantissa_bits) - i64::from(to.mantissa_bits) + (1 - field).max(0);
    let rounded = match lost {
        ..=0 => significand << -lost,
        1..=62 => {
            let half = (1u64 << (lost - 1)) - 1 + (significand >> lost & 1);
            (significand + half) >> lost
        }
        _ => 0,
    };
    // A carry out of the mantissa raises the exponent, also from subnormal to normal, as it should.
    if field <= 0 { rounded } else { rounded + ((field as u64 - 1) << to.mantissa_bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(dtype: Dtype) -> Layout {
        layout(dtype).unwrap()
    }

    proptest! {
        /// Applying a difference must undo taking it, for any bits at all.
        #[test]
        fn differences_undo(target: u32, base: u32, grid_bits in 0u32..20) {
            for dtype in [Dtype::F32, Dtype::I32, Dtype::U32] {
                let order = Order::<u32>::new(dtype, grid_bits);
                let (targets, bases) = (Each::of(target >> grid_bits << grid_bits), Each::of(base));
                prop_assert_eq!(order.apply(&order.differences(&targets, &bases), &bases), targets);
            }
        }

        /// The cast is the one of the hardware where both exist.
        #[test]
        fn conversion_rounds_like_the_hardware(bits: u64) {
            let float = f64::from_bits(bits);
            prop_assume!(!float.is_nan());
            prop_assert_eq!(convert(bits, all(Dtype::F64), all(Dtype::F32)), u64::from((float as f32).to_bits()));
            let single = f32::from_bits(bits as u32);
            prop_assume!(!single.is_nan());
            prop_assert_eq!(convert(u64::from(single.to_bits()), all(Dtype::F32), all(Dtype::F64)), f64::from(single).to_bits());
        }
    }

    /// f32 subnormals and the border to infinity, which random doubles hardly meet.
    #[test]
    fn conversion_at_the_borders() {
        for value in [1e-40f64, 1.4e-45, 7e-46, 1.17549435e-38, 3.4028235e38, 3.4028236e38, 0.0, -0.0] {
            let found = convert(value.to_bits(), all(Dtype::F64), all(Dtype::F32));
            assert_eq!(found, u64::from((value as f32).to_bits()), "{value}");
        }
    }

    /// Every 16-bit float survives the way to f32 and back.
    #[test]
    fn widening_is_exact() {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            for bits in 0..=u16::MAX {
                let wide = convert(u64::from(bits), all(dtype), all(Dtype::F32));
                let back = convert(wide, all(Dtype::F32), all(dtype));
                let nan = f32::from_bits(wide as u32).is_nan();
                assert!(nan || back == u64::from(bits), "{dtype:?} {bits:04x}");
            }
        }
    }
}
