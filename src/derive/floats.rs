//! bf16, fp16 and f32 as f32 and back, rounded to the nearest, ties to even, as torch does.

use std::ops::Range;

use crate::format::Dtype;

/// A type whose every value is a value of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    F32,
    Bf16,
    F16,
}

impl Float {
    /// The type, if it is one of these.
    pub fn of(dtype: Dtype) -> Option<Float> {
        match dtype {
            Dtype::F32 => Some(Float::F32),
            Dtype::Bf16 => Some(Float::Bf16),
            Dtype::F16 => Some(Float::F16),
            _ => None,
        }
    }

    /// Bytes of a value.
    pub fn width(self) -> usize {
        if self == Float::F32 { 4 } else { 2 }
    }

    /// The type as others call it.
    pub fn dtype(self) -> Dtype {
        match self {
            Float::F32 => Dtype::F32,
            Float::Bf16 => Dtype::Bf16,
            Float::F16 => Dtype::F16,
        }
    }

    /// The value of the type that is nearest.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Float::F32 => value,
            Float::Bf16 => from_bf16(to_bf16(value)),
            Float::F16 => from_f16(to_f16(value)),
        }
    }

    /// The values of little-endian bytes.
    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Float::F32 => pieces(bytes).map(f32::from_le_bytes).collect(),
            Float::Bf16 => pieces(bytes).map(|raw| from_bf16(u16::from_le_bytes(raw))).collect(),
            Float::F16 => pieces(bytes).map(|raw| from_f16(u16::from_le_bytes(raw))).collect(),
        }
    }

    /// Whether some NaN came from arithmetic with bits that another processor might have chosen otherwise. Those of bf16
    /// are all written alike.
    pub(super) fn has_open_nan(self, bytes: &[u8]) -> bool {
        self != Float::Bf16 && self.values(bytes).iter().any(|value| value.is_nan())
    }

    /// The bytes of values, rounded.
    pub fn bytes(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * self.width()];
        self.write(values, &mut bytes);
        bytes
    }

    /// The same into a place that is as long.
    pub fn write(self, values: &[f32], out: &mut [u8]) {
        match self {
            Float::F32 => put(values, out, f32::to_le_bytes),
            Float::Bf16 => put(values, out, |value| to_bf16(value).to_le_bytes()),
            Float::F16 => put(values, out, |value| to_f16(value).to_le_bytes()),
        }
    }
}

/// Where `len` bytes from element `first` lie in a tensor; none if they don't, or end inside an element.
pub fn element_bytes(shape: &[u64], dtype: Dtype, first: u64, len: usize) -> Option<Range<usize>> {
    let width = dtype.width();
    let elements = shape.iter().try_fold(1u64, |elements, &len| elements.checked_mul(len))?;
    let tensor_bytes = usize::try_from(elements).ok()?.checked_mul(width)?;
    let start = usize::try_from(first).ok()?.checked_mul(width)?;
    let end = start.checked_add(len)?;
    (len.is_multiple_of(width) && end <= tensor_bytes).then_some(start..end)
}

fn pieces<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks().0.iter().copied()
}

fn put<const N: usize>(values: &[f32], out: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
    for (value, place) in values.iter().zip(out.as_chunks_mut().0) {
        *place = encode(*value);
    }
}

/// The value of a bf16.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fc0;
    }
    let bits = value.to_bits();
    let odd = bits >> 16 & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The value of an IEEE 754 binary16.
pub fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The value of an E4M3 as OCP defines it: no infinities, one NaN of each sign, and numbers up to 448 in their place.
pub fn from_e4m3(bits: u8) -> f32 {
    let (sign, size) = (u32::from(bits & 0x80) << 24, u32::from(bits & 0x7f));
    f32::from_bits(
        sign | match size {
            0x7f => 0x7fc0_0000,
            0..8 => (size as f32 * 2f32.powi(-9)).to_bits(),
            _ => (size << 20) + (120 << 23),
        },
    )
}

/// The E4M3 that is nearest, ties to even; what is beyond 464, where the next number would be, is its NaN.
pub(super) fn to_e4m3(value: f32) -> u8 {
    const TOO_LARGE: f32 = 464.0;
    const SMALLEST_NORMAL: f32 = 0.015_625;
    let size = value.abs();
    if size.is_nan() {
        return 0x7f;
    }
    let bits = size.to_bits();
    (value.to_bits() >> 24 & 0x80) as u8
        | if size > TOO_LARGE {
            0x7f
        } else if size >= SMALLEST_NORMAL {
            ((bits + 0x7_ffff + (bits >> 20 & 1) - (120 << 23)) >> 20) as u8
        } else {
            // The processor rounds: 2^14 has the spacing of small numbers, 2^-9.
            ((size + 16384.0).to_bits() - 16384f32.to_bits()) as u8
        }
}

/// The E5M2 that is nearest, ties to even.
pub(super) fn to_e5m2(value: f32) -> u8 {
    /// Halfway between the largest finite number and the next that there would be.
    const TOO_LARGE: f32 = 61440.0;
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
    let size = value.abs();
    if size.is_nan() {
        return 0x7f;
    }
    let bits = size.to_bits();
    (value.to_bits() >> 24 & 0x80) as u8
        | if size >= TOO_LARGE {
            0x7c
        } else if size >= SMALLEST_NORMAL {
            ((bits + 0xf_ffff + (bits >> 21 & 1) - (112 << 23)) >> 21) as u8
        } else {
            // As above, with a spacing of 2^-16.
            ((size + 128.0).to_bits() - 128f32.to_bits()) as u8
        }
}

fn to_f16(value: f32) -> u16 {
    /// Halfway between the largest finite number and the next that there would be.
    const TOO_LARGE: f32 = 65520.0;
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let size = value.abs();
    let bits = size.to_bits();
    sign | if size.is_nan() {
        0x7e00
    } else if size >= TOO_LARGE {
        0x7c00
    } else if size >= SMALLEST_NORMAL {
        let odd = bits >> 13 & 1;
        ((bits + 0xfff + odd - (112 << 23)) >> 13) as u16
    } else {
        // The processor rounds: 0.5 has the spacing of fp16's small numbers, 2^-24.
        ((size + 0.5).to_bits() - 0.5f32.to_bits()) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of weights, and what is approximated by them, is read by these.
    #[test]
    fn knows_the_small_formats() {
        assert_eq!([0x3c00, 0x0001, 0xfc00].map(from_f16), [1.0, 2f32.powi(-24), f32::NEG_INFINITY]);
        assert_eq!(from_bf16(0xbf80), -1.0);
        assert_eq!(
            [0x7e, 0x01, 0x08, 0xb8, 0x78].map(from_e4m3),
            [448.0, 2f32.powi(-9), 2f32.powi(-6), -1.0, 256.0]
        );
        assert!(from_e4m3(0xff).is_nan() && from_e4m3(0x7f).is_nan());
        assert_eq!(from_e4m3(0x80).to_bits(), (-0.0f32).to_bits());
    }

    /// Each number of eight bits comes back, and halfway goes to even.
    #[test]
    fn rounds_to_eight_bits() {
        type Kind = (fn(u8) -> f32, fn(f32) -> u8);
        let kinds: [Kind; 2] = [(from_e4m3, to_e4m3), (|bits| from_f16(u16::from(bits) << 8), to_e5m2)];
        for (from, to) in kinds {
            for bits in 0..=u8::MAX {
                let value = from(bits);
                assert!(value.is_nan() || to(value) == bits, "{bits:02x}");
                let next = from(bits.wrapping_add(1));
                if value.is_finite() && next.is_finite() && bits != 0x7f {
                    assert_eq!(to((value + next) / 2.0), bits + (bits & 1), "above {bits:02x}");
                }
            }
            assert_eq!(to(-f32::NAN), 0x7f, "all NaN are written alike");
        }
        assert_eq!([464.0, 464.1, f32::INFINITY].map(to_e4m3), [0x7e, 0x7f, 0x7f]);
        assert_eq!([61439.0, 61440.0, f32::NEG_INFINITY].map(to_e5m2), [0x7b, 0x7c, 0xfc]);
    }

    /// A merge is as exact as its rounding: each number of 16 bits comes back, and halfway goes to even.
    #[test]
    fn rounds_to_the_nearest() {
        for bits in 0..=u16::MAX {
            assert!(from_bf16(bits).is_nan() || to_bf16(from_bf16(bits)) == bits, "bf16 {bits:04x}");
            let half = from_f16(bits);
            assert!(half.is_nan() || to_f16(half) == bits, "f16 {bits:04x}");
            let next = from_f16(bits.wrapping_add(1));
            if half.is_finite() && next.is_finite() && bits != 0x7fff {
                let middle = ((f64::from(half) + f64::from(next)) / 2.0) as f32;
                assert_eq!(to_f16(middle), bits + (bits & 1), "above f16 {bits:04x}");
            }
        }
        assert_eq!([to_f16(65519.9), to_f16(65520.0), to_f16(-1e9)], [0x7bff, 0x7c00, 0xfc00]);
        assert_eq!([to_bf16(f32::MAX), to_bf16(f32::NAN)], [0x7f80, 0x7fc0]);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80, "halfway, to even");
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82, "halfway, to even");
    }
}
