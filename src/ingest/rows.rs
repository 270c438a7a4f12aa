//! Which rows of a table come from which rows of the version before.
//!
//! Columns that are the same in both are not looked at; the others are hashed row by row, in both versions, before
//! anything is stored.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rayon::prelude::*;

use super::table::goes_on;
use crate::alignment::{Uses, align};
use crate::codec::column::MapAt;
use crate::codec::{self, Codec, Effort, Encoded};
use crate::derive::Run as RowsFrom;
use crate::format::{Cut, Dtype, Segment, Source};
use crate::id::ObjectId;
use crate::packing::Packer;
use crate::recipe::{Part, Recipe};
use crate::store::Store;
use crate::table::{Cells, Kind, RowMap, Run, add_hashes};

/// A map is an object when it has more bytes than two ids take.
const MAX_MAP_BYTES: usize = 64;
/// Most rows that one map tells of.
const MAX_MAP_ROWS: usize = 2 << 20;

/// The rows of a new table, and where they come from.
pub(super) struct Rows {
    /// By where the runs of pages begin in the file.
    places: HashMap<u64, Range<usize>>,
    /// The cells of the version before, by the paths of the columns.
    columns: HashMap<String, Vec<FormerRun>>,
    /// Where rows come from, by the first of them.
    maps: BTreeMap<usize, Map>,
}

/// Cells of a column of the version before.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormerRun {
    pub object: ObjectId,
    /// Number of the first of their rows.
    pub start: u32,
    rows: u32,
}

/// Where the rows of a stretch of the table come from.
struct Map {
    map: RowMap,
    rows: usize,
    object: MapObject,
}

/// A map of rows as an object.
pub(super) struct MapObject {
    pub object: ObjectId,
    pub len: u32,
    pub encoded: Encoded,
}

/// Where the rows of a run come from.
pub(super) struct Found<'a> {
    pub map: RowMap,
    pub at: MapAt,
    pub object: &'a MapObject,
    pub formers: Vec<FormerRun>,
}

impl Rows {
    /// The rows of a table and those of the version that `base` tells of; none where no column has rows in common.
    pub fn find(
        store: &Store,
        source: &dyn Source,
        cut: &Cut,
        kinds: &HashMap<String, Kind>,
        base: &Recipe,
    ) -> Option<Rows> {
        let mut columns: HashMap<&str, Vec<&Segment>> = HashMap::new();
        for segment in cut.segments().iter().filter(|segment| kinds.contains_key(&segment.name)) {
            columns.entry(&segment.name).or_default().push(segment);
        }
        let former = former_columns(base);
        let common: Vec<_> = columns.into_iter().filter(|(name, _)| former.contains_key(name)).collect();
        let compared = common.par_iter().filter_map(|(name, segments)| {
            let (kind, parts) = (kinds[*name], &former[name]);
            if is_same(source, segments, parts) {
                return Some(Tables { has_same: true, ..Tables::default() });
            }
            let (old, runs) = hash_former(store, name, kind, parts)?;
            let (new, places) = hash_new(source, name, kind, segments)?;
            Some(Tables::of(name, (old, runs), (new, places)))
        });
        compared.reduce_with(Tables::join)?.compare()
    }

    /// Where the rows of a run of pages come from.
    pub fn of(&self, segment: &Segment) -> Option<Found<'_>> {
        let rows = self.places.get(&segment.range.start)?;
        let former = self.columns.get(&segment.name)?;
        let (start, map) = self.maps.range(..=rows.start).next_back()?;
        let first = rows.start - start;
        (first + rows.len() <= map.rows).then_some(())?;
        let part = map.map.part(first, rows.len());
        let mut used = vec![false; former.len()];
        for (from, rows) in part.runs.iter().filter_map(|run| Some((run.from?, run.rows))) {
            let mut at = former.partition_point(|former| former.start + former.rows <= from);
            while former.get(at).is_some_and(|former| former.start < from + rows) {
                used[at] = true;
                at += 1;
            }
        }
        let formers = former.iter().zip(used).filter(|(_, used)| *used).map(|(former, _)| *former).collect();
        let at = if part.encode().len() > MAX_MAP_BYTES { MapAt::Object(first) } else { MapAt::Here };
        Some(Found { map: part, at, object: &map.object, formers })
    }
}

/// The parts of each column, in order.
fn former_columns(base: &Recipe) -> HashMap<&str, Vec<&Part>> {
    let mut columns: HashMap<&str, Vec<&Part>> = HashMap::new();
    for part in &base.parts {
        if let Some(tensor) = base.tensor_of(part) {
            columns.entry(&tensor.name).or_default().push(part);
        }
    }
    columns
}

/// Whether a column has the same pages in both files.
fn is_same(source: &dyn Source, segments: &[&Segment], parts: &[&Part]) -> bool {
    let same = |(segment, part): (&&Segment, &&Part)| {
        let len = segment.range.end - segment.range.start;
        let read = || read(source, segment).is_some_and(|bytes| ObjectId::of(&bytes) == part.object);
        len == u64::from(part.len) && read()
    };
    segments.len() == parts.len() && segments.iter().zip(parts).all(same)
}

fn read(source: &dyn Source, segment: &Segment) -> Option<Vec<u8>> {
    let mut bytes = vec![0; (segment.range.end - segment.range.start) as usize];
    source.read_at(&mut bytes, segment.range.start).ok()?;
    Some(bytes)
}

/// The hashes of a column's cells in a file of the store, and where the cells lie.
fn hash_former(store: &Store, name: &str, kind: Kind, parts: &[&Part]) -> Option<(Vec<u64>, Vec<FormerRun>)> {
    let (mut hashes, mut runs) = (Vec::new(), Vec::new());
    for part in parts {
        let record = store.find(&part.object).ok()?.record;
        let object = *record.bases.first().filter(|_| record.codec == Codec::Pages)?;
        let cells = Cells::decode(&store.get(&object).ok()?)?;
        let start = hashes.len();
        add(&cells, name, kind, &mut hashes)?;
        let rows = (hashes.len() - start) as u32;
        runs.push(FormerRun { object, start: u32::try_from(start).ok()?, rows });
    }
    Some((hashes, runs))
}

/// The hashes of a column's cells in a file, and which rows its runs and its chunks have.
fn hash_new(
    source: &dyn Source,
    name: &str,
    kind: Kind,
    segments: &[&Segment],
) -> Option<(Vec<u64>, Places)> {
    let (mut hashes, mut places) = (Vec::new(), Places::default());
    let (mut dictionary, mut packer): (_, Option<Packer>) = (None, None);
    for (at, segment) in segments.iter().enumerate() {
        let goes_on = at > 0 && goes_on(source, segments[at - 1], segment);
        if !goes_on {
            dictionary = None;
        }
        let bytes = read(source, segment)?;
        let run = Run::read(&bytes, kind, &mut dictionary, &mut packer)?;
        let start = hashes.len();
        add(&run.cells, name, kind, &mut hashes)?;
        places.add(segment.range.start, start..hashes.len(), goes_on);
    }
    u32::try_from(hashes.len()).ok()?;
    Some((hashes, places))
}

/// Appends the hashes of cells of that kind.
fn add(cells: &Cells, name: &str, kind: Kind, hashes: &mut Vec<u64>) -> Option<()> {
    let of = Kind {
        physical: cells.physical,
        max_definition: cells.max_definition,
        max_repetition: cells.max_repetition,
    };
    (of == kind).then_some(())?;
    let start = hashes.len();
    hashes.resize(start + cells.rows(), 0);
    add_hashes(cells, name, &mut hashes[start..]).then_some(())
}

/// Which rows are where.
#[derive(Default)]
struct Places {
    runs: Vec<(u64, Range<usize>)>,
    chunks: Vec<Range<usize>>,
}

impl Places {
    fn add(&mut self, at: u64, rows: Range<usize>, goes_on: bool) {
        match self.chunks.last_mut().filter(|_| goes_on) {
            Some(chunk) => chunk.end = rows.end,
            None => self.chunks.push(rows.clone()),
        }
        self.runs.push((at, rows));
    }
}

/// Both tables, as far as their columns were hashed.
#[derive(Default)]
struct Tables {
    old: Vec<u64>,
    new: Vec<u64>,
    /// Whether a column is the same in both.
    has_same: bool,
    places: HashMap<u64, Range<usize>>,
    chunks: Vec<Range<usize>>,
    columns: HashMap<String, Vec<FormerRun>>,
}

impl Tables {
    /// One column of both.
    fn of(name: &str, old: (Vec<u64>, Vec<FormerRun>), new: (Vec<u64>, Places)) -> Tables {
        let ((old, former), (new, Places { runs, chunks })) = (old, new);
        let columns = HashMap::from([(name.to_owned(), former)]);
        Tables { old, new, has_same: false, places: runs.into_iter().collect(), chunks, columns }
    }

    /// The columns of both together; only the first ones where the others have not as many rows.
    fn join(mut self, other: Tables) -> Tables {
        let has_same = self.has_same || other.has_same;
        if self.columns.is_empty() {
            return Tables { has_same, ..other };
        }
        self.has_same = has_same;
        if (self.old.len(), self.new.len()) == (other.old.len(), other.new.len()) {
            for (sums, more) in [(&mut self.old, other.old), (&mut self.new, other.new)] {
                sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
            }
            self.columns.extend(other.columns);
            self.places.extend(other.places);
            self.chunks.extend(other.chunks);
        }
        self
    }

    fn compare(self) -> Option<Rows> {
        let Tables { old, new, has_same, places, chunks, columns } = self;
        (!columns.is_empty()).then_some(())?;
        let runs = if is_in_place(&old, &new, has_same) {
            in_place(&old, &new)
        } else {
            align(&old, &new, Uses::Any)
        };
        let map = RowMap::of(&runs, old.len());
        let maps = longest(chunks).into_iter().map(|rows| {
            let part = map.part(rows.start, rows.len());
            let bytes = part.encode();
            let encoded = codec::encode(&bytes, Dtype::Bytes, 0, &[], Effort::Push);
            let object = MapObject { object: ObjectId::of(&bytes), len: bytes.len() as u32, encoded };
            (rows.start, Map { map: part, rows: rows.len(), object })
        });
        Some(Rows { places, columns, maps: maps.collect() })
    }
}

/// Whether rows stand where they stood.
fn is_in_place(old: &[u64], new: &[u64], has_same: bool) -> bool {
    let same = || old.iter().zip(new).filter(|(old, new)| old == new).count();
    old.len() == new.len() && (has_same || same() * 2 >= new.len())
}

fn in_place(old: &[u64], new: &[u64]) -> Vec<RowsFrom> {
    let mut at = 0;
    let same = old.iter().zip(new).map(|(old, new)| old == new).collect::<Vec<_>>();
    same.chunk_by(|a, b| a == b)
        .map(|run| {
            let from = run[0].then_some(at);
            at += run.len() as u32;
            RowsFrom { rows: run.len() as u32, from }
        })
        .collect()
}

/// Those that lie in no other one; too long ones are left out.
fn longest(mut chunks: Vec<Range<usize>>) -> Vec<Range<usize>> {
    chunks.retain(|rows| rows.len() <= MAX_MAP_ROWS);
    chunks.sort_by_key(|rows| (rows.start, std::cmp::Reverse(rows.end)));
    let mut end = 0;
    chunks.retain(|rows| {
        let is_new = rows.end > end;
        end = end.max(rows.end);
        is_new
    });
    chunks
}
