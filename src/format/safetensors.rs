//! Safetensors: 8 bytes of length, a header in JSON, then the tensors.
//!
//! The reader is our own and more patient than others: order, spacing, padding and unknown keys of
//! the header are kept with its bytes, and tensors that lie about themselves are left to `array`.
//! Only a header that is no JSON of the known kind makes it give up.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::array::{Array, Element, MAX_RANK};
use super::reader::Reader;
use super::{Dtype, Format, Parsed, Refusal, Source};

/// Limit of the format's own definition.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LEN_BYTES: u64 = 8;

/// Reads the header.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let mut reader = Reader::new(source, 0..source.len());
    let len = reader.u64()?;
    // No magic number tells the format: most other files are turned away here.
    if len > MAX_HEADER_BYTES || len > reader.left() {
        return Err(Refusal::Malformed);
    }
    let head = LEN_BYTES + len;
    let header: Header = serde_json::from_reader(Reader::new(source, LEN_BYTES..head)).map_err(refusal)?;
    let arrays = header.0.into_iter().filter_map(|(name, entry)| entry.array(name, head)).collect();
    Ok(Parsed { format: Format::Safetensors, head, arrays })
}

fn refusal(error: serde_json::Error) -> Refusal {
    if error.is_io() { Refusal::Io(error.into()) } else { Refusal::Malformed }
}

/// The tensors in the order of the header, also those whose name comes twice.
struct Header(Vec<(String, Entry)>);

#[derive(Deserialize)]
struct Entry {
    dtype: Encoding,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl Entry {
    /// The tensor in the file; none where its shape and its length disagree.
    fn array(self, name: String, head: u64) -> Option<Array> {
        let start = head.checked_add(self.data_offsets.0)?;
        let end = head.checked_add(self.data_offsets.1)?;
        let array = match self.dtype.0 {
            Some(element) => Array::new(name, start, element, self.shape.0)?,
            None => Array::bytes(name, start..end, self.shape.0),
        };
        (array.range.end == end).then_some(array)
    }
}

/// How the elements of a known type are laid out.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Encoding(Option<Element>);

impl From<String> for Encoding {
    fn from(name: String) -> Self {
        Encoding(Some(match name.as_str() {
            "BOOL" | "U8" | "F8_E8M0" => Element::plain(Dtype::U8),
            "I8" => Element::plain(Dtype::I8),
            "F8_E4M3" => Element::plain(Dtype::F8E4M3),
            "F8_E5M2" => Element::plain(Dtype::F8E5M2),
            "U16" => Element::plain(Dtype::U16),
            "I16" => Element::plain(Dtype::I16),
            "F16" => Element::plain(Dtype::F16),
            "BF16" => Element::plain(Dtype::Bf16),
            "U32" => Element::plain(Dtype::U32),
            "I32" => Element::plain(Dtype::I32),
            "F32" => Element::plain(Dtype::F32),
            "U64" => Element::plain(Dtype::U64),
            "I64" => Element::plain(Dtype::I64),
            "F64" => Element::plain(Dtype::F64),
            // A complex number is two floats; smaller types than a byte are packed.
            "C64" => Element { dtype: Dtype::F32, block: 1, units: 2 },
            "F4" => Element::packed(2, 1),
            "F6_E2M3" | "F6_E3M2" => Element::packed(4, 3),
            _ => return Encoding(None),
        }))
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                tensors.push((name, map.next_value()?));
            }
        }
        Ok(Header(tensors))
    }
}

/// Lengths of the dimensions; more than [`MAX_RANK`] are refused while they are read.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at most {MAX_RANK} dimensions")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Shape, S::Error> {
        let mut shape = Vec::new();
        while let Some(len) = seq.next_element()? {
            if shape.len() == MAX_RANK {
                return Err(S::Error::invalid_length(MAX_RANK + 1, &self));
            }
            shape.push(len);
        }
        Ok(Shape(shape))
    }
}
