//! NumPy's `.npy`: a header that spells a Python dictionary, then one array.
//!
//! The dictionary is read by the one grammar that NumPy writes, never evaluated. Structured, object
//! and big-endian arrays are left to `chunked`.
//! Source: `numpy.lib.format`, versions 1 to 3.

use super::array::{Array, Element, MAX_RANK};
use super::reader::Reader;
use super::{Dtype, Format, Parsed, Refusal, Source};

pub(super) const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The array has no name in the file.
const NAME: &str = "array";
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Reads the header.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let mut reader = Reader::new(source, 0..source.len());
    let magic: [u8; 6] = reader.array()?;
    let [major, _minor] = reader.array()?;
    let len = match major {
        1 => u64::from(u16::from_le_bytes(reader.array()?)),
        2 | 3 => u64::from(reader.u32()?),
        _ => return Err(Refusal::Malformed),
    };
    let header = reader.bytes(len, MAX_HEADER_BYTES)?;
    let text = std::str::from_utf8(&header).map_err(|_| Refusal::Malformed)?;
    let head = reader.position();
    let array = dictionary(text).and_then(|found| found.array(head)).ok_or(Refusal::Malformed)?;
    if magic != MAGIC || array.range.end > source.len() {
        return Err(Refusal::Malformed);
    }
    Ok(Parsed { format: Format::Npy, head, arrays: vec![array] })
}

struct Dictionary<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Dictionary<'_> {
    fn array(mut self, head: u64) -> Option<Array> {
        // In Fortran order the first dimension runs fastest: the bytes are those of the transpose.
        if self.fortran_order {
            self.shape.reverse();
        }
        Array::new(NAME.to_owned(), head, Element::plain(dtype(self.descr)?), self.shape)
    }
}

fn dtype(descr: &str) -> Option<Dtype> {
    Some(match descr {
        "|b1" | "|u1" => Dtype::U8,
        "|i1" => Dtype::I8,
        "<u2" => Dtype::U16,
        "<i2" => Dtype::I16,
        "<f2" => Dtype::F16,
        "<u4" => Dtype::U32,
        "<i4" => Dtype::I32,
        "<f4" => Dtype::F32,
        "<u8" => Dtype::U64,
        "<i8" => Dtype::I64,
        "<f8" => Dtype::F64,
        _ => return None,
    })
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
fn dictionary(text: &str) -> Option<Dictionary<'_>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, value) = quoted(rest)?;
        let value = value.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => keep(&mut descr, quoted(value)?)?,
            "fortran_order" => keep(&mut fortran_order, boolean(value)?)?,
            "shape" => keep(&mut shape, tuple(value)?)?,
            _ => return None,
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').or(rest.is_empty().then_some(rest))?.trim_start();
    }
    Some(Dictionary { descr: descr?, fortran_order: fortran_order?, shape: shape? })
}

/// Keeps a value, which must be the first of its key, and returns what follows it.
fn keep<'a, T>(slot: &mut Option<T>, (value, rest): (T, &'a str)) -> Option<&'a str> {
    slot.replace(value).is_none().then_some(rest)
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')?.split_once('\'')
}

fn boolean(text: &str) -> Option<(bool, &str)> {
    let no = || Some((false, text.strip_prefix("False")?));
    text.strip_prefix("True").map(|rest| (true, rest)).or_else(no)
}

fn tuple(text: &str) -> Option<(Vec<u64>, &str)> {
    let (inside, rest) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Some((Vec::new(), rest));
    }
    if inside.split(',').count() > MAX_RANK {
        return None;
    }
    let shape = inside.split(',').map(|len| len.trim().parse().ok()).collect::<Option<_>>()?;
    Some((shape, rest))
}
