//! A stream of raw bits: the low parts of differences, which are noise and not worth modelling.
//!
//! Bits are packed from the lowest bit of the first byte on. A read is one unaligned load, so that
//! its position depends only on the widths before it and reads can overlap.

use super::DecodeError;

/// The widest field, so that it always lies in one 64-bit load at any bit offset.
pub(super) const MAX_WIDTH: u32 = 56;

/// Fields that are written between two calls of `make_room`.
const ROOM_FIELDS: usize = 64;

#[derive(Default)]
pub(super) struct BitWriter {
    /// Longer than what is written by the room that was made.
    bytes: Vec<u8>,
    written: usize,
    pending: u64,
    filled: u32,
}

impl BitWriter {
    /// Makes room for the next 64 fields.
    #[inline(always)]
    pub fn make_room(&mut self) {
        let needed = self.written + (ROOM_FIELDS + 1) * 8;
        if self.bytes.len() < needed {
            self.bytes.resize(2 * needed, 0);
        }
    }

    /// Appends the `width` low bits of `value`, at most `MAX_WIDTH`; higher ones must be zero.
    #[inline(always)]
    pub fn put(&mut self, value: u64, width: u32) {
        self.pending |= value << self.filled;
        self.filled += width;
        // All eight bytes are stored, and the whole ones among them count.
        let room = &mut self.bytes[self.written..];
        *room.first_chunk_mut().expect("because there is room") = self.pending.to_le_bytes();
        let whole = self.filled & !7;
        self.written += whole as usize / 8;
        // A pending byte at most stays, so `MAX_WIDTH` more bits fit.
        self.pending >>= whole;
        self.filled -= whole;
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.make_room();
        self.bytes[self.written] = self.pending as u8;
        self.bytes.truncate(self.written + usize::from(self.filled > 0));
        self.bytes
    }
}

pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The last bytes again, with zeros behind, where a whole load would leave the stream.
    tail: [u8; 16],
    tail_start: usize,
    position: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let tail_start = bytes.len().saturating_sub(8);
        let mut tail = [0; 16];
        tail[..bytes.len() - tail_start].copy_from_slice(&bytes[tail_start..]);
        Self { bytes, tail, tail_start, position: 0 }
    }

    /// The next `width` bits, at most `MAX_WIDTH`; zeros behind the end, which `end` reports.
    #[inline(always)]
    pub fn take(&mut self, width: u32) -> u64 {
        let bits = self.peek() & ((1u64 << width) - 1);
        self.skip(width);
        bits
    }

    /// The next `MAX_WIDTH` bits and perhaps more.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        let (byte, bit) = (self.position >> 3, self.position & 7);
        let word = match self.bytes.get(byte..byte + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().expect("because it has 8 bytes")),
            None => self.tail_word(byte),
        };
        word >> bit
    }

    /// So many bytes from the next bit's on, and where in the first one that is; none near the end.
    #[inline(always)]
    pub fn window<const N: usize>(&self) -> Option<(&'a [u8; N], u32)> {
        let bytes = self.bytes.get(self.position >> 3..)?.first_chunk()?;
        Some((bytes, self.position as u32 & 7))
    }

    #[inline(always)]
    pub fn skip(&mut self, width: u32) {
        self.position += width as usize;
    }

    #[cold]
    fn tail_word(&self, byte: usize) -> u64 {
        let start = (byte - self.tail_start.min(byte)).min(8);
        u64::from_le_bytes(self.tail[start..start + 8].try_into().expect("because the range has 8 bytes"))
    }

    /// All bits must have been read, and no more.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.position.div_ceil(8) == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::Length {
                what: "low bits",
                expected: self.position.div_ceil(8),
                found: self.bytes.len(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// One bit off here corrupts every weight behind it.
        #[test]
        fn fields_come_back(fields in prop::collection::vec((any::<u64>(), 0..=MAX_WIDTH), 0..200)) {
            let mut writer = BitWriter::default();
            for &(value, width) in &fields {
                writer.make_room();
                writer.put(value & ((1 << width) - 1), width);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for &(value, width) in &fields {
                prop_assert_eq!(reader.take(width), value & ((1 << width) - 1));
            }
            reader.end().unwrap();
        }
    }
}
