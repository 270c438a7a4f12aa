//! zstd: for what is no array of numbers, alone or with the base as a dictionary.

use super::{DecodeError, Effort};

/// log2 of the largest window that a frame may ask for: memory of the decoder.
const MAX_WINDOW_BITS: u32 = 24;
/// Bases beyond this are no dictionaries: their far end would lie outside the window.
pub(super) const MAX_DICTIONARY_BYTES: usize = 8 << 20;

/// One frame with its content size.
pub fn compress(bytes: &[u8], level: i32) -> Vec<u8> {
    ::zstd::bulk::compress(bytes, level).expect("because compression into memory can't fail")
}

/// Exactly `decoded_len` bytes, or an error.
pub fn decompress(frame: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decompressor = ::zstd::bulk::Decompressor::new().map_err(|_| failed())?;
    run(&mut decompressor, frame, decoded_len)
}

pub(super) fn compress_patch(bytes: &[u8], base: &[u8], effort: Effort) -> Vec<u8> {
    let compressor = ::zstd::bulk::Compressor::with_dictionary(level(effort), base);
    let frame = compressor.and_then(|mut compressor| compressor.compress(bytes));
    frame.expect("because compression into memory can't fail")
}

pub(super) fn decompress_patch(
    frame: &[u8],
    base: &[u8],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut decompressor = ::zstd::bulk::Decompressor::with_dictionary(base).map_err(|_| failed())?;
    run(&mut decompressor, frame, decoded_len)
}

/// Compression levels: a push waits for it, a repack has time.
pub(super) fn level(effort: Effort) -> i32 {
    match effort {
        Effort::Push => 3,
        Effort::Repack => 19,
    }
}

fn run(
    decompressor: &mut ::zstd::bulk::Decompressor<'_>,
    frame: &[u8],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    decompressor.window_log_max(MAX_WINDOW_BITS).map_err(|_| failed())?;
    let bytes = decompressor.decompress(frame, decoded_len).map_err(|_| failed())?;
    match bytes.len() == decoded_len {
        true => Ok(bytes),
        false => Err(DecodeError::Length { what: "zstd frame", expected: decoded_len, found: bytes.len() }),
    }
}

fn failed() -> DecodeError {
    DecodeError::Invalid { what: "zstd frame" }
}
