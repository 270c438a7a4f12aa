//! Compressors, pinned by version: bytes that another program compressed come back from what they hold.
//!
//! A compressed page of a table, or a compressed file, changes as a whole where a cell changes. So it is
//! stored as what it holds, and as what packs that to the same bytes: a packer. The same library gives other
//! bytes in its next version; so each packer names what it reproduces, and keeps its number and its output
//! for ever. `tests/data/packing` has outputs of other programs, and fails when a packer changes.

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("packers give the bytes that they gave before only on 64-bit little-endian machines");

mod deflate;
mod find;
mod lz4;
mod lz4_frame;
mod preflate;
mod snappy;
mod zstd;

pub use deflate::{Deflate, Encoder, Kind, Wrapper};
pub use find::{find, find_like, find_stream, frame_bytes, unpack_stream};
pub use lz4::Lz4;
pub use lz4_frame::Lz4Frame;
pub use preflate::Preflate;
pub use snappy::Snappy;
pub use zstd::Zstd;

/// Nothing that holds more is unpacked: it bounds the memory that a lie can cost.
pub const MAX_PLAIN_BYTES: usize = 32 << 20;

/// What gives packed bytes back from plain ones, to the bit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Packer {
    Snappy(Snappy),
    Zstd(Zstd),
    Lz4(Lz4),
    Deflate(Deflate),
    Lz4Frame(Lz4Frame),
    Preflate(Preflate),
}

/// Bytes that are no whole stream of a format, or hold more than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not packed as {what}, or not to the length that is expected")]
pub struct NotPacked {
    what: &'static str,
}

/// Bytes that name no packer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown packer")]
pub struct Unknown;

// Numbers on disk. zstd's is that of 1.5.7: another version gets another number.
const SNAPPY: u8 = 1;
const ZSTD_1_5_7: u8 = 2;
const LZ4: u8 = 3;
const DEFLATE: u8 = 4;
const LZ4_FRAME: u8 = 5;
const PREFLATE: u8 = 6;

impl Packer {
    /// Its number, and its parameters; `decode` sees where they end.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Packer::Snappy(packer) => vec![SNAPPY, *packer as u8],
            Packer::Zstd(packer) => [&[ZSTD_1_5_7], packer.encode().as_slice()].concat(),
            Packer::Lz4(packer) => [&[LZ4], packer.encode().as_slice()].concat(),
            Packer::Deflate(packer) => {
                let mut bytes = vec![DEFLATE];
                packer.encode(&mut bytes);
                bytes
            }
            Packer::Lz4Frame(packer) => [&[LZ4_FRAME], packer.encode().as_slice()].concat(),
            Packer::Preflate(packer) => {
                let mut bytes = vec![PREFLATE];
                packer.encode(&mut bytes);
                bytes
            }
        }
    }

    /// The packer that `bytes` begin with, and what follows it.
    ///
    /// # Errors
    /// Numbers and parameters that no packer has.
    pub fn decode(bytes: &[u8]) -> Result<(Packer, &[u8]), Unknown> {
        let (&number, rest) = bytes.split_first().ok_or(Unknown)?;
        let two = || rest.split_first_chunk::<2>();
        let decoded = match number {
            SNAPPY => rest
                .split_first()
                .and_then(|(tag, rest)| Snappy::from_tag(*tag).map(|packer| (Packer::Snappy(packer), rest))),
            ZSTD_1_5_7 => two().and_then(|(parameters, rest)| {
                Zstd::decode(*parameters).map(|packer| (Packer::Zstd(packer), rest))
            }),
            LZ4 => two().and_then(|(parameters, rest)| {
                Lz4::decode(*parameters).map(|packer| (Packer::Lz4(packer), rest))
            }),
            DEFLATE => Deflate::decode(rest).map(|(packer, rest)| (Packer::Deflate(packer), rest)),
            LZ4_FRAME => rest.split_first_chunk().and_then(|(parameters, rest)| {
                Lz4Frame::decode(*parameters).map(|packer| (Packer::Lz4Frame(packer), rest))
            }),
            PREFLATE => Preflate::decode(rest).map(|(packer, rest)| (Packer::Preflate(packer), rest)),
            _ => None,
        };
        decoded.ok_or(Unknown)
    }

    /// Packs less than 2 GB. Corrections pack only what they are of.
    pub fn pack(&self, plain: &[u8]) -> Vec<u8> {
        match self {
            Packer::Snappy(packer) => packer.pack(plain),
            Packer::Zstd(packer) => packer.pack(plain),
            Packer::Lz4(packer) => packer.pack(plain),
            Packer::Deflate(packer) => packer.pack(plain),
            Packer::Lz4Frame(packer) => packer.pack(plain),
            Packer::Preflate(packer) => packer.pack(plain),
        }
    }

    /// What `packed` holds in this packer's format, whichever packer of that format wrote it.
    ///
    /// It has `plain_len` bytes where that is given, and `MAX_PLAIN_BYTES` at most. A bare block of LZ4 doesn't
    /// tell its length, and is not unpacked without.
    ///
    /// # Errors
    /// Bytes of another format, bytes behind the stream, and another length.
    pub fn unpack(&self, packed: &[u8], plain_len: Option<usize>) -> Result<Vec<u8>, NotPacked> {
        self.format().unpack(packed, plain_len)
    }

    /// Whether `plain` packs to `packed`.
    fn gives(&self, plain: &[u8], packed: &[u8]) -> bool {
        match self {
            Packer::Snappy(packer) => packer.gives(plain, packed),
            Packer::Zstd(packer) => packer.gives(plain, packed),
            Packer::Lz4(packer) => packer.gives(plain, packed),
            Packer::Deflate(packer) => packer.gives(plain, packed),
            Packer::Lz4Frame(packer) => packer.gives(plain, packed),
            Packer::Preflate(packer) => packer.gives(plain, packed),
        }
    }

    /// The same packer for bytes that have other headers than those it was found for.
    fn fitted(&self, packed: &[u8]) -> Option<Packer> {
        match self {
            Packer::Zstd(packer) => packer.fitted(packed).map(Packer::Zstd),
            Packer::Deflate(packer) => packer.fitted(packed).map(Packer::Deflate),
            Packer::Lz4Frame(packer) => packer.fitted(packed).map(Packer::Lz4Frame),
            Packer::Snappy(_) | Packer::Lz4(_) => Some(self.clone()),
            // Its corrections are of one stream.
            Packer::Preflate(_) => None,
        }
    }

    fn format(&self) -> find::Format {
        match self {
            Packer::Snappy(_) => find::Format::Snappy,
            Packer::Zstd(_) => find::Format::Zstd,
            Packer::Lz4(packer) if packer.is_hadoop() => find::Format::Lz4Hadoop,
            Packer::Lz4(_) => find::Format::Lz4,
            Packer::Deflate(packer) => find::Format::Deflate(packer.kind()),
            Packer::Lz4Frame(_) => find::Format::Lz4Frame,
            Packer::Preflate(packer) => find::Format::Deflate(packer.kind()),
        }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
