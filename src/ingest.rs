//! File → objects and a published recipe, in one pass and with a proof.
//!
//! The file is cut, each new segment is encoded against its counterpart in the base or alone, and
//! before the recipe is published everything is read back from the store and hashed.

use std::io;
use std::sync::Arc;

use crossbeam_skiplist::SkipSet;
use sha2::{Digest, Sha256};

use crate::base::{self, Hints};
use crate::codec::lossy::{self, Approximation, NotFinite, Tier};
use crate::codec::{self, Codec, Effort, Encoded};
use crate::counterpart::Counterparts;
use crate::format::{self, Cut, Dtype, Segment, Source};
use crate::id::{ObjectId, Oid};
use crate::origin::{self, Child, Derived, Origin};
use crate::pack::{Bases, PackWriter};
use crate::pipeline::in_order;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{self, Layout, Reason, Recipe, RecipeError};
use crate::reconstruct::{ReconstructError, rehash};
use crate::sketch;
use crate::store::{Decoded, Store, StoreError, record_for};

/// File bytes that are read and encoded at a time; one encoder holds a few times as many.
const AHEAD_BYTES: u64 = 32 << 20;
/// Small segments are read and encoded together up to this.
const STRETCH_BYTES: u64 = 1 << 20;
/// A pack that reached this size is finished and another begun.
const PACK_BYTES: u64 = 1 << 30;
/// Deltas are stacked this deep by a push: deeper chains cost every later read.
const AIM_DEPTH: u8 = 8;

/// What an ingest did.
#[derive(Debug, Clone, Copy)]
pub struct Ingested {
    pub oid: Oid,
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
    #[error("tensor {0} can't be approximated: it holds NaN or infinity")]
    NotFinite(String),
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
    let mut shape = Shape::of(source)?;
    let base = base::choose(store, oid, shape.layout.as_ref(), &shape.sketch, hints)?;
    shape.origin = shape.find_origin(store, source, Some(oid), base.as_ref().map(|choice| &choice.recipe))?;
    let mut against = Against::default();
    if let Some(choice) = base {
        against.counterparts = Counterparts::of(&choice.recipe);
        against.base = Some((choice.recipe.oid, choice.reason));
    }
    keep(store, source, shape, Some(oid), against, effort, progress)
}

/// The same for a file of any name, against a base that the caller knows.
pub fn ingest_against(
    store: &Store,
    source: &dyn Source,
    against: Against,
    effort: Effort,
    progress: &Progress<'_>,
) -> Result<Ingested, IngestError> {
    let mut shape = Shape::of(source)?;
    // An approximation is another file: no rule gives it.
    if against.lossy.is_none() {
        let base = against.base.and_then(|(oid, _)| store.recipe(&oid).ok().flatten());
        shape.origin = shape.find_origin(store, source, None, base.as_ref())?;
    }
    keep(store, source, shape, None, against, effort, progress)
}

/// What a new file is compared against.
#[derive(Default)]
pub struct Against {
    pub counterparts: Counterparts,
    /// What the recipe says of it.
    pub base: Option<(Oid, Reason)>,
    /// Store an approximation of the file in its place, where that is smaller: the recipe is of another file
    /// then. Never for what somebody calls by its hash.
    pub lossy: Option<Tier>,
}

/// What is known of a file before it is stored.
struct Shape {
    cut: Cut,
    layout: Option<Layout>,
    sketch: Vec<f32>,
    /// Files and rules from which it may follow.
    origin: Option<Origin>,
}

impl Shape {
    fn of(source: &dyn Source) -> Result<Shape, IngestError> {
        let cut = format::cut(source).map_err(IngestError::Read)?;
        let sketch = sketch::of(source, &cut).map_err(IngestError::Read)?;
        Ok(Shape { layout: format::layout_of(cut.segments()), cut, sketch, origin: None })
    }

    /// Looks for what the file was made from.
    fn find_origin(
        &self,
        store: &Store,
        source: &dyn Source,
        oid: Option<Oid>,
        base: Option<&Recipe>,
    ) -> Result<Option<Origin>, StoreError> {
        let read = |segment: &Segment, len: usize| {
            let mut bytes = vec![0; len];
            source.read_at(&mut bytes, segment.range.start).ok().map(|()| bytes)
        };
        let (layout, segments) = (self.layout.as_ref(), self.cut.segments());
        origin::find(store, &Child { oid, layout, sketch: &self.sketch, segments, read: &read }, base)
    }
}

fn keep(
    store: &Store,
    source: &dyn Source,
    shape: Shape,
    expected: Option<Oid>,
    against: Against,
    effort: Effort,
    progress: &Progress<'_>,
) -> Result<Ingested, IngestError> {
    let Shape { cut, layout, sketch, origin } = shape;
    let Against { counterparts, mut base, lossy } = against;
    let encoder = Encoder { store, counterparts, origin, effort, lossy, pending: SkipSet::new() };
    let mut packer = Packer::new(&encoder);
    let oid = run(&encoder, &mut packer, source, &cut, progress)?;
    if let Some(expected) = expected.filter(|expected| *expected != oid) {
        return Err(IngestError::WrongOid { expected, found: oid });
    }
    packer.finish_pack()?;
    let Packer { objects, stored, new_objects, known_objects, derived, .. } = packer;
    let mut parents = Vec::new();
    let made_of = encoder.origin.as_ref().filter(|_| derived > 0).and_then(|origin| origin.made_of.clone());
    if let Some((reason, made_of)) = made_of {
        base = made_of.first().map(|parent| (parent.oid, reason));
        parents = made_of;
    }
    let (tensors, parts) = recipe::parts_of(&cut, objects);
    let size = source.len();
    let format = cut.format();
    let recipe = Recipe { oid, size, format, base, origin: parents, layout, sketch, tensors, parts };
    let found = rehash(store, &recipe, &|_| progress(0)).map_err(IngestError::ReadBack)?;
    store.publish(&recipe.prove(found).map_err(IngestError::Unproven)?)?;
    Ok(Ingested { oid, size, stored, new_objects, known_objects, base })
}

/// Reads, hashes, encodes and packs the whole file; returns its SHA-256.
fn run(
    encoder: &Encoder<'_>,
    packer: &mut Packer<'_>,
    source: &dyn Source,
    cut: &Cut,
    progress: &Progress<'_>,
) -> Result<Oid, IngestError> {
    let mut hasher = Sha256::new();
    let stretches = stretches(cut.segments());
    let take = |_: &&[Segment], Stretch { bytes, outcomes }: Stretch| {
        hasher.update(&bytes);
        outcomes.into_iter().try_for_each(|outcome| packer.add(outcome))?;
        progress(bytes.len() as u64)?;
        Ok(())
    };
    in_order(&stretches, |segments| len_of(segments), AHEAD_BYTES, |s| encoder.encode(source, s), take)?;
    Ok(Oid::from_bytes(hasher.finalize().into()))
}

/// Neighbouring segments that are worth a task: one, or some small ones.
fn stretches(segments: &[Segment]) -> Vec<&[Segment]> {
    let mut start = segments.first().map_or(0, |segment| segment.range.start);
    let together = |_: &Segment, next: &Segment| {
        let fits = next.range.end - start <= STRETCH_BYTES;
        if !fits {
            start = next.range.start;
        }
        fits
    };
    segments.chunk_by(together).collect()
}

fn len_of(segments: &[Segment]) -> u64 {
    segments.last().map_or(0, |last| last.range.end - segments[0].range.start)
}

/// Neighbouring segments after the parallel part.
struct Stretch {
    bytes: Vec<u8>,
    outcomes: Vec<Outcome>,
}

/// A segment that is known already, or encoded.
struct Outcome {
    object: ObjectId,
    /// Its length in bytes.
    len: u32,
    new: Option<New>,
}

struct New {
    encoded: Encoded,
    base: Option<(Bases, u8)>,
}

impl From<Derived> for New {
    fn from(derived: Derived) -> New {
        New { encoded: derived.encoded, base: Some((derived.bases, derived.depth)) }
    }
}

/// Encodes segments, many at a time.
struct Encoder<'a> {
    store: &'a Store,
    counterparts: Counterparts,
    origin: Option<Origin>,
    effort: Effort,
    lossy: Option<Tier>,
    /// Objects in the unfinished pack: the index doesn't know them yet.
    pending: SkipSet<ObjectId>,
}

impl Encoder<'_> {
    fn encode(&self, source: &dyn Source, segments: &[Segment]) -> Result<Stretch, IngestError> {
        let start = segments.first().map_or(0, |segment| segment.range.start);
        let mut bytes = vec![0; len_of(segments) as usize];
        source.read_at(&mut bytes, start).map_err(IngestError::Read)?;
        let outcome = |segment: &Segment| {
            let range = (segment.range.start - start) as usize..(segment.range.end - start) as usize;
            self.encode_one(segment, &mut bytes[range])
        };
        let outcomes: Result<_, IngestError> = segments.iter().map(outcome).collect();
        Ok(Stretch { outcomes: outcomes?, bytes })
    }

    /// Encodes what is not known yet. `bytes` become what was stored for them.
    fn encode_one(&self, segment: &Segment, bytes: &mut [u8]) -> Result<Outcome, IngestError> {
        let (mut object, len) = (ObjectId::of(bytes), bytes.len() as u32);
        if self.pending.contains(&object) || self.store.holds_whole(&object) {
            return Ok(Outcome { object, len, new: None });
        }
        let attempt = self.origin.as_ref().and_then(|origin| origin.of(segment));
        let derived = attempt.and_then(|attempt| {
            attempt.encode(self.store, bytes, segment.dtype, segment.row_len, self.effort)
        });
        if derived.as_ref().is_some_and(|derived| derived.is_exact) {
            return Ok(Outcome { object, len, new: derived.map(New::from) });
        }
        let base = self.base_of(segment);
        let with = base.as_ref().map(BaseBytes::bases).unwrap_or_default();
        let mut encoded = codec::encode(bytes, segment.dtype, segment.row_len, &with, self.effort);
        if let Some((tier, with)) = self.lossy.zip(with.first()) {
            let found = lossy::approximate(bytes, segment.dtype, segment.row_len, *with, tier);
            let found = found.map_err(|NotFinite| IngestError::NotFinite(segment.name.clone()))?;
            let smaller = |found: &Approximation| found.encoded.payload.len() < encoded.payload.len();
            if let Some(found) = found.filter(smaller) {
                bytes.copy_from_slice(&found.bytes);
                object = ObjectId::of(bytes);
                encoded = found.encoded;
            }
        }
        let base = base.and_then(|base| Some((base.ids(encoded.codec)?, base.depth)));
        let smaller = |derived: &Derived| derived.encoded.payload.len() < encoded.payload.len();
        let new = derived.filter(smaller).map_or(New { encoded, base }, New::from);
        Ok(Outcome { object, len, new: Some(new) })
    }

    /// The counterpart's bytes; none when there is none, or when it can't be read (fsck tells).
    fn base_of(&self, segment: &Segment) -> Option<BaseBytes> {
        let (object, dtype) = self.counterparts.find(segment)?;
        let mut found = self.store.find(&object).ok()?;
        while found.record.depth >= AIM_DEPTH {
            found = self.store.find(found.record.bases.first()?).ok()?;
        }
        let bytes = self.store.get_base(&found.record.object).ok()?;
        let previous = self.store.previous(&found, bytes.len());
        Some(BaseBytes { object: found.record.object, depth: found.record.depth, dtype, bytes, previous })
    }
}

/// Puts what is encoded into packs, one after the other.
struct Packer<'a> {
    encoder: &'a Encoder<'a>,
    writer: Option<PackWriter<'a>>,
    objects: Vec<ObjectId>,
    stored: u64,
    new_objects: u64,
    known_objects: u64,
    /// New ones that follow by a rule.
    derived: u64,
}

impl<'a> Packer<'a> {
    fn new(encoder: &'a Encoder<'a>) -> Packer<'a> {
        let objects = Vec::new();
        Packer { encoder, writer: None, objects, stored: 0, new_objects: 0, known_objects: 0, derived: 0 }
    }

    fn add(&mut self, outcome: Outcome) -> Result<(), IngestError> {
        let Outcome { object, len, new } = outcome;
        self.objects.push(object);
        // Another segment with the same bytes may have come first.
        let Some(New { encoded, base }) = new.filter(|_| !self.encoder.pending.contains(&object)) else {
            self.known_objects += 1;
            return Ok(());
        };
        if self.writer.as_ref().is_some_and(|writer| writer.len() > PACK_BYTES) {
            self.finish_pack()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.encoder.store.begin_pack()?),
        };
        writer.add(record_for(object, base, encoded.codec, len), &encoded.payload)?;
        self.encoder.pending.insert(object);
        self.stored += encoded.payload.len() as u64;
        self.new_objects += 1;
        self.derived += u64::from(encoded.codec == Codec::Derived);
        Ok(())
    }

    /// Makes the objects so far durable, and known to the index.
    fn finish_pack(&mut self) -> Result<(), IngestError> {
        if let Some(writer) = self.writer.take() {
            self.encoder.store.admit(writer)?;
            self.encoder.pending.clear();
        }
        Ok(())
    }
}

struct BaseBytes {
    object: ObjectId,
    depth: u8,
    dtype: Dtype,
    bytes: Arc<Decoded>,
    /// What it is itself a difference to.
    previous: Option<(ObjectId, Arc<Decoded>)>,
}

impl BaseBytes {
    /// What the codec may take: the base, and its own base.
    fn bases(&self) -> Vec<codec::Base<'_>> {
        let previous = self.previous.as_ref().map(|(_, bytes)| bytes);
        let both = std::iter::once(&self.bytes).chain(previous);
        both.map(|bytes| codec::Base { bytes, dtype: self.dtype }).collect()
    }

    /// Those that a codec took; none where it took none.
    fn ids(&self, codec: Codec) -> Option<Bases> {
        let previous = self.previous.as_ref().map(|(object, _)| *object);
        let both = std::iter::once(self.object).chain(previous);
        Bases::of(both.take(codec.bases())).filter(|bases| !bases.is_empty())
    }
}
