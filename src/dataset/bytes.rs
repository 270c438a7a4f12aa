//! Bytes of a table as its decoders want them: as a stream, or in ranges that are checked before any is allocated.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::format::Source;

/// A file, wherever it lies.
pub type File = Arc<dyn Source + Send>;

/// Headers of pages are read through a window of so many bytes: with a larger one, pages would be decoded
/// that nobody asked for.
const HEADER_BYTES: usize = 512;

/// A file read from its beginning on, or from where it was sought.
pub struct Stream {
    file: File,
    at: u64,
}

impl Stream {
    pub fn new(file: File) -> Stream {
        Stream { file, at: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.at);
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.file.read_at(&mut buf[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(step) => self.file.len().checked_add_signed(step),
            SeekFrom::Current(step) => self.at.checked_add_signed(step),
        };
        self.at = at.ok_or_else(|| io::Error::other("sought before the beginning of the file"))?;
        Ok(self.at)
    }
}

/// The same for the reader of Parquet.
#[derive(Clone)]
pub struct Chunks(pub File);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Stream>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::with_capacity(HEADER_BYTES, Stream { file: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let len = self.0.len();
        if start.checked_add(length as u64).is_none_or(|end| end > len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file with {len}")));
        }
        let mut bytes = vec![0; length];
        self.0.read_at(&mut bytes, start).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(bytes.into())
    }
}
