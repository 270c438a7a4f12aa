//! Store ↔ remote: only the objects that the other side lacks travel, as they are encoded.
//!
//! Order on the remote is the store's own: packs, then the recipe. An object may lie deeper or
//! shallower there than here, so each record's depth is written anew for where it goes. Where a request
//! takes its time, several are made at once (`at_once`), each for many objects.

mod at_once;
mod fetch;
mod intake;
mod push;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::backend::{Area, Backend, Name};
use crate::chain::Chain;
use crate::codec::{self, Effort};
use crate::format::Dtype;
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, MAX_DEPTH, PackError, Record};
use crate::progress::Cancelled;
use crate::store::{self, StoreError};

use at_once::each;
pub use fetch::fetch;
pub use intake::Intake;
pub use push::{is_settled, push, send};

/// How often a push or fetch begins anew because a gc at the remote took away what it had just seen.
const ROUNDS: usize = 8;
/// A recipe that is older is published again by a push that relies on it. A gc forgets only files that are
/// older than this and some time for the push of git's refs on top.
pub const FRESH: Duration = Duration::from_secs(86_400);

/// A store elsewhere, and what is known to be in it.
pub struct Remote {
    backend: Box<dyn Backend>,
    packs: HashSet<PackId>,
    objects: HashMap<ObjectId, Found>,
    /// Packs that count as there for a fetch, and lie in the trash.
    removed: HashMap<PackId, Name>,
    /// It was tried what the place does with a name that is taken, and its format was read.
    is_known: bool,
}

/// What a push or fetch moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// Bytes of packs and recipe written at the other side.
    pub bytes: u64,
    pub objects: u64,
}

impl Moved {
    fn and(self, other: Moved) -> Moved {
        Moved { bytes: self.bytes + other.bytes, objects: self.objects + other.objects }
    }
}

/// Why a push or fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("here: {0}")]
    Here(#[from] StoreError),
    #[error("remote {place}: {error}")]
    There { place: String, error: Box<StoreError> },
    #[error("remote {place}: it has no file {oid}")]
    NoFile { place: String, oid: Oid },
    #[error("remote {place}: file {oid} needs object {object}, which no pack there holds")]
    Hole { place: String, oid: Oid, object: ObjectId },
    #[error("remote {place}: file {oid} was sent, and what it needs there was taken away each time")]
    Unsettled { place: String, oid: Oid },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl SyncError {
    /// True when something went away that was there a moment ago.
    fn is_gone(&self) -> bool {
        match self {
            SyncError::There { error, .. } => {
                matches!(&**error, StoreError::Pack(error) if error.is_missing())
            }
            SyncError::Hole { .. } => true,
            _ => false,
        }
    }
}

impl Remote {
    /// The remote at `backend`; nothing is read before it is needed.
    pub fn new(backend: Box<dyn Backend>) -> Remote {
        let (packs, objects, removed) = (HashSet::new(), HashMap::new(), HashMap::new());
        Remote { backend, packs, objects, removed, is_known: false }
    }

    /// True when the remote has this file.
    pub fn has(&self, oid: &Oid) -> Result<bool, SyncError> {
        let found = self.backend.len(Name::Recipe(*oid)).map_err(|error| self.there(error))?;
        Ok(found.is_some())
    }

    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Where the remote keeps an object, if it does.
    pub fn find(&self, object: &ObjectId) -> Option<&Found> {
        self.objects.get(object)
    }

    /// Reads the trailers of packs that came since the last time.
    pub fn refresh(&mut self) -> Result<(), SyncError> {
        let names = self.backend.list(Area::Packs).map_err(|error| self.there(error))?;
        let packs: HashSet<_> =
            names.into_iter().filter_map(|n| if let Name::Pack(id) = n { Some(id) } else { None }).collect();
        if self.packs.iter().any(|pack| !packs.contains(pack)) {
            // Packs went away: forget all, since others may hold what they held.
            self.packs.clear();
            self.objects.clear();
            self.removed.clear();
        }
        let new: Vec<PackId> = packs.into_iter().filter(|pack| !self.packs.contains(pack)).collect();
        let backend = &*self.backend;
        let read = |pack: &PackId| (*pack, pack::read_records(backend, *pack));
        let found = each(backend, &new, read);
        for (pack, records) in found {
            match records {
                Ok(records) => self.note(pack, &records),
                // A network that fails says nothing of what is there.
                Err(PackError::Io { error, .. }) if self.backend.is_far() && is_of_network(&error) => {
                    return Err(self.there(error));
                }
                // A damaged pack holds nothing: what it should hold is sent again.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Counts packs in the trash as there, until the next `refresh`. For readers only: a gc may be about to
    /// put them back, or was cut short before it did.
    fn look_in_trash(&mut self) -> Result<(), SyncError> {
        for name in self.backend.list(Area::Trash).map_err(|error| self.there(error))? {
            let Some(pack) = name.pack_in_trash().filter(|pack| !self.packs.contains(pack)) else { continue };
            if let Ok(records) = pack::read_trailer_at(&*self.backend, name, pack) {
                self.removed.insert(pack, name);
                self.note(pack, &records);
            }
        }
        Ok(())
    }

    /// The name under which a pack lies.
    fn name_of(&self, pack: PackId) -> Name {
        self.removed.get(&pack).copied().unwrap_or(Name::Pack(pack))
    }

    fn note(&mut self, pack: PackId, records: &[Record]) {
        self.packs.insert(pack);
        for record in records {
            let found = Found { pack, record: *record };
            let known = self.objects.entry(record.object).or_insert(found);
            // Two stores may have pushed one object at different depths: the shallowest copies fit each other.
            if record.depth < known.record.depth {
                *known = found;
            }
        }
    }

    fn there(&self, error: impl Into<StoreError>) -> SyncError {
        SyncError::There { place: self.backend.place(), error: Box::new(error.into()) }
    }
}

/// Which files the remote holds whole: recipe, objects, and all bases.
pub fn has_all(remote: &mut Remote, oids: &[Oid]) -> Result<Vec<bool>, SyncError> {
    let there = &*remote;
    let seen = each(there.backend(), oids, |oid| there.has(oid).map(|seen| (*oid, seen)));
    let seen: Vec<(Oid, bool)> = seen.into_iter().collect::<Result<_, _>>()?;
    remote.refresh()?;
    let remote = &*remote;
    let is_whole = |(oid, seen): &(Oid, bool)| Ok(*seen && has_whole(remote, oid)?);
    each(remote.backend(), &seen, is_whole).into_iter().collect()
}

fn has_whole(remote: &Remote, oid: &Oid) -> Result<bool, SyncError> {
    let recipe = match store::read_recipe(&*remote.backend, oid) {
        Ok(recipe) => recipe,
        Err(StoreError::Recipe { .. }) => None,
        Err(error) => return Err(remote.there(error)),
    };
    let find = |object: &ObjectId| remote.objects.get(object).copied();
    Ok(recipe.is_some_and(|recipe| recipe.parts.iter().all(|part| Chain::is_whole(&part.object, find))))
}

fn is_of_network(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, UnexpectedEof};
    !matches!(error.kind(), NotFound | UnexpectedEof)
}

fn shallow_first(lacking: HashMap<ObjectId, Found>) -> Vec<Found> {
    let mut found: Vec<_> = lacking.into_values().collect();
    found.sort_by_key(|found| (found.record.depth, found.pack, found.record.offset));
    found
}

/// Where an object lies whose bases lie so deep; none when that is too deep.
fn depth_on(below: Vec<u8>) -> Option<u8> {
    match below.into_iter().max() {
        None => Some(0),
        Some(depth) => (depth < MAX_DEPTH).then_some(depth + 1),
    }
}

/// Whether a copy that lies so deep is the one that counts, where another is known.
///
/// A gc leaves objects that nobody needs, and takes their bases. When such an object is sent again, its base may
/// lie deeper than it did then, and of two copies the shallower one counts: the one that does not fit.
fn counts(depth: u8, known: Option<u8>) -> bool {
    known.is_none_or(|known| depth <= known)
}

/// The same object without a base.
fn stored_whole(record: &Record, bytes: &[u8]) -> (Record, Vec<u8>) {
    let whole = codec::encode(bytes, Dtype::Bytes, 0, &[], Effort::Push);
    (store::record_for(record.object, None, whole.codec, record.logical_len), whole.payload)
}
