//! How files are cut: into segments that tile them exactly, at borders that survive between versions.
//!
//! A cutter never refuses bytes. What it can't parse is cut by content (`chunked`), so that a
//! truncated or lying file is stored and comes back like any other. docs/cut.md has the rules
//! of each format; they decide only where files are cut, so reading a stored file back never needs them.

mod array;
mod arrow;
mod chunked;
mod file;
mod gguf;
mod layout;
mod npy;
mod parquet;
mod reader;
mod safetensors;
mod tar;
mod text;
mod tiling;
mod zip;

use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use file::OpenFile;
pub use layout::layout_of;
pub use parquet::{
    Column, Extremes, Follows, PageKind, PageParts, Physical, chunks, columns, header, is_coded, pages,
};
pub use tiling::{Cut, MAX_SEGMENT_BYTES, TilingError};

pub use array::MAX_ARRAYS;

use array::Array;
use chunked::Fill;

/// Largest number of elements in one numeric segment: a tensor with more is sliced at row borders.
///
/// Counted in elements, so that the slices of an f32 and of a bf16 copy of one tensor pair up.
pub const MAX_SLICE_ELEMENTS: u64 = 4 << 20;

/// Cuts a file at the borders of what it holds, or by content where it can't be understood.
///
/// The format is recognised by content, never by a file name. The same bytes always give the same
/// cut. At most a few MiB of the file are in memory at a time, besides the table of its tensors.
///
/// # Errors
/// Only what `source` returns: a file that lies is cut as well as it can be.
pub fn cut(source: &dyn Source) -> io::Result<Cut> {
    cut_with(source, chunked::chunks, text::chunks)
}

/// Where text is cut, as [`cut`] cuts it: the ends of its chunks.
pub fn cut_text(text: &[u8]) -> Vec<usize> {
    let chunks = text::chunks(&text, 0..text.len() as u64).expect("because memory can be read");
    chunks.into_iter().map(|chunk| chunk.range.end as usize).collect()
}

/// The same for whoever wants to know little: what has no structure is cut by length, so that nothing but headers
/// is read. What is stored is never cut like this.
///
/// # Errors
/// As [`cut`].
pub fn cut_by_length(source: &dyn Source) -> io::Result<Cut> {
    cut_with(source, chunked::pieces, chunked::pieces)
}

/// Cuts a file by content, whatever is in it.
///
/// # Errors
/// As [`cut`].
pub fn cut_bytes(source: &dyn Source) -> io::Result<Cut> {
    let segments = chunked::chunks(source, 0..source.len())?;
    Ok(Cut::tiling(Format::Chunked, source.len(), segments).expect("because chunks leave no gap"))
}

fn cut_with(source: &dyn Source, fill: Fill, fill_text: Fill) -> io::Result<Cut> {
    let (format, segments) = match parse(source) {
        Ok(parsed) => (parsed.format, array::tile(source, parsed.head, parsed.arrays, fill)?),
        Err(Refusal::Malformed) if text::is_text(source)? => {
            (Format::Text, fill_text(source, 0..source.len())?)
        }
        Err(Refusal::Malformed) => (Format::Chunked, fill(source, 0..source.len())?),
        Err(Refusal::Io(error)) => return Err(error),
    };
    Ok(Cut::tiling(format, source.len(), segments).expect("because tile and chunks leave no gap"))
}

/// What a parser understood of a file.
struct Parsed {
    format: Format,
    /// Where the header ends: a border, whatever follows. Not beyond the end of the file.
    head: u64,
    /// The arrays that the header tells of, in its order; nothing about them is believed yet.
    arrays: Vec<Array>,
}

/// Why a parser gave a file up.
#[derive(Debug)]
enum Refusal {
    /// It isn't what it seemed to be, or lies; the file is cut by content instead.
    Malformed,
    /// The source could not be read.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

/// Asks the parser of the format that the first bytes show.
fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let mut magic = [0u8; 8];
    if source.len() < magic.len() as u64 {
        return Err(Refusal::Malformed);
    }
    source.read_at(&mut magic, 0)?;
    if magic.starts_with(&gguf::MAGIC) {
        gguf::parse(source)
    } else if magic.starts_with(&zip::MAGIC) {
        zip::parse(source)
    } else if magic.starts_with(&npy::MAGIC) {
        npy::parse(source)
    } else if magic.starts_with(&parquet::MAGIC) {
        parquet::parse(source)
    } else if magic.starts_with(&arrow::MAGIC) || magic.starts_with(&arrow::CONTINUATION) {
        arrow::parse(source)
    } else if tar::is_one(source)? {
        tar::parse(source)
    } else {
        // Has no magic number; its parser turns away most files by the first 8 bytes.
        safetensors::parse(source)
    }
}

/// Type of the numbers in a segment, as far as a codec cares.
///
/// `Bytes` is for what is no array of numbers: headers, text, chunks of unknown files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Dtype {
    Bytes = 0,
    U8 = 1,
    I8 = 2,
    F8E4M3 = 3,
    F8E5M2 = 4,
    U16 = 5,
    I16 = 6,
    F16 = 7,
    Bf16 = 8,
    U32 = 9,
    I32 = 10,
    F32 = 11,
    U64 = 12,
    I64 = 13,
    F64 = 14,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn width(self) -> usize {
        match self {
            Dtype::Bytes | Dtype::U8 | Dtype::I8 | Dtype::F8E4M3 | Dtype::F8E5M2 => 1,
            Dtype::U16 | Dtype::I16 | Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 => 8,
        }
    }

    /// The type with this number on disk.
    pub const fn from_tag(tag: u8) -> Option<Dtype> {
        Some(match tag {
            0 => Dtype::Bytes,
            1 => Dtype::U8,
            2 => Dtype::I8,
            3 => Dtype::F8E4M3,
            4 => Dtype::F8E5M2,
            5 => Dtype::U16,
            6 => Dtype::I16,
            7 => Dtype::F16,
            8 => Dtype::Bf16,
            9 => Dtype::U32,
            10 => Dtype::I32,
            11 => Dtype::F32,
            12 => Dtype::U64,
            13 => Dtype::I64,
            14 => Dtype::F64,
            _ => return None,
        })
    }
}

/// What kind of file was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Format {
    /// Anything else, cut by content.
    Chunked = 0,
    Safetensors = 1,
    Gguf = 2,
    /// A zip archive with stored members, as `torch.save` writes.
    Zip = 3,
    Npy = 4,
    /// A table in columns, cut into runs of the pages that its writer packed.
    Parquet = 5,
    /// Lines, or what looks like them; cut by content, but more coarsely: versions differ by lines.
    Text = 6,
    /// A table in batches, as a file or a stream, cut at the buffers of its columns.
    Arrow = 7,
    /// An archive, cut at its members.
    Tar = 8,
    /// One compressed stream, kept as what it holds; never from a cut, which looks into nothing.
    Stream = 9,
}

/// A piece of a file that is stored as one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file, in bytes.
    pub range: Range<u64>,
    /// Tensor, member or column it belongs to; empty for headers, padding and chunks.
    pub name: String,
    /// Which slice of that it is, from 0; large tensors have several. 0 without a name.
    pub slice: u32,
    pub dtype: Dtype,
    /// Elements of one row (the last dimension), 0 where there are no rows.
    ///
    /// Counted in `dtype`, as the bytes are to be read: a row of blocks or of pairs has another
    /// number than `shape` tells. A slice holds whole rows, or a part of one that is very long.
    pub row_len: u64,
    /// Shape of the whole tensor, outermost dimension first; empty where there is none.
    pub shape: Vec<u64>,
}

/// Bytes at offsets: a file, or memory.
pub trait Source: Sync {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Fills `buf` from `offset`; an error when the source ends before.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..start.checked_add(buf.len())?));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        Source::len(self.as_slice())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_at(buf, offset)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }
}
