//! The files of a base in the place of packs: the objects that they are cut into, as they lie there.
//!
//! A file that is cut at offsets is, for whoever reads it, a pack of raw payloads. So a store over this
//! backend finds the objects of the base without a copy of it, and all verbs work as they do elsewhere. What such an object
//! holds, if it is packed, follows from it (see `codec::plain`): while an artifact is made these are objects, too, and those
//! that something was made from are stored in the end.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::backend::{Area, Backend, Name, Staged};
use crate::codec::Codec;
use crate::format::{self, OpenFile, Segment, Source};
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Index;
use crate::ingest::{self, Plain};
use crate::pack::{self, Bases, Record};
use crate::pipeline::in_order;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{self, Recipe};
use crate::store::{Store, StoreError, record_for};

/// Bytes that are read and hashed at a time.
const AHEAD_BYTES: u64 = 32 << 20;

/// A file of the base, and how it is cut.
pub(super) struct BaseFile {
    /// Within the model.
    pub path: String,
    pub recipe: Recipe,
    pub file: OpenFile,
    pub inside: Inside,
}

/// What objects of a file hold that are packed, each with what follows from it.
pub(super) type Inside = Vec<(ObjectId, Vec<Plain>)>;

/// Packs and recipes of an artifact, and beside them the files of its base.
pub(super) struct Held<B> {
    artifact: B,
    files: HashMap<PackId, (String, OpenFile)>,
    /// Payloads of what these files hold.
    inside: Option<(PackId, Vec<u8>)>,
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

/// The recipe of a file, without storing it, and what it holds.
pub(super) fn outline(
    source: &dyn Source,
    progress: &Progress<'_>,
) -> Result<(Recipe, Inside), OutlineError> {
    let cut = ingest::cut_as_base(source)?;
    let mut hasher = Sha256::new();
    let (mut objects, mut inside) = (Vec::with_capacity(cut.segments().len()), Vec::new());
    let len = |segment: &Segment| segment.range.end - segment.range.start;
    let work = |segment: &Segment| -> Result<_, OutlineError> {
        let mut bytes = vec![0; len(segment) as usize];
        source.read_at(&mut bytes, segment.range.start)?;
        let plain = ingest::plain_of(cut.format(), segment, &bytes);
        Ok((ObjectId::of(&bytes), bytes, plain))
    };
    let take = |_: &Segment, (object, bytes, plain): (ObjectId, Vec<u8>, Vec<Plain>)| {
        hasher.update(&bytes);
        objects.push(object);
        inside.extend((!plain.is_empty()).then_some((object, plain)));
        Ok(progress(bytes.len() as u64)?)
    };
    in_order(cut.segments(), len, AHEAD_BYTES, work, take)?;
    let oid = Oid::from_bytes(hasher.finalize().into());
    let layout = format::layout_of(cut.segments());
    let (tensors, parts) = recipe::parts_of(&cut, objects);
    let size = source.len();
    let (base, origin, sketch) = (None, Vec::new(), Vec::new());
    let recipe = Recipe { oid, size, format: cut.format(), base, origin, layout, sketch, tensors, parts };
    Ok((recipe, inside))
}

/// What the objects of these files hold, by the objects.
pub(super) fn plain(base: &[BaseFile]) -> Arc<HashMap<ObjectId, Vec<ObjectId>>> {
    let objects = |plain: &[Plain]| plain.iter().map(|plain| plain.object).collect();
    let inside = base.iter().flat_map(|file| &file.inside);
    Arc::new(inside.map(|(packed, plain)| (*packed, objects(plain))).collect())
}

/// A store over an artifact and the files of its base.
pub(super) fn store<B: Backend + 'static>(artifact: B, base: Vec<BaseFile>) -> Store {
    let index = Index::in_memory();
    let mut files = HashMap::new();
    let (records, payloads) = inside_of(&base);
    let inside =
        (!records.is_empty()).then(|| (PackId::from_bytes(*blake3::hash(&payloads).as_bytes()), payloads));
    inside.iter().for_each(|(pack, _)| index.put_pack(*pack, &records));
    for BaseFile { path, recipe, file, .. } in base {
        let pack = pack_of(&recipe);
        index.put_pack(pack, &self::records(&recipe));
        files.insert(pack, (path, file));
    }
    Store::over(Box::new(Held { artifact, files, inside }), index)
}

/// The records of what files hold, and their payloads, one after another.
fn inside_of(base: &[BaseFile]) -> (Vec<Record>, Vec<u8>) {
    let (mut records, mut payloads) = (Vec::new(), Vec::new());
    for (packed, plain) in base.iter().flat_map(|file| &file.inside) {
        let bases = Bases::of([*packed]).expect("because an object may have one base");
        for Plain { object, len, encoded } in plain {
            let record = record_for(*object, Some((bases, 0)), encoded.codec, *len);
            let offset = payloads.len() as u64;
            records.push(Record { offset, ..pack::sealed(record, &encoded.payload) });
            payloads.extend_from_slice(&encoded.payload);
        }
    }
    (records, payloads)
}

/// Stores what new objects are made from that follows from the base.
///
/// # Errors
/// Reading and writing the artifact.
pub(super) fn keep_used(store: &Store, plain: &HashMap<ObjectId, Vec<ObjectId>>) -> Result<(), StoreError> {
    let plain: BTreeSet<&ObjectId> = plain.values().flatten().collect();
    let mut used = BTreeSet::new();
    for name in store.backend().list(Area::Packs)? {
        let Name::Pack(pack) = name else { continue };
        for record in pack::read_trailer(store.backend(), pack)? {
            used.extend(record.bases.iter().filter(|base| plain.contains(base)).copied());
        }
    }
    let mut writer = store.begin_pack()?;
    for object in used {
        let found = store.find(&object)?;
        if found.record.codec == Codec::Plain {
            writer.add(found.record, &pack::read_payload(store.backend(), found.pack, &found.record)?)?;
        }
    }
    if !writer.is_empty() {
        store.admit(writer)?;
    }
    Ok(())
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
        if let Some(payloads) = self.inside_at(name) {
            let found = payloads.get(range.start as usize..range.end as usize);
            return found.map(<[u8]>::to_vec).ok_or(io::ErrorKind::UnexpectedEof.into());
        }
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
        if let Some(payloads) = self.inside_at(name) {
            return Ok(Some(payloads.len() as u64));
        }
        match self.file_of(name) {
            Some((_, file)) => Ok(Some(file.len())),
            None => self.artifact.len(name),
        }
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        // A file of the base is older than any artifact that is read with it.
        match self.file_of(name).is_some() || self.inside_at(name).is_some() {
            true => Ok(Some(SystemTime::UNIX_EPOCH)),
            false => self.artifact.modified(name),
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

    fn inside_at(&self, name: Name) -> Option<&[u8]> {
        self.inside.as_ref().filter(|(pack, _)| name == Name::Pack(*pack)).map(|(_, payloads)| &payloads[..])
    }
}
