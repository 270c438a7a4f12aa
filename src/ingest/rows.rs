//! Which rows of a table come from which rows of the version before.
//!
//! Columns that are the same in both are not looked at; the others are hashed row by row, in both versions, before
//! anything is stored.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rayon::prelude::*;

use super::table::{Last, goes_on};

use crate::alignment::{Uses, align};
use crate::codec::column::MapAt;
use crate::codec::{self, Codec, Effort, Encoded};
use crate::derive::Run as RowsFrom;
use crate::format::{Cut, Dtype, Segment, Source};
use crate::id::ObjectId;
use crate::recipe::{Part, Recipe};
use crate::store::Store;
use crate::table::{self, Cells, Kind, RowMap, Run, Values, add_hashes, can_cast};

/// A map is an object when it has more bytes than two ids take.
const MAX_MAP_BYTES: usize = 64;
/// Most rows that one map tells of.
const MAX_MAP_ROWS: usize = table::MAX_ROWS as usize;

/// The rows of a new table, and where they come from.
pub(super) struct Rows {
    /// By where the runs of pages begin in the file.
    places: HashMap<u64, Range<usize>>,
    columns: Formers,
    /// Where rows come from, by the first of them.
    maps: BTreeMap<usize, Map>,
}

/// Cells of a column of the version before.
#[derive(Debug, Clone)]
pub(super) struct FormerRun {
    pub object: ObjectId,
    /// Number of the first of their rows.
    pub start: u32,
    rows: u32,
    /// How they follow from pages that are stored as they are, where the cells were never stored.
    pub unpacked: Option<UnpackedObject>,
}

impl FormerRun {
    /// The objects that the store has of it.
    pub fn stored(&self) -> impl Iterator<Item = &ObjectId> {
        let pages = self.unpacked.iter().flat_map(|unpacked| &unpacked.bases);
        pages.chain(self.unpacked.is_none().then_some(&self.object))
    }
}

/// Cells as an object that follows from pages.
#[derive(Debug, Clone)]
pub(super) struct UnpackedObject {
    pub len: u32,
    pub encoded: Encoded,
    /// The pages, and those with their dictionary.
    pub bases: Vec<ObjectId>,
}

/// The cells of the version before, by the paths of the columns.
pub(super) type Formers = HashMap<String, Vec<FormerRun>>;

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
    /// The cells that it follows from, where rows were sorted or filtered.
    pub bases: Vec<ObjectId>,
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
    pub fn find(tables: &Both<'_>, cut: &Cut, base: &Recipe) -> Option<Rows> {
        let columns = columns_of(cut.segments().iter().filter_map(|segment| {
            tables.kinds.contains_key(&segment.name).then_some((segment.name.as_str(), segment))
        }));
        let former = columns_of(base.parts.iter().filter_map(|part| {
            let tensor = base.tensor_of(part)?;
            Some((tensor.name.as_str(), part))
        }));
        let before = Last::default();
        let pairs = pairs(&columns, &former);
        let compared = pairs.into_par_iter().filter_map(|pair| tables.compare(&pair, &before));
        let rows = compared.reduce_with(Tables::join)?;
        rows.compare(|map, hashes, formers| {
            let filtered = tables.filtering(&columns, map, hashes, formers);
            filtered.or_else(|| tables.sorting(&columns, map, hashes, formers))
        })
    }

    /// Whether a column is compared with one of the version before.
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
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
        let formers =
            former.iter().zip(used).filter(|(_, used)| *used).map(|(former, _)| former.clone()).collect();
        let at = if part.encode().len() > MAX_MAP_BYTES { MapAt::Object(first) } else { MapAt::Here };
        Some(Found { map: part, at, object: &map.object, formers })
    }
}

/// What belongs to each column, in order, and the columns in the order in which they come first.
pub(super) fn columns_of<'a, T>(all: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut columns: Vec<(&str, Vec<T>)> = Vec::new();
    let mut places = HashMap::new();
    for (name, one) in all {
        let place = *places.entry(name).or_insert_with(|| {
            columns.push((name, Vec::new()));
            columns.len() - 1
        });
        columns[place].1.push(one);
    }
    columns
}

/// A column of both tables.
struct Pair<'a> {
    name: &'a str,
    segments: &'a [&'a Segment],
    parts: &'a [&'a Part],
    /// Whether it had another name, as far as one can tell: what is left over, in order.
    is_renamed: bool,
}

fn pairs<'a>(
    columns: &'a [(&'a str, Vec<&'a Segment>)],
    former: &'a [(&'a str, Vec<&'a Part>)],
) -> Vec<Pair<'a>> {
    let known = |name: &str| former.iter().find(|(former, _)| *former == name);
    let is_left = |name: &str| !columns.iter().any(|(column, _)| *column == name);
    let mut left = former.iter().filter(|(name, _)| is_left(name) && !name.starts_with('/'));
    let pair = |(name, segments): &'a (&'a str, Vec<&'a Segment>)| {
        let found = known(name);
        let (_, parts) = found.or_else(|| left.next())?;
        Some(Pair { name, segments, parts, is_renamed: found.is_none() })
    };
    columns.iter().filter_map(pair).collect()
}

/// Both tables.
pub(super) struct Both<'a> {
    pub store: &'a Store,
    pub source: &'a dyn Source,
    pub kinds: &'a HashMap<String, Kind>,
    /// What packed the pages of the new one.
    pub last: &'a Last,
}

impl Both<'_> {
    /// `before` is what packed the pages of the old table.
    fn compare(&self, pair: &Pair<'_>, before: &Last) -> Option<Tables> {
        let kind = *self.kinds.get(pair.name)?;
        if self.is_same(pair) {
            return None;
        }
        let mut old = Column::of(pair.name, kind, !pair.is_renamed);
        let mut former = Vec::new();
        let mut reader = FormerReader { store: self.store, kind, dictionary: None, last: before };
        for part in pair.parts {
            let (object, cells, unpacked) = reader.cells(part)?;
            let start = u32::try_from(old.hashes.len()).ok()?;
            old.add(&cells)?;
            former.push(FormerRun { object, start, rows: old.hashes.len() as u32 - start, unpacked });
        }
        let mut new = Column::of(pair.name, kind, old.is_compared);
        let mut places = Places::default();
        self.each_run(kind, pair.segments, |segment, goes_on, cells| {
            let start = new.hashes.len();
            new.add(&cells)?;
            places.add(segment.range.start, start..new.hashes.len(), goes_on);
            Some(())
        })?;
        u32::try_from(new.hashes.len()).ok()?;
        Some(Tables::of(pair.name, old, former, new, places))
    }

    /// Whether a column has the same pages in both files.
    fn is_same(&self, pair: &Pair<'_>) -> bool {
        let same = |(segment, part): (&&Segment, &&Part)| {
            let len = segment.range.end - segment.range.start;
            let read = || self.read(segment).is_some_and(|bytes| ObjectId::of(&bytes) == part.object);
            len == u64::from(part.len) && read()
        };
        pair.segments.len() == pair.parts.len() && pair.segments.iter().zip(pair.parts).all(same)
    }

    /// The cells of a column's runs one after the other, and whether each needs the dictionary of the one before.
    pub fn each_run(
        &self,
        kind: Kind,
        segments: &[&Segment],
        mut take: impl FnMut(&Segment, bool, Cells) -> Option<()>,
    ) -> Option<()> {
        let mut dictionary = None;
        for (at, segment) in segments.iter().enumerate() {
            let goes_on = at > 0 && goes_on(self.source, segments[at - 1], segment);
            let bytes = self.read(segment)?;
            // A page that another program packed is a matter for whoever stores it: here it is unpacked.
            let before = dictionary.take().filter(|_| goes_on);
            dictionary.clone_from(&before);
            let known = Run::read_packed_by(&bytes, kind, &mut dictionary, self.last.packer().as_ref());
            let cells = match known {
                Some(cells) => cells,
                None => {
                    dictionary = before;
                    self.last.look(|search| Run::read(&bytes, kind, &mut dictionary, search))?.cells
                }
            };
            take(segment, goes_on, cells)?;
        }
        Some(())
    }

    pub fn read(&self, segment: &Segment) -> Option<Vec<u8>> {
        let mut bytes = vec![0; (segment.range.end - segment.range.start) as usize];
        self.source.read_at(&mut bytes, segment.range.start).ok()?;
        Some(bytes)
    }
}

/// Reads the runs of a column of the version before, one after the other.
struct FormerReader<'a> {
    store: &'a Store,
    kind: Kind,
    /// The dictionary of the last chunk whose pages are stored as they are, and the run that has it.
    dictionary: Option<(ObjectId, Values)>,
    last: &'a Last,
}

impl FormerReader<'_> {
    /// The cells of a run, and how they follow from its pages where they are not stored.
    fn cells(&mut self, part: &Part) -> Option<(ObjectId, Cells, Option<UnpackedObject>)> {
        let record = self.store.find(&part.object).ok()?.record;
        if record.codec == Codec::Pages {
            let object = *record.bases.first()?;
            return Some((object, Cells::decode(&self.store.get(&object).ok()?)?, None));
        }
        let pages = self.store.get(&part.object).ok()?;
        let mut own = None;
        let (run, first) = self.last.look(|search| {
            let alone = Run::read(&pages, self.kind, &mut own, search);
            match (alone, &self.dictionary) {
                (Some(run), _) => Some((run, None)),
                (None, Some((first, values))) if !search.has_failed => {
                    let mut values = Some(values.clone());
                    Some((Run::read(&pages, self.kind, &mut values, search)?, Some(*first)))
                }
                (None, _) => None,
            }
        })?;
        if let Some(values) = own {
            self.dictionary = Some((part.object, values));
        }
        let bytes = run.cells.encode();
        let (len, bases) = (bytes.len() as u32, std::iter::once(part.object).chain(first).collect());
        let packer = run.pages.iter().find_map(|page| page.packer.as_ref());
        let encoded = codec::unpacked::encode(self.kind, packer);
        Some((ObjectId::of(&bytes), run.cells, Some(UnpackedObject { len, encoded, bases })))
    }
}

/// The hashes of a column's cells; zeros where they are not to be compared.
struct Column<'a> {
    name: &'a str,
    kind: Kind,
    is_compared: bool,
    hashes: Vec<u64>,
}

impl Column<'_> {
    fn of(name: &str, kind: Kind, is_compared: bool) -> Column<'_> {
        Column { name, kind, is_compared, hashes: Vec::new() }
    }

    /// Adds cells; those of another layout are not compared, but may be cast.
    fn add(&mut self, cells: &Cells) -> Option<()> {
        let Kind { physical, max_definition, max_repetition } = self.kind;
        let has_same_levels =
            (cells.max_definition, cells.max_repetition) == (max_definition, max_repetition);
        (has_same_levels && can_cast(cells.physical, physical)).then_some(())?;
        if cells.physical != physical && self.is_compared {
            self.is_compared = false;
            self.hashes.fill(0);
        }
        let start = self.hashes.len();
        self.hashes.resize(start + cells.rows(), 0);
        let of_cells = &mut self.hashes[start..];
        (!self.is_compared || add_hashes(cells, self.name, of_cells)).then_some(())
    }
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
    /// Whether the hashes are those of a column at least.
    is_compared: bool,
    places: HashMap<u64, Range<usize>>,
    chunks: Vec<Range<usize>>,
    columns: Formers,
}

impl Tables {
    /// One column of both.
    fn of(name: &str, old: Column<'_>, former: Vec<FormerRun>, new: Column<'_>, places: Places) -> Tables {
        Tables {
            old: old.hashes,
            new: new.hashes,
            is_compared: new.is_compared,
            places: places.runs.into_iter().collect(),
            chunks: places.chunks,
            columns: HashMap::from([(name.to_owned(), former)]),
        }
    }

    /// The columns of both together; only the first ones where the others have not as many rows.
    fn join(mut self, other: Tables) -> Tables {
        // A column that says nothing must not decide how many rows there are.
        if other.is_compared && !self.is_compared {
            return other.join(self);
        }
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

    /// Finds the rows of one in the other. `rule` is asked whether the map follows from some columns.
    fn compare(
        self,
        rule: impl FnOnce(&RowMap, [&[u64]; 2], &Formers) -> Option<(RowMap, MapObject)>,
    ) -> Option<Rows> {
        let Tables { old, new, is_compared, places, chunks, columns } = self;
        let is_in_place = old.len() == new.len() && (!is_compared || half_is_in_place(&old, &new));
        (is_in_place || is_compared).then_some(())?;
        let runs = if is_in_place { in_place(&old, &new) } else { align(&old, &new, Uses::Any) };
        let map = RowMap::of(&runs, old.len());
        let found = rule(&map, [&old, &new], &columns).map(|(map, object)| {
            let rows = map.rows();
            BTreeMap::from([(0, Map { map, rows, object })])
        });
        let maps = found.unwrap_or_else(|| {
            let maps = longest(chunks).into_iter().map(|rows| {
                let part = map.part(rows.start, rows.len());
                let bytes = part.encode();
                let encoded = codec::encode(&bytes, Dtype::Bytes, 0, &[], Effort::Push);
                let len = bytes.len() as u32;
                let object = MapObject { object: ObjectId::of(&bytes), len, encoded, bases: Vec::new() };
                (rows.start, Map { map: part, rows: rows.len(), object })
            });
            maps.collect()
        });
        Some(Rows { places, columns, maps })
    }
}

/// Whether every second row at least stands where it stood.
fn half_is_in_place(old: &[u64], new: &[u64]) -> bool {
    old.iter().zip(new).filter(|(old, new)| old == new).count() * 2 >= new.len()
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

/// Those that lie in no other one, joined while they are not too long; longer ones are left out.
fn longest(mut chunks: Vec<Range<usize>>) -> Vec<Range<usize>> {
    chunks.retain(|rows| rows.len() <= MAX_MAP_ROWS);
    chunks.sort_by_key(|rows| (rows.start, std::cmp::Reverse(rows.end)));
    let mut found: Vec<Range<usize>> = Vec::new();
    for rows in chunks {
        match found.last_mut() {
            Some(last) if rows.end <= last.end => {}
            Some(last) if rows.start == last.end && rows.end - last.start <= MAX_MAP_ROWS => {
                last.end = rows.end
            }
            _ => found.push(rows),
        }
    }
    found
}
