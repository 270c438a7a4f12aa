//! A string of bytes whose order says nothing: kept raw, as one value, or by how often each comes.
//!
//! Planes of numbers and bitmaps are coded with it. The first byte is the method, with the lane bits
//! of rANS above it.

use std::borrow::Cow;

use super::DecodeError;
use super::binary::{BinaryDecoder, BinaryEncoder};
use super::payload::{Reader, put_stream};
use super::rans::{self, GROUP, MAX_LANE_BITS};
use super::table::{self, TableModels};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const RANS: u8 = 2;
const METHOD_MASK: u8 = 0x0f;
const LANE_BITS_SHIFT: u32 = 4;

/// Appends `bytes` by the method that takes least.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let counts = counts(bytes);
    if let Some(&first) = bytes.first()
        && counts[usize::from(first)] as usize == bytes.len()
    {
        out.extend_from_slice(&[CONSTANT, first]);
        return;
    }
    let start = out.len();
    if may_shrink(&counts, bytes.len()) {
        encode_rans(bytes, &counts, out);
        if out.len() - start <= bytes.len() {
            return;
        }
        out.truncate(start);
    }
    out.push(RAW);
    out.extend_from_slice(bytes);
}

fn encode_rans(bytes: &[u8], counts: &[u32; 256], out: &mut Vec<u8>) {
    let (mut levels, frequencies) = table::best(counts);
    let mut side = BinaryEncoder::new();
    levels.code(&mut side, &mut TableModels::new());
    let lane_bits = rans::lane_bits(bytes.len());
    out.push(RANS | (lane_bits as u8) << LANE_BITS_SHIFT);
    put_stream(out, &side.finish());
    let symbols: Vec<u16> = bytes.iter().map(|&byte| rans::tagged(0, byte)).collect();
    rans::encode(&symbols, &[frequencies], lane_bits, out);
}

/// The next `len` bytes.
pub(super) fn decode<'a>(reader: &mut Reader<'a>, len: usize) -> Result<Cow<'a, [u8]>, DecodeError> {
    let method = reader.byte("method")?;
    match method & METHOD_MASK {
        RAW if method == RAW => Ok(Cow::Borrowed(reader.take(len, "raw bytes")?)),
        CONSTANT if method == CONSTANT => Ok(Cow::Owned(vec![reader.byte("constant")?; len])),
        RANS => decode_rans(reader, u32::from(method >> LANE_BITS_SHIFT), len).map(Cow::Owned),
        _ => Err(DecodeError::Invalid { what: "method" }),
    }
}

fn decode_rans(reader: &mut Reader, lane_bits: u32, len: usize) -> Result<Vec<u8>, DecodeError> {
    if lane_bits > MAX_LANE_BITS {
        return Err(DecodeError::Invalid { what: "lane bits" });
    }
    let side = reader.stream("frequency table")?;
    let frequencies = table::read(&mut BinaryDecoder::new(side), &mut TableModels::new())?;
    let slots = rans::Slots::new(&[frequencies]);
    let mut decoder = rans::Decoder::new(reader, lane_bits)?;
    let mut out = vec![0; len];
    let mut groups = out.chunks_exact_mut(GROUP);
    for group in &mut groups {
        let group = group.try_into().expect("because groups have one length");
        decoder.group(&slots, &[0; GROUP], group)?;
    }
    let rest = groups.into_remainder();
    let mut last = [0; GROUP];
    decoder.part(&slots, &[0; GROUP], &mut last, rest.len())?;
    rest.copy_from_slice(&last[..rest.len()]);
    decoder.end()?;
    Ok(out)
}

/// How often each byte comes.
fn counts(bytes: &[u8]) -> [u32; 256] {
    // Four tables, because increments of one counter wait for each other.
    let mut tables = [[0u32; 256]; 4];
    let mut quads = bytes.chunks_exact(4);
    for quad in &mut quads {
        for (table, &byte) in tables.iter_mut().zip(quad) {
            table[usize::from(byte)] += 1;
        }
    }
    quads.remainder().iter().for_each(|&byte| tables[0][usize::from(byte)] += 1);
    std::array::from_fn(|byte| tables.iter().map(|table| table[byte]).sum())
}

/// Whether the entropy of the counts leaves anything to gain: most mantissas are noise.
fn may_shrink(counts: &[u32; 256], len: usize) -> bool {
    let total = len as f64;
    let present = counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count));
    let bits: f64 = present.map(|count| count * (total / count).log2()).sum();
    bits / 8.0 < total * 0.997
}
