//! File → objects and a published recipe, in one pass and with a proof.
//!
//! The file is cut, each new segment is encoded against its counterpart in the base or alone, and
//! before the recipe is published everything is read back from the store and hashed.

mod appraise;
mod beside;
mod coverage;
mod encoder;
mod filtering;
mod former;
mod packs;
mod plans;
mod resembling;
mod rows;
mod sampled;
mod sorting;
mod stream;
mod table;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub use coverage::{Coverage, coverage};

use crossbeam_skiplist::SkipMap;
use sha2::{Digest, Sha256};

use crate::base::{self, Choice, Content, Hints};
use crate::codec::Effort;
use crate::codec::lossy::Tier;
use crate::counterpart::Counterparts;
use crate::format::{self, Cut, Format, Segment, Source};
use crate::id::{ObjectId, Oid};
use crate::minhash::Sampled;
use crate::origin::{self, Child, Origin};
use crate::pack::MAX_BASES;
use crate::pipeline::in_order;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{self, Layout, Parent, Reason, Recipe, RecipeError};
use crate::reconstruct::{ReconstructError, rehash};
use crate::renamed;
use crate::sketch;
use crate::store::{Store, StoreError};
pub use appraise::{Appraisal, appraise};
use beside::Beside;
use encoder::{Encoder, Outcome, Stretch};
use packs::Packs;
use resembling::Resembling;
use rows::{Both, Rows};
pub use stream::Plain;
use stream::{LastPacker, Stream};
use table::{Last, Table, goes_on};

/// File bytes that are read and encoded at a time; one encoder holds a few times as many.
const AHEAD_BYTES: u64 = 32 << 20;
/// Small segments are read and encoded together up to this.
const STRETCH_BYTES: u64 = 1 << 20;
/// A pack that reached this size is finished and another begun.
const PACK_BYTES: u64 = 1 << 30;
/// A table that is no larger is worth all time.
const SMALL_TABLE_BYTES: u64 = 256 << 10;
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

impl IngestError {
    /// Whether the disk had no room.
    pub fn is_full(&self) -> bool {
        is_full(self)
    }

    /// Whether the file was stored, and did not come back.
    fn is_unproven(&self) -> bool {
        match self {
            IngestError::ReadBack(error) => !matches!(error, ReconstructError::Cancelled(_)),
            IngestError::Unproven(_) => true,
            _ => false,
        }
    }
}

fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    io.is_some_and(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        || error.to_string().contains("No space left on device")
        || error.source().is_some_and(is_full)
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
    let mut shape = Shape::by_what_it_holds(source)?;
    let sampled = shape.sample(source)?;
    let chosen = match &sampled {
        Some(sampled) => base::choose_by_content(store, oid, sampled, hints)?,
        None => base::choose(store, oid, shape.layout.as_ref(), &shape.sketch, hints)?.into_iter().collect(),
    };
    shape.origin =
        shape.find_origin(store, source, Some(oid), chosen.first().map(|choice| &choice.recipe))?;
    if let Some(sampled) = &sampled {
        shape.sketch = sampled.of.kept();
    }
    let base = chosen.first().map(|choice| choice.recipe.clone());
    let mut against = Against::to(chosen);
    shape.find_renamed(store, source, base.as_ref(), &mut against);
    let is_table = shape.cut.format() == Format::Parquet;
    match keep(store, source, shape, Some(oid), against, effort, progress) {
        // A table that does not come back from its cells is a file like any other.
        Err(error) if is_table && error.is_unproven() => {
            let shape = Shape::of_bytes(source)?;
            keep(store, source, shape, Some(oid), Against::default(), effort, progress)
        }
        done => done,
    }
}

/// The same for a file of any name, against a base that the caller knows.
pub fn ingest_against(
    store: &Store,
    source: &dyn Source,
    mut against: Against,
    effort: Effort,
    progress: &Progress<'_>,
) -> Result<Ingested, IngestError> {
    let mut shape = Shape::beside_bases(source)?;
    let base = against.base.and_then(|(oid, _)| store.recipe(&oid).ok().flatten());
    // An approximation is another file: no rule gives it.
    if against.lossy.is_none() {
        shape.origin = shape.find_origin(store, source, None, base.as_ref())?;
    }
    shape.find_renamed(store, source, base.as_ref(), &mut against);
    keep(store, source, shape, None, against, effort, progress)
}

/// What a file holds, where others are found by that.
pub fn content(source: &dyn Source) -> Result<Option<Content>, IngestError> {
    match stream::plain(source).map_err(IngestError::Read)? {
        Some(plain) => content_of(Format::Stream, source.len(), || sampled::of_text(&plain)),
        None => Shape::of(source)?.sample(source),
    }
}

fn content_of(
    format: Format,
    size: u64,
    sample: impl FnOnce() -> io::Result<Sampled>,
) -> Result<Option<Content>, IngestError> {
    let Some(kind) = recipe::content_of(format) else { return Ok(None) };
    Ok(Some(Content { kind, size, of: sample().map_err(IngestError::Read)? }))
}

/// How a file of a base that lies somewhere as it is is cut: one that is a compressed stream not at all.
///
/// # Errors
/// Only what `source` returns.
pub fn cut_as_base(source: &dyn Source) -> io::Result<Cut> {
    match cut_stream(source)? {
        Some(cut) => Ok(cut),
        None => format::cut(source),
    }
}

/// The same of a compressed stream alone.
///
/// # Errors
/// Only what `source` returns.
pub fn cut_stream(source: &dyn Source) -> io::Result<Option<Cut>> {
    Ok(stream::plain(source)?.map(|_| whole(source)))
}

/// The objects that one of a base of this format holds, if it is packed.
pub fn plain_of(format: Format, segment: &Segment, bytes: &[u8]) -> Vec<Plain> {
    stream::plain_of(format, segment, bytes)
}

fn whole(source: &dyn Source) -> Cut {
    Cut::whole(Format::Stream, source.len()).expect("because it is no longer than an object")
}

/// What a new file is compared against.
#[derive(Default)]
pub struct Against {
    pub counterparts: Counterparts,
    /// What the recipe says of it.
    pub base: Option<(Oid, Reason)>,
    /// More files whose rows or stretches of text it may have.
    pub further: Vec<Oid>,
    /// What objects of these hold that are packed, and stored as they are.
    pub plain: Arc<HashMap<ObjectId, Vec<ObjectId>>>,
    /// Store an approximation of the file in its place, where that is smaller: the recipe is of another file
    /// then. Never for what somebody calls by its hash.
    pub lossy: Option<Tier>,
}

impl Against {
    /// The files that were chosen, the base first.
    fn to(chosen: Vec<Choice>) -> Against {
        let mut against = Against::default();
        for choice in chosen {
            match against.base {
                Some(_) => against.further.push(choice.recipe.oid),
                None => {
                    against.counterparts = Counterparts::of(&choice.recipe);
                    against.base = Some((choice.recipe.oid, choice.reason));
                }
            }
        }
        against
    }
}

/// What is known of a file before it is stored.
struct Shape {
    cut: Cut,
    layout: Option<Layout>,
    sketch: Vec<f32>,
    /// Files and rules from which it may follow.
    origin: Option<Origin>,
    /// What it holds, if it is one compressed stream.
    stream: Option<Stream>,
}

impl Shape {
    /// The same, where a compressed stream is one segment.
    fn by_what_it_holds(source: &dyn Source) -> Result<Shape, IngestError> {
        let Some(stream) = Stream::of(source).map_err(IngestError::Read)? else { return Shape::of(source) };
        let cut = whole(source);
        Ok(Shape { cut, layout: None, sketch: Vec::new(), origin: None, stream: Some(stream) })
    }

    /// The same where bases lie somewhere as they are: cut as these, also where nothing is known that packs it again.
    fn beside_bases(source: &dyn Source) -> Result<Shape, IngestError> {
        let shape = Shape::by_what_it_holds(source)?;
        let is_stream = shape.stream.is_none() && stream::plain(source).map_err(IngestError::Read)?.is_some();
        Ok(if is_stream { Shape { cut: whole(source), ..shape } } else { shape })
    }

    fn of(source: &dyn Source) -> Result<Shape, IngestError> {
        let cut = format::cut(source).map_err(IngestError::Read)?;
        let sketch = sketch::of(source, &cut).map_err(IngestError::Read)?;
        Ok(Shape { layout: format::layout_of(cut.segments()), cut, sketch, origin: None, stream: None })
    }

    /// Of a file that is taken for bytes and nothing else.
    fn of_bytes(source: &dyn Source) -> Result<Shape, IngestError> {
        let cut = format::cut_bytes(source).map_err(IngestError::Read)?;
        Ok(Shape { layout: None, cut, sketch: Vec::new(), origin: None, stream: None })
    }

    /// What it holds, where others are found by that.
    fn sample(&self, source: &dyn Source) -> Result<Option<Content>, IngestError> {
        content_of(self.cut.format(), source.len(), || match &self.stream {
            Some(stream) => sampled::of_text(&stream.plain()),
            None => sampled::sample(source, &self.cut),
        })
    }

    /// Looks for what the file was made from.
    fn find_origin(
        &self,
        store: &Store,
        source: &dyn Source,
        oid: Option<Oid>,
        base: Option<&Recipe>,
    ) -> Result<Option<Origin>, StoreError> {
        self.as_child(source, oid, |child| origin::find(store, child, base))
    }

    /// Looks for tensors that the base has under other names.
    fn find_renamed(&self, store: &Store, source: &dyn Source, base: Option<&Recipe>, against: &mut Against) {
        let Some(base) = base.filter(|_| self.layout.is_some()) else { return };
        self.as_child(source, None, |child| renamed::find(store, child, base, &mut against.counterparts));
    }

    fn as_child<T>(&self, source: &dyn Source, oid: Option<Oid>, look: impl FnOnce(&Child<'_>) -> T) -> T {
        let read = |segment: &Segment, len: usize| {
            let mut bytes = vec![0; len];
            source.read_at(&mut bytes, segment.range.start).ok().map(|()| bytes)
        };
        let (layout, segments) = (self.layout.as_ref(), self.cut.segments());
        look(&Child { oid, layout, sketch: &self.sketch, segments, read: &read })
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
    let Shape { cut, layout, sketch, origin, stream } = shape;
    let Ready { encoder, mut base, bases } =
        Ready::of(store, source, (&cut, origin, stream), against, effort)?;
    let format = cut.format();
    let mut packs = Packs::new(&encoder);
    let oid = run(&encoder, &mut packs, source, &cut, progress)?;
    if let Some(expected) = expected.filter(|expected| *expected != oid) {
        return Err(IngestError::WrongOid { expected, found: oid });
    }
    packs.finish_pack()?;
    let Packs { objects, stored, new_objects, known_objects, derived, .. } = packs;
    let mut parents = Vec::new();
    if bases.len() > 1 {
        parents.extend(bases.iter().map(|base| Parent { oid: base.oid, weight: 1.0 }));
    }
    let made_of = encoder.origin.as_ref().filter(|_| derived > 0).and_then(|origin| origin.made_of.clone());
    if let Some((reason, made_of)) = made_of {
        base = made_of.first().map(|parent| (parent.oid, reason));
        parents = made_of;
    }
    let (tensors, parts) = recipe::parts_of(&cut, objects);
    let size = source.len();
    let recipe = Recipe { oid, size, format, base, origin: parents, layout, sketch, tensors, parts };
    let found = rehash(store, &recipe, &|_| progress(0)).map_err(IngestError::ReadBack)?;
    store.publish(&recipe.prove(found).map_err(IngestError::Unproven)?)?;
    Ok(Ingested { oid, size, stored, new_objects, known_objects, base })
}

/// All that is needed to encode a file.
struct Ready<'a> {
    encoder: Encoder<'a>,
    /// Those that the file has something of.
    base: Option<(Oid, Reason)>,
    bases: Vec<Recipe>,
}

impl<'a> Ready<'a> {
    fn of(
        store: &'a Store,
        source: &dyn Source,
        (cut, origin, stream): (&Cut, Option<Origin>, Option<Stream>),
        against: Against,
        effort: Effort,
    ) -> Result<Ready<'a>, IngestError> {
        let Against { counterparts, mut base, further, plain, lossy } = against;
        let (pending, format) = (SkipMap::new(), cut.format());
        let recipe = |oid: Oid| store.recipe(&oid).ok().flatten();
        let mut bases: Vec<Recipe> =
            base.map(|(oid, _)| oid).into_iter().chain(further).filter_map(recipe).collect();
        let mut table = None;
        if format == Format::Parquet {
            let is_like = matches!(base, Some((_, Reason::Likeness)));
            table = Some(table_of(store, source, cut, &mut bases, is_like).map_err(IngestError::Read)?);
            base = base.filter(|_| !bases.is_empty());
        }
        let is_small = table.is_some() && source.len() <= SMALL_TABLE_BYTES;
        let effort = if is_small { Effort::Small } else { effort };
        let last_packer = LastPacker::default();
        let resembling = Resembling::to_bases(store, format, &bases, &plain)?;
        let encoder = Encoder {
            store,
            format,
            counterparts,
            origin,
            effort,
            lossy,
            pending,
            table,
            resembling,
            stream,
            last_packer,
        };
        Ok(Ready { encoder, base, bases })
    }
}

/// A table's columns, and where its rows come from. Of the bases those are left that have some; none where they were
/// chosen by likeness, and have next to nothing.
fn table_of(
    store: &Store,
    source: &dyn Source,
    cut: &Cut,
    bases: &mut Vec<Recipe>,
    are_like: bool,
) -> io::Result<Table> {
    let kinds = table::kinds(source)?;
    let last = Last::default();
    let tables = Both { store, source, kinds: &kinds, last: &last };
    let mut rows = Rows::find(&tables, cut, bases);
    if are_like && rows.as_ref().is_some_and(|rows| !rows.has_common_ones()) {
        bases.clear();
        rows = None;
    }
    if let Some(rows) = &rows {
        let mut number = 0..;
        bases.retain(|_| number.next().is_some_and(|number| number == 0 || rows.has_some_of(number)));
    }
    let beside = Beside::find(&tables, cut.segments(), rows.as_ref());
    Ok(Table { kinds, rows, beside, last })
}

/// Reads, hashes, encodes and packs the whole file; returns its SHA-256.
fn run(
    encoder: &Encoder<'_>,
    packs: &mut Packs<'_>,
    source: &dyn Source,
    cut: &Cut,
    progress: &Progress<'_>,
) -> Result<Oid, IngestError> {
    let mut hasher = Sha256::new();
    let level = |segment: &Segment| encoder.table.as_ref().map_or(0, |table| table.beside.level(segment));
    let belong = |before: &Segment, next: &Segment| encoder.table.is_some() && goes_on(source, before, next);
    let stretches = stretches(cut.segments(), STRETCH_BYTES, belong, level);
    let level = |segments: &[Segment]| segments.first().map_or(0, level);
    let work = |segments: &&[Segment]| match level(segments) {
        0 => encoder.encode(source, segments),
        _ => encoder.read(source, segments),
    };
    let take = |segments: &&[Segment], Stretch { bytes, outcomes }: Stretch| {
        hasher.update(&bytes);
        if level(segments) > 0 {
            let start = segments[0].range.start;
            let part =
                |range: &Range<u64>| &bytes[(range.start - start) as usize..(range.end - start) as usize];
            packs.objects.extend(segments.iter().map(|segment| ObjectId::of(part(&segment.range))));
            return Ok(());
        }
        outcomes.into_iter().try_for_each(|outcome| packs.add(outcome))?;
        progress(bytes.len() as u64)?;
        Ok(())
    };
    in_order(&stretches, |segments| len_of(segments), AHEAD_BYTES, work, take)?;
    // Columns that are stored by others: each after those that it needs.
    for own in 1..=encoder.table.as_ref().map_or(0, |table| table.beside.levels()) {
        let stretches: Vec<_> = stretches.iter().copied().filter(|segments| level(segments) == own).collect();
        let take = |_: &&[Segment], Stretch { bytes, outcomes }: Stretch| {
            outcomes.into_iter().try_for_each(|outcome: Outcome| packs.put(outcome.new))?;
            progress(bytes.len() as u64)?;
            Ok(())
        };
        in_order(&stretches, |segments| len_of(segments), AHEAD_BYTES, |s| encoder.encode(source, s), take)?;
    }
    Ok(Oid::from_bytes(hasher.finalize().into()))
}

/// Neighbouring segments of one level that are worth a task: one, or some small ones, of `small_bytes` together, or some
/// that belong together, of which there are no more than one object may have bases.
fn stretches(
    segments: &[Segment],
    small_bytes: u64,
    belong: impl Fn(&Segment, &Segment) -> bool,
    level: impl Fn(&Segment) -> u8,
) -> Vec<&[Segment]> {
    let mut start = segments.first().map_or(0, |segment| segment.range.start);
    let mut belonging = 0;
    let together = |before: &Segment, next: &Segment| {
        let belongs = belong(before, next) && belonging < MAX_BASES;
        belonging = if belongs { belonging + 1 } else { 0 };
        let fits = (next.range.end - start <= small_bytes && level(before) == level(next)) || belongs;
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
