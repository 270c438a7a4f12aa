//! A model as the engine can run it: whatever a user names, as one GGUF file and the hash of its weights.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{model, watch};
use crate::artifact::{Staging, TreeFile};
use crate::convert::{Checkpoint, ConvertError, Files, Plan};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::format::{OpenFile, Source};
use crate::id::Oid;

/// Bytes that are read at once.
const PART_BYTES: usize = 4 << 20;
const WEIGHTS: &str = ".safetensors";
/// The name of a converted checkpoint in a directory of its own.
const CONVERTED: &str = "model.gguf";

/// A model that can be run.
pub struct Subject {
    /// As the user named it.
    pub name: String,
    /// SHA-256 of the GGUF file as the user has it, or over the names and hashes of a checkpoint's files.
    pub weights: Oid,
    /// Of the files with weights, as the user has them.
    pub bytes: u64,
    origin: Origin,
    converted: OnceCell<Staging>,
    _found: model::Found,
}

/// What a model is stored as.
enum Origin {
    Gguf(PathBuf),
    /// A checkpoint in safetensors, with all that belongs to it.
    Checkpoint(Vec<TreeFile>),
}

/// Finds a model by path, `REV:PATH` or name of a hub.
pub fn find(spec: &str) -> Result<Subject, Failure> {
    let found = model::find(spec, &model::scratch())?;
    let files = &found.tree.files;
    let gguf: Vec<&TreeFile> =
        files.iter().filter(|file| file.path.ends_with(".gguf") && is_first(&file.path)).collect();
    let checkpoint: Vec<TreeFile> =
        files.iter().filter(|file| is_of_checkpoint(&file.path)).cloned().collect();
    let has_weights = checkpoint.iter().any(|file| file.path.ends_with(WEIGHTS));
    let (origin, parts) = match gguf[..] {
        [] if has_weights => (Origin::Checkpoint(checkpoint.clone()), checkpoint),
        [only] => {
            let parts = files.iter().filter(|file| is_part(file, only)).cloned().collect();
            (Origin::Gguf(only.place.clone()), parts)
        }
        [] => return Err(no_model(spec)),
        _ => return Err(several(spec, &gguf)),
    };
    let is_weight = |file: &&TreeFile| file.path.ends_with(WEIGHTS) || file.path.ends_with(".gguf");
    let bytes = parts.iter().filter(is_weight).map(|file| size(&file.place)).sum::<Result<u64, _>>()?;
    let weights = match (&origin, &parts[..]) {
        (Origin::Gguf(_), [only]) => hash(&only.place)?,
        _ => hash_all(&parts)?,
    };
    Ok(Subject { name: spec.to_owned(), weights, bytes, origin, converted: OnceCell::new(), _found: found })
}

impl Subject {
    /// The file of a model that is one GGUF file, whose hash is then `weights`.
    pub fn only_file(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Gguf(place) if size(place).ok() == Some(self.bytes) => std::path::absolute(place).ok(),
            _ => None,
        }
    }

    /// The files with weights, and their hashes; nothing of a GGUF file in parts, which no variant is stored by.
    pub fn files(&self) -> Result<Vec<(Oid, PathBuf)>, Failure> {
        let Origin::Checkpoint(files) = &self.origin else {
            return Ok(self.only_file().map(|place| (self.weights, place)).into_iter().collect());
        };
        let weights = files.iter().filter(|file| file.path.ends_with(WEIGHTS));
        let hashed = |file: &TreeFile| {
            let place = std::path::absolute(&file.place).map_err(|error| words::file(&file.place, &error))?;
            Ok((hash(&place)?, place))
        };
        weights.map(hashed).collect()
    }

    /// The directory of a checkpoint; `None` of a GGUF file.
    pub fn checkpoint(&self) -> Option<PathBuf> {
        let Origin::Checkpoint(files) = &self.origin else { return None };
        let config = files.iter().find(|file| file.path.ends_with("config.json"))?;
        config.place.parent().map(Path::to_owned)
    }

    /// The GGUF file that the engine loads; a checkpoint is converted when this is first asked for.
    pub fn gguf(&self) -> Result<PathBuf, Failure> {
        let files = match &self.origin {
            Origin::Gguf(place) => return Ok(place.clone()),
            Origin::Checkpoint(files) => files,
        };
        if let Some(staging) = self.converted.get() {
            return Ok(staging.path().join(CONVERTED));
        }
        let staging = Staging::begin(&model::scratch()).map_err(|error| model::taken(&error))?;
        let place = staging.path().join(CONVERTED);
        convert(&self.name, files, &place)?;
        Ok(self.converted.get_or_init(|| staging).path().join(CONVERTED))
    }
}

fn convert(name: &str, files: &[TreeFile], place: &Path) -> Result<(), Failure> {
    let told = |error: ConvertError| unconverted(name, &error);
    let mut sources: Files<'static> = Files::new();
    for file in files {
        let source = OpenFile::open(&file.place).map_err(|error| words::file(&file.place, &error))?;
        sources.insert(file.path.clone(), Box::new(source));
    }
    let checkpoint = Checkpoint::of(sources).map_err(told)?;
    let plan = Plan::of(&checkpoint).map_err(told)?;
    let out = File::create(place).map_err(|error| words::file(place, &error))?;
    plan.write(&mut BufWriter::new(out)).map_err(told)
}

/// A checkpoint that can't be converted, in words.
fn unconverted(name: &str, error: &ConvertError) -> Failure {
    let message = format!("{name}: {error}");
    match error {
        ConvertError::Read { .. } | ConvertError::Write(_) => Failure::new(Kind::Fatal, message)
            .fix("free some space below the directory for temporary files, or set TMPDIR to another"),
        ConvertError::NoFile { .. } => Failure::new(Kind::NotFound, message)
            .fix("name the whole checkpoint: config.json, tokenizer.json and the weights"),
        ConvertError::Malformed { .. } => {
            Failure::new(Kind::Corrupt, message).fix("fetch the file again, or name another checkpoint")
        }
        _ => Failure::new(Kind::Refused, message)
            .fix("convert it with llama.cpp's convert_hf_to_gguf.py, and name the GGUF file"),
    }
}

fn no_model(spec: &str) -> Failure {
    Failure::new(Kind::Usage, format!("{spec}: there is no model in it that can be run"))
        .fix("name a GGUF file, or a directory with config.json, tokenizer.json and safetensors")
}

fn several(spec: &str, gguf: &[&TreeFile]) -> Failure {
    let names: Vec<_> = gguf.iter().map(|file| file.path.as_str()).collect();
    Failure::new(Kind::Usage, format!("{spec} has several models: {}", names.join(", ")))
        .fix(format!("name one of them: {spec}/{}", names[0]))
}

/// Whether a file is one that a checkpoint is made of; copies in folders below are none.
fn is_of_checkpoint(path: &str) -> bool {
    const OTHERS: [&str; 5] = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
    ];
    OTHERS.contains(&path) || (path.ends_with(WEIGHTS) && !path.contains('/'))
}

/// Whether a file is by itself, or the first of several that are one model: `…-00001-of-00003.gguf`.
fn is_first(path: &str) -> bool {
    part_of(path).is_none_or(|(_, number)| number == 1)
}

fn is_part(file: &TreeFile, first: &TreeFile) -> bool {
    match (part_of(&file.path), part_of(&first.path)) {
        (Some((one, _)), Some((other, _))) => one == other,
        _ => file.path == first.path,
    }
}

/// The name that parts share, and the part's number.
fn part_of(path: &str) -> Option<(&str, u32)> {
    let stem = path.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    count.parse::<u32>().ok()?;
    Some((name, number.parse().ok()?))
}

fn size(place: &Path) -> Result<u64, Failure> {
    std::fs::metadata(place).map(|found| found.len()).map_err(|error| words::file(place, &error))
}

/// SHA-256 of a file.
pub fn hash(place: &Path) -> Result<Oid, Failure> {
    let failed = |error: io::Error| words::file(place, &error);
    let source = OpenFile::open(place).map_err(failed)?;
    watch::here("read", |progress| {
        let mut hasher = Sha256::new();
        let (mut at, mut part) = (0, vec![0; PART_BYTES]);
        while at < source.len() {
            let count = (source.len() - at).min(PART_BYTES as u64);
            source.read_at(&mut part[..count as usize], at).map_err(failed)?;
            hasher.update(&part[..count as usize]);
            at += count;
            progress(count).map_err(|_| Failure::new(Kind::Interrupted, "interrupted"))?;
        }
        Ok(Oid::from_bytes(hasher.finalize().into()))
    })
}

/// Over the names and hashes of several files.
fn hash_all(files: &[TreeFile]) -> Result<Oid, Failure> {
    let mut all = Sha256::new();
    for file in files {
        all.update(format!("{} {}\n", hash(&file.place)?, file.path));
    }
    Ok(Oid::from_bytes(all.finalize().into()))
}
