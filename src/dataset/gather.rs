//! Some rows of a table in any order, read a second time; and how many of them are in memory at a time.

use std::ops::Range;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;

use super::rows::{self, ranges};
use super::scan::CompareError;
use super::table::{Batches, Selection, Table, TableError};

/// Most rows that are in memory at a time, on each side,
const AT_ONCE: u64 = 32_768;
/// and about so many bytes of them: rows may hold images, and a column of texts no more than 2 GiB.
const AT_ONCE_BYTES: u64 = 64 << 20;
/// Rows are read through where one in so many is wanted, and else sought, if the table's kind can.
const DENSE: u64 = 4;

/// How many rows are in memory at a time of each of these tables, which come with their numbers of rows.
pub fn at_once(tables: &[(&Table, u64)]) -> usize {
    let widest = tables.iter().map(|(table, rows)| table.bytes() / (*rows).max(1)).max();
    (AT_ONCE_BYTES / widest.unwrap_or(0).max(1)).clamp(1, AT_ONCE) as usize
}

/// These rows of these columns, in the order in which they are named.
pub fn gather(table: &Table, rows: &[u32], columns: &[usize]) -> Result<RecordBatch, CompareError> {
    Gatherer::of(table, columns.to_vec()).gather(rows)
}

/// Gathers rows time and again. As long as they ascend from one time to the next, the table is read once: one of text has
/// no other way to a row than through those before it.
pub struct Gatherer<'a> {
    table: &'a Table,
    columns: Vec<usize>,
    reading: Option<Reading>,
}

/// Where reading is.
struct Reading {
    batches: Batches,
    /// What is left of the batch that was read last.
    rest: Option<RecordBatch>,
    /// The row that comes next.
    next: u64,
}

impl<'a> Gatherer<'a> {
    pub fn of(table: &'a Table, columns: Vec<usize>) -> Gatherer<'a> {
        Gatherer { table, columns, reading: None }
    }

    /// Of all columns.
    pub fn whole(table: &'a Table) -> Gatherer<'a> {
        Gatherer::of(table, (0..table.schema().fields().len()).collect())
    }

    pub fn table(&self) -> &'a Table {
        self.table
    }

    /// These rows, in the order in which they are named.
    pub fn gather(&mut self, rows: &[u32]) -> Result<RecordBatch, CompareError> {
        let schema = self.table.schema().project(&self.columns).map_err(|error| self.failed(&error))?;
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let batches = self.read(&ranges(sorted.iter().map(|row| u64::from(*row))))?;
        let found = concat_batches(&schema.into(), &batches).map_err(|error| self.failed(&error))?;
        drop(batches);
        if found.num_rows() != sorted.len() {
            let why = format!("{} rows are there, {} were", found.num_rows(), sorted.len());
            return Err(self.failed(&format!("it changed while it was read: {why}")));
        }
        if rows == sorted {
            return Ok(found);
        }
        let place = |row: &u32| sorted.binary_search(row).expect("because it is in it") as u32;
        let places = UInt32Array::from(rows.iter().map(place).collect::<Vec<_>>());
        take_record_batch(&found, &places).map_err(|error| self.failed(&error))
    }

    /// The rows in ranges, which ascend.
    fn read(&mut self, wanted: &[Range<u64>]) -> Result<Vec<RecordBatch>, CompareError> {
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
        let near = DENSE * wanted.iter().map(|range| range.end - range.start).sum::<u64>();
        let seeks = self.table.seeks();
        if seeks && last.end - first.start > near {
            self.reading = None;
            return Ok(self.batches(Some(wanted.to_vec()))?.collect::<Result<_, _>>()?);
        }
        let goes_on =
            |reading: &Reading| reading.next <= first.start && !(seeks && first.start - reading.next > near);
        let mut reading = match self.reading.take().filter(goes_on) {
            Some(reading) => reading,
            None => {
                let next = if seeks { first.start } else { 0 };
                let rows = if seeks { Selection::rows(next..u64::MAX).rows } else { None };
                Reading { batches: self.batches(rows)?, rest: None, next }
            }
        };
        let found = reading.take(wanted, last.end).map_err(|error| match error {
            TakeError::Table(error) => CompareError::Table(error),
            TakeError::Values(error) => self.failed(&error),
        })?;
        self.reading = Some(reading);
        Ok(found)
    }

    fn batches(&self, rows: Option<Vec<Range<u64>>>) -> Result<Batches, TableError> {
        self.table.read(&Selection { columns: Some(self.columns.clone()), rows })
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> CompareError {
        CompareError::Values { name: self.table.name().to_owned(), why: why.to_string() }
    }
}

enum TakeError {
    Table(TableError),
    Values(ArrowError),
}

impl Reading {
    /// Reads on to the row `end`, the last of which is wanted.
    fn take(&mut self, wanted: &[Range<u64>], end: u64) -> Result<Vec<RecordBatch>, TakeError> {
        let mut found = Vec::new();
        while self.next < end {
            let Some(batch) = self.rest.take().map(Ok).or_else(|| self.batches.next()) else { break };
            let batch = batch.map_err(TakeError::Table)?;
            let part = rows::cut(&batch, self.next, wanted).map_err(TakeError::Values)?;
            if part.num_rows() > 0 {
                found.push(part);
            }
            let used = (end - self.next).min(batch.num_rows() as u64) as usize;
            self.next += used as u64;
            self.rest = (used < batch.num_rows()).then(|| batch.slice(used, batch.num_rows() - used));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::values;
    use super::*;
    use crate::format::Source;

    /// A file that counts what is read of it.
    struct Watched(Vec<u8>, AtomicU64);

    impl Source for Watched {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
            self.0.as_slice().read_at(buf, offset)
        }
    }

    /// Rows of text are read in one go as long as they ascend, and found wherever they are.
    #[test]
    fn ascending_rows_are_read_once() {
        let rows: Vec<String> = (0..20_000).map(|row| format!("{row},{}\n", row * 7)).collect();
        let file = Arc::new(Watched(format!("a,b\n{}", rows.concat()).into_bytes(), AtomicU64::new(0)));
        let table = Table::open(file.clone(), "x.csv").unwrap();
        let mut reader = Gatherer::whole(&table);
        let mut check = |wanted: &[u32]| {
            let found = values::objects(&reader.gather(wanted).unwrap()).unwrap();
            let found: Vec<_> = found.iter().map(|row| row["b"].as_u64().unwrap()).collect();
            assert_eq!(found, wanted.iter().map(|row| u64::from(*row) * 7).collect::<Vec<_>>());
        };
        let before = file.1.load(Ordering::Relaxed);
        for first in (0..19_000).step_by(500) {
            check(&[first + 3, first, first + 400, first + 3]);
        }
        check(&[]);
        assert!(file.1.load(Ordering::Relaxed) - before <= file.len());
        check(&[19_999, 5]);
        assert!(reader.gather(&[20_000]).is_err());
    }

    /// Rows with images are not held by the ten thousands.
    #[test]
    fn wide_rows_are_few_at_a_time() {
        let open = |width: usize| {
            let text = format!("a\n{}", format!("{}\n", "x".repeat(width)).repeat(8));
            Table::open(Arc::new(text.into_bytes()), "x.csv").unwrap()
        };
        let (wide, narrow) = (open(1 << 20), open(8));
        assert!((32..=64).contains(&at_once(&[(&narrow, 8), (&wide, 8)])));
        assert_eq!(at_once(&[(&narrow, 8)]), 32_768);
    }
}
