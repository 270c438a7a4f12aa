//! Some rows of batches that come one after the other.

use std::ops::Range;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use super::table::Decoder;

/// Of all rows of a table only those in the ranges, which ascend. Ends after the last of them.
pub(super) fn only(all: Decoder, rows: Option<&[Range<u64>]>) -> Decoder {
    match rows {
        None => all,
        Some(rows) => Box::new(Only { all, rows: rows.to_vec(), next: 0, at: 0 }),
    }
}

/// Rows, ascending, as ranges.
pub fn ranges(rows: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

struct Only {
    all: Decoder,
    rows: Vec<Range<u64>>,
    /// The first range that is not done.
    next: usize,
    /// The row that comes next.
    at: u64,
}

impl Iterator for Only {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.rows.len() {
            let batch = match self.all.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let found = self.of(&batch);
            if !matches!(&found, Ok(batch) if batch.num_rows() == 0) {
                return Some(found);
            }
        }
        None
    }
}

impl Only {
    fn of(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (start, end) = (self.at, self.at + batch.num_rows() as u64);
        self.at = end;
        let mut wanted = Vec::new();
        while let Some(range) = self.rows.get(self.next) {
            let part = range.start.max(start)..range.end.min(end);
            if part.start < part.end {
                wanted.push((part.start - start) as usize..(part.end - start) as usize);
            }
            if range.end > end {
                break;
            }
            self.next += 1;
        }
        match wanted.as_slice() {
            [] => Ok(batch.slice(0, 0)),
            [one] => Ok(batch.slice(one.start, one.len())),
            many => {
                let mut mask = vec![false; batch.num_rows()];
                many.iter().for_each(|range| mask[range.clone()].fill(true));
                filter_record_batch(batch, &BooleanArray::from(mask))
            }
        }
    }
}
