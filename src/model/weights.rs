//! Raw bytes as numbers, exactly enough to measure differences.

use crate::format::Dtype;

/// The elements of `bytes` as 64-bit floats; `None` for types that are no numbers.
pub fn values(bytes: &[u8], dtype: Dtype) -> Option<Box<dyn Iterator<Item = f64> + '_>> {
    fn of<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
        bytes.chunks_exact(N).map(|raw| raw.try_into().expect("because chunks have N bytes"))
    }
    Some(match dtype {
        Dtype::Bytes => return None,
        Dtype::U8 => Box::new(bytes.iter().map(|byte| f64::from(*byte))),
        Dtype::I8 => Box::new(bytes.iter().map(|byte| f64::from(*byte as i8))),
        Dtype::F8E4M3 => Box::new(bytes.iter().map(|byte| e4m3(*byte))),
        Dtype::F8E5M2 => Box::new(bytes.iter().map(|byte| half(u16::from(*byte) << 8))),
        Dtype::U16 => Box::new(of(bytes).map(|raw| f64::from(u16::from_le_bytes(raw)))),
        Dtype::I16 => Box::new(of(bytes).map(|raw| f64::from(i16::from_le_bytes(raw)))),
        Dtype::F16 => Box::new(of(bytes).map(|raw| half(u16::from_le_bytes(raw)))),
        Dtype::Bf16 => Box::new(of(bytes).map(|raw| bf16(u16::from_le_bytes(raw)))),
        Dtype::U32 => Box::new(of(bytes).map(|raw| f64::from(u32::from_le_bytes(raw)))),
        Dtype::I32 => Box::new(of(bytes).map(|raw| f64::from(i32::from_le_bytes(raw)))),
        Dtype::F32 => Box::new(of(bytes).map(|raw| f64::from(f32::from_le_bytes(raw)))),
        Dtype::U64 => Box::new(of(bytes).map(|raw| u64::from_le_bytes(raw) as f64)),
        Dtype::I64 => Box::new(of(bytes).map(|raw| i64::from_le_bytes(raw) as f64)),
        Dtype::F64 => Box::new(of(bytes).map(f64::from_le_bytes)),
    })
}

fn bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// IEEE 754 binary16, exactly.
pub fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// OCP 8-bit floating point E4M3: no infinities, one NaN.
fn e4m3(bits: u8) -> f64 {
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    sign * match (exponent, bits & 7) {
        (15, 7) => f64::NAN,
        (0, _) => mantissa / 8.0 * 2f64.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that a diff shows are read from these conversions: known values of each format.
    #[test]
    fn knows_the_small_formats() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0x0001), 2f64.powi(-24));
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
        assert_eq!(e4m3(0x7e), 448.0);
        assert_eq!(e4m3(0x01), 2f64.powi(-9));
        assert!(e4m3(0xff).is_nan());
        assert_eq!(bf16(0xbf80), -1.0);
    }
}
