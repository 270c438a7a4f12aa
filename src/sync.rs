//! Store ↔ remote: only the objects that the other side lacks travel, as they are encoded.
//!
//! Order on the remote is the store's own: packs, then the recipe. An object may lie deeper or
//! shallower there than here, so each record's depth is written anew for where it goes.

use std::collections::{HashMap, HashSet};
use std::io;

use rayon::prelude::*;

use crate::backend::{Backend, Name};
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

/// A store elsewhere, and what is known to be in it.
pub struct Remote {
    backend: Box<dyn Backend>,
    packs: HashSet<PackId>,
    objects: HashMap<ObjectId, Found>,
}

/// What a push or fetch moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// Bytes of packs and recipe written at the other side.
    pub bytes: u64,
    pub objects: u64,
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
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl Remote {
    /// The remote at `backend`; nothing is read before it is needed.
    pub fn new(backend: Box<dyn Backend>) -> Remote {
        Remote { backend, packs: HashSet::new(), objects: HashMap::new() }
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
        let names = self.backend.list(crate::backend::Area::Packs).map_err(|error| self.there(error))?;
        let packs: HashSet<_> =
            names.into_iter().filter_map(|n| if let Name::Pack(id) = n { Some(id) } else { None }).collect();
        if self.packs.iter().any(|pack| !packs.contains(pack)) {
            // Packs went away: forget all, since others may hold what they held.
            self.packs.clear();
            self.objects.clear();
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

/// Makes a file that the store has exist at the remote.
pub fn push(
    store: &Store,
    remote: &mut Remote,
    oid: Oid,
    progress: &Progress<'_>,
) -> Result<Moved, SyncError> {
    remote.refresh()?;
    // A recipe alone proves nothing: a remote that lost a pack is mended by pushing again.
    if has_whole(remote, &oid)? {
        return Ok(Moved::default());
    }
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
    remote.refresh()?;
    oids.iter().map(|oid| has_whole(remote, oid)).collect()
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
    let recipe = store::read_recipe(&*remote.backend, &oid).map_err(|error| remote.there(error))?;
    let recipe = recipe.ok_or_else(|| SyncError::NoFile { place: remote.backend.place(), oid })?;
    let lacking = match lacking_here(store, remote, &recipe) {
        Err(SyncError::Hole { .. }) => {
            remote.refresh()?;
            lacking_here(store, remote, &recipe)?
        }
        found => found?,
    };
    let mut moved = Moved { bytes: 0, objects: lacking.len() as u64 };
    if link(store, remote, &lacking)? {
        return Ok((recipe, moved));
    }
    let mut writer: Option<PackWriter<'_>> = None;
    let mut depths = HashMap::new();
    for found in &lacking {
        let payload = pack::read_payload(&*remote.backend, found.pack, &found.record);
        let payload = payload.map_err(|error| remote.there(error))?;
        moved.bytes += payload.len() as u64;
        let below = found.record.bases.iter().map(|base| depth_here(store, &depths, base));
        let depth = depth_on(below.collect::<Result<_, _>>()?);
        if depth.is_none() || writer.as_ref().is_some_and(is_full) {
            admit(store, writer.take())?;
        }
        let (record, payload) = match depth {
            Some(depth) => (Record { depth, ..found.record }, payload),
            None => stored_whole(&found.record, &decoded(store, remote, found, &payload)?),
        };
        depths.insert(record.object, record.depth);
        let pack = match &mut writer {
            Some(pack) => pack,
            None => writer.insert(store.begin_pack().map_err(StoreError::Io)?),
        };
        pack.add(record, &payload).map_err(StoreError::Io)?;
        progress(0)?;
    }
    admit(store, writer)?;
    Ok((recipe, moved))
}

/// Takes over whole packs of a remote on the same file system; false when that does not give all objects.
///
/// Each object in these packs must find its base in them, or here and not as deep.
fn link(store: &Store, remote: &Remote, lacking: &[Found]) -> Result<bool, SyncError> {
    let packs: HashSet<PackId> = lacking.iter().map(|found| found.pack).collect();
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
        check_pack(&*remote.backend, pack, &records).map_err(|error| remote.there(error))?;
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
        let (record, payload) = match depth_on(found.record.bases.iter().map(below).collect()) {
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

/// The same object without a base.
fn stored_whole(record: &Record, bytes: &[u8]) -> (Record, Vec<u8>) {
    let whole = codec::encode(bytes, Dtype::Bytes, 0, &[], Effort::Push);
    (store::record_for(record.object, None, whole.codec, record.logical_len), whole.payload)
}

/// Reads a pack back from where it was written.
fn check_pack(backend: &dyn Backend, pack: PackId, written: &[Record]) -> Result<(), PackError> {
    let records = pack::read_trailer(backend, pack)?;
    if records != written {
        return Err(PackError::Damaged { pack, what: "it reads back differently".into() });
    }
    records.iter().try_for_each(|record| pack::read_payload(backend, pack, record).map(drop))
}

fn publish_there(remote: &Remote, verified: &Verified) -> Result<u64, SyncError> {
    store::write_recipe(&*remote.backend, verified).map_err(|error| remote.there(error))?;
    let name = Name::Recipe(verified.recipe().oid);
    Ok(remote.backend.len(name).map_err(|error| remote.there(error))?.unwrap_or(0))
}
