//! GGUF: counts, key–value metadata, a table of tensors, then the tensors at aligned offsets.
//!
//! Versions 1 to 3, little-endian (the other order reads as an unknown version). Of the metadata only
//! the alignment matters here; all else is passed over, and counts and lengths are held against what
//! is left of the file before anything is done with them.
//! Source: the GGUF specification and the block sizes of `ggml`, both in the llama.cpp project.

use super::array::{Array, Element, MAX_ARRAYS};
use super::reader::Reader;
use super::{Dtype, Format, Parsed, Refusal, Source};

pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Metadata and table; the largest published ones have tens of MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Far above the 64 bytes that the format allows.
const MAX_STRING_BYTES: usize = 4096;
/// Twice what the format allows.
const MAX_DIMENSIONS: u32 = 8;
/// Arrays of arrays are legal but unused.
const MAX_NESTING: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &[u8] = b"general.alignment";

/// Types of metadata values.
mod value {
    pub const U32: u32 = 4;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
}

/// Reads metadata and table.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let mut header = Header::open(source)?;
    let tensor_count = header.length()?;
    let value_count = header.length()?;
    if tensor_count > MAX_ARRAYS as u64 {
        return Err(Refusal::Malformed);
    }
    let mut alignment = DEFAULT_ALIGNMENT;
    for _ in 0..value_count {
        if let Some(found) = header.pass_value()? {
            alignment = u64::from(found);
        }
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(header.tensor()?);
    }
    if !alignment.is_power_of_two() {
        return Err(Refusal::Malformed);
    }
    let head = header.reader.position().next_multiple_of(alignment);
    if head > source.len() {
        return Err(Refusal::Malformed);
    }
    let arrays = tensors.into_iter().filter_map(|tensor| tensor.array(head)).collect();
    Ok(Parsed { format: Format::Gguf, head, arrays })
}

/// One line of the table of tensors.
struct Tensor {
    name: Vec<u8>,
    /// Innermost dimension first, as in the file.
    dimensions: Vec<u64>,
    kind: u32,
    /// From the start of the data.
    offset: u64,
}

impl Tensor {
    /// The tensor in the file; none where its type is unknown or its numbers are impossible.
    fn array(mut self, head: u64) -> Option<Array> {
        self.dimensions.reverse();
        let name = String::from_utf8(self.name).ok()?;
        Array::new(name, head.checked_add(self.offset)?, element(self.kind)?, self.dimensions)
    }
}

/// The part of the file before the data.
struct Header<'a> {
    reader: Reader<'a>,
    version: u32,
}

impl<'a> Header<'a> {
    fn open(source: &'a dyn Source) -> Result<Self, Refusal> {
        let mut reader = Reader::new(source, 0..source.len().min(MAX_HEADER_BYTES));
        let magic: [u8; 4] = reader.array()?;
        let version = reader.u32()?;
        if magic != MAGIC || !(1..=3).contains(&version) {
            return Err(Refusal::Malformed);
        }
        Ok(Header { reader, version })
    }

    /// A count or length: 4 bytes in the first version, 8 since.
    fn length(&mut self) -> Result<u64, Refusal> {
        if self.version == 1 { self.reader.u32().map(u64::from) } else { self.reader.u64() }
    }

    fn string(&mut self) -> Result<Vec<u8>, Refusal> {
        let len = self.length()?;
        self.reader.bytes(len, MAX_STRING_BYTES)
    }

    /// Passes over one key and its value; the value where it is the alignment.
    fn pass_value(&mut self) -> Result<Option<u32>, Refusal> {
        let key = self.string()?;
        let kind = self.reader.u32()?;
        if key == ALIGNMENT_KEY && kind == value::U32 {
            return self.reader.u32().map(Some);
        }
        self.pass(kind, 1, MAX_NESTING)?;
        Ok(None)
    }

    /// Passes over `count` values of a type. Each step takes bytes, so that no count makes it long.
    fn pass(&mut self, kind: u32, count: u64, nesting: u32) -> Result<(), Refusal> {
        match kind {
            value::STRING => {
                for _ in 0..count {
                    let len = self.length()?;
                    self.reader.skip(len)?;
                }
                Ok(())
            }
            value::ARRAY => {
                let nesting = nesting.checked_sub(1).ok_or(Refusal::Malformed)?;
                for _ in 0..count {
                    let kind = self.reader.u32()?;
                    let count = self.length()?;
                    self.pass(kind, count, nesting)?;
                }
                Ok(())
            }
            number => {
                let width = number_width(number).ok_or(Refusal::Malformed)?;
                self.reader.skip(count.checked_mul(width).ok_or(Refusal::Malformed)?)
            }
        }
    }

    fn tensor(&mut self) -> Result<Tensor, Refusal> {
        let name = self.string()?;
        let rank = self.reader.u32()?;
        // Zeros would pass for tensors without end.
        if name.is_empty() || rank > MAX_DIMENSIONS {
            return Err(Refusal::Malformed);
        }
        let dimensions = (0..rank).map(|_| self.length()).collect::<Result<_, _>>()?;
        Ok(Tensor { name, dimensions, kind: self.reader.u32()?, offset: self.reader.u64()? })
    }
}

/// Bytes of one number, boolean included, of that type of metadata.
fn number_width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// How the elements of a `ggml` type are laid out.
///
/// Quantised types come in blocks; their rows are rows of bytes, so that slices end between blocks.
/// A type that is missing here costs only the borders of its tensors.
fn element(kind: u32) -> Option<Element> {
    Some(match kind {
        0 => Element::plain(Dtype::F32),
        1 => Element::plain(Dtype::F16),
        2 => Element::packed(32, 18),    // Q4_0
        3 => Element::packed(32, 20),    // Q4_1
        6 => Element::packed(32, 22),    // Q5_0
        7 => Element::packed(32, 24),    // Q5_1
        8 => Element::packed(32, 34),    // Q8_0
        9 => Element::packed(32, 36),    // Q8_1
        10 => Element::packed(256, 84),  // Q2_K
        11 => Element::packed(256, 110), // Q3_K
        12 => Element::packed(256, 144), // Q4_K
        13 => Element::packed(256, 176), // Q5_K
        14 => Element::packed(256, 210), // Q6_K
        15 => Element::packed(256, 292), // Q8_K
        16 => Element::packed(256, 66),  // IQ2_XXS
        17 => Element::packed(256, 74),  // IQ2_XS
        18 => Element::packed(256, 98),  // IQ3_XXS
        19 => Element::packed(256, 50),  // IQ1_S
        20 => Element::packed(32, 18),   // IQ4_NL
        21 => Element::packed(256, 110), // IQ3_S
        22 => Element::packed(256, 82),  // IQ2_S
        23 => Element::packed(256, 136), // IQ4_XS
        24 => Element::plain(Dtype::I8),
        25 => Element::plain(Dtype::I16),
        26 => Element::plain(Dtype::I32),
        27 => Element::plain(Dtype::I64),
        28 => Element::plain(Dtype::F64),
        29 => Element::packed(256, 56), // IQ1_M
        30 => Element::plain(Dtype::Bf16),
        34 => Element::packed(256, 54), // TQ1_0
        35 => Element::packed(256, 66), // TQ2_0
        39 => Element::packed(32, 17),  // MXFP4
        _ => return None,
    })
}
