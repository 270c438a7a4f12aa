//! A pack: many objects' payloads in one immutable file, with a trailer that lists them.
//!
//! The trailer alone is enough to rebuild the index. A pack's id is the BLAKE3 of its trailer, and
//! the trailer binds every payload by checksum, so the id binds the whole file.
//! Byte layout: docs/format.md, "Packs".

mod bases;
mod reader;
mod writer;

pub use bases::{Bases, MAX_BASES};
pub use reader::{
    PackError, check_payload, check_written, copy_payload, read_payload, read_payload_at, read_records,
    read_trailer, read_trailer_at, read_unchecked, salvage_trailer,
};
pub use writer::{PackWriter, layout, sealed};

use crate::codec::Codec;
use crate::id::ObjectId;

const HEAD: &[u8; 8] = b"GSPACK01";
const FOOT: &[u8; 8] = b"GSPKEND1";
/// magic, record count, count of further bases.
const FOOTER_BYTES: usize = 16;
const RECORD_BYTES: usize = 100;
const ID_BYTES: usize = 32;

/// Longest chain of deltas that is read, whatever wrote it.
pub const MAX_DEPTH: u8 = 32;
/// Most decoded bytes of one object.
pub const MAX_OBJECT_BYTES: u32 = 32 << 20;

/// What a trailer says of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub object: ObjectId,
    /// The objects that this one is decoded with.
    pub bases: Bases,
    /// Where the payload starts in the pack.
    pub offset: u64,
    pub payload_len: u32,
    /// Decoded length.
    pub logical_len: u32,
    /// First half of the payload's BLAKE3.
    pub checksum: [u8; 16],
    pub codec: Codec,
    /// Steps to an object that needs no base; 0 for such an object.
    pub depth: u8,
}

/// Why a record can't be true.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("unknown codec {0}; update git-sparse")]
    Codec(u8),
    #[error("depth {depth} does not fit a record that {base}")]
    Depth { depth: u8, base: &'static str },
    #[error("it has more bases than its pack lists")]
    Bases,
    #[error("object of {0} bytes is over the limit of {MAX_OBJECT_BYTES}")]
    TooLong(u32),
}

impl Record {
    /// Of one record in a trailer.
    pub(crate) const BYTES: usize = RECORD_BYTES;

    /// The record, but for the bases behind the first: these stand elsewhere.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..32].copy_from_slice(self.object.as_bytes());
        if let Some(base) = self.bases.first() {
            out[32..64].copy_from_slice(base.as_bytes());
        }
        out[64..72].copy_from_slice(&self.offset.to_le_bytes());
        out[72..76].copy_from_slice(&self.payload_len.to_le_bytes());
        out[76..80].copy_from_slice(&self.logical_len.to_le_bytes());
        out[80..96].copy_from_slice(&self.checksum);
        out[96] = self.codec as u8;
        out[97] = self.depth;
        out[98] = self.further().len() as u8;
        out
    }

    /// The bases behind the first.
    pub(crate) fn further(&self) -> &[ObjectId] {
        self.bases.get(1..).unwrap_or_default()
    }

    /// Reads a record, and takes its bases behind the first from `further`.
    pub(crate) fn decode(bytes: &[u8; RECORD_BYTES], further: &mut &[u8]) -> Result<Record, RecordError> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("because 4 bytes"));
        let record = Record {
            object: id_of(&bytes[..32]),
            bases: decode_bases(&bytes[32..64], bytes[98], further)?,
            offset: u64::from_le_bytes(bytes[64..72].try_into().expect("because 8 bytes")),
            payload_len: u32_at(72),
            logical_len: u32_at(76),
            checksum: bytes[80..96].try_into().expect("because 16 bytes"),
            codec: Codec::from_tag(bytes[96]).ok_or(RecordError::Codec(bytes[96]))?,
            depth: bytes[97],
        };
        record.check()?;
        Ok(record)
    }

    /// What must hold of every record, when written and when read.
    fn check(&self) -> Result<(), RecordError> {
        let depth = self.depth;
        match self.bases.is_empty() {
            true if depth != 0 => return Err(RecordError::Depth { depth, base: "has no base" }),
            false if depth == 0 || depth > MAX_DEPTH => {
                return Err(RecordError::Depth { depth, base: "has a base" });
            }
            _ => {}
        }
        match self.logical_len > MAX_OBJECT_BYTES {
            true => Err(RecordError::TooLong(self.logical_len)),
            false => Ok(()),
        }
    }
}

/// The bases of a record: the first, unless it is zeros, and as many more from `further`.
fn decode_bases(first: &[u8], more: u8, further: &mut &[u8]) -> Result<Bases, RecordError> {
    let bytes = usize::from(more) * ID_BYTES;
    let (own, rest) = further.split_at_checked(bytes).ok_or(RecordError::Bases)?;
    *further = rest;
    let has_first = first != [0; ID_BYTES];
    if !has_first && more > 0 {
        return Err(RecordError::Bases);
    }
    let ids = has_first.then_some(first).into_iter().chain(own.chunks_exact(ID_BYTES)).map(id_of);
    Bases::of(ids).ok_or(RecordError::Bases)
}

fn id_of(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(bytes.try_into().expect("because an id has 32 bytes"))
}

/// True when a payload is the one that its record tells of.
pub fn matches(record: &Record, payload: &[u8]) -> bool {
    checksum(payload) == record.checksum
}

/// First half of the BLAKE3 of a payload.
pub fn checksum(payload: &[u8]) -> [u8; 16] {
    blake3::hash(payload).as_bytes()[..16].try_into().expect("because a hash has 32 bytes")
}
