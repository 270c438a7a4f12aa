//! Where the entries and values of each row lie in the cells of a column.

use std::ops::Range;

use super::cells::Cells;

/// The places of all rows.
pub struct Rows {
    rows: usize,
    /// Where the entries of each row begin, and where the last ends; none where each row has one.
    entries: Option<Vec<u32>>,
    /// Where the values of each entry begin, and where the last ends; none where each entry has one.
    values: Option<Vec<u32>>,
}

impl Rows {
    /// None where the first entry belongs to a row that began before.
    pub fn of(cells: &Cells) -> Option<Rows> {
        if cells.begins_inside() {
            return None;
        }
        let entries = (cells.max_repetition > 0).then(|| {
            let starts = cells.repetitions.iter().enumerate().filter(|(_, level)| **level == 0);
            starts.map(|(at, _)| at as u32).chain([cells.entries as u32]).collect()
        });
        let values = (cells.max_definition > 0).then(|| {
            let mut next = 0;
            let mut values = Vec::with_capacity(cells.entries + 1);
            values.push(0);
            values.extend(cells.definitions.iter().map(|level| {
                next += u32::from(*level == cells.max_definition);
                next
            }));
            values
        });
        Some(Rows { rows: cells.rows(), entries, values })
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The entries of these rows.
    pub fn entries(&self, rows: Range<usize>) -> Range<usize> {
        match &self.entries {
            Some(starts) => starts[rows.start] as usize..starts[rows.end] as usize,
            None => rows,
        }
    }

    /// The values of these entries.
    pub fn values(&self, entries: Range<usize>) -> Range<usize> {
        match &self.values {
            Some(starts) => starts[entries.start] as usize..starts[entries.end] as usize,
            None => entries,
        }
    }
}
