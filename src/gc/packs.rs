//! The packs of a store, all at once: where each object lies, and what is needed with it.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::backend::{Area, Backend, Name};
use crate::id::{ObjectId, PackId};
use crate::pack::{self, Record};
use crate::progress::Progress;
use crate::store::StoreError;

/// Fewer are done one after another: for them threads are not worth their start.
const WORTH_THREADS: usize = 32;

/// Packs with their records, and of each object the shallowest copy: these always fit each other.
pub(super) struct Packs {
    records: HashMap<PackId, Vec<Record>>,
    /// The pack of each object, and its number there.
    at: HashMap<ObjectId, (PackId, u32)>,
    damaged: Vec<PackId>,
}

/// An object that is missing, or lies too deep for what is decoded with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lack {
    pub object: ObjectId,
    /// The part of a file that needs it.
    pub root: ObjectId,
    /// It must lie less deep than this.
    below: u8,
}

impl Lack {
    /// Whether this is what is missing.
    pub fn would_end_with(&self, record: &Record) -> bool {
        record.object == self.object && record.depth < self.below
    }
}

impl Packs {
    /// Reads all trailers. A pack that goes away meanwhile is one that is not there.
    pub fn read(backend: &dyn Backend, progress: &Progress<'_>) -> Result<Packs, StoreError> {
        let mut packs = Packs { records: HashMap::new(), at: HashMap::new(), damaged: Vec::new() };
        let mut ids: Vec<PackId> = backend
            .list(Area::Packs)?
            .into_iter()
            .filter_map(|name| if let Name::Pack(id) = name { Some(id) } else { None })
            .collect();
        ids.sort();
        let read = |id: &PackId| {
            progress(0).map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(pack::read_trailer(backend, *id))
        };
        let trailers = each(&ids, read)?;
        for (id, trailer) in ids.into_iter().zip(trailers) {
            match trailer {
                Ok(records) => packs.add(id, records),
                Err(error) if error.is_missing() => {}
                Err(error @ pack::PackError::Io { .. }) => return Err(error.into()),
                Err(_) => packs.damaged.push(id),
            }
        }
        Ok(packs)
    }

    pub fn add(&mut self, pack: PackId, records: Vec<Record>) {
        for (number, record) in records.iter().enumerate() {
            let lies = (pack, number as u32);
            let better = self
                .find(&record.object)
                .is_none_or(|(known, old)| (record.depth, pack) < (old.depth, known));
            if better {
                self.at.insert(record.object, lies);
            }
        }
        self.records.insert(pack, records);
    }

    pub fn contains(&self, pack: &PackId) -> bool {
        self.records.contains_key(pack)
    }

    pub fn ids(&self) -> impl Iterator<Item = PackId> {
        self.records.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (PackId, &[Record])> {
        self.records.iter().map(|(id, records)| (*id, records.as_slice()))
    }

    /// What is in a pack; nothing when it is not there.
    pub fn records(&self, pack: &PackId) -> &[Record] {
        self.records.get(pack).map_or(&[], Vec::as_slice)
    }

    /// Packs whose trailer can't be read.
    pub fn damaged(&self) -> &[PackId] {
        &self.damaged
    }

    /// Payload bytes of these objects.
    pub fn bytes<'a>(&self, objects: impl Iterator<Item = &'a ObjectId>) -> u64 {
        objects.filter_map(|object| self.find(object)).map(|(_, record)| u64::from(record.payload_len)).sum()
    }

    fn find(&self, object: &ObjectId) -> Option<(PackId, &Record)> {
        let (pack, number) = self.at.get(object)?;
        Some((*pack, &self.records.get(pack)?[*number as usize]))
    }

    /// Every object that is needed for these, and the one pack that keeps it; or the first that is missing.
    pub fn live<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a ObjectId>,
    ) -> Result<HashMap<ObjectId, PackId>, Lack> {
        let mut live = HashMap::new();
        let mut next = Vec::new();
        for root in roots {
            next.push(Lack { object: *root, root: *root, below: u8::MAX });
            while let Some(wanted) = next.pop() {
                let found = self.find(&wanted.object).filter(|(_, record)| wanted.would_end_with(record));
                let (pack, record) = found.ok_or(wanted)?;
                if live.insert(wanted.object, pack).is_none() {
                    let base = |base: &ObjectId| Lack { object: *base, below: record.depth, ..wanted };
                    next.extend(record.bases.iter().map(base));
                }
            }
        }
        Ok(live)
    }
}

/// The same work for each, in order; side by side where there are many, since a remote may be far away.
pub(super) fn each<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, E> {
    match items.len() < WORTH_THREADS {
        true => items.iter().map(work).collect(),
        false => items.par_iter().map(work).collect(),
    }
}
