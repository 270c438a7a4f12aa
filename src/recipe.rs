//! How a file is put together from objects: the store's answer to "what is this oid?".
//!
//! A recipe's presence is what makes a revision exist, so only a `Verified` one can be published:
//! one whose objects were read back and hashed to the oid. Byte layout: docs/format.md, "Recipes".

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::format::{Cut, Dtype, Format, MAX_ARRAYS, Segment};
use crate::id::{ObjectId, Oid};

const MAGIC: &[u8; 8] = b"GSRECIPE";
const VERSION: u16 = 2;
/// The version of a recipe that says nothing of an origin: older programs read it, too.
const WITHOUT_ORIGIN: u16 = 1;
/// Most files that one is made from.
const MAX_ORIGIN: usize = 64;
pub const HEADER_BYTES: usize = 8 + 2 + 1 + 1 + 4 + 8 + 32 + 4 + 4 + 32;
/// Largest body that is read: about 3 million parts, 200 GB of the smallest or tens of TB of tensors.
const MAX_BODY_BYTES: usize = 128 << 20;
/// Largest recipe file that is worth reading.
pub const MAX_RECIPE_BYTES: u64 = (MAX_BODY_BYTES + HEADER_BYTES) as u64 + (1 << 20);
const NO_TENSOR: u32 = u32::MAX;

/// Fingerprint of the names and shapes of a file's tensors; equal for models of one architecture.
pub type Layout = [u8; 16];
/// In place of a layout: under this the index lists all adapters.
pub const ADAPTERS: Layout = *b"all the adapters";
/// The same for files of which the recipe keeps a sample of the rows, or of the text.
pub const TABLES: Layout = *b"samples of rows.";
pub const TEXTS: Layout = *b"samples of text.";

/// A file as a list of objects, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub oid: Oid,
    /// Length of the file in bytes: the sum over the parts, checked when decoded.
    pub size: u64,
    pub format: Format,
    /// Which file was taken as base when this one was stored, and why.
    pub base: Option<(Oid, Reason)>,
    /// What it was made from by a rule, with the weight of each; empty where none was found.
    pub origin: Vec<Parent>,
    pub layout: Option<Layout>,
    /// A few sampled weights (see `sketch`), comparable between files of one layout; of tables and texts a sample of
    /// what they hold (see `minhash`).
    pub sketch: Vec<f32>,
    pub tensors: Vec<Tensor>,
    pub parts: Vec<Part>,
}

/// A file that another was made from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    pub oid: Oid,
    /// In a sum; the scale of an adapter; 1 otherwise.
    pub weight: f64,
}

/// Why a base was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Reason {
    /// An earlier revision of the same path.
    History = 1,
    /// The model card or configuration beside the file names it.
    Declared = 2,
    /// Same tensors, and the nearest sampled weights in the store.
    Likeness = 3,
    /// It is a weighted sum of it and others.
    Merge = 4,
    /// It is this one with an adapter merged in.
    Adapter = 5,
    /// It is this one in another type.
    Conversion = 6,
}

/// What a run of parts belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub row_len: u64,
    pub shape: Vec<u64>,
}

/// One object of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub object: ObjectId,
    pub len: u32,
    /// Index into `Recipe::tensors`; none for headers, padding and chunks.
    pub tensor: Option<u32>,
    pub slice: u32,
}

/// Under what the index lists files of this format by what they hold; none for those that are found by their tensors.
pub fn content_of(format: Format) -> Option<Layout> {
    match format {
        Format::Parquet => Some(TABLES),
        Format::Text | Format::Arrow | Format::Stream => Some(TEXTS),
        _ => None,
    }
}

/// A recipe whose reconstruction was hashed and equals its oid.
#[derive(Debug)]
pub struct Verified(Recipe);

/// Why bytes are not a recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("recipe is truncated: expected {expected} bytes, found {found}")]
    Truncated { expected: usize, found: usize },
    #[error("not a recipe: bad magic")]
    Magic,
    #[error("recipe has format version {0}, this git-sparse reads version {VERSION}; update git-sparse")]
    Version(u16),
    #[error("recipe checksum does not match its bytes")]
    Checksum,
    #[error("recipe is malformed: {0}")]
    Malformed(&'static str),
    #[error("recipe is for {found}, expected {expected}")]
    OtherFile { expected: Oid, found: Oid },
    #[error("reconstruction of {expected} hashes to {found}")]
    Unproven { expected: Oid, found: Oid },
}

impl Recipe {
    /// The proof that this recipe gives back its file: `found` is the SHA-256 of what was rebuilt.
    pub fn prove(self, found: Oid) -> Result<Verified, RecipeError> {
        if found != self.oid {
            return Err(RecipeError::Unproven { expected: self.oid, found });
        }
        Ok(Verified(self))
    }

    /// The parts with the byte ranges they fill in the file.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u64>, &Part)> {
        let mut end = 0;
        self.parts.iter().map(move |part| {
            let start = end;
            end += u64::from(part.len);
            (start..end, part)
        })
    }

    /// Under which layouts others look for this file.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> {
        let is_factor = |tensor: &Tensor| tensor.name.contains(".lora_");
        let adapter = self.tensors.iter().any(is_factor).then_some(ADAPTERS);
        let content = content_of(self.format);
        // One that an older program stored says nothing of what it holds.
        let content_or_layout =
            content.map_or(self.layout, |content| (!self.sketch.is_empty()).then_some(content));
        content_or_layout.into_iter().chain(adapter)
    }

    /// The tensor a part belongs to.
    pub fn tensor_of(&self, part: &Part) -> Option<&Tensor> {
        part.tensor.map(|index| &self.tensors[index as usize])
    }

    /// Bytes of the recipe file.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.encode_body();
        let packed = codec::zstd::compress(&body, 9);
        let mut out = Vec::with_capacity(HEADER_BYTES + packed.len());
        out.extend_from_slice(MAGIC);
        let version = if self.origin.is_empty() { WITHOUT_ORIGIN } else { VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.push(self.format as u8);
        out.push(self.base.map_or(0, |(_, reason)| reason as u8));
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(self.oid.as_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        let sum = checksum(&out, &packed);
        out.extend_from_slice(&sum);
        out.extend_from_slice(&packed);
        out
    }

    /// Reads a recipe file that should be the one of `expected`.
    ///
    /// Every count is checked against the bytes that are there before anything is allocated for it.
    pub fn decode(bytes: &[u8], expected: Oid) -> Result<Recipe, RecipeError> {
        let truncated = |expected| RecipeError::Truncated { expected, found: bytes.len() };
        let header = bytes.get(..HEADER_BYTES).ok_or_else(|| truncated(HEADER_BYTES))?;
        let mut fields = Fields { rest: header };
        if fields.take(8)? != MAGIC {
            return Err(RecipeError::Magic);
        }
        let version = fields.u16()?;
        if version != VERSION && version != WITHOUT_ORIGIN {
            return Err(RecipeError::Version(version));
        }
        let format = format_from_tag(fields.u8()?)?;
        let reason = reason_from_tag(fields.u8()?)?;
        fields.take(4)?;
        let size = fields.u64()?;
        let oid = Oid::from_bytes(fields.hash()?);
        let body_bytes = fields.u32()? as usize;
        let packed_bytes = fields.u32()? as usize;
        let end = HEADER_BYTES.saturating_add(packed_bytes);
        if bytes.len() != end {
            return Err(truncated(end));
        }
        let packed = &bytes[HEADER_BYTES..];
        if checksum(&header[..HEADER_BYTES - 32], packed) != fields.hash()? {
            return Err(RecipeError::Checksum);
        }
        if oid != expected {
            return Err(RecipeError::OtherFile { expected, found: oid });
        }
        if body_bytes > MAX_BODY_BYTES {
            return Err(RecipeError::Malformed("body is larger than any recipe's"));
        }
        let body = codec::zstd::decompress(packed, body_bytes)
            .map_err(|_| RecipeError::Malformed("body does not decompress to its declared length"))?;
        let recipe = decode_body(&body, version, oid, size, format, reason)?;
        recipe.check_sum()?;
        Ok(recipe)
    }

    /// The file's size, as the first `HEADER_BYTES` of a recipe say it; the checksum was not looked at.
    pub fn size_in(header: &[u8], expected: Oid) -> Result<u64, RecipeError> {
        let mut fields = Fields { rest: header };
        if fields.take(8)? != MAGIC {
            return Err(RecipeError::Magic);
        }
        fields.take(8)?;
        let size = fields.u64()?;
        let found = Oid::from_bytes(fields.hash()?);
        if found == expected { Ok(size) } else { Err(RecipeError::OtherFile { expected, found }) }
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some((oid, _)) = &self.base {
            out.extend_from_slice(oid.as_bytes());
        }
        if !self.origin.is_empty() {
            out.push(self.origin.len() as u8);
            for Parent { oid, weight } in &self.origin {
                out.extend_from_slice(oid.as_bytes());
                out.extend_from_slice(&weight.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.layout.unwrap_or_default());
        out.extend_from_slice(&(self.sketch.len() as u16).to_le_bytes());
        for weight in &self.sketch {
            out.extend_from_slice(&weight.to_le_bytes());
        }
        out.extend_from_slice(&(self.tensors.len() as u32).to_le_bytes());
        for tensor in &self.tensors {
            out.push(tensor.dtype as u8);
            out.push(tensor.shape.len() as u8);
            out.extend_from_slice(&(tensor.name.len() as u16).to_le_bytes());
            out.extend_from_slice(&tensor.row_len.to_le_bytes());
            out.extend_from_slice(tensor.name.as_bytes());
            tensor.shape.iter().for_each(|dim| out.extend_from_slice(&dim.to_le_bytes()));
        }
        out.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        for part in &self.parts {
            out.extend_from_slice(&part.len.to_le_bytes());
            out.extend_from_slice(&part.tensor.unwrap_or(NO_TENSOR).to_le_bytes());
            out.extend_from_slice(&part.slice.to_le_bytes());
        }
        // The ids stand together at the end: they don't compress, the rest does.
        self.parts.iter().for_each(|part| out.extend_from_slice(part.object.as_bytes()));
        out
    }

    fn check_sum(&self) -> Result<(), RecipeError> {
        let total: u64 = self.parts.iter().map(|part| u64::from(part.len)).sum();
        match total == self.size {
            true => Ok(()),
            false => Err(RecipeError::Malformed("parts do not add up to the file's size")),
        }
    }
}

impl Verified {
    pub fn recipe(&self) -> &Recipe {
        &self.0
    }
}

/// The parts of a cut whose segments are these objects, with the tensors they belong to.
pub fn parts_of(cut: &Cut, objects: Vec<ObjectId>) -> (Vec<Tensor>, Vec<Part>) {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut known = HashMap::new();
    let parts = cut.segments().iter().zip(objects).map(|(segment, object)| {
        let len = (segment.range.end - segment.range.start) as u32;
        if segment.name.is_empty() {
            return Part { object, len, tensor: None, slice: 0 };
        }
        // The pages of a table's column lie apart and belong together.
        let tensor = *known.entry(segment.name.as_str()).or_insert_with(|| {
            let Segment { name, dtype, row_len, shape, .. } = segment.clone();
            tensors.push(Tensor { name, dtype, row_len, shape });
            tensors.len() as u32 - 1
        });
        Part { object, len, tensor: Some(tensor), slice: segment.slice }
    });
    let parts = parts.collect();
    (tensors, parts)
}

fn decode_body(
    body: &[u8],
    version: u16,
    oid: Oid,
    size: u64,
    format: Format,
    reason: Option<Reason>,
) -> Result<Recipe, RecipeError> {
    let mut fields = Fields { rest: body };
    let base = match reason {
        Some(reason) => Some((Oid::from_bytes(fields.hash()?), reason)),
        None => None,
    };
    let origin = if version == WITHOUT_ORIGIN { 0 } else { usize::from(fields.u8()?) };
    if origin > MAX_ORIGIN {
        return Err(RecipeError::Malformed("made from more files than a file can be"));
    }
    let parent =
        |_| Ok(Parent { oid: Oid::from_bytes(fields.hash()?), weight: f64::from_bits(fields.u64()?) });
    let origin = (0..origin).map(parent).collect::<Result<_, _>>()?;
    let layout: Layout = fields.take(16)?.try_into().expect("because 16 bytes were taken");
    let sketch_len = usize::from(fields.u16()?);
    let sketch = fields
        .take(sketch_len * 4)?
        .chunks_exact(4)
        .map(|raw| f32::from_le_bytes(raw.try_into().expect("because chunks have 4 bytes")))
        .collect();
    // A tensor takes ten times its bytes on disk in memory: no more than a cut can have.
    let tensors = fields.counted(12, MAX_ARRAYS, decode_tensor)?;
    let tensor_count = tensors.len() as u32;
    // Each part also has an id, behind all parts.
    let mut parts = fields.counted(12 + 32, usize::MAX, |fields| {
        let (len, tensor, slice) = (fields.u32()?, fields.u32()?, fields.u32()?);
        if tensor != NO_TENSOR && tensor >= tensor_count {
            return Err(RecipeError::Malformed("part of a tensor that is not listed"));
        }
        let tensor = (tensor != NO_TENSOR).then_some(tensor);
        Ok(Part { object: ObjectId::from_bytes([0; 32]), len, tensor, slice })
    })?;
    for part in &mut parts {
        part.object = ObjectId::from_bytes(fields.hash()?);
    }
    if !fields.rest.is_empty() {
        return Err(RecipeError::Malformed("bytes after the last part"));
    }
    let layout = (layout != Layout::default()).then_some(layout);
    Ok(Recipe { oid, size, format, base, origin, layout, sketch, tensors, parts })
}

fn decode_tensor(fields: &mut Fields<'_>) -> Result<Tensor, RecipeError> {
    let dtype = Dtype::from_tag(fields.u8()?).ok_or(RecipeError::Malformed("unknown dtype"))?;
    let rank = usize::from(fields.u8()?);
    let name_len = usize::from(fields.u16()?);
    let row_len = fields.u64()?;
    let name = std::str::from_utf8(fields.take(name_len)?)
        .map_err(|_| RecipeError::Malformed("tensor name is not UTF-8"))?;
    let shape = (0..rank).map(|_| fields.u64()).collect::<Result<_, _>>()?;
    Ok(Tensor { name: name.to_owned(), dtype, row_len, shape })
}

fn checksum(header: &[u8], packed: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(header).update(packed).finalize().as_bytes()
}

fn format_from_tag(tag: u8) -> Result<Format, RecipeError> {
    Ok(match tag {
        0 => Format::Chunked,
        1 => Format::Safetensors,
        2 => Format::Gguf,
        3 => Format::Zip,
        4 => Format::Npy,
        5 => Format::Parquet,
        6 => Format::Text,
        7 => Format::Arrow,
        8 => Format::Tar,
        9 => Format::Stream,
        _ => return Err(RecipeError::Malformed("unknown file format")),
    })
}

fn reason_from_tag(tag: u8) -> Result<Option<Reason>, RecipeError> {
    Ok(match tag {
        0 => None,
        1 => Some(Reason::History),
        2 => Some(Reason::Declared),
        3 => Some(Reason::Likeness),
        4 => Some(Reason::Merge),
        5 => Some(Reason::Adapter),
        6 => Some(Reason::Conversion),
        _ => return Err(RecipeError::Malformed("unknown reason for a base")),
    })
}

/// Fixed-width little-endian fields, taken from the front.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecipeError> {
        let (head, rest) =
            self.rest.split_at_checked(len).ok_or(RecipeError::Malformed("body ends inside a field"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecipeError> {
        Ok(self.take(N)?.try_into().expect("because N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, RecipeError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, RecipeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecipeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecipeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn hash(&mut self) -> Result<[u8; 32], RecipeError> {
        self.array()
    }

    /// A count, then that many items of at least `min_bytes` each.
    fn counted<T>(
        &mut self,
        min_bytes: usize,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, RecipeError>,
    ) -> Result<Vec<T>, RecipeError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(min_bytes) > self.rest.len() {
            return Err(RecipeError::Malformed("count is larger than the bytes that follow"));
        }
        if count > most {
            return Err(RecipeError::Malformed("more tensors than a file can have"));
        }
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Recipe {
        let object = ObjectId::of(b"part");
        Recipe {
            oid: Oid::of(b"file"),
            size: 12,
            format: Format::Safetensors,
            base: Some((Oid::of(b"base"), Reason::Merge)),
            origin: vec![
                Parent { oid: Oid::of(b"base"), weight: 0.25 },
                Parent { oid: Oid::of(b"other"), weight: 0.75 },
            ],
            layout: Some([7; 16]),
            sketch: vec![0.5, -1.25],
            tensors: vec![Tensor { name: "w".into(), dtype: Dtype::Bf16, row_len: 2, shape: vec![2, 2] }],
            parts: vec![
                Part { object, len: 4, tensor: None, slice: 0 },
                Part { object, len: 8, tensor: Some(0), slice: 0 },
            ],
        }
    }

    /// A recipe is the only way back to a file: it must survive its own encoding.
    #[test]
    fn decodes_what_it_encodes() {
        let recipe = sample();
        let bytes = recipe.encode();
        assert_eq!(Recipe::decode(&bytes, recipe.oid).unwrap(), recipe);
        assert_eq!(Recipe::size_in(&bytes[..HEADER_BYTES], recipe.oid).unwrap(), recipe.size);
        assert!(Recipe::size_in(&bytes[..40], recipe.oid).is_err());
    }

    /// Recipes come from disks and remotes: no truncation or flipped bit may pass or panic.
    #[test]
    fn every_damage_is_an_error() {
        let recipe = sample();
        let bytes = recipe.encode();
        for end in 0..bytes.len() {
            assert!(Recipe::decode(&bytes[..end], recipe.oid).is_err(), "cut at {end} passed");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(Recipe::decode(&bad, recipe.oid).is_err(), "flip at {at} passed");
        }
        assert!(Recipe::decode(&bytes, Oid::of(b"other")).is_err());
    }

    /// A wrong reconstruction must never become a published recipe.
    #[test]
    fn only_the_right_hash_proves() {
        assert!(sample().prove(Oid::of(b"file")).is_ok());
        assert!(sample().prove(Oid::of(b"elif")).is_err());
    }

    /// The pages of a table's column lie apart; the column is listed once, or a wide table lists little else.
    #[test]
    fn what_lies_apart_is_listed_once() {
        let slice = |at: u64, name: &str, slice| Segment {
            range: at..at + 1,
            name: name.into(),
            slice,
            dtype: Dtype::Bytes,
            row_len: 0,
            shape: Vec::new(),
        };
        let segments =
            vec![slice(0, "", 0), slice(1, "a", 0), slice(2, "b", 0), slice(3, "a", 1), slice(4, "b", 1)];
        let cut = Cut::tiling(Format::Parquet, 5, segments).unwrap();
        let (tensors, parts) = parts_of(&cut, vec![ObjectId::of(b"part"); 5]);
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let found: Vec<_> = parts.iter().map(|part| (part.tensor, part.slice)).collect();
        assert_eq!(found, [(None, 0), (Some(0), 0), (Some(1), 0), (Some(0), 1), (Some(1), 1)]);
    }
}
