//! Makes files of the store exist at the remote.

use std::collections::HashMap;
use std::io;

use super::{
    FRESH, Moved, ROUNDS, Remote, SyncError, counts, depth_on, has_whole, shallow_first, stored_whole,
};
use crate::backend::{self, Name, probe};
use crate::chain::Chain;
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, MAX_DEPTH, PackWriter, Record};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::{self, Store, StoreError};

const PACK_BYTES: u64 = 1 << 30;
/// Of packs that travel far: a push that was cut off goes on behind the last one that arrived.
const FAR_PACK_BYTES: u64 = 256 << 20;

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

/// What `push` makes sure of, for whoever writes to the remote by itself: whether it has the file whole, and so young
/// that no gc there forgets it before git's refs are pushed.
pub fn is_settled(remote: &mut Remote, oid: &Oid) -> Result<bool, SyncError> {
    for _ in 0..ROUNDS {
        if !holds(remote, oid)? {
            return Ok(false);
        }
        if is_fresh(remote, oid)? {
            return Ok(true);
        }
        let again = store::freshen_recipe(&*remote.backend, Name::Recipe(*oid), *oid);
        again.map_err(|error| remote.there(error))?;
    }
    Err(SyncError::Unsettled { place: remote.backend.place(), oid: *oid })
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
    meet(remote)?;
    moved.bytes += write_packs(store, remote, &lacking, progress)?;
    moved.bytes += store::write_recipe(&*remote.backend, &verified).map_err(|error| remote.there(error))?;
    Ok(moved)
}

/// Finds out whether the remote is one to push to: of a format that this version writes and, where a server
/// may do less than it says, one that gives a name to one alone. For such a place, once.
fn meet(remote: &mut Remote) -> Result<(), SyncError> {
    if remote.is_known {
        return Ok(());
    }
    if remote.backend.is_far() {
        let number = getrandom::u64().map_err(|error| StoreError::Io(io::Error::other(error)))?;
        probe::condition(&*remote.backend, number).map_err(|error| remote.there(error))?;
    }
    store::check_config(&*remote.backend).map_err(|error| remote.there(error))?;
    remote.is_known = remote.backend.is_far();
    Ok(())
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

/// An object that will be written, and its record there but for the offset.
struct Planned {
    found: Found,
    record: Record,
    /// It is encoded anew, without a base.
    whole: bool,
}

fn write_packs(
    store: &Store,
    remote: &mut Remote,
    lacking: &[Found],
    progress: &Progress<'_>,
) -> Result<u64, SyncError> {
    let mut bytes = 0;
    let mut rest = lacking;
    while !rest.is_empty() {
        let planned = plan(store, remote, rest)?;
        rest = &rest[planned.len()..];
        let (pack, records, len) = write_pack(store, remote, &planned, progress)?;
        // What is far has proven it already.
        if !remote.backend.is_far() {
            pack::check_written(&*remote.backend, pack, &records).map_err(|error| remote.there(error))?;
        }
        remote.note(pack, &records);
        bytes += len;
    }
    Ok(bytes)
}

/// How as many objects as fit one pack will lie there.
fn plan(store: &Store, remote: &Remote, lacking: &[Found]) -> Result<Vec<Planned>, SyncError> {
    let most = if remote.backend.is_far() { FAR_PACK_BYTES } else { PACK_BYTES };
    let mut depths: HashMap<ObjectId, u8> = HashMap::new();
    let (mut planned, mut bytes) = (Vec::new(), 0);
    for found in lacking {
        let known = |base: &ObjectId| remote.objects.get(base).map(|found| found.record.depth);
        let below = |base: &ObjectId| depths.get(base).copied().or_else(|| known(base)).unwrap_or(MAX_DEPTH);
        let depth = depth_on(found.record.bases.iter().map(below).collect());
        let depth = depth.filter(|depth| counts(*depth, known(&found.record.object)));
        let record = match depth {
            Some(depth) => Record { depth, ..found.record },
            None => {
                let (record, payload) = stored_whole(&found.record, &store.get(&found.record.object)?);
                pack::sealed(record, &payload)
            }
        };
        depths.insert(record.object, record.depth);
        bytes += u64::from(record.payload_len);
        planned.push(Planned { found: *found, record, whole: depth.is_none() });
        if bytes > most {
            break;
        }
    }
    Ok(planned)
}

/// Writes a pack as it was planned. Its id is known before the first byte, so that it can travel at once.
fn write_pack(
    store: &Store,
    remote: &Remote,
    planned: &[Planned],
    progress: &Progress<'_>,
) -> Result<(PackId, Vec<Record>, u64), SyncError> {
    let there = |error: io::Error| remote.there(error);
    let records: Vec<Record> = planned.iter().map(|planned| planned.record).collect();
    let (id, len) = pack::layout(&records);
    let mut writer = PackWriter::new_as(&*remote.backend, id).map_err(there)?;
    for Planned { found, record, whole } in planned {
        let payload = match whole {
            false => {
                pack::read_payload(store.backend(), found.pack, &found.record).map_err(StoreError::Pack)?
            }
            true => stored_whole(&found.record, &store.get(&found.record.object)?).1,
        };
        writer.add(*record, &payload).map_err(there)?;
        progress(u64::from(record.logical_len))?;
    }
    let (pack, records) = writer.finish().map_err(there)?;
    Ok((pack, records, len))
}
