//! The files of a base in the place of packs: the objects that they are cut into, as they lie there.
//!
//! A file that is cut at offsets is, for whoever reads it, a pack of raw payloads. So a store over this
//! backend finds the objects of the base without a copy of it, and all verbs work as they do elsewhere.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::backend::{Area, Backend, Name, Staged};
use crate::codec::Codec;
use crate::format::{self, OpenFile, Segment, Source};
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Index;
use crate::pack::{Bases, Record};
use crate::pipeline::in_order;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{self, Recipe};
use crate::store::Store;

/// Bytes that are read and hashed at a time.
const AHEAD_BYTES: u64 = 32 << 20;

/// A file of the base, and how it is cut.
pub(super) struct BaseFile {
    /// Within the model.
    pub path: String,
    pub recipe: Recipe,
    pub file: OpenFile,
}

/// Packs and recipes of an artifact, and beside them the files of its base.
pub(super) struct Held<B> {
    artifact: B,
    files: HashMap<PackId, (String, OpenFile)>,
}

/// A file of the base is not what it was when it was compared: inside of an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("the base's file {path} was changed while it was read")]
pub struct BaseChanged {
    path: String,
}

/// Why a file can't be outlined.
#[derive(Debug, thiserror::Error)]
pub enum OutlineError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// The recipe of a file, without storing it.
pub(super) fn outline(source: &dyn Source, progress: &Progress<'_>) -> Result<Recipe, OutlineError> {
    let cut = format::cut(source)?;
    let mut hasher = Sha256::new();
    let mut objects = Vec::with_capacity(cut.segments().len());
    let len = |segment: &Segment| segment.range.end - segment.range.start;
    let work = |segment: &Segment| -> Result<_, OutlineError> {
        let mut bytes = vec![0; len(segment) as usize];
        source.read_at(&mut bytes, segment.range.start)?;
        Ok((ObjectId::of(&bytes), bytes))
    };
    let take = |_: &Segment, (object, bytes): (ObjectId, Vec<u8>)| {
        hasher.update(&bytes);
        objects.push(object);
        Ok(progress(bytes.len() as u64)?)
    };
    in_order(cut.segments(), len, AHEAD_BYTES, work, take)?;
    let oid = Oid::from_bytes(hasher.finalize().into());
    let layout = format::layout_of(cut.segments());
    let (tensors, parts) = recipe::parts_of(&cut, objects);
    let size = source.len();
    let (base, origin, sketch) = (None, Vec::new(), Vec::new());
    Ok(Recipe { oid, size, format: cut.format(), base, origin, layout, sketch, tensors, parts })
}

/// A store over an artifact and the files of its base.
pub(super) fn store<B: Backend + 'static>(artifact: B, base: Vec<BaseFile>) -> Store {
    let index = Index::in_memory();
    let mut files = HashMap::new();
    for BaseFile { path, recipe, file } in base {
        let pack = pack_of(&recipe);
        index.put_pack(pack, &records(&recipe));
        files.insert(pack, (path, file));
    }
    Store::over(Box::new(Held { artifact, files }), index)
}

/// The pack that a file stands for.
fn pack_of(recipe: &Recipe) -> PackId {
    PackId::from_bytes(*recipe.oid.as_bytes())
}

fn records(recipe: &Recipe) -> Vec<Record> {
    recipe.ranges().map(|(range, part)| record(part.object, range.start, part.len)).collect()
}

/// What stands for an object of the base.
pub(super) fn record(object: ObjectId, offset: u64, len: u32) -> Record {
    Record {
        object,
        bases: Bases::NONE,
        offset,
        payload_len: len,
        logical_len: len,
        // Of a raw payload, which is the object itself.
        checksum: object.as_bytes()[..16].try_into().expect("because an id has 32 bytes"),
        codec: Codec::Raw,
        depth: 0,
    }
}

impl<B: Backend> Backend for Held<B> {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        self.artifact.create()
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        let Some((path, file)) = self.file_of(name) else { return self.artifact.read(name, range) };
        if range.end > file.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        let read = file.read_at(&mut bytes, range.start);
        // Looked at after reading: what was written before is in the bytes.
        match (read, file.has_changed()?) {
            (_, true) => Err(io::Error::other(BaseChanged { path: path.clone() })),
            (read, false) => read.map(|()| bytes),
        }
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        match self.file_of(name) {
            Some((_, file)) => Ok(Some(file.len())),
            None => self.artifact.len(name),
        }
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        match self.file_of(name) {
            // A file of the base is older than any artifact that is read with it.
            Some(_) => Ok(Some(SystemTime::UNIX_EPOCH)),
            None => self.artifact.modified(name),
        }
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.artifact.list(area)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.artifact.rename(from, to)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.artifact.delete(name)
    }

    fn place(&self) -> String {
        self.artifact.place()
    }
}

impl<B> Held<B> {
    fn file_of(&self, name: Name) -> Option<&(String, OpenFile)> {
        let Name::Pack(pack) = name else { return None };
        self.files.get(&pack)
    }
}
