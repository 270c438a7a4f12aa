//! Reading and writing the fields of a payload: counts as varints, streams as slices.
//!
//! Every payload starts with fields of a few bytes, because most tensors are small; a fixed header
//! would cost more than the tables behind it.

use super::DecodeError;
use crate::varint;

/// The unread rest of a payload.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The next `len` bytes, named `what` in the error when they are missing.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let found = self.rest.len();
        let (head, rest) =
            self.rest.split_at_checked(len).ok_or(DecodeError::Truncated { what, expected: len, found })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, what)?[0])
    }

    /// A count in LEB128: seven bits a byte, low ones first, at most 32 bits.
    pub fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value)
                    .map(|value| value as usize)
                    .map_err(|_| DecodeError::Invalid { what });
            }
        }
        Err(DecodeError::Invalid { what })
    }

    /// A stream with its length before it.
    pub fn stream(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.count(what)?;
        self.take(len, what)
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing may follow the last field.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Invalid { what: "bytes after the payload" })
        }
    }
}

/// Appends what `Reader::count` reads.
pub(super) fn put_count(out: &mut Vec<u8>, value: usize) {
    varint::put(out, value as u64);
}

/// Appends what `Reader::stream` reads.
pub(super) fn put_stream(out: &mut Vec<u8>, stream: &[u8]) {
    put_count(out, stream.len());
    out.extend_from_slice(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that reads back differently would shift every stream behind it.
    #[test]
    fn counts_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 21, u32::MAX as usize] {
            let mut out = Vec::new();
            put_count(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.count("count").unwrap(), value);
            reader.end().unwrap();
        }
        assert!(Reader::new(&[0xff; 8]).count("count").is_err());
    }
}
