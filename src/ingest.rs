//! File → objects and a published recipe, in one pass and with a proof.
//!
//! The file is cut, each new segment is encoded against its counterpart in the base or alone, and
//! before the recipe is published everything is read back from the store and hashed.

use std::collections::{HashMap, HashSet};
use std::io;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::base::{self, Hints};
use crate::codec::{self, Effort, Encoded};
use crate::format::{self, Cut, Dtype, Segment, Source};
use crate::id::{ObjectId, Oid};
use crate::pack::PackWriter;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Reason, Recipe, RecipeError, Tensor};
use crate::reconstruct::{ReconstructError, rehash};
use crate::sketch;
use crate::store::{Store, StoreError, record_for};

/// File bytes that are read and encoded together.
const BATCH_BYTES: u64 = 32 << 20;
/// A pack that reached this size is finished and another begun.
const PACK_BYTES: u64 = 1 << 30;
/// Deltas are stacked this deep by a push: deeper chains cost every later read.
const AIM_DEPTH: u8 = 8;

/// What an ingest did.
#[derive(Debug, Clone, Copy)]
pub struct Ingested {
    /// Length of the file in bytes.
    pub size: u64,
    /// Bytes of new payloads in packs; equal objects that were there cost nothing.
    pub stored: u64,
    pub new_objects: u64,
    pub known_objects: u64,
    pub base: Option<(Oid, Reason)>,
}

/// Why a file could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("read the file: {0}")]
    Read(io::Error),
    #[error("the file hashes to {found}, expected {expected}: it is not the object git-lfs named")]
    WrongOid { expected: Oid, found: Oid },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("read back: {0}")]
    ReadBack(ReconstructError),
    #[error("read back: {0}")]
    Unproven(RecipeError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl From<io::Error> for IngestError {
    fn from(error: io::Error) -> IngestError {
        IngestError::Store(StoreError::Io(error))
    }
}

/// Stores a file whose SHA-256 is `oid`; returns once it is durable and proven to come back.
pub fn ingest(
    store: &Store,
    source: &dyn Source,
    oid: Oid,
    hints: &Hints,
    effort: Effort,
    progress: &Progress<'_>,
) -> Result<Ingested, IngestError> {
    let cut = format::cut(source).map_err(IngestError::Read)?;
    let layout = format::layout_of(cut.segments());
    let sketch = sketch::of(source, &cut).map_err(IngestError::Read)?;
    let base = base::choose(store, oid, layout.as_ref(), &sketch, hints)?;
    let mut work = Ingest::new(store, base.as_ref().map(|choice| &choice.recipe), effort)?;
    let found = work.run(source, &cut, progress)?;
    if found != oid {
        return Err(IngestError::WrongOid { expected: oid, found });
    }
    let parts = work.finish_packs()?;
    let base = base.map(|choice| (choice.recipe.oid, choice.reason));
    let (tensors, parts) = name_parts(&cut, parts);
    let size = source.len();
    let recipe = Recipe { oid, size, format: cut.format(), base, layout, sketch, tensors, parts };
    let found = rehash(store, &recipe, &|_| progress(0)).map_err(IngestError::ReadBack)?;
    store.publish(&recipe.prove(found).map_err(IngestError::Unproven)?)?;
    Ok(Ingested {
        size,
        stored: work.stored,
        new_objects: work.new_objects,
        known_objects: work.known_objects,
        base,
    })
}

struct Ingest<'a> {
    store: &'a Store,
    counterparts: Counterparts,
    effort: Effort,
    writer: Option<PackWriter<'a>>,
    /// Objects in the unfinished pack: the index doesn't know them yet.
    pending: HashSet<ObjectId>,
    objects: Vec<ObjectId>,
    stored: u64,
    new_objects: u64,
    known_objects: u64,
}

/// A segment after the parallel part: known already, or encoded.
enum Outcome {
    Known,
    New { encoded: Encoded, base: Option<(ObjectId, u8)> },
}

impl<'a> Ingest<'a> {
    fn new(store: &'a Store, base: Option<&Recipe>, effort: Effort) -> Result<Ingest<'a>, IngestError> {
        Ok(Ingest {
            store,
            counterparts: base.map(Counterparts::of).unwrap_or_default(),
            effort,
            writer: None,
            pending: HashSet::new(),
            objects: Vec::new(),
            stored: 0,
            new_objects: 0,
            known_objects: 0,
        })
    }

    /// Reads, hashes and encodes the whole file; returns its SHA-256.
    fn run(&mut self, source: &dyn Source, cut: &Cut, progress: &Progress<'_>) -> Result<Oid, IngestError> {
        let mut hasher = Sha256::new();
        let mut rest = cut.segments();
        while let Some(first) = rest.first() {
            let start = first.range.start;
            let count = rest.iter().take_while(|segment| segment.range.start - start < BATCH_BYTES).count();
            let (batch, tail) = rest.split_at(count);
            rest = tail;
            let end = batch[count - 1].range.end;
            let mut bytes = vec![0; (end - start) as usize];
            source.read_at(&mut bytes, start).map_err(IngestError::Read)?;
            let slice = |segment: &Segment| {
                &bytes[(segment.range.start - start) as usize..(segment.range.end - start) as usize]
            };
            let (_, outcomes) = rayon::join(
                || hasher.update(&bytes),
                || batch.par_iter().map(|segment| self.encode(segment, slice(segment))).collect::<Vec<_>>(),
            );
            for (segment, outcome) in batch.iter().zip(outcomes) {
                let (object, outcome) = outcome?;
                self.add(object, slice(segment).len(), outcome)?;
            }
            progress(end - start)?;
        }
        Ok(Oid::from_bytes(hasher.finalize().into()))
    }

    fn encode(&self, segment: &Segment, bytes: &[u8]) -> Result<(ObjectId, Outcome), StoreError> {
        let object = ObjectId::of(bytes);
        if self.pending.contains(&object) || self.store.holds(&object) {
            return Ok((object, Outcome::Known));
        }
        let base = self.base_of(segment);
        let with = base.as_ref().map(|base| codec::Base { bytes: &base.bytes, dtype: base.dtype });
        let encoded = codec::encode(bytes, segment.dtype, segment.row_len, with, self.effort);
        let base = base.filter(|_| encoded.codec.needs_base()).map(|base| (base.object, base.depth));
        Ok((object, Outcome::New { encoded, base }))
    }

    /// The counterpart's bytes; none when there is none, or when it can't be read (fsck tells).
    fn base_of(&self, segment: &Segment) -> Option<BaseBytes> {
        let (object, dtype) = self.counterparts.find(segment)?;
        let mut found = self.store.find(&object).ok()?;
        while found.record.depth >= AIM_DEPTH {
            found = self.store.find(&found.record.base?).ok()?;
        }
        let bytes = self.store.get(&found.record.object).ok()?;
        Some(BaseBytes { object: found.record.object, depth: found.record.depth, dtype, bytes })
    }

    fn add(&mut self, object: ObjectId, len: usize, outcome: Outcome) -> Result<(), IngestError> {
        self.objects.push(object);
        let Outcome::New { encoded, base } = outcome else {
            self.known_objects += 1;
            return Ok(());
        };
        if !self.pending.insert(object) {
            self.known_objects += 1;
            return Ok(());
        }
        if self.writer.as_ref().is_some_and(|writer| writer.len() > PACK_BYTES) {
            self.finish_pack()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.store.begin_pack()?),
        };
        writer.add(record_for(object, base, encoded.codec, len as u32), &encoded.payload)?;
        self.stored += encoded.payload.len() as u64;
        self.new_objects += 1;
        Ok(())
    }

    fn finish_pack(&mut self) -> Result<(), IngestError> {
        if let Some(writer) = self.writer.take() {
            self.store.admit(writer)?;
            self.pending.clear();
        }
        Ok(())
    }

    fn finish_packs(&mut self) -> Result<Vec<ObjectId>, IngestError> {
        self.finish_pack()?;
        Ok(std::mem::take(&mut self.objects))
    }
}

struct BaseBytes {
    object: ObjectId,
    depth: u8,
    dtype: Dtype,
    bytes: Vec<u8>,
}

/// The parts of the base, found by what they hold: tensor and slice, or the place among the headers.
#[derive(Default)]
struct Counterparts {
    tensors: HashMap<(String, u32), (ObjectId, Dtype)>,
    header: Option<ObjectId>,
}

impl Counterparts {
    fn of(recipe: &Recipe) -> Counterparts {
        let mut found = Counterparts::default();
        for part in &recipe.parts {
            match recipe.tensor_of(part) {
                Some(tensor) => {
                    found.tensors.insert((tensor.name.clone(), part.slice), (part.object, tensor.dtype));
                }
                None if recipe.layout.is_some() && found.header.is_none() => found.header = Some(part.object),
                None => {}
            }
        }
        found
    }

    fn find(&self, segment: &Segment) -> Option<(ObjectId, Dtype)> {
        if segment.name.is_empty() {
            return (segment.range.start == 0).then_some(self.header?).map(|object| (object, Dtype::Bytes));
        }
        self.tensors.get(&(segment.name.clone(), segment.slice)).copied()
    }
}

/// Recipe parts of a cut, with the tensors they belong to.
fn name_parts(cut: &Cut, objects: Vec<ObjectId>) -> (Vec<Tensor>, Vec<Part>) {
    let mut tensors: Vec<Tensor> = Vec::new();
    let parts = cut.segments().iter().zip(objects).map(|(segment, object)| {
        let len = (segment.range.end - segment.range.start) as u32;
        if segment.name.is_empty() {
            return Part { object, len, tensor: None, slice: 0 };
        }
        if segment.slice == 0 || tensors.last().is_none_or(|tensor| tensor.name != segment.name) {
            let Segment { name, dtype, row_len, shape, .. } = segment.clone();
            tensors.push(Tensor { name, dtype, row_len, shape });
        }
        Part { object, len, tensor: Some(tensors.len() as u32 - 1), slice: segment.slice }
    });
    let parts = parts.collect();
    (tensors, parts)
}
