//! A model as the engine can run it: whatever a user names, as one GGUF file and the hash of its weights.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{model, watch};
use crate::artifact::TreeFile;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::format::{OpenFile, Source};
use crate::id::Oid;

/// Bytes that are read at once.
const PART_BYTES: usize = 4 << 20;

/// A model, ready to be run.
pub struct Subject {
    /// As the user named it.
    pub name: String,
    /// The file that the engine loads.
    pub gguf: PathBuf,
    /// SHA-256 of the GGUF file as the user has it, or over those of a checkpoint's files.
    pub weights: Oid,
    /// Of the files with weights, as the user has them.
    pub bytes: u64,
    _found: model::Found,
}

/// Finds a model by path, `REV:PATH` or name of a hub.
pub fn find(spec: &str) -> Result<Subject, Failure> {
    let found = model::find(spec, &model::scratch())?;
    let gguf: Vec<&TreeFile> =
        found.tree.files.iter().filter(|file| file.path.ends_with(".gguf") && is_first(&file.path)).collect();
    match gguf[..] {
        [only] => {
            let parts: Vec<&TreeFile> = found.tree.files.iter().filter(|file| is_part(file, only)).collect();
            let bytes = parts.iter().map(|file| size(&file.place)).sum::<Result<u64, _>>()?;
            let weights = match parts[..] {
                [only] => hash(&only.place)?,
                _ => hash_all(&parts)?,
            };
            Ok(Subject { name: spec.to_owned(), gguf: only.place.clone(), weights, bytes, _found: found })
        }
        [] => {
            Err(Failure::new(Kind::Usage, format!("{spec}: there is no GGUF file in it"))
                .fix("name a GGUF file"))
        }
        _ => {
            let names: Vec<_> = gguf.iter().map(|file| file.path.as_str()).collect();
            Err(Failure::new(Kind::Usage, format!("{spec} has several models: {}", names.join(", ")))
                .fix(format!("name one of them: {spec}/{}", names[0])))
        }
    }
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
fn hash_all(files: &[&TreeFile]) -> Result<Oid, Failure> {
    let mut all = Sha256::new();
    for file in files {
        all.update(format!("{} {}\n", hash(&file.place)?, file.path));
    }
    Ok(Oid::from_bytes(all.finalize().into()))
}
