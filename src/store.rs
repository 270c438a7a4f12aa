//! Objects and recipes over one backend and one index: get, find, put, publish.
//!
//! Write order: packs, then index, then recipe. Whatever is acknowledged can be read back after a
//! power cut, because a recipe is published only when all it names is durable and was read back.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::{Area, Backend, Local, Name, Privacy, Taken};
use crate::chain::{Broken, Chain};
use crate::codec;
use crate::id::{ObjectId, Oid, PackId};
use crate::index::{Found, Index};
use crate::pack::{self, Bases, PackError, PackWriter, Record};
use crate::recipe::{self, MAX_RECIPE_BYTES, Recipe, RecipeError, Verified};

/// The version that `config` names; a store of another one is refused by name.
pub const FORMAT_VERSION: u32 = 1;
/// What `config` says before the version.
const CONFIG: &str = "git-sparse store, format version ";
const MAX_CONFIG_BYTES: u64 = 200;

/// A content-addressed store.
pub struct Store {
    backend: Box<dyn Backend>,
    index: Index,
    shelf: Box<dyn Shelf>,
}

/// Keeps decoded bases for a while, so that many deltas on one base decode it once.
pub trait Shelf: Send + Sync {
    /// The base's bytes: the ones at hand, or those that `make` decodes now.
    ///
    /// Whoever makes may need another base of a smaller depth for it, and waits for that one. So depth is
    /// a part of the key: an object that lies in the store twice must not wait for itself.
    fn base(&self, key: BaseKey, make: &mut Make<'_>) -> Result<Arc<Decoded>, StoreError>;

    /// Forgets all bases: one of them was not what its id says.
    fn clear(&self);
}

/// A base, and how deep the copy of it lies that is decoded.
pub type BaseKey = (ObjectId, u8);

/// Decodes an object.
pub type Make<'a> = dyn FnMut() -> Result<Decoded, StoreError> + 'a;

/// What a payload decoded to, which may not be what its id says until that was asked.
pub struct Decoded {
    bytes: Vec<u8>,
    proven: AtomicBool,
}

impl Decoded {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, proven: AtomicBool::new(false) }
    }

    /// The bytes of `object`, if that is what they are.
    pub fn proven(bytes: Vec<u8>, object: &ObjectId) -> Option<Self> {
        (ObjectId::of(&bytes) == *object).then_some(Self { bytes, proven: AtomicBool::new(true) })
    }

    /// Whether these are the bytes of `object`; hashed once.
    fn is(&self, object: &ObjectId) -> bool {
        if !self.proven.load(Ordering::Acquire) && ObjectId::of(&self.bytes) != *object {
            return false;
        }
        self.proven.store(true, Ordering::Release);
        true
    }
}

impl Deref for Decoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A shelf that several stores share.
impl<S: Shelf> Shelf for Arc<S> {
    fn base(&self, key: BaseKey, make: &mut Make<'_>) -> Result<Arc<Decoded>, StoreError> {
        (**self).base(key, make)
    }

    fn clear(&self) {
        (**self).clear();
    }
}

/// A shelf that keeps nothing.
pub struct NoShelf;

impl Shelf for NoShelf {
    fn base(&self, _key: BaseKey, make: &mut Make<'_>) -> Result<Arc<Decoded>, StoreError> {
        make().map(Arc::new)
    }

    fn clear(&self) {}
}

/// Why the store can't answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Pack(#[from] PackError),
    #[error("object {0}: not in the store")]
    Missing(ObjectId),
    #[error("file {0}: not in the store")]
    NoFile(Oid),
    #[error("object {object}: its delta chain is broken: {why}")]
    Chain { object: ObjectId, why: String },
    #[error("object {object} in pack {pack}: does not decode: {why}")]
    Decode { object: ObjectId, pack: PackId, why: String },
    #[error("recipe {oid}: {error}")]
    Recipe { oid: Oid, error: RecipeError },
    #[error("store {place}: its config is not one of git-sparse: {found:?}")]
    Config { place: String, found: String },
    #[error(
        "store {place} has format version {found}, this git-sparse reads {FORMAT_VERSION}; update git-sparse"
    )]
    Newer { place: String, found: u32 },
}

impl Store {
    /// Opens the store in directory `root`, making it if there is none.
    ///
    /// The caller holds the store's lock. `boot` is the machine's boot id, for the index.
    pub fn open(root: &Path, boot: &str, shelf: Box<dyn Shelf>) -> Result<Store, StoreError> {
        let backend = Local::new(root, Privacy::Private);
        check_config(&backend)?;
        let index = Index::open(&root.join("index"), boot);
        let store = Store { backend: Box::new(backend), index, shelf };
        store.refresh()?;
        Ok(store)
    }

    /// A store over any backend, with an index that knows nothing yet.
    pub fn over(backend: Box<dyn Backend>, index: Index) -> Store {
        Store::with(backend, index, Box::new(NoShelf))
    }

    /// The same, which keeps decoded bases.
    pub fn with(backend: Box<dyn Backend>, index: Index, shelf: Box<dyn Shelf>) -> Store {
        Store { backend, index, shelf }
    }

    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where an object is, if the index says so. A miss proves nothing.
    pub fn probe(&self, object: &ObjectId) -> Option<Found> {
        self.index.get(object)
    }

    /// Where an object is, asking the packs themselves before it says "missing".
    pub fn find(&self, object: &ObjectId) -> Result<Found, StoreError> {
        if let Some(found) = self.present(object) {
            return Ok(found);
        }
        self.refresh()?;
        if let Some(found) = self.present(object) {
            return Ok(found);
        }
        // The index knows every pack and not the object: it may have lost the key. Look for real.
        self.search(object)?.ok_or(StoreError::Missing(*object))
    }

    /// True when an object can be relied on: the index knows it and its pack is there.
    pub fn holds(&self, object: &ObjectId) -> bool {
        self.present(object).is_some()
    }

    /// The same for an object and all of its bases: it can be decoded, as far as the index can tell.
    pub fn holds_whole(&self, object: &ObjectId) -> bool {
        Chain::is_whole(object, |object| self.present(object))
    }

    fn present(&self, object: &ObjectId) -> Option<Found> {
        let there = |pack| matches!(self.backend.len(Name::Pack(pack)), Ok(Some(_)));
        self.probe(object).filter(|found| there(found.pack))
    }

    /// The shallowest copy of an object in any pack, without the index.
    fn search(&self, object: &ObjectId) -> Result<Option<Found>, StoreError> {
        let mut best: Option<Found> = None;
        for pack in self.packs()? {
            let Ok(records) = pack::read_trailer(self.backend(), pack) else { continue };
            for record in records.into_iter().filter(|record| record.object == *object) {
                if best.is_none_or(|best| record.depth < best.record.depth) {
                    best = Some(Found { pack, record });
                }
            }
        }
        if let Some(found) = &best {
            self.index.put_object(found);
        }
        Ok(best)
    }

    /// The decoded bytes of an object, proven by its id.
    pub fn get(&self, object: &ObjectId) -> Result<Vec<u8>, StoreError> {
        let chain = self.chain(object)?;
        match self.decode_unproven(&chain) {
            Ok(bytes) if ObjectId::of(&bytes) == *object => Ok(bytes),
            _ => self.decode_proven(&chain),
        }
    }

    /// The decoded bytes of an object, for a caller who proves a hash over them: neither they nor their
    /// bases were.
    pub fn get_unproven(&self, object: &ObjectId) -> Result<Vec<u8>, StoreError> {
        let chain = self.chain(object)?;
        self.decode_unproven(&chain).or_else(|_| self.decode_proven(&chain))
    }

    /// The same as `get`, where the object is the base of others and may be wanted again soon.
    pub fn get_base(&self, object: &ObjectId) -> Result<Arc<Decoded>, StoreError> {
        let chain = self.chain(object)?;
        match self.on_shelf(&chain, chain.top(), &mut Shared::of(&chain)) {
            Ok(base) if base.is(object) => Ok(base),
            _ => self.decode_proven(&chain).map(|bytes| Arc::new(Decoded::new(bytes))),
        }
    }

    fn on_shelf(&self, chain: &Chain, link: &Found, shared: &mut Shared) -> Result<Arc<Decoded>, StoreError> {
        if let Some(decoded) = shared.take(link) {
            return Ok(decoded);
        }
        let key = (link.record.object, link.record.depth);
        let decoded =
            self.shelf.base(key, &mut || self.decode_link(chain, link, shared).map(Decoded::new))?;
        shared.keep(link, &decoded);
        Ok(decoded)
    }

    /// Decodes the top of a chain by bases that are at hand, and looks at no hash.
    fn decode_unproven(&self, chain: &Chain) -> Result<Vec<u8>, StoreError> {
        self.decode_link(chain, chain.top(), &mut Shared::of(chain))
    }

    fn decode_link(&self, chain: &Chain, link: &Found, shared: &mut Shared) -> Result<Vec<u8>, StoreError> {
        let bases = chain.bases_of(link).map(|base| self.on_shelf(chain, base, shared));
        let bases: Vec<_> = bases.collect::<Result<_, _>>()?;
        let bases: Vec<&[u8]> = bases.iter().map(|base| &***base).collect();
        let payload = pack::read_unchecked(self.backend(), link.pack, &link.record)?;
        decode_payload(link, &payload, &bases)
    }

    /// Decodes a chain from its end on and proves each link: the first one that is wrong is named.
    fn decode_proven(&self, chain: &Chain) -> Result<Vec<u8>, StoreError> {
        self.shelf.clear();
        let mut decoded: HashMap<ObjectId, Vec<u8>> = HashMap::new();
        for (at, link) in chain.links().iter().enumerate().skip(1).rev() {
            let bytes = self.decode(link, &bases(link, &decoded))?;
            decoded.insert(link.record.object, bytes);
            let above = &chain.links()[..at];
            decoded.retain(|object, _| above.iter().any(|link| link.record.bases.contains(object)));
        }
        self.decode(chain.top(), &bases(chain.top(), &decoded))
    }

    /// An object and all that it is decoded with.
    pub fn chain(&self, object: &ObjectId) -> Result<Chain, StoreError> {
        let mut searched = HashSet::new();
        loop {
            match Chain::of(object, |object| self.find(object)) {
                Ok(chain) => return Ok(chain),
                Err(Broken::Find(error)) => return Err(error),
                // A repack or gc that was cut short leaves two copies of some objects, and the index has
                // the deeper one. The shallowest copies always fit each other.
                Err(Broken::Depth { base, .. }) if searched.insert(base) => drop(self.search(&base)?),
                Err(broken) => return Err(StoreError::Chain { object: *object, why: broken.why() }),
            }
        }
    }

    /// Decodes one link, given the decoded bytes of its bases, and proves it by its id.
    pub fn decode(&self, found: &Found, bases: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
        let Found { pack, record } = found;
        let payload = pack::read_unchecked(self.backend(), *pack, record)?;
        let decoded = decode_payload(found, &payload, bases);
        match decoded {
            Ok(bytes) if ObjectId::of(&bytes) == record.object => Ok(bytes),
            wrong => {
                // The id stands for the payload's checksum too; that tells damage from a lie.
                pack::check_payload(*pack, record, &payload)?;
                let why = "the bytes hash to another id".into();
                wrong.and(Err(StoreError::Decode { object: record.object, pack: *pack, why }))
            }
        }
    }

    /// The object that one of numbers is itself a difference to, as many bytes: what a chain of revisions knows of the
    /// step before.
    pub fn previous(&self, base: &Found, len: usize) -> Option<(ObjectId, Arc<Decoded>)> {
        let object = *base.record.bases.first().filter(|_| base.record.codec.is_step())?;
        let bytes = self.get_base(&object).ok()?;
        (bytes.len() == len).then_some((object, bytes))
    }

    /// Begins a pack; give the finished one to `admit`.
    pub fn begin_pack(&self) -> io::Result<PackWriter<'_>> {
        PackWriter::new(self.backend())
    }

    /// Finishes a pack and makes its objects known.
    pub fn admit(&self, writer: PackWriter<'_>) -> io::Result<PackId> {
        let (pack, records) = writer.finish()?;
        self.index.put_pack(pack, &records);
        Ok(pack)
    }

    /// Takes a pack of another store without a copy and makes its objects known; false where that can't be.
    pub fn link(&self, from: &dyn Backend, pack: PackId, records: &[Record]) -> Result<bool, StoreError> {
        let name = Name::Pack(pack);
        let Some(file) = from.file(name) else { return Ok(false) };
        // One that was set aside here is as damaged there: copying it will say so.
        if self.backend.len(Name::Bad(pack))?.is_some() || !self.backend.link(&file, name)? {
            return Ok(false);
        }
        self.note(pack, records);
        Ok(true)
    }

    /// Makes known where a pack's objects are. Of two copies the shallower one counts: these always fit
    /// each other.
    pub fn note(&self, pack: PackId, records: &[Record]) {
        let better =
            |record: &Record| self.present(&record.object).is_none_or(|old| record.depth < old.record.depth);
        self.index.put_pack_where(pack, records, better);
    }

    /// Reads the trailers of packs that the index doesn't know; damaged packs are left to fsck.
    pub fn refresh(&self) -> Result<(), StoreError> {
        for pack in self.packs()? {
            if self.index.knows_pack(&pack) {
                continue;
            }
            if let Ok(records) = pack::read_trailer(self.backend(), pack) {
                self.note(pack, &records);
            }
        }
        Ok(())
    }

    /// All packs that are there.
    pub fn packs(&self) -> Result<Vec<PackId>, StoreError> {
        let names = self.backend.list(Area::Packs)?;
        Ok(names
            .into_iter()
            .filter_map(|name| if let Name::Pack(id) = name { Some(id) } else { None })
            .collect())
    }

    /// All files that have a recipe.
    pub fn oids(&self) -> Result<Vec<Oid>, StoreError> {
        let names = self.backend.list(Area::Recipes)?;
        Ok(names
            .into_iter()
            .filter_map(|name| if let Name::Recipe(oid) = name { Some(oid) } else { None })
            .collect())
    }

    /// True when a recipe of this file is there.
    pub fn has(&self, oid: &Oid) -> Result<bool, StoreError> {
        Ok(self.backend.len(Name::Recipe(*oid))?.is_some())
    }

    /// A file's size in bytes, as its recipe begins with it; none when there is no recipe.
    pub fn size(&self, oid: &Oid) -> Result<Option<u64>, StoreError> {
        match self.backend.read(Name::Recipe(*oid), 0..recipe::HEADER_BYTES as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            header => {
                let size = Recipe::size_in(&header?, *oid);
                size.map(Some).map_err(|error| StoreError::Recipe { oid: *oid, error })
            }
        }
    }

    /// The recipe of a file, if there is one.
    pub fn recipe(&self, oid: &Oid) -> Result<Option<Recipe>, StoreError> {
        read_recipe(self.backend(), oid)
    }

    /// The recipe of a file that exists here: it was proven before it was published, so not again.
    pub fn proven(&self, oid: &Oid) -> Result<Verified, StoreError> {
        let recipe = self.recipe(oid)?.ok_or(StoreError::NoFile(*oid))?;
        recipe.prove(*oid).map_err(|error| StoreError::Recipe { oid: *oid, error })
    }

    /// Makes a file exist: the last step of every ingest.
    pub fn publish(&self, verified: &Verified) -> Result<(), StoreError> {
        let recipe = verified.recipe();
        // What is there, if anything, was found wanting: nobody ingests a file that is whole.
        write_recipe(self.backend(), verified)?;
        self.remember(recipe);
        Ok(())
    }

    /// Makes known to the index how others find this file.
    pub fn remember(&self, recipe: &Recipe) {
        recipe.layouts().for_each(|layout| self.index.put_sketch(&layout, &recipe.oid, &recipe.sketch));
    }
}

/// The bytes of the links that several others are decoded with, until the last of these has them.
struct Shared(Vec<Wanted>);

struct Wanted {
    object: ObjectId,
    /// Links that have yet to be decoded with it.
    users: usize,
    bytes: Option<Arc<Decoded>>,
}

impl Shared {
    fn of(chain: &Chain) -> Shared {
        Shared(chain.shared().map(|(object, users)| Wanted { object, users, bytes: None }).collect())
    }

    fn wanted(&mut self, link: &Found) -> Option<&mut Wanted> {
        self.0.iter_mut().find(|wanted| wanted.object == link.record.object)
    }

    /// What was kept for one more user.
    fn take(&mut self, link: &Found) -> Option<Arc<Decoded>> {
        let wanted = self.wanted(link).filter(|wanted| wanted.bytes.is_some())?;
        wanted.users = wanted.users.saturating_sub(1);
        if wanted.users == 0 { wanted.bytes.take() } else { wanted.bytes.clone() }
    }

    /// Keeps what the first user got for the others.
    fn keep(&mut self, link: &Found, bytes: &Arc<Decoded>) {
        if let Some(wanted) = self.wanted(link) {
            wanted.users = wanted.users.saturating_sub(1);
            wanted.bytes = (wanted.users > 0).then(|| bytes.clone());
        }
    }
}

/// The bytes of a link's bases, of which all were decoded.
fn bases<'a>(link: &Found, decoded: &'a HashMap<ObjectId, Vec<u8>>) -> Vec<&'a [u8]> {
    link.record.bases.iter().map(|base| decoded[base].as_slice()).collect()
}

fn decode_payload(found: &Found, payload: &[u8], bases: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
    let Found { pack, record } = found;
    codec::decode(record.codec, payload, bases, record.logical_len as usize)
        .map_err(|error| StoreError::Decode { object: record.object, pack: *pack, why: error.to_string() })
}

/// Reads a recipe from any backend.
pub fn read_recipe(backend: &dyn Backend, oid: &Oid) -> Result<Option<Recipe>, StoreError> {
    read_recipe_at(backend, Name::Recipe(*oid), oid)
}

/// The same of a recipe that lies under another name: in the trash.
pub fn read_recipe_at(backend: &dyn Backend, name: Name, oid: &Oid) -> Result<Option<Recipe>, StoreError> {
    let Some(tail) = backend.tail(name, MAX_RECIPE_BYTES)? else { return Ok(None) };
    Recipe::decode(&tail.bytes, *oid).map(Some).map_err(|error| StoreError::Recipe { oid: *oid, error })
}

/// Publishes a recipe once more as it is, from the trash or from where it lies, so that its age starts
/// anew; false where there is none.
pub fn freshen_recipe(backend: &dyn Backend, from: Name, oid: Oid) -> io::Result<bool> {
    let Some(tail) = backend.tail(from, MAX_RECIPE_BYTES)? else { return Ok(false) };
    let mut staged = backend.create()?;
    staged.write_all(&tail.bytes)?;
    staged.publish(Name::Recipe(oid), Taken::Replace)?;
    Ok(true)
}

/// Writes a recipe to any backend; how many bytes it has.
pub fn write_recipe(backend: &dyn Backend, verified: &Verified) -> io::Result<u64> {
    let bytes = verified.recipe().encode();
    let mut staged = backend.create()?;
    staged.write_all(&bytes)?;
    staged.publish(Name::Recipe(verified.recipe().oid), Taken::Replace)?;
    Ok(bytes.len() as u64)
}

/// Checks the format version of a store, writing it into a new one.
pub fn check_config(backend: &dyn Backend) -> Result<(), StoreError> {
    let place = backend.place();
    let tail = backend.tail(Name::Config, MAX_CONFIG_BYTES)?;
    let text = String::from_utf8_lossy(&tail.map(|tail| tail.bytes).unwrap_or_default()).into_owned();
    // None yet, or one that was torn before it said anything.
    if CONFIG.starts_with(&text) {
        let mut staged = backend.create()?;
        writeln!(staged, "{CONFIG}{FORMAT_VERSION}")?;
        return Ok(staged.publish(Name::Config, Taken::Replace)?);
    }
    let version = text.strip_prefix(CONFIG);
    match version.and_then(|version| version.trim().parse().ok()) {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => Err(StoreError::Newer { place, found }),
        None => Err(StoreError::Config { place, found: text }),
    }
}

/// A record for an object that is about to be encoded; the pack writer fills in the rest.
pub fn record_for(
    object: ObjectId,
    base: Option<(Bases, u8)>,
    codec: codec::Codec,
    logical_len: u32,
) -> Record {
    let (bases, depth) = base.map_or((Bases::NONE, 0), |(bases, depth)| (bases, depth + 1));
    Record { object, bases, offset: 0, payload_len: 0, logical_len, checksum: [0; 16], codec, depth }
}
