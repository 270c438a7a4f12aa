//! FM-Delta: the difference of two numbers as integers in order; its sign and the place of its highest
//! bit go through an adaptive range coder, the bits below that stay as they are.
//!
//! From the description in Ning et al., "FM-Delta: Lossless Compression for Storing Massive Fine-tuned
//! Foundation Models" (NeurIPS 2024), whose coder is that of fpzip (Lindstrom and Isenburg 2006).

use super::range_coder::{BitReader, BitWriter, Decoder, Encoder, Model};

/// A difference of 0, or a sign and one of 32 places.
const SYMBOLS: usize = 1 + 2 * 32;

/// `target` and `base` are of one length, in floats of `width` 2 or 4 bytes.
pub fn encode(target: &[u8], base: &[u8], width: usize) -> Vec<u8> {
    match width {
        2 => encode_all(ordered_16(target), ordered_16(base)),
        _ => encode_all(ordered_32(target), ordered_32(base)),
    }
}

/// The inverse of [`encode`].
pub fn decode(bytes: &[u8], base: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(base.len());
    match width {
        2 => decode_all(bytes, ordered_16(base), |number| {
            let number = number as u16;
            let bits = if number >> 15 == 1 { number ^ 1 << 15 } else { !number };
            out.extend(bits.to_le_bytes());
        }),
        _ => decode_all(bytes, ordered_32(base), |number| {
            let bits = if number >> 31 == 1 { number ^ 1 << 31 } else { !number };
            out.extend(bits.to_le_bytes());
        }),
    }
    out
}

/// Bit patterns such that larger floats are larger integers.
fn ordered_16(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|bytes| {
        let bits = u16::from_le_bytes(*bytes);
        u32::from(if bits >> 15 == 0 { bits ^ 1 << 15 } else { !bits })
    })
}

fn ordered_32(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|bytes| {
        let bits = u32::from_le_bytes(*bytes);
        if bits >> 31 == 0 { bits ^ 1 << 31 } else { !bits }
    })
}

/// Both streams, after the length of the first.
fn encode_all(target: impl Iterator<Item = u32>, base: impl Iterator<Item = u32>) -> Vec<u8> {
    let (mut coder, mut raw) = (Encoder::default(), BitWriter::default());
    let mut model = Model::new(SYMBOLS);
    for (target, base) in target.zip(base) {
        let size = target.abs_diff(base);
        if size == 0 {
            coder.put(&mut model, 0);
            continue;
        }
        let place = size.ilog2();
        coder.put(&mut model, 1 + 2 * place as usize + usize::from(target < base));
        raw.put(size - (1 << place), place);
    }
    let (coded, raw) = (coder.finish(), raw.finish());
    [&(coded.len() as u32).to_le_bytes(), &coded[..], &raw].concat()
}

fn decode_all(bytes: &[u8], base: impl Iterator<Item = u32>, mut each: impl FnMut(u32)) {
    let (len, rest) = bytes.split_first_chunk().expect("because we encoded it");
    let (coded, raw) = rest.split_at(u32::from_le_bytes(*len) as usize);
    let (mut coder, mut raw) = (Decoder::new(coded), BitReader::new(raw));
    let mut model = Model::new(SYMBOLS);
    for base in base {
        let symbol = coder.get(&mut model);
        if symbol == 0 {
            each(base);
            continue;
        }
        let place = (symbol as u32 - 1) / 2;
        let size = (1 << place) + raw.get(place);
        each(if symbol % 2 == 1 { base + size } else { base - size });
    }
}
