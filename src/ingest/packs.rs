//! New objects → packs, one after the other.

use super::encoder::{Encoder, New, Outcome, Pending};
use super::plans::Plans;
use super::{IngestError, PACK_BYTES};
use crate::codec::Codec;
use crate::id::ObjectId;
use crate::pack::PackWriter;
use crate::store::record_for;

/// Puts what is encoded into packs, one after the other.
pub(super) struct Packs<'a> {
    encoder: &'a Encoder<'a>,
    writer: Option<PackWriter<'a>>,
    plans: Plans,
    pub objects: Vec<ObjectId>,
    pub stored: u64,
    pub new_objects: u64,
    pub known_objects: u64,
    /// New ones that follow by a rule.
    pub derived: u64,
}

impl<'a> Packs<'a> {
    pub fn new(encoder: &'a Encoder<'a>) -> Packs<'a> {
        let objects = Vec::new();
        Packs {
            encoder,
            writer: None,
            plans: Plans::default(),
            objects,
            stored: 0,
            new_objects: 0,
            known_objects: 0,
            derived: 0,
        }
    }

    /// Puts in what the next segment needs.
    pub fn add(&mut self, outcome: Outcome) -> Result<(), IngestError> {
        self.objects.push(outcome.object);
        self.put(outcome.new)
    }

    /// Puts in what a segment needs whose object is known already.
    pub fn put(&mut self, new: Vec<New>) -> Result<(), IngestError> {
        let before = self.new_objects;
        new.into_iter().try_for_each(|new| self.add_new(new))?;
        self.known_objects += u64::from(self.new_objects == before);
        Ok(())
    }

    fn add_new(&mut self, new: New) -> Result<(), IngestError> {
        // Another segment with the same bytes may have come first.
        if self.encoder.pending.contains_key(&new.object) {
            return Ok(());
        }
        if self.writer.as_ref().is_some_and(|writer| writer.len() > PACK_BYTES) {
            self.finish_pack()?;
        }
        let (object, len) = (new.object, new.len);
        match self.plans.hold(new) {
            Some(new) => self.write(new),
            None => {
                // Nothing is decoded with it: nobody needs its depth.
                self.encoder.pending.insert(object, Pending { depth: 0, len, bases: Box::default() });
                self.new_objects += 1;
                if self.plans.is_full() { self.write_held() } else { Ok(()) }
            }
        }
    }

    /// Puts in what waited for plans like its own.
    fn write_held(&mut self) -> Result<(), IngestError> {
        for new in self.plans.take() {
            // Plans that are there already.
            if new.encoded.codec != Codec::Zstd || self.encoder.depth_of_known(&new.object).is_none() {
                self.write(new)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, new: New) -> Result<(), IngestError> {
        let New { object, len, encoded, base } = new;
        // The same for a base: it may lie deeper than the one that was not stored.
        let base = base.map(|(bases, depth)| (bases, self.deepest(&bases).max(depth)));
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.encoder.store.begin_pack()?),
        };
        let record = record_for(object, base, encoded.codec, len);
        writer.add(record, &encoded.payload)?;
        let bases = record.bases.iter().copied().collect();
        let is_held = self.encoder.pending.contains_key(&object);
        self.encoder.pending.insert(object, Pending { depth: record.depth, len, bases });
        self.new_objects += u64::from(!is_held);
        self.stored += encoded.payload.len() as u64;
        self.derived += u64::from(encoded.codec == Codec::Derived);
        Ok(())
    }

    /// The depth of the deepest of these, as they lie now.
    fn deepest(&self, bases: &[ObjectId]) -> u8 {
        let pending = |base| Some(self.encoder.pending.get(base)?.value().depth);
        let stored = |base| Some(self.encoder.store.probe(base)?.record.depth);
        bases.iter().filter_map(|base| pending(base).or_else(|| stored(base))).max().unwrap_or(0)
    }

    /// Makes the objects so far durable, and known to the index.
    pub fn finish_pack(&mut self) -> Result<(), IngestError> {
        self.write_held()?;
        if let Some(writer) = self.writer.take() {
            self.encoder.store.admit(writer)?;
            self.encoder.pending.clear();
        }
        Ok(())
    }
}
