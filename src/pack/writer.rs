//! Writes a pack: payloads in the order they come, then the trailer.

use std::io::{self, Write};

use super::{FOOT, HEAD, Record, checksum};
use crate::backend::{Backend, Name, Staged, Taken};
use crate::id::PackId;

/// A pack being written; dropped unfinished, it leaves nothing behind.
pub struct PackWriter<'a> {
    staged: Box<dyn Staged + 'a>,
    records: Vec<Record>,
    end: u64,
}

impl<'a> PackWriter<'a> {
    pub fn new(backend: &'a dyn Backend) -> io::Result<PackWriter<'a>> {
        let mut staged = backend.create()?;
        staged.write_all(HEAD)?;
        Ok(PackWriter { staged, records: Vec::new(), end: HEAD.len() as u64 })
    }

    /// Appends one object. Offset, length and checksum of `record` are filled in here.
    pub fn add(&mut self, mut record: Record, payload: &[u8]) -> io::Result<()> {
        record.offset = self.end;
        record.payload_len = payload.len() as u32;
        record.checksum = checksum(payload);
        record.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.staged.write_all(payload)?;
        self.end += payload.len() as u64;
        self.records.push(record);
        Ok(())
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// True until an object was added: such a pack is not worth publishing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes the trailer and makes the pack durable under its id.
    pub fn finish(mut self) -> io::Result<(PackId, Vec<Record>)> {
        let mut trailer = Vec::with_capacity(self.records.len() * Record::BYTES + super::FOOTER_BYTES);
        self.records.iter().for_each(|record| trailer.extend_from_slice(&record.encode()));
        let further: Vec<_> = self.records.iter().flat_map(Record::further).collect();
        further.iter().for_each(|base| trailer.extend_from_slice(base.as_bytes()));
        trailer.extend_from_slice(FOOT);
        trailer.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        trailer.extend_from_slice(&(further.len() as u32).to_le_bytes());
        self.staged.write_all(&trailer)?;
        let id = PackId::from_bytes(*blake3::hash(&trailer).as_bytes());
        // A pack of this name that is there already may be a damaged one: what was just written is not.
        self.staged.publish(Name::Pack(id), Taken::Replace)?;
        Ok((id, self.records))
    }
}
