//! Objects that come from elsewhere, in the order in which they can be decoded, into packs of a store.

use std::collections::HashMap;

use super::{counts, depth_on, stored_whole};
use crate::id::ObjectId;
use crate::pack::{PackWriter, Record};
use crate::store::{Store, StoreError};

/// A pack that reached this size is finished and another begun.
const PACK_BYTES: u64 = 1 << 30;

/// Writes what comes into packs, each object's depth anew for where it goes.
pub struct Intake<'a> {
    store: &'a Store,
    writer: Option<PackWriter<'a>>,
    depths: HashMap<ObjectId, u8>,
}

impl<'a> Intake<'a> {
    pub fn into(store: &'a Store) -> Intake<'a> {
        Intake { store, writer: None, depths: HashMap::new() }
    }

    /// Adds an object whose bases came before or are in the store. `decode` gives its bytes, and is asked only where
    /// it can't be stored as it is: the chain below it would get too long, or it would lie deeper than a copy that is here.
    pub fn add<E: From<StoreError>>(
        &mut self,
        record: Record,
        payload: &[u8],
        decode: impl FnOnce(&Store) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        match depth_here(self.store, &self.depths, &record)? {
            Some(depth) => self.put(Record { depth, ..record }, payload)?,
            None => {
                // Its bases may be in the pack that is being written.
                self.finish()?;
                let (record, payload) = stored_whole(&record, &decode(self.store)?);
                self.put(record, &payload)?;
            }
        }
        Ok(())
    }

    /// Adds an object of which is known how deep it lies here. Its bases may come later.
    pub fn put(&mut self, record: Record, payload: &[u8]) -> Result<(), StoreError> {
        if self.writer.as_ref().is_some_and(|writer| writer.len() > PACK_BYTES) {
            self.finish()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.store.begin_pack()?),
        };
        writer.add(record, payload)?;
        self.depths.insert(record.object, record.depth);
        Ok(())
    }

    /// Finishes the pack that is being written, and makes its objects known.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if let Some(writer) = self.writer.take().filter(|writer| !writer.is_empty()) {
            self.store.admit(writer)?;
        }
        Ok(())
    }
}

/// Where an object lies whose bases are among `fresh` ones or in the store; none when that is too deep, or deeper than
/// a copy that is here.
pub(super) fn depth_here(
    store: &Store,
    fresh: &HashMap<ObjectId, u8>,
    record: &Record,
) -> Result<Option<u8>, StoreError> {
    let below = record.bases.iter().map(|base| match fresh.get(base) {
        Some(depth) => Ok(*depth),
        None => store.find(base).map(|found| found.record.depth),
    });
    let known = store.probe(&record.object).map(|known| known.record.depth);
    Ok(depth_on(below.collect::<Result<_, _>>()?).filter(|depth| counts(*depth, known)))
}
