//! zstd: for what is no array of numbers, alone or with the base as a dictionary.

use ::zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter};

use super::{DecodeError, Effort};

/// log2 of the largest window that a frame may ask for: memory of the decoder.
const MAX_WINDOW_BITS: u32 = 24;
/// log2 of the smallest window that zstd knows.
const MIN_WINDOW_BITS: u32 = 10;
/// Bases beyond this are no dictionaries: their far end would lie outside the window.
pub(super) const MAX_DICTIONARY_BYTES: usize = 8 << 20;

/// What is long is judged by a piece of this many bytes.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// The level that searches least.
const FASTEST: i32 = 1;

/// One frame with its content size.
pub fn compress(bytes: &[u8], level: i32) -> Vec<u8> {
    ::zstd::bulk::compress(bytes, level).expect("because compression into memory can't fail")
}

/// Exactly `decoded_len` bytes, or an error.
pub fn decompress(frame: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decompressor = ::zstd::bulk::Decompressor::new().map_err(|_| failed())?;
    decompressor.window_log_max(MAX_WINDOW_BITS).map_err(|_| failed())?;
    let bytes = decompressor.decompress(frame, decoded_len).map_err(|_| failed())?;
    of_length(bytes, decoded_len)
}

/// One frame that continues the base, which decodes with it even where zstd made nothing of it.
pub(super) fn patch(bytes: &[u8], base: &[u8], effort: Effort) -> Vec<u8> {
    patch_at(bytes, base, level(effort))
}

/// The same with a level.
pub(super) fn patch_at(bytes: &[u8], base: &[u8], level: i32) -> Vec<u8> {
    let base = &base[base.len().saturating_sub(MAX_DICTIONARY_BYTES)..];
    compress_after(bytes, base, level).unwrap_or_else(|| compress(bytes, level))
}

/// One frame that continues the base, or none where zstd would not.
///
/// The base is a prefix and not a dictionary: one that begins like a trained dictionary would be parsed.
pub(super) fn compress_patch(bytes: &[u8], base: &[u8], effort: Effort) -> Option<Vec<u8>> {
    compress_after(bytes, base, level(effort))
}

/// The same at any level.
pub(super) fn compress_after(bytes: &[u8], base: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    // All of the base is in reach, whatever the level's own window.
    let reach = (base.len() + bytes.len()).next_power_of_two().trailing_zeros();
    context.set_parameter(CParameter::WindowLog(reach.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS))).ok()?;
    context.ref_prefix(base).ok()?;
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut frame, bytes).ok()?;
    Some(frame)
}

pub(super) fn decompress_patch(
    frame: &[u8],
    base: &[u8],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_BITS)).map_err(|_| failed())?;
    context.ref_prefix(base).map_err(|_| failed())?;
    let mut bytes = Vec::with_capacity(decoded_len);
    context.decompress(&mut bytes, frame).map_err(|_| failed())?;
    of_length(bytes, decoded_len)
}

/// Compression levels: a push waits for it, a repack has time.
pub(super) fn level(effort: Effort) -> i32 {
    match effort {
        Effort::Push => 3,
        Effort::Repack | Effort::Small => 19,
    }
}

/// The level for bytes without a base. What has few matches, as hashes and numbers in text, is told by how often each byte
/// comes, and a search that finds some does harm: a push asks a piece.
pub(super) fn level_for(bytes: &[u8], effort: Effort) -> i32 {
    let level = level(effort);
    if effort != Effort::Push {
        return level;
    }
    let [fastest, fast] = [FASTEST, level].map(|level| compress(middle(bytes), level).len());
    if fastest <= fast { FASTEST } else { level }
}

/// A piece from the middle of what is long; aligned to the widest type.
pub(super) fn middle(bytes: &[u8]) -> &[u8] {
    let start = bytes.len().saturating_sub(PIECE_BYTES) / 2 / 8 * 8;
    &bytes[start..bytes.len().min(start + PIECE_BYTES)]
}

fn of_length(bytes: Vec<u8>, expected: usize) -> Result<Vec<u8>, DecodeError> {
    match bytes.len() == expected {
        true => Ok(bytes),
        false => Err(DecodeError::Length { what: "zstd frame", expected, found: bytes.len() }),
    }
}

fn failed() -> DecodeError {
    DecodeError::Invalid { what: "zstd frame" }
}
