//! A pack: many objects' payloads in one immutable file, with a trailer that lists them.
//!
//! The trailer alone is enough to rebuild the index. A pack's id is the BLAKE3 of its trailer, and
//! the trailer binds every payload by checksum, so the id binds the whole file.
//! Byte layout: docs/format.md, "Packs".

mod reader;
mod writer;

pub use reader::{PackError, check_payload, read_payload, read_trailer, read_unchecked, salvage_trailer};
pub use writer::PackWriter;

use crate::codec::Codec;
use crate::id::ObjectId;

const HEAD: &[u8; 8] = b"GSPACK01";
const FOOT: &[u8; 8] = b"GSPKEND1";
/// magic, record count, four zero bytes.
const FOOTER_BYTES: usize = 16;
const RECORD_BYTES: usize = 100;

/// Longest chain of deltas that is read, whatever wrote it.
pub const MAX_DEPTH: u8 = 32;
/// Most decoded bytes of one object.
pub const MAX_OBJECT_BYTES: u32 = 32 << 20;

/// What a trailer says of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub object: ObjectId,
    /// The object this one is a delta against.
    pub base: Option<ObjectId>,
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
    #[error("object of {0} bytes is over the limit of {MAX_OBJECT_BYTES}")]
    TooLong(u32),
}

impl Record {
    /// Of one record in a trailer.
    pub(crate) const BYTES: usize = RECORD_BYTES;

    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..32].copy_from_slice(self.object.as_bytes());
        if let Some(base) = &self.base {
            out[32..64].copy_from_slice(base.as_bytes());
        }
        out[64..72].copy_from_slice(&self.offset.to_le_bytes());
        out[72..76].copy_from_slice(&self.payload_len.to_le_bytes());
        out[76..80].copy_from_slice(&self.logical_len.to_le_bytes());
        out[80..96].copy_from_slice(&self.checksum);
        out[96] = self.codec as u8;
        out[97] = self.depth;
        out
    }

    pub(crate) fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Record, RecordError> {
        let hash = |at: usize| -> [u8; 32] { bytes[at..at + 32].try_into().expect("because 32 bytes") };
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("because 4 bytes"));
        let base = ObjectId::from_bytes(hash(32));
        let record = Record {
            object: ObjectId::from_bytes(hash(0)),
            base: (base.as_bytes() != &[0; 32]).then_some(base),
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
        match self.base {
            None if depth != 0 => return Err(RecordError::Depth { depth, base: "has no base" }),
            Some(_) if depth == 0 || depth > MAX_DEPTH => {
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

/// First half of the BLAKE3 of a payload.
fn checksum(payload: &[u8]) -> [u8; 16] {
    blake3::hash(payload).as_bytes()[..16].try_into().expect("because a hash has 32 bytes")
}
