//! Objects that come from elsewhere, in the order in which they can be decoded, into packs of a store.

use std::collections::HashMap;

use crate::codec::{self, Effort};
use crate::format::Dtype;
use crate::id::ObjectId;
use crate::pack::{MAX_DEPTH, PackWriter, Record};
use crate::store::{self, Store, StoreError};

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
    /// the chain below it would get too long.
    pub fn add<E: From<StoreError>>(
        &mut self,
        record: Record,
        payload: &[u8],
        decode: impl FnOnce(&Store) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let depth = self.depth_on(&record)?;
        if self.writer.as_ref().is_some_and(|writer| writer.len() > PACK_BYTES) {
            self.finish()?;
        }
        match depth {
            Some(depth) => self.write(Record { depth, ..record }, payload)?,
            None => {
                // Its bases may be in the pack that is being written.
                self.finish()?;
                let (record, payload) = stored_whole(&record, &decode(self.store)?);
                self.write(record, &payload)?;
            }
        }
        Ok(())
    }

    /// Finishes the pack that is being written, and makes its objects known.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if let Some(writer) = self.writer.take().filter(|writer| !writer.is_empty()) {
            self.store.admit(writer)?;
        }
        Ok(())
    }

    fn write(&mut self, record: Record, payload: &[u8]) -> Result<(), StoreError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.store.begin_pack()?),
        };
        writer.add(record, payload)?;
        self.depths.insert(record.object, record.depth);
        Ok(())
    }

    /// Where an object lies whose bases lie where they do; none when that is too deep.
    fn depth_on(&self, record: &Record) -> Result<Option<u8>, StoreError> {
        let mut above = 0;
        for base in record.bases.iter() {
            let depth = match self.depths.get(base) {
                Some(depth) => *depth,
                None => self.store.find(base)?.record.depth,
            };
            above = above.max(depth + 1);
        }
        Ok((above <= MAX_DEPTH).then_some(above))
    }
}

/// The same object without a base.
fn stored_whole(record: &Record, bytes: &[u8]) -> (Record, Vec<u8>) {
    let whole = codec::encode(bytes, Dtype::Bytes, 0, &[], Effort::Push);
    (store::record_for(record.object, None, whole.codec, record.logical_len), whole.payload)
}
