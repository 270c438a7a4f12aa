//! Which columns of a table are stored by another one, and what that holds in the same rows.
//!
//! It is chosen on the first rows of the table, before anything is stored; a column that is stored by another one comes
//! after it.

use std::collections::HashMap;
use std::ops::Range;

use super::rows::{Both, Rows, columns_of};
use super::table::goes_on;
use crate::codec::column::Symbols;
use crate::format::{self, PageKind, Segment};
use crate::id::ObjectId;
use crate::table::{Cells, Kind, Run};

/// Each column is compared with each, so no more than these are.
const MAX_COLUMNS: usize = 64;
/// Rows that are looked at.
const SAMPLE_ROWS: usize = 1 << 14;
/// So many of them tell which other columns are looked at in all,
const FIRST_ROWS: usize = 1 << 11;
/// and so many are.
const MAX_OTHERS: usize = 6;
/// A column has fewer different cells than one in so many rows, or none comes again.
const SELDOM: usize = 2;
/// Another column must save this share of a column,
const WORTH: f64 = 0.2;
/// and so many bytes of all of it.
const WORTH_BYTES: f64 = 512.0;
/// A column that is stored by another one may stand in for a third, so often: a read takes them all.
const MAX_LEVEL: u8 = 3;
/// Most runs of the other column for one run.
const MAX_RUNS: usize = 8;

/// The columns that are stored by others.
#[derive(Default)]
pub(super) struct Beside {
    columns: HashMap<String, Other>,
    /// The runs of these columns and of the others, and their rows.
    runs: HashMap<String, Vec<(Segment, Range<usize>)>>,
}

/// By which column one is stored.
struct Other {
    name: String,
    /// How many columns that needs, itself counted.
    level: u8,
    /// What each row takes alone, in bytes.
    alone: f64,
}

/// Cells of another column.
pub(super) struct OtherRun {
    pub cells: Cells,
    pub object: ObjectId,
    rows: Range<usize>,
}

/// The cells of another column in the rows of a run.
pub(super) struct Found<'a> {
    pub runs: Vec<&'a OtherRun>,
    /// The first of the rows in these runs.
    pub first: usize,
    /// What the run takes alone, as far as one can tell.
    pub alone: f64,
}

impl Beside {
    /// Of a table whose rows come from the version before, if there is one: columns with rows there need no other column.
    pub fn find(tables: &Both<'_>, segments: &[Segment], rows: Option<&Rows>) -> Beside {
        let is_flat =
            |segment: &&Segment| tables.kinds.get(&segment.name).is_some_and(|kind| kind.max_repetition == 0);
        let mut columns =
            columns_of(segments.iter().filter(is_flat).map(|segment| (&*segment.name, segment)));
        columns.truncate(MAX_COLUMNS);
        let is_new = |name: &str, segments: &[&Segment]| {
            rows.is_none_or(|rows| !rows.has(name))
                && segments
                    .first()
                    .and_then(|first| tables.read(first))
                    .is_some_and(|bytes| !tables.store.holds_whole(&ObjectId::of(&bytes)))
        };
        let is_new: Vec<bool> = columns.iter().map(|(name, segments)| is_new(name, segments)).collect();
        if !is_new.contains(&true) {
            return Beside::default();
        }
        let samples = columns.iter().map(|(name, segments)| sample(tables, tables.kinds[*name], segments[0]));
        let samples: Vec<Option<Symbols>> = samples.collect();
        let mut beside = Beside::default();
        for (name, segments) in &columns {
            if let Some(runs) = runs_of(tables, segments) {
                beside.runs.insert((*name).to_owned(), runs);
            }
        }
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        beside.choose(&names, &samples, &is_new);
        let is_used =
            |name: &String| beside.columns.iter().any(|(own, other)| [own, &other.name].contains(&name));
        beside.runs.retain(|name, _| is_used(name));
        beside
    }

    /// Takes the pairs that save most, as long as no column needs itself.
    fn choose(&mut self, names: &[&str], samples: &[Option<Symbols>], is_new: &[bool]) {
        let mut pairs = Vec::new();
        for (own, sample) in samples.iter().enumerate().filter(|(own, _)| is_new[*own]) {
            let Some(sample) = sample else { continue };
            let others = samples.iter().enumerate().filter_map(|(other, known)| {
                let known = known.as_ref().filter(|known| other != own && known.len() == sample.len())?;
                self.have_same_rows(names[own], names[other])?;
                Some((other, known))
            });
            let mut beside = nearest(sample, others.collect());
            beside.sort_unstable();
            let Some((least, _)) = beside.first() else { continue };
            let by_counts = sample.bytes_by_counts() as f64 * (1.0 - WORTH);
            if *least as f64 >= by_counts {
                continue;
            }
            let alone = sample.bytes_alone() as f64;
            let of_all = self.rows_of(names[own]) as f64 / sample.len() as f64;
            for (bytes, other) in beside {
                let saved = alone - bytes as f64;
                if saved >= WORTH * alone && saved * of_all >= WORTH_BYTES {
                    pairs.push((saved, own, other, alone / sample.len() as f64));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, own, other, alone) in pairs {
            let level = self.level_of(names[other]) + 1;
            let is_free = !self.columns.contains_key(names[own]) && !self.needs(names[other], names[own]);
            if is_free && level + self.height_above(names[own]) <= MAX_LEVEL {
                let name = names[other].to_owned();
                self.columns.insert(names[own].to_owned(), Other { name, level, alone });
                self.raise_above(names[own]);
            }
        }
    }

    /// Whether two columns have as many rows.
    fn have_same_rows(&self, own: &str, other: &str) -> Option<()> {
        let [own, other] = [own, other].map(|name| self.rows_of(name));
        (own == other && own > 0).then_some(())
    }

    fn rows_of(&self, name: &str) -> usize {
        self.runs.get(name).and_then(|runs| runs.last()).map_or(0, |(_, rows)| rows.end)
    }

    fn level_of(&self, name: &str) -> u8 {
        self.columns.get(name).map_or(0, |other| other.level)
    }

    /// Whether a column is stored by another one, or that by a third, that is this.
    fn needs(&self, name: &str, other: &str) -> bool {
        let mut at = name;
        while at != other {
            let Some(next) = self.columns.get(at) else { return false };
            at = &next.name;
        }
        true
    }

    /// How many columns need each other above this one.
    fn height_above(&self, name: &str) -> u8 {
        let above = self.columns.iter().filter(|(_, other)| other.name == name);
        above.map(|(own, _)| 1 + self.height_above(own)).max().unwrap_or(0)
    }

    /// Gives those that need a column their levels.
    fn raise_above(&mut self, name: &str) {
        let level = self.level_of(name) + 1;
        let above = self.columns.iter_mut().filter(|(_, other)| other.name == name);
        let above: Vec<String> = above
            .map(|(own, other)| {
                other.level = level;
                own.clone()
            })
            .collect();
        above.iter().for_each(|own| self.raise_above(own));
    }

    /// How many other columns the column of a segment needs, one after the other.
    pub fn level(&self, segment: &Segment) -> u8 {
        if self.columns.is_empty() { 0 } else { self.level_of(&segment.name) }
    }

    /// The largest level.
    pub fn levels(&self) -> u8 {
        self.columns.values().map(|other| other.level).max().unwrap_or(0)
    }

    /// What the other column holds in the rows of the runs of a chunk; nothing where there is none.
    pub fn others(&self, tables: &Both<'_>, chunk: &[Segment]) -> Vec<OtherRun> {
        self.others_of(tables, chunk).unwrap_or_default()
    }

    fn others_of(&self, tables: &Both<'_>, chunk: &[Segment]) -> Option<Vec<OtherRun>> {
        let other = self.columns.get(&chunk.first()?.name)?;
        let rows = self.rows(chunk.first()?)?.start..self.rows(chunk.last()?)?.end;
        let all = self.runs.get(&other.name)?;
        let mut first = all.partition_point(|(_, own)| own.end <= rows.start);
        let end = all.partition_point(|(_, own)| own.start < rows.end);
        // The dictionary stands in the first run of a chunk.
        while first > 0 && first < end && goes_on(tables.source, &all[first - 1].0, &all[first].0) {
            first -= 1;
        }
        let segments: Vec<&Segment> = all[first..end].iter().map(|(segment, _)| segment).collect();
        let mut found = Vec::new();
        let mut places = all[first..end].iter();
        tables.each_run(*tables.kinds.get(&other.name)?, &segments, |_, _, cells| {
            let (_, own) = places.next()?;
            (own.len() == cells.entries).then_some(())?;
            if own.end > rows.start {
                found.push(OtherRun { object: ObjectId::of(&cells.encode()), cells, rows: own.clone() });
            }
            Some(())
        })?;
        Some(found)
    }

    /// Which of these runs have the rows of a run.
    pub fn of<'a>(&self, segment: &Segment, others: &'a [OtherRun]) -> Option<Found<'a>> {
        let other = self.columns.get(&segment.name)?;
        let rows = self.rows(segment)?;
        let runs = others.iter().filter(|run| run.rows.start < rows.end && run.rows.end > rows.start);
        let runs: Vec<&OtherRun> = runs.collect();
        let first = rows.start.checked_sub(runs.first()?.rows.start)?;
        (runs.len() <= MAX_RUNS).then_some(Found { runs, first, alone: other.alone * rows.len() as f64 })
    }

    fn rows(&self, segment: &Segment) -> Option<&Range<usize>> {
        let runs = self.runs.get(&segment.name)?;
        let at = runs.binary_search_by_key(&segment.range.start, |(segment, _)| segment.range.start).ok()?;
        Some(&runs[at].1)
    }
}

/// What a column takes beside each of the others that are likely to tell most of it, by fewer rows.
fn nearest(own: &Symbols, others: Vec<(usize, &Symbols)>) -> Vec<(usize, usize)> {
    let first = own.part(0, FIRST_ROWS);
    let mut likely: Vec<_> = others
        .into_iter()
        .map(|(other, known)| (first.bytes_beside(&known.part(0, FIRST_ROWS)), other, known))
        .collect();
    likely.sort_by_key(|(bytes, other, _)| (*bytes, *other));
    likely.into_iter().take(MAX_OTHERS).map(|(_, other, known)| (own.bytes_beside(known), other)).collect()
}

/// The cells of the first rows of a column.
fn sample(tables: &Both<'_>, kind: Kind, first: &Segment) -> Option<Symbols> {
    let bytes = tables.read(first)?;
    let cells = tables.last.look(|search| Run::beginning(&bytes, kind, SAMPLE_ROWS, search))?;
    let symbols = Symbols::of(&[&cells])?.part(0, SAMPLE_ROWS);
    (symbols.different() * SELDOM < symbols.len()).then_some(symbols)
}

/// The runs of a flat column and their rows, as the headers of their pages tell.
fn runs_of(tables: &Both<'_>, segments: &[&Segment]) -> Option<Vec<(Segment, Range<usize>)>> {
    let mut start = 0;
    let mut runs = Vec::with_capacity(segments.len());
    for segment in segments {
        let bytes = tables.read(segment)?;
        let pages = format::pages(&bytes)?;
        let values = pages.iter().filter(|page| page.kind == PageKind::Values).map(|page| page.values);
        let end = values.fold(start, usize::saturating_add);
        runs.push(((*segment).clone(), start..end));
        start = end;
    }
    Some(runs)
}
