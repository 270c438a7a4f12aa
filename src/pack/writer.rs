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
        PackWriter::begin(backend.create()?)
    }

    /// The same, where all that will be added is known, and so is the pack's id (`layout`).
    pub fn new_as(backend: &'a dyn Backend, id: PackId) -> io::Result<PackWriter<'a>> {
        PackWriter::begin(backend.create_as(Name::Pack(id))?)
    }

    fn begin(mut staged: Box<dyn Staged + 'a>) -> io::Result<PackWriter<'a>> {
        staged.write_all(HEAD)?;
        Ok(PackWriter { staged, records: Vec::new(), end: HEAD.len() as u64 })
    }

    /// Appends one object. Offset, length and checksum of `record` are filled in here.
    pub fn add(&mut self, record: Record, payload: &[u8]) -> io::Result<()> {
        let record = Record { offset: self.end, ..sealed(record, payload) };
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
        let trailer = trailer(&self.records);
        self.staged.write_all(&trailer)?;
        let id = id_of(&trailer);
        // A pack of this name that is there already may be a damaged one: what was just written is not.
        self.staged.publish(Name::Pack(id), Taken::Replace)?;
        Ok((id, self.records))
    }
}

/// The record of an object with that payload.
pub fn sealed(record: Record, payload: &[u8]) -> Record {
    Record { payload_len: payload.len() as u32, checksum: checksum(payload), ..record }
}

/// The id and the length in bytes of a pack that will have these objects in this order. Each record has its
/// payload's length and checksum.
pub fn layout(records: &[Record]) -> (PackId, u64) {
    let mut end = HEAD.len() as u64;
    let placed = records.iter().map(|record| {
        let offset = end;
        end += u64::from(record.payload_len);
        Record { offset, ..*record }
    });
    let trailer = trailer(&placed.collect::<Vec<_>>());
    (id_of(&trailer), end + trailer.len() as u64)
}

fn trailer(records: &[Record]) -> Vec<u8> {
    let mut trailer = Vec::with_capacity(records.len() * Record::BYTES + super::FOOTER_BYTES);
    records.iter().for_each(|record| trailer.extend_from_slice(&record.encode()));
    let further: Vec<_> = records.iter().flat_map(Record::further).collect();
    further.iter().for_each(|base| trailer.extend_from_slice(base.as_bytes()));
    trailer.extend_from_slice(FOOT);
    trailer.extend_from_slice(&(records.len() as u32).to_le_bytes());
    trailer.extend_from_slice(&(further.len() as u32).to_le_bytes());
    trailer
}

fn id_of(trailer: &[u8]) -> PackId {
    PackId::from_bytes(*blake3::hash(trailer).as_bytes())
}
