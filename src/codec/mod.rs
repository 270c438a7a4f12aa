//! How one object is encoded: alone, or as a difference to a base.
//!
//! `encode` tries what can win and takes the smallest by real size; nothing is ever larger than the
//! bytes themselves. Payloads describe themselves. Byte layout: docs/format.md, "Payloads".

mod binary;
mod bits;
mod bytes;
mod cells;
pub mod column;
mod context;
pub mod copies;
mod decayed;
mod deltas;
pub mod derived;
pub mod filtered;
mod fit;
mod hint;
mod lanes;
pub mod lossy;
mod lowrank;
mod measured;
mod order;
mod packed;
pub mod pages;
mod payload;
pub mod plain;
mod planes;
mod ppmd;
mod previous;
mod product;
mod quantised;
mod rans;
mod rare;
mod samples;
mod shifts;
mod sniff;
pub mod sorted;
pub mod stream;
mod symbol;
mod table;
#[cfg(test)]
mod tests;
mod ulp;
pub mod unpacked;
pub mod zstd;

use crate::format::Dtype;

use product::Search;

pub use lanes::{Kind as Machine, on_each_kind};
pub use stream::MOST_STREAM_BYTES;
pub use ulp::may_be_resized;

/// How a payload is encoded: its number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// The bytes themselves.
    Raw = 0,
    Zstd = 1,
    /// Numbers alone, byte plane by byte plane.
    Planes = 2,
    /// Numbers as differences to the base, in units of the last place.
    Ulp = 3,
    /// zstd with the base as dictionary.
    ZstdPatch = 4,
    /// Numbers as steps from the base, of an approximation that somebody asked for (see `lossy`).
    Quantised = 5,
    /// A matrix as a product beside the base, of such an approximation.
    LowRank = 6,
    /// By a rule from other objects (see `derived`).
    Derived = 7,
    /// As `Ulp`, with tables by what the base's own base was as well.
    UlpChain = 8,
    /// What another program packed, by what it is when it is unpacked (see `packed`).
    Packed = 9,
    /// Pages of a table, by the cells that they hold (see `pages`).
    Pages = 10,
    /// Cells of a table's column alone (see `column`).
    Column = 11,
    /// Cells by the rows of others.
    ColumnRows = 12,
    /// A map of the rows of a table that was sorted (see `sorted`).
    Sorted = 13,
    /// Cells, from pages that are stored as they are (see `unpacked`).
    Unpacked = 14,
    /// Copies from several bases, and what stands between them (see `copies`).
    Copies = 16,
    /// What another program compressed as a whole, by what it holds (see `stream`).
    Stream = 17,
    /// A map of the rows that are left of a table (see `filtered`).
    Filtered = 18,
    /// As `Ulp`, to a base of which some rows decayed first (see `decayed`).
    Decayed = 19,
    /// Cells by those of another column in the same rows.
    ColumnBeside = 20,
    /// As `Ulp`, with what a few outer products let expect of each difference.
    UlpProduct = 21,
    /// As `UlpChain`, with whole units of what a product lets expect.
    UlpProductChain = 22,
    /// What a compressed stream holds that is stored as it is (see `plain`).
    Plain = 23,
}

/// An encoded object.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub codec: Codec,
    pub payload: Vec<u8>,
}

/// The decoded bytes of a base, and what they are.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    pub bytes: &'a [u8],
    pub dtype: Dtype,
}

/// How much time an encoder may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Somebody waits.
    Push,
    /// All that can win is tried.
    Repack,
    /// What is read slowly as well: of a file that is small as a whole.
    Small,
}

/// Why a payload does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{what}: expected {expected} bytes, found {found}")]
    Truncated { what: &'static str, expected: usize, found: usize },
    #[error("{what}: expected {expected}, found {found}")]
    Length { what: &'static str, expected: usize, found: usize },
    #[error("{what} is malformed")]
    Invalid { what: &'static str },
    #[error("it needs a base, and there is none")]
    NoBase,
}

/// Smaller objects are not worth a look at what their numbers are.
const MIN_SNIFF_BYTES: usize = 4096;
/// A delta above this share of the bytes is compared with having no base at all,
const DOUBTFUL: f64 = 0.5;
/// unless it is below this share of what a sample says that would take.
const CLEAR: f64 = 0.95;
/// Copies that take less than this share of the bytes are compared with nothing.
const CLEAR_COPIES: f64 = 1.0 / 64.0;

/// A slow zstd is tried when a fast one, on a piece of this many bytes,
const HOPE_BYTES: usize = 128 << 10;
/// comes this near to what is best so far. A slow one on the piece would take longer than all the rest.
const HOPE: f64 = 0.75;

impl Base<'_> {
    /// The same, of this type where its own is not known.
    fn or_of(self, dtype: Dtype) -> Self {
        if self.dtype == Dtype::Bytes { Base { dtype, ..self } } else { self }
    }
}

impl Codec {
    pub const fn from_tag(tag: u8) -> Option<Codec> {
        Some(match tag {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            2 => Codec::Planes,
            3 => Codec::Ulp,
            4 => Codec::ZstdPatch,
            5 => Codec::Quantised,
            6 => Codec::LowRank,
            7 => Codec::Derived,
            8 => Codec::UlpChain,
            9 => Codec::Packed,
            10 => Codec::Pages,
            11 => Codec::Column,
            12 => Codec::ColumnRows,
            13 => Codec::Sorted,
            14 => Codec::Unpacked,
            16 => Codec::Copies,
            17 => Codec::Stream,
            18 => Codec::Filtered,
            19 => Codec::Decayed,
            20 => Codec::ColumnBeside,
            21 => Codec::UlpProduct,
            22 => Codec::UlpProductChain,
            23 => Codec::Plain,
            _ => return None,
        })
    }

    /// Whether a payload decodes only together with a base.
    pub const fn needs_base(self) -> bool {
        self.bases() > 0
    }

    /// Whether a payload tells how far each number went from its base.
    pub const fn is_step(self) -> bool {
        matches!(
            self,
            Codec::Ulp | Codec::UlpChain | Codec::UlpProduct | Codec::UlpProductChain | Codec::Decayed
        )
    }

    /// How many bases a payload decodes with, at least: the base, and its own base; the sources of a rule.
    pub const fn bases(self) -> usize {
        match self {
            Codec::Raw | Codec::Zstd | Codec::Planes | Codec::Column => 0,
            Codec::Ulp
            | Codec::UlpProduct
            | Codec::Decayed
            | Codec::ZstdPatch
            | Codec::Quantised
            | Codec::LowRank => 1,
            Codec::UlpChain | Codec::UlpProductChain => 2,
            Codec::Derived
            | Codec::Packed
            | Codec::Pages
            | Codec::ColumnRows
            | Codec::ColumnBeside
            | Codec::Sorted
            | Codec::Filtered
            | Codec::Unpacked
            | Codec::Plain => 1,
            Codec::Copies | Codec::Stream => 1,
        }
    }
}

/// Encodes an object of numbers of `dtype` in rows of `row_len` (0: none), against `bases` if that pays:
/// its base, and behind it what this was made of, where both are known.
pub fn encode(bytes: &[u8], dtype: Dtype, row_len: u64, bases: &[Base<'_>], effort: Effort) -> Encoded {
    encode_sample(bytes, dtype, row_len, bases, effort, 1)
}

/// Like `encode`, where each row stands for `times` rows of a matrix whose size is to be found out.
pub fn encode_sample(
    bytes: &[u8],
    dtype: Dtype,
    row_len: u64,
    bases: &[Base<'_>],
    effort: Effort,
    times: usize,
) -> Encoded {
    let dtype = match dtype {
        Dtype::Bytes if bytes.len() >= MIN_SNIFF_BYTES => sniff::sniff(bytes).unwrap_or(Dtype::Bytes),
        known => known,
    };
    let mut best: Option<Encoded> = None;
    let mut offer = |codec, payload: Vec<u8>| {
        let size = best.as_ref().map_or(bytes.len(), |best| best.payload.len());
        if payload.len() < size {
            best = Some(Encoded { codec, payload });
        }
        size.min(best.as_ref().map_or(size, |best| best.payload.len())) as f64
    };
    candidates(bytes, dtype, row_len, bases, Search { effort, times }, &mut offer);
    best.unwrap_or_else(|| Encoded { codec: Codec::Raw, payload: bytes.to_vec() })
}

/// Offers what can win; an offer answers with the size of the best one so far.
fn candidates(
    bytes: &[u8],
    dtype: Dtype,
    row_len: u64,
    bases: &[Base<'_>],
    search: Search,
    offer: &mut dyn FnMut(Codec, Vec<u8>) -> f64,
) {
    let effort = search.effort;
    if dtype == Dtype::Bytes {
        let copies = bases.first().and_then(|base| copies::encode(bytes, &[base.bytes], effort));
        let copies = copies.map(|copies| offer(copies.codec, copies.payload));
        if effort == Effort::Push && copies.is_some_and(|size| size < CLEAR_COPIES * bytes.len() as f64) {
            return;
        }
        let base = bases.first().filter(|base| base.bytes.len() <= zstd::MAX_DICTIONARY_BYTES);
        if let Some(patch) = base.and_then(|base| zstd::compress_patch(bytes, base.bytes, effort)) {
            offer(Codec::ZstdPatch, patch);
        }
        offer(Codec::Zstd, zstd::compress(bytes, zstd::level_for(bytes, effort)));
        return;
    }
    let all = bytes.len() as f64;
    let [base, previous] = [0, 1].map(|place| bases.get(place).map(|base| base.or_of(dtype)));
    let delta = base.and_then(|base| {
        decayed::encode(bytes, dtype, row_len, base)
            .or_else(|| ulp::encode(bytes, dtype, row_len, base, previous, Some(search)))
    });
    let found_product =
        delta.as_ref().is_some_and(|delta| matches!(delta.codec, Codec::UlpProduct | Codec::UlpProductChain));
    let mut delta = delta.map(|Encoded { codec, payload }| offer(codec, payload));
    // Each for itself, too: fractions of what a product lets expect may say more than the step before, or less.
    if effort != Effort::Push
        && found_product
        && let Some(base) = base
    {
        let alone = previous.and_then(|_| ulp::encode(bytes, dtype, row_len, base, None, Some(search)));
        let others = [alone, ulp::encode(bytes, dtype, row_len, base, previous, None)];
        for Encoded { codec, payload } in others.into_iter().flatten() {
            delta = Some(offer(codec, payload));
        }
    }
    let clear = |size| size < DOUBTFUL * all || size < CLEAR * planes::estimate(bytes, dtype);
    if effort == Effort::Push && delta.is_some_and(clear) {
        return;
    }
    let size = offer(Codec::Planes, planes::encode(bytes, dtype));
    // Arrays that are no noise, such as indices and masks, are for zstd.
    let hopeful = match effort {
        Effort::Push => size > 0.9 * all || size < 0.3 * all,
        Effort::Repack | Effort::Small => size > HOPE * zstd_share(bytes) * all,
    };
    if hopeful {
        offer(Codec::Zstd, zstd::compress(bytes, zstd::level(effort)));
    }
}

/// What a fast zstd makes of a piece from the middle, as a share of it.
fn zstd_share(bytes: &[u8]) -> f64 {
    let start = bytes.len().saturating_sub(HOPE_BYTES) / 2;
    let piece = &bytes[start..bytes.len().min(start + HOPE_BYTES)];
    zstd::compress(piece, zstd::level(Effort::Push)).len() as f64 / piece.len().max(1) as f64
}

/// Decodes to exactly `decoded_len` bytes with as many `bases` as the codec needs, in the order in which
/// `encode` had them; allocates that, twice as much more for each base that has to be converted and
/// rounded first, and a little.
pub fn decode(
    codec: Codec,
    payload: &[u8],
    bases: &[&[u8]],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let base = |place: usize| bases.get(place).copied().ok_or(DecodeError::NoBase);
    match codec {
        Codec::Raw if payload.len() == decoded_len => Ok(payload.to_vec()),
        Codec::Raw => {
            Err(DecodeError::Length { what: "raw bytes", expected: decoded_len, found: payload.len() })
        }
        Codec::Zstd => zstd::decompress(payload, decoded_len),
        Codec::Planes => planes::decode(payload, decoded_len),
        Codec::Ulp => ulp::decode(payload, base(0)?, ulp::Beside::Nothing, decoded_len),
        Codec::UlpChain => ulp::decode(payload, base(0)?, ulp::Beside::Previous(base(1)?), decoded_len),
        Codec::UlpProduct => ulp::decode(payload, base(0)?, ulp::Beside::Product, decoded_len),
        Codec::UlpProductChain => ulp::decode(payload, base(0)?, ulp::Beside::Both(base(1)?), decoded_len),
        Codec::Decayed => decayed::decode(payload, base(0)?, decoded_len),
        Codec::LowRank => lowrank::decode(payload, base(0)?, decoded_len),
        Codec::Quantised => quantised::decode(payload, base(0)?, decoded_len),
        Codec::Derived => derived::decode(payload, bases, decoded_len),
        Codec::Packed => packed::decode(payload, base(0)?, decoded_len),
        Codec::Pages => pages::decode(payload, bases, decoded_len),
        Codec::Column => column::decode(payload, decoded_len),
        Codec::ColumnRows => column::decode_rows(payload, bases, decoded_len),
        Codec::ColumnBeside => column::decode_beside(payload, bases, decoded_len),
        Codec::Sorted => sorted::decode(payload, bases, decoded_len),
        Codec::Filtered => filtered::decode(payload, bases, decoded_len),
        Codec::Stream => stream::decode(payload, bases, decoded_len),
        Codec::Copies => copies::decode(payload, bases, decoded_len),
        Codec::Unpacked => unpacked::decode(payload, bases, decoded_len),
        Codec::Plain => plain::decode(payload, base(0)?, decoded_len),
        Codec::ZstdPatch => zstd::decompress_patch(payload, base(0)?, decoded_len),
    }
}
