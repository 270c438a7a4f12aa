//! What rows are copied from: the cells of the version before.

use std::ops::Range;

use super::super::DecodeError;
use super::assembled::Out;
use super::rows::Former;
use super::written::Written;
use crate::table::{Cells, Dictionary, Items, Kind, MAX_ENTRIES, RowMap, RowRun, Rows, Values};

/// The rows of a map one by one: number, run, and the old row.
pub(super) fn each(map: &RowMap) -> impl Iterator<Item = (usize, &RowRun, Option<u32>)> {
    let rows = map
        .runs
        .iter()
        .flat_map(|run| (0..run.rows).map(move |row| (run, run.from.map(|from| from.saturating_add(row)))));
    rows.enumerate().map(|(row, (run, from))| (row, run, from))
}

/// What rows are copied from.
pub(super) struct Sources<'a> {
    pub formers: &'a [Former<'a>],
    rows: Vec<Rows>,
}

impl<'a> Sources<'a> {
    pub fn of(formers: &'a [Former<'a>]) -> Option<Sources<'a>> {
        let rows = formers.iter().map(|former| Rows::of(former.cells)).collect::<Option<_>>()?;
        Some(Sources { formers, rows })
    }

    /// Which cells have this row, and its number among theirs.
    pub fn find(&self, row: u32) -> Option<(usize, usize)> {
        self.formers.iter().enumerate().find_map(|(at, former)| {
            let own = row.checked_sub(former.start)? as usize;
            (own < self.rows[at].len()).then_some((at, own))
        })
    }

    /// Entries and values of a row of some cells.
    pub fn places(&self, at: usize, row: usize) -> (Range<usize>, Range<usize>) {
        let entries = self.rows[at].entries(row..row + 1);
        (entries.clone(), self.rows[at].values(entries))
    }

    /// All different values, in order of the cells that they are from.
    pub fn dictionary(&self, none: Values) -> Dictionary {
        let mut rest = self.formers.iter().map(|former| &former.cells.items);
        // Those of the first are known to differ, where they are coded.
        let (first, more) = match rest.next() {
            Some(Items::Coded { dictionary, .. }) => (dictionary.clone(), None),
            more => (none, more),
        };
        let mut all = Dictionary::of(first);
        for items in more.into_iter().chain(rest) {
            values_of(items).iter().for_each(|value| {
                all.number(value);
            });
        }
        all
    }

    /// The cells whose rows are copied, but for those that are written, which `new` has.
    pub fn put_together(
        &self,
        kind: Kind,
        map: &RowMap,
        written: &[usize],
        new: Written,
    ) -> Result<Cells, DecodeError> {
        let invalid = |what| DecodeError::Invalid { what };
        let Kind { physical, max_definition, max_repetition } = kind;
        let mut out = match &new.cells.items {
            Items::Plain(values) => Out::Plain(values.none_like()),
            Items::Coded { .. } => Out::coded(physical, &new.dictionary, self),
        };
        let theirs = Rows::of(&new.cells).filter(|theirs| theirs.len() == written.len());
        let theirs = theirs.ok_or(invalid("cells that are written"))?;
        let mut cells = Cells {
            physical,
            max_definition,
            max_repetition,
            entries: 0,
            repetitions: Vec::new(),
            definitions: Vec::new(),
            items: Items::Plain(Values::none(physical)),
        };
        let mut next = written.iter().copied().enumerate().peekable();
        let mut row = 0;
        for run in &map.runs {
            let end = row + run.rows as usize;
            while row < end {
                if let Some((place, _)) = next.next_if(|(_, written)| *written == row) {
                    let range = theirs.entries(place..place + 1);
                    cells.extend_levels(&new.cells, range.clone());
                    out.extend(&new.cells.items, theirs.values(range), None)?;
                    row += 1;
                    continue;
                }
                // As many as are copied from the same cells without a break.
                let until = next.peek().map_or(end, |(_, written)| end.min(*written));
                let skipped = run.rows - (end - row) as u32;
                let from =
                    run.from.and_then(|from| from.checked_add(skipped)).ok_or(invalid("map of rows"))?;
                let (at, own) = self.find(from).ok_or(invalid("map of rows"))?;
                let many = (until - row).min(self.rows[at].len() - own);
                let range = self.rows[at].entries(own..own + many);
                cells.extend_levels(self.formers[at].cells, range.clone());
                out.extend(&self.formers[at].cells.items, self.rows[at].values(range), Some(at))?;
                row += many;
                if cells.entries > MAX_ENTRIES {
                    return Err(invalid("entries"));
                }
            }
        }
        cells.items = out.finish();
        Ok(cells)
    }
}

/// The values, or the different ones where they are coded.
pub(super) fn values_of(items: &Items) -> &Values {
    match items {
        Items::Plain(values) | Items::Coded { dictionary: values, .. } => values,
    }
}

/// The numbers of these values in a dictionary.
pub(super) fn numbers_of(items: &Items, dictionary: &Dictionary) -> Vec<u32> {
    values_of(items).iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect()
}
