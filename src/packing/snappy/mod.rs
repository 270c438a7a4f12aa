//! Snappy blocks, as each version of the C++ library and the libraries after it write them.
//!
//! The format leaves the choice of matches to the encoder, and the choice changed: with the size of the hash
//! table, and with the hash. The search is the same in all of them.
//! Format: github.com/google/snappy, `format_description.txt`.

mod read;
mod search;

use super::NotPacked;
use crate::varint;
use search::Search;

/// Bytes that are searched at a time, with an empty table: no match reaches farther back.
const BLOCK_BYTES: usize = 1 << 16;

/// A behaviour of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Snappy {
    /// C++ up to 1.1.8, and most ports of it: Go, Rust's `snap`.
    V1_1_8 = 0,
    /// C++ 1.1.9 and 1.1.10: a small table takes other bits of the hash.
    V1_1_9 = 1,
    /// C++ from 1.2.0: a table of twice the size.
    V1_2 = 2,
    /// The same where it was built for processors that calculate CRC-32C: hashed with it.
    V1_2Crc = 3,
}

impl Snappy {
    pub const ALL: [Snappy; 4] = [Snappy::V1_2, Snappy::V1_1_8, Snappy::V1_2Crc, Snappy::V1_1_9];

    pub(super) fn from_tag(tag: u8) -> Option<Snappy> {
        Self::ALL.into_iter().find(|known| *known as u8 == tag)
    }

    /// One block with its length before it.
    pub fn pack(self, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(plain.len() / 2 + 16);
        varint::put(&mut packed, plain.len() as u64);
        let mut search = Search::of_blocks(plain.len().min(BLOCK_BYTES));
        for block in plain.chunks(BLOCK_BYTES) {
            packed.extend_from_slice(search.pack(self, block));
        }
        packed
    }

    /// What packs `plain` to `packed`.
    pub(super) fn find(plain: &[u8], packed: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|behaviour| behaviour.gives(plain, packed))
    }

    /// Whether `plain` packs to `packed`; block by block, so most that don't are found out by the first.
    pub(super) fn gives(self, plain: &[u8], packed: &[u8]) -> bool {
        let mut length = Vec::new();
        varint::put(&mut length, plain.len() as u64);
        let mut search = Search::of_blocks(plain.len().min(BLOCK_BYTES));
        let rest = packed.strip_prefix(length.as_slice());
        let rest = plain
            .chunks(BLOCK_BYTES)
            .try_fold(rest, |rest, block| rest?.strip_prefix(search.pack(self, block)).map(Some));
        rest == Some(Some(&[]))
    }
}

/// What a block holds, which is at most `most` bytes.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    read::unpack(packed, most)
}

#[cfg(test)]
mod tests;
