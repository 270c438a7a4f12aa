//! Objects that come from elsewhere are decoded and hashed before they are stored: a store may rely on what it holds.

use std::collections::{HashMap, HashSet};

use super::KEPT_BYTES;
use super::host::HostError;
use crate::codec;
use crate::id::ObjectId;
use crate::pack::Record;
use crate::store::{Store, StoreError};

/// What came in one stream, as far as it is kept for what comes later.
#[derive(Default)]
pub struct Kept {
    seen: HashSet<ObjectId>,
    bytes: HashMap<ObjectId, Vec<u8>>,
    total: u64,
}

impl Kept {
    pub fn has_seen(&self, object: &ObjectId) -> bool {
        self.seen.contains(object)
    }

    /// Whether its bytes are at hand.
    fn has(&self, object: &ObjectId) -> bool {
        self.bytes.contains_key(object)
    }

    /// False where there is no room for its bytes.
    pub fn keep(&mut self, object: ObjectId, bytes: Vec<u8>) -> bool {
        self.seen.insert(object);
        self.total += bytes.len() as u64;
        let has_room = self.total <= KEPT_BYTES;
        if has_room {
            self.bytes.insert(object, bytes);
        }
        has_room
    }
}

/// The bytes of an object, which hash to its id.
pub fn proven(store: &Store, kept: &Kept, record: &Record, payload: &[u8]) -> Result<Vec<u8>, HostError> {
    let object = record.object;
    let mut held = Vec::new();
    for base in record.bases.iter() {
        if !kept.has(base) {
            if !is_here(store, base)? {
                return Err(HostError::NoBase { object, base: *base });
            }
            held.push((*base, store.get_base(base)?));
        }
    }
    let bytes_of = |base: &ObjectId| match kept.bytes.get(base) {
        Some(bytes) => bytes.as_slice(),
        None => held.iter().find(|(id, _)| id == base).map_or(&[][..], |(_, bytes)| bytes),
    };
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
