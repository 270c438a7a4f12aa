//! Which rows of a table come from which rows of the version before.
//!
//! Columns that are the same in both are not looked at; the others are hashed row by row, in both versions, before
//! anything is stored.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rayon::prelude::*;

use super::former::{Column, FormerReader, FormerRun};
use super::table::{Last, goes_on};
use crate::alignment::{Uses, align};
use crate::codec::column::MapAt;
use crate::codec::{self, Effort, Encoded};
use crate::derive::Run as RowsFrom;
use crate::format::{Cut, Dtype, Segment, Source};
use crate::id::ObjectId;
use crate::recipe::{Part, Recipe};
use crate::store::Store;
use crate::table::{self, Cells, Kind, RowMap, RowRun, Run};

/// A map is an object when it has more bytes than two ids take.
const MAX_MAP_BYTES: usize = 64;
/// Most rows that one map tells of.
const MAX_MAP_ROWS: usize = table::MAX_ROWS as usize;
/// A file that has less than one in so many rows of a new one is no relative.
const FEW_IN_COMMON: usize = 64;

/// The rows of a new table, and where they come from.
pub(super) struct Rows {
    /// By where the runs of pages begin in the file.
    places: HashMap<u64, Range<usize>>,
    columns: Formers,
    /// Where rows come from, by the first of them.
    maps: BTreeMap<usize, Map>,
    /// Rows of the bases, and how many the table has of each of these.
    old_rows: usize,
    given: Vec<usize>,
    rows: usize,
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
    /// The rows of a table and those of the files that `bases` tell of, one after the other; none where no column has
    /// rows in common.
    pub fn find(tables: &Both<'_>, cut: &Cut, bases: &[Recipe]) -> Option<Rows> {
        let columns = columns_of(cut.segments().iter().filter_map(|segment| {
            tables.kinds.contains_key(&segment.name).then_some((segment.name.as_str(), segment))
        }));
        let former = bases.iter().map(|base| {
            columns_of(base.parts.iter().filter_map(|part| {
                let tensor = base.tensor_of(part)?;
                Some((tensor.name.as_str(), part))
            }))
        });
        let former: Vec<_> = former.collect();
        let before = Last::default();
        let pairs = pairs(&columns, &former);
        let compared = pairs.into_par_iter().filter_map(|pair| tables.compare(&pair, &before));
        let rows = compared.reduce_with(Tables::join)?;
        rows.compare(|map, hashes, formers| {
            let filtered = tables.filtering(&columns, map, hashes, formers);
            filtered.or_else(|| tables.sorting(&columns, map, hashes, formers))
        })
    }

    /// Whether so many of the rows come from others, or are changed from them, that these are relatives.
    pub fn has_common_ones(&self) -> bool {
        self.given.iter().sum::<usize>() * FEW_IN_COMMON >= self.rows
    }

    /// Whether some come from this base.
    pub fn has_some_of(&self, base: usize) -> bool {
        self.given.get(base).is_some_and(|rows| *rows > 0)
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
        let all = map.map.part(first, rows.len());
        let is_everywhere = former.iter().map(|run| run.rows as usize).sum::<usize>() == self.old_rows;
        let part = if is_everywhere { all } else { only_from(&all, former) };
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
        let is_shared = is_everywhere && part.encode().len() > MAX_MAP_BYTES;
        let at = if is_shared { MapAt::Object(first) } else { MapAt::Here };
        Some(Found { map: part, at, object: &map.object, formers })
    }
}

/// A map in which rows that a column does not have are new.
fn only_from(map: &RowMap, former: &[FormerRun]) -> RowMap {
    let mut runs = Vec::with_capacity(map.runs.len());
    for run in &map.runs {
        let Some(mut from) = run.from else {
            runs.push(*run);
            continue;
        };
        let end = from + run.rows;
        while from < end {
            let next = former.get(former.partition_point(|former| former.start + former.rows <= from));
            let (until, is_there) = match next {
                Some(next) if next.start <= from => (next.start + next.rows, true),
                Some(next) => (next.start, false),
                None => (end, false),
            };
            let rows = until.min(end) - from;
            runs.push(RowRun {
                rows,
                from: is_there.then_some(from),
                is_changed: run.is_changed && is_there,
            });
            from += rows;
        }
    }
    RowMap { runs }
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

/// A column of the table and of the bases.
struct Pair<'a> {
    name: &'a str,
    segments: &'a [&'a Segment],
    /// What each of the bases has of it.
    parts: Vec<&'a [&'a Part]>,
    /// Whether all of them have it by this name.
    is_compared: bool,
}

/// The columns of a table and the bases' columns.
type Columns<'a, T> = Vec<(&'a str, Vec<T>)>;

/// The columns with those of the bases, by name. A name that one of these lacks is, as far as one can tell, the next that
/// only the base has.
fn pairs<'a>(columns: &'a Columns<'a, &'a Segment>, bases: &'a [Columns<'a, &'a Part>]) -> Vec<Pair<'a>> {
    let pair = |(name, segments): &'a (&'a str, Vec<&'a Segment>)| Pair {
        name,
        segments,
        parts: Vec::with_capacity(bases.len()),
        is_compared: true,
    };
    let mut pairs: Vec<Pair<'_>> = columns.iter().map(pair).collect();
    for former in bases {
        let known = |name: &str| former.iter().find(|(former, _)| *former == name);
        let is_left = |name: &str| !columns.iter().any(|(column, _)| *column == name);
        let mut left = former.iter().filter(|(name, _)| is_left(name) && !name.starts_with('/'));
        for pair in &mut pairs {
            let found = known(pair.name);
            pair.is_compared &= found.is_some();
            pair.parts.push(found.or_else(|| left.next()).map_or(&[][..], |(_, parts)| parts.as_slice()));
        }
    }
    pairs.retain(|pair| pair.parts.iter().any(|parts| !parts.is_empty()));
    pairs
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
        let mut old = Column::of(pair.name, kind, pair.is_compared);
        let mut formers = Vec::new();
        for parts in &pair.parts {
            old.begin();
            let former = FormerReader::of(self.store, kind, before).runs(parts, &mut old);
            if former.is_none() {
                old.leave_out();
            }
            formers.push(former.unwrap_or_default());
        }
        formers.iter().any(|former| !former.is_empty()).then_some(())?;
        let mut new = Column::of(pair.name, kind, old.is_compared);
        new.begin();
        let mut places = Places::default();
        self.each_run(kind, pair.segments, |segment, goes_on, cells| {
            let start = new.rows();
            new.add(&cells)?;
            places.add(segment.range.start, start..new.rows(), goes_on);
            Some(())
        })?;
        u32::try_from(new.rows()).ok()?;
        Some(Tables::of(pair.name, old, formers, new, places))
    }

    /// Whether a column has the same pages in both files.
    fn is_same(&self, pair: &Pair<'_>) -> bool {
        let same = |(segment, part): (&&Segment, &&Part)| {
            let len = segment.range.end - segment.range.start;
            let read = || self.read(segment).is_some_and(|bytes| ObjectId::of(&bytes) == part.object);
            len == u64::from(part.len) && read()
        };
        let parts: Vec<&&Part> = pair.parts.iter().copied().flatten().collect();
        pair.segments.len() == parts.len() && pair.segments.iter().zip(parts).all(same)
    }

    /// As the function of this name.
    pub fn each_run(
        &self,
        kind: Kind,
        segments: &[&Segment],
        take: impl FnMut(&Segment, bool, Cells) -> Option<()>,
    ) -> Option<()> {
        each_run(self.source, kind, segments, self.last, take)
    }

    pub fn read(&self, segment: &Segment) -> Option<Vec<u8>> {
        read(self.source, segment)
    }
}

/// The cells of a column's runs one after the other, and whether each needs the dictionary of the one before.
pub(super) fn each_run(
    source: &dyn Source,
    kind: Kind,
    segments: &[&Segment],
    last: &Last,
    mut take: impl FnMut(&Segment, bool, Cells) -> Option<()>,
) -> Option<()> {
    let mut dictionary = None;
    for (at, segment) in segments.iter().enumerate() {
        let goes_on = at > 0 && goes_on(source, segments[at - 1], segment);
        let bytes = read(source, segment)?;
        // A page that another program packed is a matter for whoever stores it: here it is unpacked.
        let before = dictionary.take().filter(|_| goes_on);
        dictionary.clone_from(&before);
        let known = Run::read_packed_by(&bytes, kind, &mut dictionary, last.packer().as_ref());
        let cells = match known {
            Some(cells) => cells,
            None => {
                dictionary = before;
                last.look(|search| Run::read(&bytes, kind, &mut dictionary, search))?.cells
            }
        };
        take(segment, goes_on, cells)?;
    }
    Some(())
}

fn read(source: &dyn Source, segment: &Segment) -> Option<Vec<u8>> {
    let mut bytes = vec![0; (segment.range.end - segment.range.start) as usize];
    source.read_at(&mut bytes, segment.range.start).ok()?;
    Some(bytes)
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

/// The table and its bases, as far as their columns were hashed.
#[derive(Default)]
struct Tables {
    /// Of each base; nothing of one that has none of these columns.
    old: Vec<Vec<u64>>,
    new: Vec<u64>,
    /// Whether the hashes are those of a column at least.
    is_compared: bool,
    places: HashMap<u64, Range<usize>>,
    chunks: Vec<Range<usize>>,
    /// By the paths of the columns, the cells in each base.
    columns: HashMap<String, Vec<Vec<FormerRun>>>,
}

impl Tables {
    /// One column of all.
    fn of(
        name: &str,
        old: Column<'_>,
        formers: Vec<Vec<FormerRun>>,
        new: Column<'_>,
        places: Places,
    ) -> Tables {
        Tables {
            old: old.files,
            new: new.files.into_iter().next().unwrap_or_default(),
            is_compared: new.is_compared,
            places: places.runs.into_iter().collect(),
            chunks: places.chunks,
            columns: HashMap::from([(name.to_owned(), formers)]),
        }
    }

    /// The columns of both together; only the first ones where the others have not as many rows.
    fn join(mut self, other: Tables) -> Tables {
        // A column that says nothing must not decide how many rows there are.
        if other.is_compared && !self.is_compared {
            return other.join(self);
        }
        let fits = |(own, other): (&Vec<u64>, &Vec<u64>)| {
            own.len() == other.len() || own.is_empty() || other.is_empty()
        };
        if self.new.len() == other.new.len() && self.old.iter().zip(&other.old).all(fits) {
            let old = self.old.iter_mut().zip(other.old);
            for (sums, more) in old.chain([(&mut self.new, other.new)]) {
                if sums.is_empty() {
                    *sums = more;
                } else {
                    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
                }
            }
            self.columns.extend(other.columns);
            self.places.extend(other.places);
            self.chunks.extend(other.chunks);
        }
        self
    }

    /// Finds the rows of one in the others. `rule` is asked whether the map follows from some columns.
    fn compare(
        self,
        rule: impl FnOnce(&RowMap, [&[u64]; 2], &Formers) -> Option<(RowMap, MapObject)>,
    ) -> Option<Rows> {
        let Tables { old, new, is_compared, places, chunks, columns } = self;
        let lens: Vec<usize> = old.iter().map(Vec::len).collect();
        u32::try_from(lens.iter().sum::<usize>()).ok()?;
        let columns = columns.into_iter().map(|(name, formers)| (name, in_a_row(formers, &lens)));
        let columns: Formers = columns.collect();
        let old = match <[Vec<u64>; 1]>::try_from(old) {
            Ok([only]) => only,
            Err(several) => several.concat(),
        };
        let is_in_place = old.len() == new.len() && (!is_compared || half_is_in_place(&old, &new));
        (is_in_place || is_compared).then_some(())?;
        let runs = if is_in_place { in_place(&old, &new) } else { align(&old, &new, Uses::Any) };
        let given = given(&runs, &lens);
        let map = RowMap::of(&runs, old.len());
        // A rule is about columns that all bases have.
        let is_everywhere =
            |cells: &[FormerRun]| cells.iter().map(|run| run.rows as usize).sum::<usize>() == old.len();
        let ruling: Option<Formers> = match lens.len() {
            1 => None,
            _ => Some(columns.iter().filter(|(_, cells)| is_everywhere(cells)).map(owned).collect()),
        };
        let found = rule(&map, [&old, &new], ruling.as_ref().unwrap_or(&columns)).map(|(map, object)| {
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
        Some(Rows { places, columns, maps, old_rows: old.len(), given, rows: new.len() })
    }
}

/// How many rows come from each of the files that have so many.
fn given(runs: &[RowsFrom], lens: &[usize]) -> Vec<usize> {
    let mut start = 0;
    let of_file = |len: &usize| {
        let file = start..start + len;
        start = file.end;
        let rows = runs.iter().filter_map(|run| Some((run.from? as usize, run.rows as usize)));
        rows.map(|(from, rows)| (from + rows).min(file.end).saturating_sub(from.max(file.start))).sum()
    };
    lens.iter().map(of_file).collect()
}

fn owned((name, cells): (&String, &Vec<FormerRun>)) -> (String, Vec<FormerRun>) {
    (name.clone(), cells.clone())
}

/// The cells of a column in files of so many rows, numbered as if these were one.
fn in_a_row(formers: Vec<Vec<FormerRun>>, lens: &[usize]) -> Vec<FormerRun> {
    let mut first = 0;
    let mut all = Vec::new();
    for (former, len) in formers.into_iter().zip(lens) {
        all.extend(former.into_iter().map(|run| FormerRun { start: run.start + first, ..run }));
        first += *len as u32;
    }
    all
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
