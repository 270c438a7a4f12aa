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
            let found = cut(&batch, self.at, &self.rows[self.next..]);
            self.at += batch.num_rows() as u64;
            self.next += self.rows[self.next..].iter().take_while(|range| range.end <= self.at).count();
            if !matches!(&found, Ok(batch) if batch.num_rows() == 0) {
                return Some(found);
            }
        }
        None
    }
}

/// Of a batch whose first row is `start` those in the ranges, which ascend. What is few is copied, so that it does not keep
/// the whole batch in memory.
pub(super) fn cut(batch: &RecordBatch, start: u64, rows: &[Range<u64>]) -> Result<RecordBatch, ArrowError> {
    let end = start + batch.num_rows() as u64;
    let first = rows.partition_point(|range| range.end <= start);
    let inside = rows[first..].iter().take_while(|range| range.start < end);
    let wanted: Vec<Range<usize>> = inside
        .map(|range| (range.start.max(start) - start) as usize..(range.end.min(end) - start) as usize)
        .collect();
    match wanted.as_slice() {
        [] => Ok(batch.slice(0, 0)),
        [one] if one.len() * 2 >= batch.num_rows() => Ok(batch.slice(one.start, one.len())),
        many => {
            let mut mask = vec![false; batch.num_rows()];
            many.iter().for_each(|range| mask[range.clone()].fill(true));
            filter_record_batch(batch, &BooleanArray::from(mask))
        }
    }
}
