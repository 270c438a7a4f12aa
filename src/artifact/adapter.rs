//! Adapters and the models that they belong to: does one fit, merge it, make one of a fine-tune.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tree::{Tree, TreeFile};
use crate::adapter::{Adapter, AdapterError, ExtractError, ExtractedAdapter, Extraction, Layer, Merge, Pair};
use crate::counterpart::Counterparts;
use crate::format::{self, Cut, OpenFile, Segment, Source};
use crate::progress::{Cancelled, Progress};

/// Where PEFT keeps an adapter's weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
/// Largest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Bytes that a file is written by.
const WRITE_BYTES: usize = 1 << 20;

/// Why an adapter does not merge.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("{place}: there is no {file} in it: this is no adapter that PEFT saved")]
    NoAdapter { place: String, file: &'static str },
    #[error("{CONFIG}: it has {len} bytes, expected {MAX_CONFIG_BYTES} at most")]
    TooLong { len: u64 },
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Adapter(#[from] AdapterError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Why no adapter was extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractionError {
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{0}")]
    Extract(#[from] ExtractError),
    #[error("{name}: it is {base:?} in the base and {tuned:?} in the fine-tune")]
    Shape { name: String, base: Vec<u64>, tuned: Vec<u64> },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Whether an adapter fits a base.
///
/// # Errors
/// What is no adapter, or none that merges with this base.
pub fn fits(adapter: &Tree, base: &Tree) -> Result<(), MergeError> {
    let (config, weights) = files_of(adapter)?;
    let adapter = Adapter::read(&config, &weights)?;
    check(&adapter, &opened(base).map_err(|(path, error)| MergeError::Read { path, error })?)
}

/// Writes the base with an adapter merged into it below the empty directory `dir`, durably. Files without
/// a tensor that the adapter changes are copied.
///
/// # Errors
/// An adapter that does not fit; reading and writing.
pub fn merge(adapter: &Tree, base: &Tree, dir: &Path, progress: &Progress<'_>) -> Result<(), MergeError> {
    let (config, weights) = files_of(adapter)?;
    let adapter = Adapter::read(&config, &weights)?;
    let files = opened(base).map_err(|(path, error)| MergeError::Read { path, error })?;
    check(&adapter, &files)?;
    files.iter().try_for_each(|file| merge_file(&adapter, file, &dir.join(&file.file.path), progress))
}

/// What an adapter says of its base.
#[derive(Default, Deserialize)]
struct Declared {
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    revision: Option<String>,
}

/// What a checkpoint says of where it came from.
#[derive(Default, Deserialize)]
struct Origin {
    #[serde(rename = "_name_or_path", default)]
    name: Option<String>,
}

/// Why a base may be another one than an adapter says that it belongs to, a sentence each: names and shapes are those of
/// any fine-tune of one model. Nothing where one name of the base is the adapter's, or none is known; what a hub calls it
/// counts most.
///
/// # Errors
/// A configuration that can't be read.
pub fn doubts(adapter: &Tree, base: &Tree) -> Result<Vec<String>, MergeError> {
    let (config, _) = files_of(adapter)?;
    let declared: Declared = serde_json::from_slice(&config).unwrap_or_default();
    let mut doubts = Vec::new();
    if let Some(name) = declared.base_model_name_or_path.filter(|name| !name.trim().is_empty()) {
        let known = names_of(base);
        if !known.is_empty() && !known.iter().any(|known| own_name(known) == own_name(&name)) {
            let known = known.join(", ");
            doubts.push(format!("the adapter says that its base is {name}, and this one is called {known}"));
        }
    }
    let commit = |text: &&str| text.len() >= 40 && text.bytes().all(|sign| sign.is_ascii_hexdigit());
    let revisions = (declared.revision.as_deref().filter(commit), snapshot(base).1);
    if let (Some(revision), Some(own)) = revisions
        && revision != own
    {
        doubts.push(format!("the adapter says that its base is at {revision}, and this one is at {own}"));
    }
    Ok(doubts)
}

/// How a base is called: by a hub; else by its configuration, and by its directory.
fn names_of(base: &Tree) -> Vec<String> {
    if let (Some(name), _) = snapshot(base) {
        return vec![name];
    }
    let config = base.find("config.json").and_then(|file| OpenFile::open(&file.place).ok());
    let text = config.filter(|file| file.len() <= MAX_CONFIG_BYTES).and_then(|file| {
        let mut text = vec![0; file.len() as usize];
        file.read_at(&mut text, 0).ok().map(|()| text)
    });
    let origin: Origin = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    // Files are called as those of any model, and so are places in a repository.
    let directory = Path::new(&base.name).is_dir().then(|| base.own_name());
    origin.name.into_iter().filter(|name| !name.is_empty()).chain(directory).collect()
}

/// What a hub calls a model, and its commit; also of a directory in a hub's cache.
fn snapshot(base: &Tree) -> (Option<String>, Option<String>) {
    match &base.revision {
        Some(commit) if !base.name.contains(':') => {
            let name = base.name.split('@').next().unwrap_or_default();
            return (Some(name.to_owned()), Some(commit.clone()));
        }
        Some(_) => return (None, None),
        None => {}
    }
    let place = fs::canonicalize(&base.name).unwrap_or_default();
    let mut parts = place.iter().map(|part| part.to_string_lossy());
    let name = parts.find_map(|part| Some(part.strip_prefix("models--")?.replace("--", "/")));
    let commit = parts.next().filter(|part| part == "snapshots").and_then(|_| parts.next());
    (name, commit.map(|commit| commit.into_owned()))
}

/// The last part of a model's name, without what differs between a hub and a directory.
fn own_name(name: &str) -> String {
    let name = name.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    name.to_lowercase().replace(['_', '.'], "-")
}

fn check(adapter: &Adapter<'_>, files: &[Opened<'_>]) -> Result<(), MergeError> {
    let segments = files.iter().flat_map(|file| file.cut.segments());
    let tensors = segments.filter(|segment| !segment.name.is_empty() && segment.slice == 0);
    Ok(adapter.check(tensors.map(|segment| (segment.name.as_str(), segment.shape.as_slice())))?)
}

/// The configuration of an adapter, and its weights.
fn files_of(adapter: &Tree) -> Result<(Vec<u8>, OpenFile), MergeError> {
    let open = |name: &'static str| {
        let missing = || MergeError::NoAdapter { place: adapter.name.clone(), file: name };
        let file = adapter.find(name).ok_or_else(missing)?;
        OpenFile::open(&file.place).map_err(|error| MergeError::Read { path: name.into(), error })
    };
    let config = open(CONFIG)?;
    if config.len() > MAX_CONFIG_BYTES {
        return Err(MergeError::TooLong { len: config.len() });
    }
    let mut text = vec![0; config.len() as usize];
    config.read_at(&mut text, 0).map_err(|error| MergeError::Read { path: CONFIG.into(), error })?;
    Ok((text, open(WEIGHTS)?))
}

/// A file of a model and where it is cut.
struct Opened<'a> {
    file: &'a TreeFile,
    source: OpenFile,
    cut: Cut,
}

fn opened(tree: &Tree) -> Result<Vec<Opened<'_>>, (String, io::Error)> {
    let open = |file| {
        let failed = |error| (TreeFile::clone(file).path, error);
        let source = OpenFile::open(&file.place).map_err(failed)?;
        let cut = format::cut(&source).map_err(failed)?;
        Ok(Opened { file, source, cut })
    };
    tree.files.iter().map(open).collect()
}

impl Opened<'_> {
    fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (end - start) as usize];
        self.source.read_at(&mut bytes, start)?;
        Ok(bytes)
    }

    /// The tensors, each with its slices in order.
    fn tensors(&self) -> impl Iterator<Item = &[Segment]> {
        let together = |a: &Segment, b: &Segment| !a.name.is_empty() && a.name == b.name;
        self.cut.segments().chunk_by(together).filter(|slices| !slices[0].name.is_empty())
    }
}

fn merge_file(
    adapter: &Adapter<'_>,
    file: &Opened<'_>,
    path: &Path,
    progress: &Progress<'_>,
) -> Result<(), MergeError> {
    let failed = |error| MergeError::Write { path: path.to_owned(), error };
    fs::create_dir_all(path.parent().expect("because it lies below a directory")).map_err(failed)?;
    let mut out = BufWriter::with_capacity(WRITE_BYTES, File::create_new(path).map_err(failed)?);
    let mut current: Option<(&str, u64, Option<Merge>)> = None;
    for segment in file.cut.segments() {
        let read = |error| MergeError::Read { path: file.file.path.clone(), error };
        let mut bytes = file.read(segment.range.start, segment.range.end).map_err(read)?;
        if current.as_ref().is_none_or(|(name, ..)| *name != segment.name) {
            let merge = adapter.merge(&segment.name, segment.dtype, &segment.shape)?;
            current = Some((&segment.name, segment.range.start, merge));
        }
        if let Some((_, start, Some(merge))) = &current {
            let first = (segment.range.start - start) / segment.dtype.width() as u64;
            bytes = merge.slice(first, &bytes)?;
        }
        out.write_all(&bytes).map_err(failed)?;
        progress(bytes.len() as u64)?;
    }
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed)
}

/// A LoRA adapter of this rank whose merge with `base` is near `tuned`; `base_model` is its name for others.
/// One tensor of both is in memory at a time.
///
/// # Errors
/// A rank out of range; models of other shapes; nothing that an adapter can express.
pub fn extract(
    base: &Tree,
    tuned: &Tree,
    rank: usize,
    alpha: f64,
    progress: &Progress<'_>,
) -> Result<ExtractedAdapter, ExtractionError> {
    let failed = |(path, error)| ExtractionError::Read { path, error };
    let (bases, files) = (opened(base).map_err(failed)?, opened(tuned).map_err(failed)?);
    let mut extraction = Extraction::new(rank, alpha)?;
    for ((file, slices), (base_file, theirs)) in pairs(&bases, &files) {
        let whole = |file: &Opened<'_>, slices: &[Segment]| {
            let bytes = file.read(slices[0].range.start, slices[slices.len() - 1].range.end);
            bytes.map_err(|error| failed((file.file.path.clone(), error)))
        };
        // The adapter is for the base, and finds its tensors by the base's names.
        let name = &theirs[0].name;
        if slices[0].shape != theirs[0].shape {
            let (base, tuned) = (theirs[0].shape.clone(), slices[0].shape.clone());
            return Err(ExtractionError::Shape { name: name.clone(), base, tuned });
        }
        let (own, other) = (whole(file, slices)?, whole(base_file, theirs)?);
        extraction.add(&Pair {
            name,
            layer: Layer::guess(name),
            shape: &slices[0].shape,
            base: (theirs[0].dtype, &other),
            tuned: (slices[0].dtype, &own),
        });
        progress((own.len() + other.len()) as u64)?;
    }
    Ok(extraction.finish(Some(&base.name))?)
}

/// A tensor: its file, and its slices in order.
type Tensor<'a> = (&'a Opened<'a>, &'a [Segment]);

/// The tensors of a fine-tune, each with the one of the base that compress would compare it with. None of the base
/// has two: one of the same name goes before those of wrapped names.
fn pairs<'a>(base: &'a [Opened<'a>], tuned: &'a [Opened<'a>]) -> Vec<(Tensor<'a>, Tensor<'a>)> {
    let of = |files: &'a [Opened<'a>]| -> Vec<Tensor<'a>> {
        files.iter().flat_map(|file| file.tensors().map(move |slices| (file, slices))).collect()
    };
    let name = |tensor: &Tensor<'a>| -> &'a str { &tensor.1[0].name };
    let (theirs, own) = (of(base), of(tuned));
    let mut counterparts = Counterparts::default();
    theirs.iter().enumerate().for_each(|(at, tensor)| counterparts.add_tensor(name(tensor), 0, at));
    let names: HashSet<&str> = own.iter().map(name).collect();
    let mut taken = HashSet::new();
    let pair = |tensor: Tensor<'a>| {
        let at: usize = counterparts.named(name(&tensor), 0)?;
        let found = name(&theirs[at]);
        let is_own = found == name(&tensor) || !names.contains(found);
        (is_own && taken.insert(at)).then(|| (tensor, theirs[at]))
    };
    own.iter().copied().filter_map(pair).collect()
}
