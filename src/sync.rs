//! Store ↔ remote: only the objects that the other side lacks travel, as they are encoded.
//!
//! Order on the remote is the store's own: packs, then the recipe. An object may lie deeper or
//! shallower there than here, so each record's depth is written anew for where it goes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use rayon::prelude::*;

use crate::backend::{self, Area, Backend, Name};
use crate::chain::Chain;
use crate::codec::{self, Effort};
use crate::format::Dtype;
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, MAX_DEPTH, PackError, PackWriter, Record};
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Recipe, Verified};
use crate::store::{self, Store, StoreError};

const PACK_BYTES: u64 = 1 << 30;
/// How often a push or fetch begins anew because a gc at the remote took away what it had just seen.
const ROUNDS: usize = 8;
/// How often a fetch looks for an object that no pack has, in the trash the last times: a gc may be moving it.
const MOST_HOLES: usize = 4;
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

impl Remote {
    /// The remote at `backend`; nothing is read before it is needed.
    pub fn new(backend: Box<dyn Backend>) -> Remote {
        Remote { backend, packs: HashSet::new(), objects: HashMap::new(), removed: HashMap::new() }
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
        for pack in packs {
            if self.packs.contains(&pack) {
                continue;
            }
            // A damaged pack holds nothing: what it should hold is sent again.
            if let Ok(records) = pack::read_trailer(&*self.backend, pack) {
                self.note(pack, &records);
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

    fn payload(&self, found: &Found) -> Result<Vec<u8>, SyncError> {
        let name = self.removed.get(&found.pack).copied().unwrap_or(Name::Pack(found.pack));
        let payload = pack::read_payload_at(&*self.backend, name, found.pack, &found.record);
        payload.map_err(|error| self.there(error))
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

/// Makes a file that the store has exist at the remote, whatever a gc there does meanwhile: when this returns,
/// the file's recipe was there first, and then all that it needs.
pub fn push(
    store: &Store,
    remote: &mut Remote,
    oid: Oid,
    progress: &Progress<'_>,
) -> Result<Moved, SyncError> {
    let mut moved = Moved::default();
    let mut published = false;
    for _ in 0..ROUNDS {
        // A recipe alone proves nothing: a remote that lost a pack is mended by pushing again.
        if !holds(remote, &oid)? {
            match send(store, remote, oid, progress) {
                Err(error) if error.is_gone() => continue,
                sent => moved = moved.and(sent?),
            }
            published = true;
        } else if published || is_fresh(remote, &oid)? {
            return Ok(moved);
        } else {
            let again = store::freshen_recipe(&*remote.backend, Name::Recipe(oid), oid);
            published = again.map_err(|error| remote.there(error))?;
        }
    }
    Err(SyncError::Unsettled { place: remote.backend.place(), oid })
}

/// Whether the remote has a file whole, looking at the packs after its recipe was seen.
///
/// In this order, since a gc moves packs first and reads recipes then: one of both sees what the other did
/// (docs/architecture.md, "Collecting a remote").
fn holds(remote: &mut Remote, oid: &Oid) -> Result<bool, SyncError> {
    if !remote.has(oid)? {
        return Ok(false);
    }
    remote.refresh()?;
    has_whole(remote, oid)
}

/// Whether a file's recipe is so young that no gc forgets it before the refs that name the file are pushed.
fn is_fresh(remote: &Remote, oid: &Oid) -> Result<bool, SyncError> {
    let there = |error| remote.there(error);
    let Some(written) = remote.backend.modified(Name::Recipe(*oid)).map_err(there)? else { return Ok(false) };
    let now = match backend::clock(&*remote.backend) {
        // Who may only read can't make it younger either.
        Err(error) if is_denied(&error) => return Ok(true),
        now => now.map_err(there)?,
    };
    Ok(now.duration_since(written).is_ok_and(|age| age < FRESH))
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Sends what a file lacks at the remote, and publishes its recipe there. Only half of a push: a gc that runs there
/// may have taken away what the file needs.
pub fn send(
    store: &Store,
    remote: &mut Remote,
    oid: Oid,
    progress: &Progress<'_>,
) -> Result<Moved, SyncError> {
    remote.refresh()?;
    let verified = store.proven(&oid)?;
    let lacking = lacking_there(store, remote, verified.recipe())?;
    let mut moved = Moved { bytes: 0, objects: lacking.len() as u64 };
    store::check_config(&*remote.backend).map_err(|error| remote.there(error))?;
    for found in write_packs(store, remote, &lacking, progress)? {
        moved.bytes += remote.backend.len(Name::Pack(found)).map_err(|e| remote.there(e))?.unwrap_or(0);
    }
    moved.bytes += publish_there(remote, &verified)?;
    Ok(moved)
}

/// Which files the remote holds whole: recipe, objects, and all bases.
pub fn has_all(remote: &mut Remote, oids: &[Oid]) -> Result<Vec<bool>, SyncError> {
    let seen: Vec<bool> = oids.iter().map(|oid| remote.has(oid)).collect::<Result<_, _>>()?;
    remote.refresh()?;
    oids.iter().zip(seen).map(|(oid, seen)| Ok(seen && has_whole(remote, oid)?)).collect()
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

/// Makes the objects of a file that the remote has exist here; returns its recipe, not yet proven.
pub fn fetch(
    store: &Store,
    remote: &mut Remote,
    oid: Oid,
    progress: &Progress<'_>,
) -> Result<(Recipe, Moved), SyncError> {
    let recipe = recipe_there(remote, &oid)?;
    let mut moved = Moved::default();
    let mut done = fetch_objects(store, remote, &recipe, &mut moved, progress);
    let mut holes = 0;
    for _ in 1..ROUNDS {
        holes += usize::from(matches!(done, Err(SyncError::Hole { .. })));
        if holes == MOST_HOLES || !done.as_ref().is_err_and(SyncError::is_gone) {
            break;
        }
        remote.refresh()?;
        if holes > 1 {
            remote.look_in_trash()?;
        }
        done = fetch_objects(store, remote, &recipe, &mut moved, progress);
    }
    done.map(|()| (recipe, moved))
}

/// A file's recipe, also one that a gc forgot not long ago.
fn recipe_there(remote: &Remote, oid: &Oid) -> Result<Recipe, SyncError> {
    let backend = &*remote.backend;
    let read = |name| store::read_recipe_at(backend, name, oid).map_err(|error| remote.there(error));
    if let Some(recipe) = read(Name::Recipe(*oid))? {
        return Ok(recipe);
    }
    for name in backend.list(Area::Trash).map_err(|error| remote.there(error))? {
        if matches!(name, Name::Forgotten(_, found) if found == *oid)
            && let Some(recipe) = read(name)?
        {
            return Ok(recipe);
        }
    }
    // It may have been put back after the first look.
    read(Name::Recipe(*oid))?.ok_or_else(|| SyncError::NoFile { place: backend.place(), oid: *oid })
}

fn fetch_objects(
    store: &Store,
    remote: &Remote,
    recipe: &Recipe,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    let lacking = lacking_here(store, remote, recipe)?;
    if link(store, remote, &lacking)? {
        moved.objects += lacking.len() as u64;
        return Ok(());
    }
    let mut writer: Option<PackWriter<'_>> = None;
    let done = copy(store, remote, &lacking, &mut writer, moved, progress);
    // What came before a pack went away need not come again.
    if done.is_ok() || done.as_ref().is_err_and(SyncError::is_gone) {
        admit(store, writer)?;
    }
    done
}

fn copy<'a>(
    store: &'a Store,
    remote: &Remote,
    lacking: &[Found],
    writer: &mut Option<PackWriter<'a>>,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    let mut depths = HashMap::new();
    for found in lacking {
        let payload = remote.payload(found)?;
        moved.bytes += payload.len() as u64;
        moved.objects += 1;
        let below = found.record.bases.iter().map(|base| depth_here(store, &depths, base));
        let known = store.probe(&found.record.object).map(|known| known.record.depth);
        let depth = depth_on(below.collect::<Result<_, _>>()?).filter(|depth| counts(*depth, known));
        if depth.is_none() || writer.as_ref().is_some_and(is_full) {
            admit(store, writer.take())?;
        }
        let (record, payload) = match depth {
            Some(depth) => (Record { depth, ..found.record }, payload),
            None => stored_whole(&found.record, &decoded(store, remote, found, &payload)?),
        };
        depths.insert(record.object, record.depth);
        let pack = match writer {
            Some(pack) => pack,
            None => writer.insert(store.begin_pack().map_err(StoreError::Io)?),
        };
        pack.add(record, &payload).map_err(StoreError::Io)?;
        progress(0)?;
    }
    Ok(())
}

/// Takes over whole packs of a remote on the same file system; false when that does not give all objects.
///
/// Each object in these packs must find its base in them, or here and not as deep.
fn link(store: &Store, remote: &Remote, lacking: &[Found]) -> Result<bool, SyncError> {
    let packs: HashSet<PackId> = lacking.iter().map(|found| found.pack).collect();
    let out_of_reach =
        |pack: &PackId| remote.removed.contains_key(pack) || remote.backend.file(Name::Pack(*pack)).is_none();
    if packs.iter().any(out_of_reach) {
        return Ok(false);
    }
    let read = |pack: PackId| Ok((pack, pack::read_trailer(&*remote.backend, pack)?));
    let packs: Result<Vec<_>, PackError> = packs.into_iter().map(read).collect();
    let packs = packs.map_err(|error| remote.there(error))?;
    let mut depths: HashMap<ObjectId, u8> = HashMap::new();
    for record in packs.iter().flat_map(|(_, records)| records) {
        let depth = depths.entry(record.object).or_insert(record.depth);
        *depth = record.depth.min(*depth);
    }
    let here =
        |base: &ObjectId| store.probe(base).filter(|_| store.holds(base)).map(|found| found.record.depth);
    let fits = |record: &Record| {
        record.bases.iter().all(|base| {
            let found = depths.get(base).copied().into_iter().chain(here(base)).min();
            found.is_some_and(|depth| depth < record.depth)
        })
    };
    if !packs.iter().flat_map(|(_, records)| records).all(fits) {
        return Ok(false);
    }
    // Only payloads whose checksums were found right come into a store, in whatever way.
    let payloads: Vec<_> =
        packs.iter().flat_map(|(pack, records)| records.iter().map(|r| (*pack, r))).collect();
    let check =
        |(pack, record): &(PackId, &Record)| pack::read_payload(&*remote.backend, *pack, record).map(drop);
    payloads.par_iter().try_for_each(check).map_err(|error| remote.there(error))?;
    for (pack, records) in &packs {
        if !store.link(&*remote.backend, *pack, records)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_full(writer: &PackWriter<'_>) -> bool {
    writer.len() > PACK_BYTES
}

fn admit(store: &Store, writer: Option<PackWriter<'_>>) -> Result<(), StoreError> {
    writer.map(|writer| store.admit(writer)).transpose()?;
    Ok(())
}

/// The decoded bytes of a delta that came from the remote and whose base is here.
fn decoded(store: &Store, remote: &Remote, found: &Found, payload: &[u8]) -> Result<Vec<u8>, StoreError> {
    let record = &found.record;
    let wrong = |why: String| StoreError::Decode { object: record.object, pack: found.pack, why };
    let bases: Vec<_> = record.bases.iter().map(|base| store.get_base(base)).collect::<Result<_, _>>()?;
    let bases: Vec<&[u8]> = bases.iter().map(|base| &***base).collect();
    let bytes = codec::decode(record.codec, payload, &bases, record.logical_len as usize)
        .map_err(|error| wrong(format!("from {}: {error}", remote.backend.place())))?;
    match ObjectId::of(&bytes) == record.object {
        true => Ok(bytes),
        false => Err(wrong(format!("from {}: the bytes hash to another id", remote.backend.place()))),
    }
}

/// Objects of a file and their bases that the remote lacks, bases first.
fn lacking_there(store: &Store, remote: &Remote, recipe: &Recipe) -> Result<Vec<Found>, SyncError> {
    // An object whose base was lost there is sent again: alone it is nothing.
    let find = |object: &ObjectId| remote.objects.get(object).copied();
    let has = |object: &ObjectId| Chain::is_whole(object, find);
    let mut lacking = HashMap::new();
    for part in &recipe.parts {
        if lacking.contains_key(&part.object) || has(&part.object) {
            continue;
        }
        let chain = store.chain(&part.object)?;
        for link in chain.lacking(has) {
            lacking.insert(link.record.object, link);
        }
    }
    Ok(shallow_first(lacking))
}

/// Objects of a file and their bases that this store lacks, bases first.
fn lacking_here(store: &Store, remote: &Remote, recipe: &Recipe) -> Result<Vec<Found>, SyncError> {
    let mut lacking = HashMap::new();
    for part in &recipe.parts {
        let mut next = vec![part.object];
        while let Some(object) = next.pop() {
            if lacking.contains_key(&object) || store.holds_whole(&object) {
                continue;
            }
            let hole = || SyncError::Hole { place: remote.backend.place(), oid: recipe.oid, object };
            let found = *remote.objects.get(&object).ok_or_else(hole)?;
            lacking.insert(object, found);
            next.extend_from_slice(&found.record.bases);
        }
    }
    Ok(shallow_first(lacking))
}

fn shallow_first(lacking: HashMap<ObjectId, Found>) -> Vec<Found> {
    let mut found: Vec<_> = lacking.into_values().collect();
    found.sort_by_key(|found| (found.record.depth, found.pack, found.record.offset));
    found
}

fn depth_here(store: &Store, fresh: &HashMap<ObjectId, u8>, base: &ObjectId) -> Result<u8, StoreError> {
    match fresh.get(base) {
        Some(depth) => Ok(*depth),
        None => Ok(store.find(base)?.record.depth),
    }
}

fn write_packs(
    store: &Store,
    remote: &mut Remote,
    lacking: &[Found],
    progress: &Progress<'_>,
) -> Result<Vec<PackId>, SyncError> {
    let mut written = Vec::new();
    let mut rest = lacking;
    while !rest.is_empty() {
        let (pack, records, count) = write_pack(store, remote, rest, progress)?;
        rest = &rest[count..];
        pack::check_written(&*remote.backend, pack, &records).map_err(|error| remote.there(error))?;
        remote.note(pack, &records);
        written.push(pack);
    }
    Ok(written)
}

/// Writes as many objects as fit one pack.
fn write_pack(
    store: &Store,
    remote: &Remote,
    lacking: &[Found],
    progress: &Progress<'_>,
) -> Result<(PackId, Vec<Record>, usize), SyncError> {
    let there = |error: io::Error| remote.there(error);
    let mut writer = PackWriter::new(&*remote.backend).map_err(there)?;
    let mut depths: HashMap<ObjectId, u8> = HashMap::new();
    let mut count = 0;
    for found in lacking {
        let known = |base: &ObjectId| remote.objects.get(base).map(|found| found.record.depth);
        let below = |base: &ObjectId| depths.get(base).copied().or_else(|| known(base)).unwrap_or(MAX_DEPTH);
        let depth = depth_on(found.record.bases.iter().map(below).collect());
        let (record, payload) = match depth.filter(|depth| counts(*depth, known(&found.record.object))) {
            Some(depth) => {
                let payload = pack::read_payload(store.backend(), found.pack, &found.record);
                (Record { depth, ..found.record }, payload.map_err(StoreError::Pack)?)
            }
            None => stored_whole(&found.record, &store.get(&found.record.object)?),
        };
        writer.add(record, &payload).map_err(there)?;
        depths.insert(record.object, record.depth);
        count += 1;
        progress(u64::from(record.logical_len))?;
        if is_full(&writer) {
            break;
        }
    }
    let (pack, records) = writer.finish().map_err(there)?;
    Ok((pack, records, count))
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

fn publish_there(remote: &Remote, verified: &Verified) -> Result<u64, SyncError> {
    store::write_recipe(&*remote.backend, verified).map_err(|error| remote.there(error))?;
    let name = Name::Recipe(verified.recipe().oid);
    Ok(remote.backend.len(name).map_err(|error| remote.there(error))?.unwrap_or(0))
}
