//! Raw bytes as numbers, exactly enough to measure differences.

use crate::derive::{from_bf16, from_e4m3, from_f16};
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
        Dtype::F8E4M3 => Box::new(bytes.iter().map(|byte| f64::from(from_e4m3(*byte)))),
        Dtype::F8E5M2 => Box::new(bytes.iter().map(|byte| f64::from(from_f16(u16::from(*byte) << 8)))),
        Dtype::U16 => Box::new(of(bytes).map(|raw| f64::from(u16::from_le_bytes(raw)))),
        Dtype::I16 => Box::new(of(bytes).map(|raw| f64::from(i16::from_le_bytes(raw)))),
        Dtype::F16 => Box::new(of(bytes).map(|raw| f64::from(from_f16(u16::from_le_bytes(raw))))),
        Dtype::Bf16 => Box::new(of(bytes).map(|raw| f64::from(from_bf16(u16::from_le_bytes(raw))))),
        Dtype::U32 => Box::new(of(bytes).map(|raw| f64::from(u32::from_le_bytes(raw)))),
        Dtype::I32 => Box::new(of(bytes).map(|raw| f64::from(i32::from_le_bytes(raw)))),
        Dtype::F32 => Box::new(of(bytes).map(|raw| f64::from(f32::from_le_bytes(raw)))),
        Dtype::U64 => Box::new(of(bytes).map(|raw| u64::from_le_bytes(raw) as f64)),
        Dtype::I64 => Box::new(of(bytes).map(|raw| i64::from_le_bytes(raw) as f64)),
        Dtype::F64 => Box::new(of(bytes).map(f64::from_le_bytes)),
    })
}
