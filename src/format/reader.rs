//! Reads a stretch of a source from front to back, through one small buffer.
//!
//! Headers are as long as their authors like, so none is read into memory whole: the parsers keep
//! what they need of it and skip the rest.

use std::io;
use std::ops::Range;

use super::{Refusal, Source};

const WINDOW_BYTES: usize = 64 << 10;

/// A place in a stretch of a source; whoever asks for more than is left is refused.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    /// What is not yet in the buffer.
    ahead: Range<u64>,
    /// Most bytes that are read at a time.
    window_bytes: usize,
    buffer: Vec<u8>,
    /// How much of the buffer was handed out.
    used: usize,
}

impl<'a> Reader<'a> {
    /// Reads `range`, which must lie inside the source.
    pub fn new(source: &'a dyn Source, range: Range<u64>) -> Self {
        Reader::with_window(source, range, WINDOW_BYTES)
    }

    /// The same with at most `window_bytes` at a time, for who skips far after reading little.
    pub fn with_window(source: &'a dyn Source, range: Range<u64>, window_bytes: usize) -> Self {
        Reader { source, ahead: range, window_bytes, buffer: Vec::new(), used: 0 }
    }

    /// Where the next byte lies in the source.
    pub fn position(&self) -> u64 {
        self.ahead.start - self.buffered().len() as u64
    }

    /// Bytes up to the end of the stretch.
    pub fn left(&self) -> u64 {
        self.ahead.end - self.position()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Refusal> {
        match self.buffered().first() {
            Some(&byte) => {
                self.used += 1;
                Ok(byte)
            }
            None => self.array().map(|[byte]| byte),
        }
    }

    /// The next little-endian number of 2 bytes.
    pub fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next little-endian number of 4 bytes.
    pub fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next little-endian number of 8 bytes.
    pub fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `len` bytes, refused before they are allocated when fewer are left or `limit` is less.
    pub fn bytes(&mut self, len: u64, limit: usize) -> Result<Vec<u8>, Refusal> {
        if len > self.left() || len > limit as u64 {
            return Err(Refusal::Malformed);
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Passes over `len` bytes without reading them.
    pub fn skip(&mut self, len: u64) -> Result<(), Refusal> {
        if len > self.left() {
            return Err(Refusal::Malformed);
        }
        let buffered = self.buffered().len() as u64;
        if len <= buffered {
            self.used += len as usize;
        } else {
            self.ahead.start += len - buffered;
            self.used = self.buffer.len();
        }
        Ok(())
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), Refusal> {
        if out.len() as u64 > self.left() {
            return Err(Refusal::Malformed);
        }
        while !out.is_empty() {
            let read = io::Read::read(self, out)?;
            out = &mut out[read..];
        }
        Ok(())
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.used..]
    }
}

/// Ends (reads 0 bytes) where the stretch ends.
impl io::Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() {
            let next = (self.ahead.end - self.ahead.start).min(self.window_bytes as u64);
            self.used = 0;
            self.buffer.resize(next as usize, 0);
            // A failed read must leave nothing behind that could pass for bytes of the file.
            self.source
                .read_at(&mut self.buffer, self.ahead.start)
                .inspect_err(|_| self.used = next as usize)?;
            self.ahead.start += next;
        }
        let len = out.len().min(self.buffered().len());
        out[..len].copy_from_slice(&self.buffered()[..len]);
        self.used += len;
        Ok(len)
    }
}
