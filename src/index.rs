//! Where objects are: a cache of pack trailers in sled, never the truth.
//!
//! sled 0.34.7 may lose acknowledged keys in a power cut, fail to open, panic, or drop keys silently
//! after one flipped bit (docs/architecture.md, "The index"). So every value carries a checksum, a
//! hit is a hint that the pack confirms, a miss proves nothing, and whatever goes wrong costs a
//! rebuild from trailers. Without any directory to write to, the same map lives in memory.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crossbeam_skiplist::SkipMap;

use crate::id::{ObjectId, Oid, PackId};
use crate::pack::Record;
use crate::recipe::Layout;

const OBJECTS: &str = "objects";
const PACKS: &str = "packs";
const SKETCHES: &str = "sketches";
/// A key that is shorter than any file's.
const ALL_SKETCHES: &[u8] = b"all 2";
const MARKER: &str = "open";
const CACHE_BYTES: u64 = 32 << 20;
const VALUE_BYTES: usize = 32 + Record::BYTES - 32;

/// Maps objects to packs. All methods may forget: callers treat a miss as "don't know".
pub struct Index {
    engine: Engine,
    /// What happened at open that the user should know, one line.
    notice: Option<String>,
}

enum Engine {
    Sled(Box<Trees>),
    Memory(Box<SkipMap<Vec<u8>, Vec<u8>>>),
}

struct Trees {
    db: sled::Db,
    objects: sled::Tree,
    packs: sled::Tree,
    sketches: sled::Tree,
    /// Last, because fields go in order: sled writes until it is closed.
    mark: Mark,
}

/// The file that says under which boot the index is open.
struct Mark {
    dir: PathBuf,
    is_flushed: bool,
}

/// An object's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub pack: PackId,
    pub record: Record,
}

impl Index {
    /// Opens the index under `dir`; a damaged or doubtful one is moved aside and starts empty.
    ///
    /// `boot` identifies this boot of the machine: an index left open by another boot went through
    /// a power loss, or might have, and isn't trusted.
    pub fn open(dir: &Path, boot: &str) -> Index {
        let mut notice = None;
        if left_open_by_another_boot(dir, boot) {
            notice = Some(set_aside(dir, "the machine went down while it was open"));
        }
        match Trees::open(dir, boot) {
            Ok(trees) => return Index { engine: Engine::Sled(Box::new(trees)), notice },
            Err(why) => notice = Some(set_aside(dir, &why)),
        }
        match Trees::open(dir, boot) {
            Ok(trees) => Index { engine: Engine::Sled(Box::new(trees)), notice },
            Err(why) => Index {
                notice: Some(format!(
                    "index: can't be kept on disk ({why}); keeping it in memory, slower to start"
                )),
                ..Index::in_memory()
            },
        }
    }

    /// An index that lives only as long as the process.
    pub fn in_memory() -> Index {
        Index { engine: Engine::Memory(Box::default()), notice: None }
    }

    /// What `open` had to do, if anything.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Where an object is, if the index knows it.
    pub fn get(&self, object: &ObjectId) -> Option<Found> {
        decode_value(object, &self.read(Kind::Object, object.as_bytes())?)
    }

    /// True when all objects of this pack were put in.
    pub fn knows_pack(&self, pack: &PackId) -> bool {
        self.read(Kind::Pack, pack.as_bytes()).is_some()
    }

    /// Puts a pack's objects in, then marks the pack as known.
    pub fn put_pack(&self, pack: PackId, records: &[Record]) {
        self.put_pack_where(pack, records, |_| true);
    }

    /// Puts in those objects of a pack for which `better` says so, and that the pack is known.
    pub fn put_pack_where(&self, pack: PackId, records: &[Record], better: impl Fn(&Record) -> bool) {
        let chosen = records.iter().filter(|record| better(record));
        chosen.for_each(|record| self.put_object(&Found { pack, record: *record }));
        self.write(Kind::Pack, pack.as_bytes(), records.len().to_le_bytes().to_vec());
    }

    /// Puts one object in.
    pub fn put_object(&self, found: &Found) {
        self.write(Kind::Object, found.record.object.as_bytes(), encode_value(found.pack, &found.record));
    }

    /// Forgets a pack: its objects, as far as they still point to it, and its mark.
    pub fn forget_pack(&self, pack: &PackId, records: &[Record]) {
        self.remove(Kind::Pack, pack.as_bytes());
        for record in records {
            if self.get(&record.object).is_some_and(|found| found.pack == *pack) {
                self.remove(Kind::Object, record.object.as_bytes());
            }
        }
    }

    /// Remembers that a file has this layout, and its sampled weights.
    pub fn put_sketch(&self, layout: &Layout, oid: &Oid, sketch: &[f32]) {
        let key = [layout.as_slice(), oid.as_bytes()].concat();
        let mut value: Vec<u8> = sketch.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let sum = checksum(&key, &value);
        value.extend_from_slice(&sum);
        self.write(Kind::Sketch, &key, value);
    }

    /// Files that were seen with this layout, and their sampled weights; they may be gone since.
    pub fn sketches(&self, layout: &Layout, limit: usize) -> Vec<(Oid, Vec<f32>)> {
        match &self.engine {
            Engine::Sled(trees) => {
                let scan = || {
                    let entries = trees.sketches.scan_prefix(layout).filter_map(Result::ok);
                    entries.filter_map(|(key, value)| decode_sketch(&key, &value)).take(limit).collect()
                };
                catch_unwind(AssertUnwindSafe(scan)).unwrap_or_default()
            }
            Engine::Memory(map) => {
                let start = [&[Kind::Sketch as u8], layout.as_slice()].concat();
                let entries = map.range(start.clone()..).take_while(|entry| entry.key().starts_with(&start));
                entries
                    .filter_map(|entry| decode_sketch(&entry.key()[1..], entry.value()))
                    .take(limit)
                    .collect()
            }
        }
    }

    /// Whether the sketches of all files were put in, since it was made.
    pub fn knows_sketches(&self) -> bool {
        self.read(Kind::Sketch, ALL_SKETCHES).is_some()
    }

    pub fn set_knows_sketches(&self) {
        self.write(Kind::Sketch, ALL_SKETCHES, Vec::new());
    }

    /// Number of objects it knows.
    pub fn objects(&self) -> usize {
        match &self.engine {
            Engine::Sled(trees) => trees.objects.len(),
            Engine::Memory(map) => map.iter().filter(|entry| entry.key()[0] == Kind::Object as u8).count(),
        }
    }

    fn read(&self, kind: Kind, key: &[u8]) -> Option<Vec<u8>> {
        match &self.engine {
            // A sled that panics or fails in the middle is a sled that knows nothing.
            Engine::Sled(trees) => {
                let get = || trees.tree(kind).get(key).ok().flatten().map(|value| value.to_vec());
                catch_unwind(AssertUnwindSafe(get)).ok().flatten()
            }
            Engine::Memory(map) => map.get(&kind.key(key)).map(|entry| entry.value().clone()),
        }
    }

    fn write(&self, kind: Kind, key: &[u8], value: Vec<u8>) {
        match &self.engine {
            Engine::Sled(trees) => {
                let _ = catch_unwind(AssertUnwindSafe(|| trees.tree(kind).insert(key, value)));
            }
            Engine::Memory(map) => {
                map.insert(kind.key(key), value);
            }
        }
    }

    fn remove(&self, kind: Kind, key: &[u8]) {
        match &self.engine {
            Engine::Sled(trees) => {
                let _ = catch_unwind(AssertUnwindSafe(|| trees.tree(kind).remove(key)));
            }
            Engine::Memory(map) => {
                map.remove(&kind.key(key));
            }
        }
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Object = 1,
    Pack = 2,
    Sketch = 4,
}

impl Kind {
    fn key(self, key: &[u8]) -> Vec<u8> {
        [&[self as u8], key].concat()
    }
}

impl Trees {
    fn open(dir: &Path, boot: &str) -> Result<Trees, String> {
        // The marker must be on disk before sled writes: a power cut between would leave no trace.
        let mark = Mark::set(dir, boot).map_err(|error| format!("its marker can't be written: {error}"))?;
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<Trees, sled::Error> {
            let config = sled::Config::new().path(dir.join("sled")).cache_capacity(CACHE_BYTES);
            let db = config.flush_every_ms(Some(1000)).open()?;
            let (objects, packs) = (db.open_tree(OBJECTS)?, db.open_tree(PACKS)?);
            let sketches = db.open_tree(SKETCHES)?;
            Ok(Trees { db, objects, packs, sketches, mark })
        }));
        match opened {
            Ok(opened) => opened.map_err(|error| format!("it does not open: {error}")),
            Err(_) => Err("it panics on open".into()),
        }
    }

    fn tree(&self, kind: Kind) -> &sled::Tree {
        match kind {
            Kind::Object => &self.objects,
            Kind::Pack => &self.packs,
            Kind::Sketch => &self.sketches,
        }
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        self.mark.is_flushed = catch_unwind(AssertUnwindSafe(|| self.db.flush().is_ok())).unwrap_or(false);
    }
}

impl Mark {
    fn set(dir: &Path, boot: &str) -> std::io::Result<Mark> {
        fs::create_dir_all(dir)?;
        let mut marker = fs::File::create(dir.join(MARKER))?;
        marker.write_all(boot.as_bytes())?;
        marker.sync_all()?;
        fs::File::open(dir)?.sync_all()?;
        Ok(Mark { dir: dir.to_owned(), is_flushed: false })
    }
}

impl Drop for Mark {
    /// An orderly close takes the marker away, but only once the bytes are really on disk.
    fn drop(&mut self) {
        if self.is_flushed && sync_tree(&self.dir).is_ok() {
            let _ = fs::remove_file(self.dir.join(MARKER));
        }
    }
}

/// sled's flush does not fsync: do it for each of its files.
fn sync_tree(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            fs::File::open(&path)?.sync_all()?;
        }
    }
    fs::File::open(dir)?.sync_all()
}

fn left_open_by_another_boot(dir: &Path, boot: &str) -> bool {
    match fs::read_to_string(dir.join(MARKER)) {
        // Where the system names no boot, nobody knows.
        Ok(left) => left != boot || boot.is_empty(),
        Err(error) => dir.is_dir() && error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Moves a doubtful index out of the way; only one old one is kept, for the curious.
fn set_aside(dir: &Path, why: &str) -> String {
    let aside = dir.with_extension("aside");
    let _ = fs::remove_dir_all(&aside);
    if fs::rename(dir, &aside).is_err() {
        let _ = fs::remove_dir_all(dir);
    }
    format!("index: rebuilt from pack trailers, because {why}")
}

fn encode_value(pack: PackId, record: &Record) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_BYTES + 8);
    value.extend_from_slice(pack.as_bytes());
    // The key is the object's id: the record's first field need not be stored again.
    value.extend_from_slice(&record.encode()[32..]);
    record.further().iter().for_each(|base| value.extend_from_slice(base.as_bytes()));
    let sum = checksum(record.object.as_bytes(), &value);
    value.extend_from_slice(&sum);
    value
}

fn decode_value(object: &ObjectId, value: &[u8]) -> Option<Found> {
    let (body, sum) = value.split_at_checked(value.len().checked_sub(8)?)?;
    if checksum(object.as_bytes(), body) != sum {
        return None;
    }
    let (body, mut further) = body.split_at_checked(VALUE_BYTES)?;
    let mut record = [0; Record::BYTES];
    record[..32].copy_from_slice(object.as_bytes());
    record[32..].copy_from_slice(&body[32..]);
    let pack = PackId::from_bytes(body[..32].try_into().ok()?);
    Some(Found { pack, record: Record::decode(&record, &mut further).ok()? })
}

/// Layout and oid, and the weights with their checksum.
fn decode_sketch(key: &[u8], value: &[u8]) -> Option<(Oid, Vec<f32>)> {
    let oid = Oid::from_bytes(key.get(16..)?.try_into().ok()?);
    let (weights, sum) = value.split_at_checked(value.len().checked_sub(8)?)?;
    let weight = |raw: &[u8; 4]| f32::from_le_bytes(*raw);
    (checksum(key, weights) == sum).then(|| (oid, weights.as_chunks().0.iter().map(weight).collect()))
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; 8] {
    let hash = blake3::Hasher::new().update(key).update(value).finalize();
    hash.as_bytes()[..8].try_into().expect("because a hash has 32 bytes")
}
