//! What an artifact would weigh, from a small part of two models.
//!
//! Of each tensor some stretches of rows are read and encoded as they would be. The cost of one more row
//! is what the second half of them added to the first, so that tables, which any tensor needs once, are
//! not counted again for all that was not read. Tables are tried whole, or as many of their rows as somebody asks for.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::computed::{self, Computed, Derived};
use super::nearest::nearest;
use super::staging::StagingError;
use super::tree::{Tree, TreeFile};
use super::trial::{Trial, TrialError, trial};
use crate::codec::{self, Base, Effort};
use crate::counterpart::Counterparts;
use crate::dataset;
use crate::format::{self, Dtype, Format, OpenFile, Segment, Source};
use crate::id::ObjectId;
use crate::ingest::{self, IngestError};
use crate::pack::Record;
use crate::progress::{Cancelled, Progress};
use crate::recipe;
use crate::renamed;

/// Models of which less than this is read whole.
const SMALL_BYTES: u64 = 8 << 20;
/// Of larger ones, one row in this many is, and one piece of what has no rows.
const SPARE: u64 = 13;
/// Pieces of one file that are read before some are left out.
const FEW_PIECES: usize = 16;
/// Stretches of one segment that are read, half of them for the first encoding.
const STRETCHES: u64 = 16;
/// Segments of this size are read whole.
const MIN_BYTES: u64 = 16 << 10;
/// So are those without numbers up to this size: headers, and members of archives.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// A part in a recipe, about: an id that does not compress, and numbers that do.
const PART_BYTES: u64 = 36;
/// And the rest of the recipe: its header, and a sketch.
const RECIPE_BYTES: u64 = 200;

/// What was found out about two models.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Bytes of the fine-tune's files.
    pub size: u64,
    /// Bytes of both models, and how many of them were read.
    pub both: u64,
    pub read: u64,
    /// Bytes of the artifact that compress would make.
    pub delta: u64,
    /// The same, if there were no base.
    pub whole: u64,
    /// Bytes of the fine-tune that seem to lie in the base as they are.
    pub same: u64,
    /// Nothing that was read differs, and both have the same files.
    pub identical: bool,
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{path}: {error}")]
    Store { path: String, error: Box<IngestError> },
    #[error("{0}")]
    Scratch(#[from] StagingError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// A file and where it is cut.
struct Opened<'a> {
    file: &'a TreeFile,
    source: OpenFile,
    is_table: bool,
    /// Whether it is text as it stands.
    is_lines: bool,
    /// Whether it is found by what it holds.
    has_content: bool,
    segments: Vec<Segment>,
    /// Cutting it took reading it.
    read: u64,
}

impl Opened<'_> {
    fn cut(&self) -> computed::Cut<'_> {
        (&self.source, &self.segments)
    }
}

/// The cost of one segment.
#[derive(Default)]
struct Cost {
    read: u64,
    delta: u64,
    whole: u64,
    same: u64,
    /// How many it stands for, and how many of them are not in the base.
    segments: u64,
    objects: u64,
    /// Where all of it was read: two that are the same are stored once.
    id: Option<ObjectId>,
}

impl Cost {
    /// Of so many as this one; what was read was read once.
    fn times(self, count: f64) -> Cost {
        let times = |bytes: u64| (bytes as f64 * count).round() as u64;
        Cost {
            read: self.read,
            delta: times(self.delta),
            whole: times(self.whole),
            same: times(self.same),
            segments: times(self.segments),
            objects: times(self.objects),
            id: self.id.filter(|_| count == 1.0),
        }
    }
}

/// Estimates what compress gives for these two. Tables are stored for a while in directories beside `scratch`; about
/// `rows` of each, if so many are named.
pub fn estimate(
    base: &Tree,
    tuned: &Tree,
    rows: Option<u64>,
    scratch: &Path,
    progress: &Progress<'_>,
) -> Result<Estimate, EstimateError> {
    let (bases, files) = open_both(base, tuned)?;
    let (mut counterparts, size) = (Segments::of(&bases), size(&files));
    let renamed = counterparts.find_renamed(&bases, &files);
    let spare = if size < SMALL_BYTES { 1 } else { SPARE };
    let cuts: Vec<_> = bases.iter().map(Opened::cut).collect();
    let computed: Vec<Computed> = files.iter().map(|file| Computed::of(file.cut(), &cuts)).collect();
    let tried = tried_with(&files, &bases)?;
    let pairs = files.iter().zip(&computed).zip(&tried);
    let sampled: Vec<_> = pairs
        .filter_map(|(pair, tried)| tried.is_none().then_some(pair))
        .flat_map(|(file, computed)| sampled(file, spare).into_iter().map(move |sample| (computed, sample)))
        .collect();
    let costs: Result<Vec<Cost>, EstimateError> = sampled
        .par_iter()
        .map(|(computed, (file, segment, stands_for))| {
            let found = counterparts.find(file, segment);
            let cost = cost(file, segment, found, computed, spare)?;
            progress(cost.read)?;
            Ok(cost.times(*stands_for))
        })
        .collect();
    let cut: u64 = bases.iter().chain(&files).map(|file| file.read).sum();
    let recipe = |file: &Opened<'_>| RECIPE_BYTES + file.segments.len() as u64 * PART_BYTES;
    let mut estimate = Estimate {
        size,
        both: size + self::size(&bases),
        read: cut + renamed + computed.iter().map(|computed| computed.read).sum::<u64>(),
        delta: bases.iter().chain(&files).map(recipe).sum(),
        whole: files.iter().map(recipe).sum(),
        same: 0,
        identical: sizes(&bases) == sizes(&files),
    };
    let mut seen = HashSet::new();
    for cost in costs? {
        estimate.read += cost.read;
        estimate.same += cost.same;
        estimate.identical &= cost.objects == 0;
        if cost.id.is_some_and(|id| !seen.insert(id)) {
            continue;
        }
        estimate.delta += cost.delta + cost.objects * Record::BYTES as u64;
        estimate.whole += cost.whole + cost.segments * Record::BYTES as u64;
    }
    for (file, with) in files.iter().zip(tried).filter_map(|(file, with)| Some((file, with?))) {
        let Trial { delta, whole, same, is_same } = self::tried(file, &with, rows, scratch, progress)?;
        estimate.read += 2 * file.source.len();
        estimate.delta += delta;
        estimate.whole += whole;
        estimate.same += same;
        estimate.identical &= is_same;
    }
    estimate.read = estimate.read.min(estimate.both);
    if estimate.identical {
        // A file of both has one recipe.
        estimate.delta /= 2;
    }
    Ok(estimate)
}

/// Of each file the base's files that it is tried with; none of one that is not tried whole: all but tables, and texts
/// that stand elsewhere in the base.
fn tried_with<'a>(
    files: &[Opened<'_>],
    bases: &'a [Opened<'a>],
) -> Result<Vec<Option<Vec<&'a Opened<'a>>>>, EstimateError> {
    let own = |file: &Opened<'_>| bases.iter().position(|base| base.file.path == file.file.path);
    let may_be_tried = |file: &Opened<'_>| file.is_table || (file.has_content && own(file).is_none());
    let content = |file: &Opened<'_>| match file.has_content {
        true => ingest::content(&file.source).map_err(|error| failed(file, error)),
        false => Ok(None),
    };
    let is_any = files.iter().any(may_be_tried);
    let contents = bases.iter().filter(|_| is_any).map(content).collect::<Result<Vec<_>, _>>()?;
    let with = |file: &Opened<'_>| {
        let content = if may_be_tried(file) { content(file)? } else { None };
        let Some(content) = content else { return Ok(None) };
        let found = nearest(&content, &contents, own(file));
        if !found.is_empty() || !file.is_table {
            return Ok((!found.is_empty()).then(|| found.into_iter().map(|at| &bases[at]).collect()));
        }
        let tables = bases.iter().filter(|base| base.is_table);
        Ok(Some(tables.max_by_key(|base| base.segments.len()).into_iter().collect()))
    };
    files.iter().map(with).collect()
}

/// What a file takes, by some of the base.
fn tried(
    file: &Opened<'_>,
    bases: &[&Opened<'_>],
    rows: Option<u64>,
    scratch: &Path,
    progress: &Progress<'_>,
) -> Result<Trial, EstimateError> {
    let reopened: io::Result<Vec<_>> =
        bases.iter().map(|base| Ok((base.file, OpenFile::open(&base.file.place)?))).collect();
    let bases = reopened.map_err(|error| EstimateError::Read { path: file.file.path.clone(), error })?;
    let share = rows.map_or(1.0, |rows| rows as f64 / self::rows(file).max(1) as f64);
    trial(&file.source, share, bases, scratch, progress).map_err(|error| match error {
        TrialError::Scratch(error) => EstimateError::Scratch(error),
        TrialError::Store(error) => failed(file, error),
    })
}

/// How many rows a table has, about; 0 where that is not known.
fn rows(file: &Opened<'_>) -> u64 {
    if file.is_lines {
        let mut begin = vec![0; file.source.len().min(MAX_TEXT_BYTES) as usize];
        let lines =
            file.source.read_at(&mut begin, 0).map(|()| begin.iter().filter(|sign| **sign == b'\n').count());
        return lines.map_or(0, |lines| file.source.len() * lines as u64 / begin.len().max(1) as u64);
    }
    if file.segments.len() <= 1 {
        return 0;
    }
    let table = || {
        let source: dataset::File = Arc::new(OpenFile::open(&file.file.place).ok()?);
        dataset::Table::open(source, &file.file.path).ok()?.rows().ok()
    };
    table().unwrap_or(0)
}

fn failed(file: &Opened<'_>, error: IngestError) -> EstimateError {
    match error {
        IngestError::Cancelled(error) => EstimateError::Cancelled(error),
        error => EstimateError::Store { path: file.file.path.clone(), error: Box::new(error) },
    }
}

/// The files of both. Small ones are cut as compress does it, to the byte. Of large ones no more than headers is
/// read for that; both alike, so that their pieces can be compared.
fn open_both<'a>(
    base: &'a Tree,
    tuned: &'a Tree,
) -> Result<(Vec<Opened<'a>>, Vec<Opened<'a>>), EstimateError> {
    let (bases, files) = (open_all(base)?, open_all(tuned)?);
    let len = |files: &[(&TreeFile, OpenFile)]| files.iter().map(|(_, source)| source.len()).sum::<u64>();
    let is_small = len(&bases) + len(&files) < 2 * SMALL_BYTES;
    Ok((cut_all(bases, is_small)?, cut_all(files, is_small)?))
}

fn open_all(tree: &Tree) -> Result<Vec<(&TreeFile, OpenFile)>, EstimateError> {
    let failed = |file: &TreeFile, error| EstimateError::Read { path: file.path.clone(), error };
    let open =
        |file| Ok((file, OpenFile::open(&TreeFile::clone(file).place).map_err(|error| failed(file, error))?));
    tree.files.iter().map(open).collect()
}

fn cut_all(files: Vec<(&TreeFile, OpenFile)>, is_small: bool) -> Result<Vec<Opened<'_>>, EstimateError> {
    let cut = |(file, source): (_, OpenFile)| {
        let by_parts = || if is_small { format::cut(&source) } else { format::cut_by_length(&source) };
        let cut = ingest::cut_stream(&source).and_then(|cut| cut.map_or_else(by_parts, Ok));
        let cut = cut.map_err(|error| EstimateError::Read { path: TreeFile::clone(file).path, error })?;
        let read =
            if is_small && matches!(cut.format(), Format::Chunked | Format::Text) { source.len() } else { 0 };
        let name = &TreeFile::clone(file).path;
        let is_table =
            matches!(cut.format(), Format::Parquet | Format::Stream) || dataset::Kind::named(name).is_some();
        let is_lines = cut.format() == Format::Text;
        let has_content = recipe::content_of(cut.format()).is_some();
        Ok(Opened { file, segments: cut.segments().to_vec(), source, is_table, is_lines, has_content, read })
    };
    files.into_iter().map(cut).collect()
}

/// The segments of a file that are looked at, each with how many it stands for. Of tensors all are, and some rows
/// of them are read; of many pieces without a name in a row, some are.
fn sampled<'a>(file: &'a Opened<'a>, spare: u64) -> Vec<(&'a Opened<'a>, &'a Segment, f64)> {
    let len = |segments: &[&Segment]| -> u64 {
        segments.iter().map(|segment| segment.range.end - segment.range.start).sum()
    };
    let runs = file.segments.chunk_by(|a, b| a.name.is_empty() && b.name.is_empty());
    runs.flat_map(|run| {
        let step = if run.len() <= FEW_PIECES { 1 } else { spare as usize };
        let picked: Vec<&Segment> = run.iter().step_by(step).collect();
        let stands_for = len(&run.iter().collect::<Vec<_>>()) as f64 / len(&picked).max(1) as f64;
        picked.into_iter().map(move |segment| (file, segment, stands_for))
    })
    .collect()
}

fn size(files: &[Opened<'_>]) -> u64 {
    files.iter().map(|file| file.source.len()).sum()
}

/// Names and lengths; a file by itself is a model under any name.
fn sizes<'a>(files: &'a [Opened<'_>]) -> Vec<(&'a str, u64)> {
    let name = |file: &Opened<'a>| if files.len() == 1 { "" } else { file.file.path.as_str() };
    files.iter().map(|file| (name(file), file.source.len())).collect()
}

/// Segments of the base: tensors by name, as compress finds them, others by their file and place.
struct Segments<'a> {
    tensors: Counterparts<(&'a Opened<'a>, &'a Segment)>,
    others: HashMap<(&'a str, u64), (&'a Opened<'a>, &'a Segment)>,
}

impl<'a> Segments<'a> {
    fn of(files: &'a [Opened<'a>]) -> Segments<'a> {
        let (mut tensors, mut others) = (Counterparts::default(), HashMap::new());
        for file in files {
            for segment in &file.segments {
                if segment.name.is_empty() {
                    others.insert((file.file.path.as_str(), segment.range.start), (file, segment));
                } else {
                    tensors.add_tensor(&segment.name, segment.slice, (file, segment));
                }
            }
        }
        Segments { tensors, others }
    }

    /// Looks for tensors that the base has under other names, as compress does; returns the bytes that this took.
    fn find_renamed(&mut self, bases: &[Opened<'_>], files: &[Opened<'_>]) -> u64 {
        let read = Cell::new(0);
        let first = |(file, segment): &(&Opened<'_>, &Segment), len: usize| {
            let mut bytes = vec![0; len.min((segment.range.end - segment.range.start) as usize)];
            read.set(read.get() + bytes.len() as u64);
            file.source.read_at(&mut bytes, segment.range.start).ok().map(|()| bytes)
        };
        let place = |file: &Opened<'_>, segment: &Segment| (file.file.place.clone(), segment.range.start);
        let (mut ours, mut used) = (Vec::new(), HashSet::new());
        for (file, segment) in tensors(files) {
            match self.find(file, segment) {
                Some((base, known)) => drop(used.insert(place(base, known))),
                None => ours.push(renamed::named(segment, (file, segment))),
            }
        }
        let free = tensors(bases).filter(|(base, segment)| !used.contains(&place(base, segment)));
        let theirs = free.map(|(base, segment)| renamed::named(segment, (base, segment))).collect();
        self.tensors.rename(renamed::pairs(ours, theirs, &first, &first));
        read.get()
    }

    fn find(&self, file: &Opened<'_>, segment: &Segment) -> Option<(&'a Opened<'a>, &'a Segment)> {
        match segment.name.is_empty() {
            true => self.others.get(&(file.file.path.as_str(), segment.range.start)).copied(),
            false => self.tensors.named(&segment.name, segment.slice),
        }
    }
}

/// The first slice of every tensor.
fn tensors<'a>(files: &'a [Opened<'_>]) -> impl Iterator<Item = (&'a Opened<'a>, &'a Segment)> {
    let slices = files.iter().flat_map(|file| file.segments.iter().map(move |segment| (file, segment)));
    slices.filter(|(_, segment)| segment.slice == 0 && !segment.name.is_empty())
}

fn cost(
    file: &Opened<'_>,
    segment: &Segment,
    base: Option<(&Opened<'_>, &Segment)>,
    computed: &Computed<'_>,
    spare: u64,
) -> Result<Cost, EstimateError> {
    let elements = elements(segment);
    // What got more rows, or fewer, is compared where both have them; types may differ.
    let alike = |base: &Segment| {
        let theirs = self::elements(base);
        let resized = base.row_len == segment.row_len && codec::may_be_resized(theirs, elements);
        theirs == elements || resized
    };
    let base = base.filter(|(_, base)| alike(base));
    let common = base.map_or(elements, |(_, base)| self::elements(base).min(elements));
    let stretches = stretches(segment, common, spare, computed.together(segment));
    let own = read(file, segment, &stretches)?;
    let theirs = base.map(|(file, base)| read(file, base, &stretches)).transpose()?;
    let mut cost = Cost {
        read: len(&own) + theirs.as_deref().map_or(0, len),
        whole: scaled(segment, &own, None, elements),
        segments: 1,
        id: (len(&own) == segment.range.end - segment.range.start).then(|| ObjectId::of(&own.concat())),
        ..Cost::default()
    };
    let dtype = base.map(|(_, base)| base.dtype);
    if theirs.as_ref() == Some(&own) && dtype == Some(segment.dtype) && common == elements {
        cost.same = segment.range.end - segment.range.start;
        return Ok(cost);
    }
    let with = theirs.as_ref().zip(dtype);
    cost.delta = scaled(segment, &own, with, elements).min(cost.whole);
    cost.objects = 1;
    if let Some(Derived { rule, stretches, read }) = computed.derive(segment, &stretches) {
        let left = if stretches == own {
            0
        } else {
            scaled(segment, &own, Some((&stretches, segment.dtype)), elements)
        };
        cost.read += read;
        cost.delta = cost.delta.min(rule + left);
    }
    Ok(cost)
}

fn elements(segment: &Segment) -> u64 {
    (segment.range.end - segment.range.start) / segment.dtype.width() as u64
}

fn len(stretches: &[Vec<u8>]) -> u64 {
    stretches.iter().map(|stretch| stretch.len() as u64).sum()
}

/// Which elements are read: all, or stretches of whole rows at even distances, so many rows `together`.
fn stretches(segment: &Segment, elements: u64, spare: u64, together: u64) -> Vec<Range<u64>> {
    let bytes = segment.range.end - segment.range.start;
    let is_text = segment.dtype == Dtype::Bytes && bytes <= MAX_TEXT_BYTES;
    if spare == 1 || bytes <= MIN_BYTES || is_text {
        return std::iter::once(0..elements).collect();
    }
    let row = segment.row_len.saturating_mul(together).clamp(1, elements);
    let wanted = (elements / spare).max(MIN_BYTES / segment.dtype.width() as u64);
    // At least a row each; long rows make fewer stretches.
    let count = (wanted / row).clamp(1, STRETCHES);
    let each = (wanted / count).div_ceil(row) * row;
    let each = each.min(elements).min(wanted.max(MIN_BYTES));
    let step = elements / count / row * row;
    let stretch = |number: u64| {
        let start = number * step + (step.saturating_sub(each) / 2 / row * row);
        start..(start + each).min(elements)
    };
    (0..count).map(stretch).collect()
}

fn read(
    file: &Opened<'_>,
    segment: &Segment,
    stretches: &[Range<u64>],
) -> Result<Vec<Vec<u8>>, EstimateError> {
    let width = segment.dtype.width() as u64;
    let whole = stretches.len() == 1 && stretches[0].start == 0;
    let read = |stretch: &Range<u64>| {
        let start = segment.range.start + stretch.start * width;
        // Odd bytes behind the last element belong to it.
        let all = whole && stretch.end == elements(segment);
        let end = if all { segment.range.end } else { segment.range.start + stretch.end * width };
        let mut bytes = vec![0; (end - start) as usize];
        file.source.read_at(&mut bytes, start).map(|()| bytes)
    };
    let bytes: io::Result<_> = stretches.iter().map(read).collect();
    bytes.map_err(|error| EstimateError::Read { path: file.file.path.clone(), error })
}

/// What the whole segment takes, by what these stretches of it take.
fn scaled(segment: &Segment, own: &[Vec<u8>], base: Option<(&Vec<Vec<u8>>, Dtype)>, elements: u64) -> u64 {
    let encoded = |every: usize| {
        let pick = |stretches: &[Vec<u8>]| -> Vec<u8> {
            stretches.iter().step_by(every).flatten().copied().collect()
        };
        let (own, base) = (pick(own), base.map(|(bytes, dtype)| (pick(bytes), dtype)));
        let with = base.as_ref().map(|(bytes, dtype)| Base { bytes, dtype: *dtype });
        let seen = own.len() as u64 / segment.dtype.width() as u64;
        let times = (elements / seen.max(1)).max(1) as usize;
        // As an artifact is made, but for text: small files came out a tenth too low with it.
        let effort = if segment.dtype == Dtype::Bytes { Effort::Push } else { Effort::Repack };
        let with = with.as_slice();
        let encoded = codec::encode_sample(&own, segment.dtype, segment.row_len, with, effort, times);
        (seen, encoded.payload.len() as u64)
    };
    let (seen, all) = encoded(1);
    if seen >= elements {
        return all;
    }
    let times = elements as f64 / seen.max(1) as f64;
    // One stretch tells nothing of what a table costs.
    if own.len() < 4 {
        return (all as f64 * times) as u64;
    }
    let (fewer, half) = encoded(2);
    // Between a line through both, which takes tables for a part of each row, and a power, which takes
    // them to grow as they did.
    let each = all.saturating_sub(half) as f64 / (seen - fewer).max(1) as f64;
    let line = all as f64 + each * (elements - seen) as f64;
    let exponent = (all.max(1) as f64 / half.max(1) as f64).ln() / (seen as f64 / fewer.max(1) as f64).ln();
    let power = all as f64 * times.powf(exponent.clamp(0.0, 1.0));
    ((line + power) / 2.0) as u64
}
