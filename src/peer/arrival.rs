//! Objects that come from elsewhere are decoded and hashed before they are stored: a store may rely on what it holds.
//!
//! Many are decoded at a time, while more come. One whose base is among them waits for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::KEPT_BYTES;
use super::host::HostError;
use crate::codec;
use crate::id::ObjectId;
use crate::pack::Record;
use crate::pipeline::{self, Queue};
use crate::store::{Store, StoreError};
use crate::sync::Intake;

/// Bytes of objects, as they came and decoded, that are not stored yet.
const AHEAD_BYTES: u64 = 48 << 20;

/// What else is done with an object's bytes, once they are proven.
pub type Also<'a> = dyn Fn(&ObjectId, &[u8]) -> io::Result<()> + Sync + 'a;

/// What becomes of an object whose base came before in the same stream, and is neither in memory nor in a pack that can
/// be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfReach {
    /// It is refused: else whoever sends could have small packs written without end.
    Refused,
    /// The pack is finished, and can be read.
    Finished,
}

/// Objects on their way into a store.
pub struct Arrivals<'q, 'scope> {
    store: &'scope Store,
    also: &'scope Also<'scope>,
    beyond: OutOfReach,
    queue: Queue<'q, 'scope, Result<Proven, HostError>>,
    under_way: HashSet<ObjectId>,
    seen: HashSet<ObjectId>,
    intake: Intake<'scope>,
    kept: Kept,
    /// What is in the pack that is being written, and not in memory.
    unread: HashSet<ObjectId>,
}

/// An object with its bytes, which hash to its id.
struct Proven {
    record: Record,
    payload: Vec<u8>,
    bytes: Arc<Vec<u8>>,
}

/// Gives `work` a way into the store.
pub fn arrivals<'scope, T>(
    store: &'scope Store,
    beyond: OutOfReach,
    also: &'scope Also<'scope>,
    work: impl FnOnce(Arrivals<'_, 'scope>) -> T,
) -> T {
    let (under_way, seen, unread) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (intake, kept) = (Intake::into(store), Kept::default());
    pipeline::queue(|queue| {
        work(Arrivals { store, also, beyond, queue, under_way, seen, intake, kept, unread })
    })
}

impl Arrivals<'_, '_> {
    /// Whether an object came before.
    pub fn has_seen(&self, object: &ObjectId) -> bool {
        self.seen.contains(object)
    }

    /// Takes an object whose bases came before or are in the store. What was wrong with an earlier one may be told now.
    pub fn add(&mut self, record: Record, payload: Vec<u8>) -> Result<(), HostError> {
        while let Some(proven) = self.queue.ready() {
            self.keep(proven?)?;
        }
        let waits = |own: &Self| record.bases.iter().any(|base| own.under_way.contains(base));
        while (self.queue.bytes() >= AHEAD_BYTES || waits(self))
            && let Some(proven) = self.queue.take()
        {
            self.keep(proven?)?;
        }
        if self.beyond == OutOfReach::Finished && record.bases.iter().any(|base| self.unread.contains(base)) {
            self.finish()?;
        }
        self.seen.insert(record.object);
        self.under_way.insert(record.object);
        let (store, also, near) = (self.store, self.also, self.kept.bases_of(&record));
        let len = u64::from(record.logical_len);
        // One base as long as the object is what every delta has.
        let more = bases_bytes(store, &near, &record).saturating_sub(len);
        self.queue.begin(payload.len() as u64 + len + more, move || {
            let bytes = Arc::new(prove(store, &near, &record, &payload)?);
            also(&record.object, &bytes).map_err(StoreError::Io)?;
            Ok(Proven { record, payload, bytes })
        });
        Ok(())
    }

    /// Waits for all that is under way, or for the first that is wrong.
    pub fn wait(&mut self) -> Result<(), HostError> {
        while let Some(proven) = self.queue.take() {
            self.keep(proven?)?;
        }
        Ok(())
    }

    /// Makes durable and known what was proven so far.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.unread.clear();
        self.intake.finish()
    }

    fn keep(&mut self, Proven { record, payload, bytes }: Proven) -> Result<(), HostError> {
        self.under_way.remove(&record.object);
        self.intake.add(record, &payload, |_| Ok::<_, HostError>(bytes.to_vec()))?;
        if !self.kept.keep(record.object, bytes) {
            self.unread.insert(record.object);
        }
        Ok(())
    }
}

/// What came first in one stream, as bases of what comes later.
#[derive(Default)]
struct Kept {
    bytes: HashMap<ObjectId, Arc<Vec<u8>>>,
    total: u64,
}

impl Kept {
    /// False where there is no room for its bytes.
    fn keep(&mut self, object: ObjectId, bytes: Arc<Vec<u8>>) -> bool {
        self.total += bytes.len() as u64;
        let has_room = self.total <= KEPT_BYTES;
        if has_room {
            self.bytes.insert(object, bytes);
        }
        has_room
    }

    /// Those bases of an object that are at hand.
    fn bases_of(&self, record: &Record) -> HashMap<ObjectId, Arc<Vec<u8>>> {
        let near = |base: &ObjectId| Some((*base, self.bytes.get(base)?.clone()));
        record.bases.iter().filter_map(near).collect()
    }
}

/// Bytes of those bases of an object that must be decoded, as far as they are known here.
fn bases_bytes(store: &Store, near: &HashMap<ObjectId, Arc<Vec<u8>>>, record: &Record) -> u64 {
    let far = record.bases.iter().filter(|base| !near.contains_key(base));
    far.filter_map(|base| store.probe(base)).map(|found| u64::from(found.record.logical_len)).sum()
}

/// The bytes of an object, which hash to its id.
fn prove(
    store: &Store,
    near: &HashMap<ObjectId, Arc<Vec<u8>>>,
    record: &Record,
    payload: &[u8],
) -> Result<Vec<u8>, HostError> {
    let object = record.object;
    let mut held = HashMap::new();
    for base in record.bases.iter().filter(|base| !near.contains_key(base)) {
        if !is_here(store, base)? {
            return Err(HostError::NoBase { object, base: *base });
        }
        held.insert(*base, store.get_base(base)?);
    }
    let bytes_of = |base: &ObjectId| near.get(base).map_or_else(|| &**held[base], |bytes| bytes.as_slice());
    let bases: Vec<&[u8]> = record.bases.iter().map(bytes_of).collect();
    let wrong = |why: String| HostError::WrongObject { object, why };
    let bytes = codec::decode(record.codec, payload, &bases, record.logical_len as usize)
        .map_err(|error| wrong(format!(": {error}")))?;
    match ObjectId::of(&bytes) == object {
        true => Ok(bytes),
        false => Err(wrong(String::new())),
    }
}

/// Whether an object can be relied on here. Another server over the same store may have just taken it.
pub fn is_here(store: &Store, object: &ObjectId) -> Result<bool, StoreError> {
    if store.holds_whole(object) {
        return Ok(true);
    }
    store.refresh()?;
    Ok(store.holds_whole(object))
}
