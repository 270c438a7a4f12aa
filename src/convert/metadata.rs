//! What a GGUF file says before its weights: keys with values, and a table of tensors.
//!
//! The layout is the GGUF specification's, version 3, little-endian:
//! magic, version (u32), number of tensors (u64), number of keys (u64); each key (string), type (u32), value;
//! each tensor's name (string), rank (u32), dimensions from the inside (u64), type (u32), offset (u64); then zeros
//! up to a multiple of 32, from where offsets count. A string is its length (u64) and its bytes.

use crate::derive::Kind;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;
/// Tensors begin at multiples of it; also what readers assume where a file says nothing.
pub(super) const ALIGNMENT: u64 = 32;

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Keys with their values, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Metadata(Vec<(String, Value)>);

impl Metadata {
    /// Adds a key.
    pub fn add(&mut self, key: impl Into<String>, value: Value) {
        self.0.push((key.into(), value));
    }

    /// Adds a number that must fit 32 bits, as all numbers of [`super::config`] do.
    pub fn count(&mut self, key: impl Into<String>, value: u64) {
        self.add(key, Value::U32(u32::try_from(value).expect("because settings are below 2^32")));
    }
}

/// One line of the table of tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    pub kind: Kind,
}

impl Row {
    /// Bytes of the tensor, without what follows up to the next one. The kinds here are plain numbers.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.kind.packed() as u64
    }
}

/// All bytes before the first tensor.
pub(super) fn encode(metadata: &Metadata, rows: &[Row]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((rows.len() as u64).to_le_bytes());
    out.extend((metadata.0.len() as u64).to_le_bytes());
    for (key, value) in &metadata.0 {
        put_text(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for row in rows {
        put_text(&mut out, &row.name);
        out.extend((row.shape.len() as u32).to_le_bytes());
        row.shape.iter().rev().for_each(|len| out.extend(len.to_le_bytes()));
        out.extend((row.kind as u32).to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += row.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    const ARRAY: u32 = 9;
    let tag: u32 = match value {
        Value::U32(_) => 4,
        Value::I32s(_) => 5,
        Value::F32(_) | Value::F32s(_) => 6,
        Value::Bool(_) | Value::Bools(_) => 7,
        Value::Text(_) | Value::Texts(_) => 8,
    };
    let len = match value {
        Value::I32s(items) => Some(items.len()),
        Value::F32s(items) => Some(items.len()),
        Value::Bools(items) => Some(items.len()),
        Value::Texts(items) => Some(items.len()),
        _ => None,
    };
    if len.is_some() {
        out.extend(ARRAY.to_le_bytes());
    }
    out.extend(tag.to_le_bytes());
    if let Some(len) = len {
        out.extend((len as u64).to_le_bytes());
    }
    match value {
        Value::U32(number) => out.extend(number.to_le_bytes()),
        Value::F32(number) => out.extend(number.to_le_bytes()),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::Text(text) => put_text(out, text),
        Value::I32s(items) => items.iter().for_each(|item| out.extend(item.to_le_bytes())),
        Value::F32s(items) => items.iter().for_each(|item| out.extend(item.to_le_bytes())),
        Value::Bools(items) => out.extend(items.iter().map(|item| u8::from(*item))),
        Value::Texts(items) => items.iter().for_each(|item| put_text(out, item)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{self, Dtype, Format};

    /// Readers find tensors by this table alone: our own reader finds each where it was put.
    #[test]
    fn tensors_are_found_where_they_were_put() {
        let mut metadata = Metadata::default();
        metadata.add("a.text", Value::Text("x".into()));
        metadata.add("a.texts", Value::Texts(vec!["".into(), "yz".into()]));
        metadata.add("a.flags", Value::Bools(vec![true, false, true]));
        metadata.add("a.number", Value::F32(0.5));
        metadata.add("a.numbers", Value::I32s(vec![-1, 2]));
        metadata.add("a.flag", Value::Bool(true));
        metadata.count("a.count", 7);
        let row = |name: &str, shape: &[u64], kind| Row { name: name.into(), shape: shape.to_vec(), kind };
        let rows = [row("one", &[3], Kind::F32), row("two", &[2, 5], Kind::Bf16)];
        let mut file = encode(&metadata, &rows);
        let head = file.len() as u64;
        assert_eq!(head % ALIGNMENT, 0);
        file.resize(file.len() + 32 + 20, 7);
        let cut = format::cut_by_length(&file).unwrap();
        assert_eq!(cut.format(), Format::Gguf);
        let named: Vec<_> = cut.segments().iter().filter(|segment| !segment.name.is_empty()).collect();
        let found: Vec<_> =
            named.iter().map(|found| (found.name.as_str(), found.range.clone(), found.dtype)).collect();
        let expected = [("one", head..head + 12, Dtype::F32), ("two", head + 32..head + 52, Dtype::Bf16)];
        assert_eq!(found, expected);
        assert_eq!(named[1].shape, [2, 5]);
    }
}
