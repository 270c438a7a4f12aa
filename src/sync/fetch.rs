//! Makes objects of the remote exist in the store.
//!
//! Neighbours in a pack are read by one request, several requests at a time, and written as they come.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use rayon::prelude::*;

use super::at_once::far;
use super::intake::{Intake, depth_here};
use super::{Moved, ROUNDS, Remote, SyncError, shallow_first};
use crate::backend::{Area, Name};
use crate::codec;
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, MAX_OBJECT_BYTES, PackError, Record};
use crate::pipeline::in_order;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::{self, Store, StoreError};

/// How often a fetch looks for an object that no pack has, in the trash the last times: a gc may be moving it.
const MOST_HOLES: usize = 4;
/// Most bytes that one request is for, where no single object has more.
const SPAN_BYTES: u64 = 8 << 20;
/// Bytes between two objects that are read and thrown away sooner than asked around.
const GAP_BYTES: u64 = 64 << 10;
/// Bytes that were asked for and are not written yet.
const AHEAD_BYTES: u64 = 64 << 20;
/// Longest payload: an object that does not get smaller, and what stands around it.
const MAX_PAYLOAD_BYTES: u32 = MAX_OBJECT_BYTES + (1 << 20);

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
    let mut intake = Intake::into(store);
    let done = copy(store, remote, &lacking, &mut intake, moved, progress);
    // What came before a pack went away need not come again.
    if done.is_ok() || done.as_ref().is_err_and(SyncError::is_gone) {
        intake.finish()?;
    }
    done
}

/// Copies objects as they are encoded.
fn copy(
    store: &Store,
    remote: &Remote,
    lacking: &[Found],
    intake: &mut Intake<'_>,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    let mut depths = HashMap::new();
    for found in lacking {
        match depth_here(store, &depths, &found.record)? {
            Some(depth) => depths.insert(found.record.object, depth),
            // One that has to be decoded first needs its bases here.
            None => return copy_in_turn(remote, lacking, intake, moved, progress),
        };
    }
    let spans = spans(lacking).map_err(|error| remote.there(error))?;
    let backend = remote.backend();
    let read = |span: &Span<'_>| span.read(remote);
    let mut write = |span: &Span<'_>, bytes: Vec<u8>| {
        for found in &span.objects {
            let record = Record { depth: depths[&found.record.object], ..found.record };
            intake.put(record, span.payload(&bytes, found))?;
            moved.bytes += u64::from(record.payload_len);
            moved.objects += 1;
        }
        Ok(progress(0)?)
    };
    match far(backend) {
        Some(pool) => pool.install(|| in_order(&spans, Span::len, AHEAD_BYTES, read, write)),
        None => spans.iter().try_for_each(|span| write(span, read(span)?)),
    }
}

/// What is read of a pack at once.
struct Span<'a> {
    pack: PackId,
    range: Range<u64>,
    objects: Vec<&'a Found>,
}

impl Span<'_> {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Reads all payloads; each has its checksum.
    fn read(&self, remote: &Remote) -> Result<Vec<u8>, SyncError> {
        let bytes = remote.backend.read(remote.name_of(self.pack), self.range.clone());
        let bytes = bytes.map_err(|error| remote.there(PackError::Io { pack: self.pack, error }))?;
        for found in &self.objects {
            pack::check_payload(self.pack, &found.record, self.payload(&bytes, found))
                .map_err(|error| remote.there(error))?;
        }
        Ok(bytes)
    }

    fn payload<'b>(&self, bytes: &'b [u8], found: &Found) -> &'b [u8] {
        let start = (found.record.offset - self.range.start) as usize;
        &bytes[start..start + found.record.payload_len as usize]
    }
}

/// The objects in few spans, pack by pack. That they lie in their packs was seen when these were read.
fn spans(lacking: &[Found]) -> Result<Vec<Span<'_>>, PackError> {
    let mut objects: Vec<&Found> = lacking.iter().collect();
    objects.sort_by_key(|found| (found.pack, found.record.offset));
    let mut spans: Vec<Span<'_>> = Vec::new();
    for found in objects {
        let Found { pack, record } = found;
        if record.payload_len > MAX_PAYLOAD_BYTES {
            let what = format!("object {} has a payload of {} bytes", record.object, record.payload_len);
            return Err(PackError::Damaged { pack: *pack, what });
        }
        let end = record.offset + u64::from(record.payload_len);
        match spans.last_mut() {
            Some(last)
                if last.pack == *pack
                    && record.offset <= last.range.end + GAP_BYTES
                    && end <= last.range.start + SPAN_BYTES =>
            {
                last.range.end = last.range.end.max(end);
                last.objects.push(found);
            }
            _ => spans.push(Span { pack: *pack, range: record.offset..end, objects: vec![found] }),
        }
    }
    Ok(spans)
}

/// Copies objects one after another, bases first; those that would lie too deep go whole.
fn copy_in_turn(
    remote: &Remote,
    lacking: &[Found],
    intake: &mut Intake<'_>,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    for found in lacking {
        let name = remote.name_of(found.pack);
        let payload = pack::read_payload_at(&*remote.backend, name, found.pack, &found.record);
        let payload = payload.map_err(|error| remote.there(error))?;
        intake.add(found.record, &payload, |store| decoded(store, remote, found, &payload))?;
        moved.bytes += payload.len() as u64;
        moved.objects += 1;
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
    // Before any payload is read: a file system or an owner that forbids it forbids it for all of them.
    let mut files = packs.iter().filter_map(|pack| remote.backend.file(Name::Pack(*pack)));
    if !files.all(|file| store.backend().may_link(&file)) {
        return Ok(false);
    }
    let read = |pack: PackId| Ok((pack, pack::read_trailer(&*remote.backend, pack)?));
    let packs: Result<Vec<_>, PackError> = packs.into_iter().map(read).collect();
    let packs = match packs {
        // Of a pack with a damaged head, objects are copied.
        Err(PackError::Damaged { .. }) => return Ok(false),
        packs => packs.map_err(|error| remote.there(error))?,
    };
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
