//! A checkpoint's files: its settings, its tokenizer, and where each tensor lies in which of them.
//!
//! Names come from an index that may lie, so they are only ever looked up among the files that are there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::ConvertError;
use super::config::Config;
use crate::format::{self, Dtype, Format, OpenFile, Source};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const WEIGHTS: &str = ".safetensors";

/// Settings and templates are a few KiB.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// The largest published vocabularies take some 40 MB, as do indexes of models with many experts.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// Files by their names, of which no more is read than is needed.
pub type Files<'a> = BTreeMap<String, Box<dyn Source + 'a>>;

/// A model's files, found and parsed; what they say is not yet compared with each other.
pub struct Checkpoint<'a> {
    pub(super) config: Config,
    pub(super) tokenizer: Vec<u8>,
    pub(super) tokenizer_config: Option<Vec<u8>>,
    pub(super) template: Option<String>,
    pub(super) tensors: BTreeMap<String, Stored>,
    files: Files<'a>,
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub file: String,
    /// In bytes; inside the file.
    pub range: Range<u64>,
    pub dtype: Dtype,
    /// Outermost dimension first; as many elements as the range has bytes for.
    pub shape: Vec<u64>,
}

impl Checkpoint<'static> {
    /// The checkpoint in a directory.
    ///
    /// # Errors
    /// What can't be read, and as [`Checkpoint::of`].
    pub fn open(directory: &Path) -> Result<Checkpoint<'static>, ConvertError> {
        let failed = |error| ConvertError::Read { file: directory.display().to_string(), error };
        let mut files: Files<'static> = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            if !is_wanted(&name) {
                continue;
            }
            let file = OpenFile::open(&directory.join(&name));
            let file = file.map_err(|error| ConvertError::Read { file: name.clone(), error })?;
            files.insert(name, Box::new(file));
        }
        Checkpoint::of(files)
    }
}

/// Whether a file is one of those that a checkpoint is read from.
fn is_wanted(name: &str) -> bool {
    [CONFIG, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, INDEX].contains(&name) || name.ends_with(WEIGHTS)
}

impl<'a> Checkpoint<'a> {
    /// The checkpoint in these files; others than its own are left alone.
    ///
    /// # Errors
    /// A file that is missing, too long or malformed, and tensors that come twice.
    pub fn of(files: Files<'a>) -> Result<Checkpoint<'a>, ConvertError> {
        let config = Config::parse(&needed(&files, CONFIG, MAX_CONFIG_BYTES)?)?;
        let tokenizer = needed(&files, TOKENIZER, MAX_TOKENIZER_BYTES)?;
        let tokenizer_config = whole(&files, TOKENIZER_CONFIG, MAX_CONFIG_BYTES)?;
        let template = whole(&files, TEMPLATE, MAX_CONFIG_BYTES)?;
        let template = template
            .map(|bytes| String::from_utf8(bytes).map_err(|_| malformed(TEMPLATE, "not UTF-8".into())));
        let template = template.transpose()?;
        let mut tensors = BTreeMap::new();
        for name in shards(&files)? {
            let source = files.get(&name).ok_or_else(|| ConvertError::NoFile { file: name.clone() })?;
            for (tensor, stored) in tensors_of(&name, source.as_ref())? {
                if let Some(other) = tensors.insert(tensor.clone(), stored) {
                    let why = format!("has the tensor {tensor}, as has {}", other.file);
                    return Err(malformed(&name, why));
                }
            }
        }
        Ok(Checkpoint { config, tokenizer, tokenizer_config, template, tensors, files })
    }

    /// Fills `buf` from a file of the checkpoint.
    pub(super) fn read(&self, file: &str, buf: &mut [u8], offset: u64) -> Result<(), ConvertError> {
        let source = self.files.get(file).expect("because tensors were found in it");
        source.read_at(buf, offset).map_err(|error| ConvertError::Read { file: file.into(), error })
    }
}

fn malformed(file: &str, why: String) -> ConvertError {
    ConvertError::Malformed { file: file.into(), why }
}

/// A whole file; none where there is none.
fn whole(files: &Files, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ConvertError> {
    let Some(source) = files.get(name) else { return Ok(None) };
    if source.len() > limit {
        let why = format!("expected at most {limit} bytes, found {}", source.len());
        return Err(malformed(name, why));
    }
    let mut bytes = vec![0; source.len() as usize];
    let read = source.read_at(&mut bytes, 0);
    read.map_err(|error| ConvertError::Read { file: name.into(), error })?;
    Ok(Some(bytes))
}

fn needed(files: &Files, name: &str, limit: u64) -> Result<Vec<u8>, ConvertError> {
    whole(files, name, limit)?.ok_or_else(|| ConvertError::NoFile { file: name.into() })
}

/// Which files have the weights: those of the index, or the only one.
fn shards(files: &Files) -> Result<Vec<String>, ConvertError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if let Some(index) = whole(files, INDEX, MAX_TOKENIZER_BYTES)? {
        let index: Index =
            serde_json::from_slice(&index).map_err(|error| malformed(INDEX, error.to_string()))?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        return Ok(shards);
    }
    if files.contains_key(SINGLE) {
        return Ok(vec![SINGLE.into()]);
    }
    let found: Vec<&String> = files.keys().filter(|name| name.ends_with(WEIGHTS)).collect();
    match found[..] {
        [only] => Ok(vec![only.clone()]),
        [] => Err(ConvertError::NoFile { file: SINGLE.into() }),
        _ => Err(ConvertError::NoFile { file: format!("{INDEX}, though it has {} shards", found.len()) }),
    }
}

/// The tensors that a shard really has: claims that lie about their place are left out.
fn tensors_of(name: &str, source: &dyn Source) -> Result<Vec<(String, Stored)>, ConvertError> {
    let cut = format::cut_by_length(source);
    let cut = cut.map_err(|error: io::Error| ConvertError::Read { file: name.into(), error })?;
    if cut.format() != Format::Safetensors {
        return Err(malformed(name, "expected safetensors, its header is not of that kind".into()));
    }
    if let Some(promised) = promised_len(source).filter(|promised| *promised > source.len()) {
        let why = format!("it was cut short: expected {promised} bytes, found {}", source.len());
        return Err(malformed(name, why));
    }
    let mut tensors: Vec<(String, Stored)> = Vec::new();
    for segment in cut.segments().iter().filter(|segment| !segment.name.is_empty()) {
        let last = tensors.last_mut().filter(|(name, _)| *name == segment.name);
        match last {
            Some((_, stored)) if stored.range.end == segment.range.start => {
                stored.range.end = segment.range.end;
            }
            _ => {
                let (range, dtype) = (segment.range.clone(), segment.dtype);
                let stored = Stored { file: name.into(), range, dtype, shape: segment.shape.clone() };
                tensors.push((segment.name.clone(), stored));
            }
        }
    }
    tensors.retain(|(_, stored)| {
        let elements = stored.shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len));
        let bytes = elements.and_then(|all| all.checked_mul(stored.dtype.width() as u64));
        stored.dtype == Dtype::Bytes || bytes == Some(stored.range.end - stored.range.start)
    });
    Ok(tensors)
}

/// How long the header of a safetensors file says that it is.
fn promised_len(source: &dyn Source) -> Option<u64> {
    #[derive(Deserialize)]
    struct Place {
        data_offsets: [u64; 2],
    }
    let mut len = [0; 8];
    source.read_at(&mut len, 0).ok()?;
    let len = u64::from_le_bytes(len);
    let start = len.checked_add(8).filter(|start| len <= MAX_TOKENIZER_BYTES && *start <= source.len())?;
    let mut header = vec![0; len as usize];
    source.read_at(&mut header, 8).ok()?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).ok()?;
    let ends = header.into_values().filter_map(|tensor| Place::deserialize(tensor).ok());
    start.checked_add(ends.map(|place| place.data_offsets[1]).max()?)
}
