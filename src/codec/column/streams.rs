//! The parts of a column as streams: numbers and bytes, each as the smallest of what can be tried.

use super::super::payload::{Reader, put_stream};
use super::super::{Codec, DecodeError, Effort, Encoded, zstd};
use crate::format::Dtype;
use crate::table::Values;

/// On the number of the codec: what is encoded are differences to the number before.
const DIFFERENCES: u8 = 0x80;
/// Above this, a slow zstd takes longer than anybody waits.
const SLOW_BYTES: usize = 1 << 20;

/// Appends numbers of `dtype`, without their count.
pub fn put_numbers(out: &mut Vec<u8>, bytes: &[u8], dtype: Dtype, effort: Effort) {
    let mut best = super::super::encode(bytes, dtype, 0, &[], effort);
    let mut tag = best.codec as u8;
    let mut offer = |found: Encoded, flags: u8| {
        if found.payload.len() < best.payload.len() {
            tag = found.codec as u8 | flags;
            best = found;
        }
    };
    // Codes and levels repeat each other, which codecs of numbers don't see.
    let slow = zstd::compress(bytes, level(bytes.len(), effort));
    offer(Encoded { codec: Codec::Zstd, payload: slow }, 0);
    if matches!(dtype, Dtype::U32 | Dtype::I32 | Dtype::I64 | Dtype::U64) && bytes.len() > dtype.width() {
        let differences = differences(bytes, dtype.width());
        offer(super::super::encode(&differences, dtype, 0, &[], effort), DIFFERENCES);
    }
    out.push(tag);
    put_stream(out, &best.payload);
}

/// How long zstd may take for so many bytes.
fn level(len: usize, effort: Effort) -> i32 {
    match effort {
        Effort::Repack => 19,
        Effort::Push if len <= SLOW_BYTES => 12,
        Effort::Push => 6,
    }
}

/// Takes what `put_numbers` wrote of `len` bytes.
pub fn take_numbers(reader: &mut Reader<'_>, len: usize, dtype: Dtype) -> Result<Vec<u8>, DecodeError> {
    let tag = reader.byte("codec of numbers")?;
    let codec = Codec::from_tag(tag & !DIFFERENCES).filter(|codec| !codec.needs_base());
    let codec = codec.filter(|codec| *codec != Codec::Column);
    let codec = codec.ok_or(DecodeError::Invalid { what: "codec of numbers" })?;
    let mut bytes = super::super::decode(codec, reader.stream("numbers")?, &[], len)?;
    if tag & DIFFERENCES != 0 {
        sum_up(&mut bytes, dtype.width());
    }
    Ok(bytes)
}

fn differences(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut last = 0u64;
    for number in bytes.chunks_exact(width).map(wide) {
        out.extend_from_slice(&number.wrapping_sub(last).to_le_bytes()[..width]);
        last = number;
    }
    out
}

fn sum_up(bytes: &mut [u8], width: usize) {
    let mut last = 0u64;
    for number in bytes.chunks_exact_mut(width) {
        last = last.wrapping_add(wide(number));
        number.copy_from_slice(&last.to_le_bytes()[..width]);
    }
}

fn wide(number: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..number.len()].copy_from_slice(number);
    u64::from_le_bytes(bytes)
}

/// Appends bytes that resemble `context`, without their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8], context: &[u8], effort: Effort) {
    put_stream(out, &zstd::patch_at(bytes, context, level(bytes.len(), effort)));
}

pub fn take_bytes(reader: &mut Reader<'_>, len: usize, context: &[u8]) -> Result<Vec<u8>, DecodeError> {
    zstd::decompress_patch(reader.stream("bytes")?, context, len)
}

/// Appends values, without their count; those of any length may resemble `context`.
pub fn put_values(out: &mut Vec<u8>, values: &Values, dtype: Dtype, context: &[u8], effort: Effort) {
    match values {
        Values::Fixed { bytes, .. } => put_numbers(out, bytes, dtype, effort),
        Values::Variable { ends, bytes } => {
            let mut last = 0;
            let lens: Vec<u8> = ends
                .iter()
                .flat_map(|end| (end - std::mem::replace(&mut last, *end)).to_le_bytes())
                .collect();
            put_numbers(out, &lens, Dtype::U32, effort);
            put_bytes(out, bytes, context, effort);
        }
    }
}

/// Takes `count` values of the layout of `none`.
pub fn take_values(
    reader: &mut Reader<'_>,
    none: Values,
    count: usize,
    dtype: Dtype,
    context: &[u8],
) -> Result<Values, DecodeError> {
    let limit = |len: Option<usize>| {
        len.filter(|len| *len <= super::MAX_BYTES).ok_or(DecodeError::Invalid { what: "count of values" })
    };
    Ok(match none {
        Values::Fixed { width, .. } => {
            let len = limit(count.checked_mul(width))?;
            Values::Fixed { width, bytes: take_numbers(reader, len, dtype)? }
        }
        Values::Variable { .. } => {
            let lens = take_numbers(reader, limit(count.checked_mul(4))?, Dtype::U32)?;
            let mut end = 0u64;
            let ends: Option<Vec<u32>> = lens
                .chunks_exact(4)
                .map(|len| {
                    end += wide(len);
                    u32::try_from(end).ok()
                })
                .collect();
            let ends = ends.ok_or(DecodeError::Invalid { what: "lengths of values" })?;
            let bytes = take_bytes(reader, limit(Some(end as usize))?, context)?;
            Values::Variable { ends, bytes }
        }
    })
}
