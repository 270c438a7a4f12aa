//! Parquet: chunks of columns, each a run of pages, and at the end a footer that tells where they lie.
//!
//! A chunk is cut into runs of pages that hold about as much as one object may. They are told apart by the
//! column's path and a number that runs through the whole file, which pairs up the runs of two versions of a table.
//! Of pages only the headers are read, and nothing is unpacked. A chunk that its pages do not fill exactly is left
//! to `array` as filler.
//! Source: `parquet.thrift` and the specification of Apache Parquet 2.12.

mod follows;
mod footer;
mod page;
mod thrift;

use std::collections::HashMap;
use std::ops::Range;

pub use follows::{Extremes, Follows};
pub use footer::{Column, Physical};
pub use page::{PageKind, PageParts, header, is_coded, pages};

use super::array::Array;
use super::reader::Reader;
use super::{Format, MAX_SEGMENT_BYTES, Parsed, Refusal, Source};
use footer::{Chunk, Footer};
use page::{Header, MAX_PAGES};
use thrift::Thrift;

pub(super) const MAGIC: [u8; 4] = *b"PAR1";

/// As no sensible column is called: the footer, and what stands between it and the last chunk.
const FOOTER: &str = "/footer";
const INDEXES: &str = "/indexes";
/// Most bytes of the names of runs: a page can have fewer bytes than its name.
const MAX_NAMES_BYTES: usize = 32 << 20;
/// Most entries and bytes of a run, in the file and unpacked, unless one page has more.
const RUN_VALUES: u64 = 1 << 20;
const RUN_BYTES: u64 = 12 << 20;
/// What a value counts for that is the number of an entry in the dictionary.
const CODE_BYTES: u64 = 4;

/// Reads the footer and walks through the chunks.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let Footer { range, columns, mut chunks } = Footer::read(source, MAGIC)?;
    let mut segments = Segments::with_footer(range.clone());
    chunks.sort_by_key(|chunk| chunk.range.start);
    let mut at = MAGIC.len() as u64;
    let mut left = MAX_PAGES;
    let mut is_sound = false;
    // None is walked through twice, whatever the footer claims: what overlaps the one before is a lie.
    for Chunk { column, range: chunk } in chunks {
        let Some(column) = columns.get(column).filter(|_| at <= chunk.start && chunk.end <= range.start)
        else {
            continue;
        };
        at = chunk.end;
        is_sound = false;
        match runs_of(source, chunk, left) {
            Ok(runs) => {
                is_sound = true;
                left -= runs.pages;
                segments.add(&column.path, &runs.ranges);
            }
            Err(Refusal::Malformed) => {}
            Err(error) => return Err(error),
        }
    }
    if is_sound {
        segments.add_indexes(at..range.start);
    }
    Ok(Parsed { format: Format::Parquet, head: MAGIC.len() as u64, arrays: segments.arrays })
}

/// The columns that hold values, as the footer tells; none where the file is no such table.
///
/// # Errors
/// Only what `source` returns.
pub fn columns(source: &dyn Source) -> std::io::Result<Vec<Column>> {
    match Footer::read(source, MAGIC) {
        Ok(footer) => Ok(footer.columns),
        Err(Refusal::Malformed) => Ok(Vec::new()),
        Err(Refusal::Io(error)) => Err(error),
    }
}

/// Where the footer says that chunks of columns lie, whatever is there; none where the file is no such table.
///
/// # Errors
/// Only what `source` returns.
pub fn chunks(source: &dyn Source) -> std::io::Result<Vec<Range<u64>>> {
    match Footer::read(source, MAGIC) {
        Ok(footer) => Ok(footer.chunks.into_iter().map(|chunk| chunk.range).collect()),
        Err(Refusal::Malformed) => Ok(Vec::new()),
        Err(Refusal::Io(error)) => Err(error),
    }
}

/// The runs of the pages of a chunk, which they must fill, and how many pages there are; refused where there are more
/// than `most`.
fn runs_of(source: &dyn Source, chunk: Range<u64>, most: usize) -> Result<Runs, Refusal> {
    let mut thrift = Thrift::new(Reader::with_window(source, chunk, page::WINDOW_BYTES));
    let mut runs = Runs::default();
    while thrift.left() > 0 {
        if runs.pages == most {
            return Err(Refusal::Malformed);
        }
        let start = thrift.position();
        let header = Header::read(&mut thrift)?;
        thrift.skip(header.body_bytes)?;
        runs.add(&header, start..thrift.position());
    }
    Ok(runs)
}

/// Where runs of pages lie; a page of a kind that nobody knows is in none.
#[derive(Default)]
struct Runs {
    ranges: Vec<Range<u64>>,
    pages: usize,
    /// Entries and bytes of the last run.
    values: u64,
    bytes: u64,
}

impl Runs {
    fn add(&mut self, header: &Header, page: Range<u64>) {
        self.pages += 1;
        let len = page.end - page.start;
        // A longer one is cut by content.
        if header.kind == PageKind::Other || len > MAX_SEGMENT_BYTES {
            return;
        }
        let values = if header.kind == PageKind::Values { header.values } else { 0 };
        let unpacked =
            if header.is_coded() { values.saturating_mul(CODE_BYTES) } else { header.unpacked_bytes };
        let bytes = unpacked.max(len);
        (self.values, self.bytes) = (self.values.saturating_add(values), self.bytes.saturating_add(bytes));
        let fits = self.values <= RUN_VALUES && self.bytes <= RUN_BYTES;
        match self.ranges.last_mut() {
            Some(run) if fits && run.end == page.start => run.end = page.end,
            _ => {
                self.ranges.push(page);
                (self.values, self.bytes) = (values, bytes);
            }
        }
    }
}

/// What was found so far, and how the runs are numbered.
struct Segments {
    arrays: Vec<Array>,
    names_bytes: usize,
    /// How many runs each name has.
    numbers: HashMap<String, u32>,
}

impl Segments {
    /// The footer alone; it and the indexes are always number 0, whatever columns are called.
    fn with_footer(range: Range<u64>) -> Segments {
        let footer = Array::bytes(FOOTER.to_owned(), range, Vec::new());
        let numbers = [FOOTER, INDEXES].map(|name| (name.to_owned(), 1)).into();
        Segments { arrays: vec![footer], names_bytes: 0, numbers }
    }

    /// Adds indexes of pages and Bloom filters, which writers put behind the last chunk.
    fn add_indexes(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.arrays.push(Array::bytes(INDEXES.to_owned(), range, Vec::new()));
        }
    }

    /// Adds the runs of a chunk of the column at `path`; all or, where there is no room, none.
    fn add(&mut self, path: &str, runs: &[Range<u64>]) {
        let names_bytes = runs.len() * path.len();
        if self.names_bytes + names_bytes > MAX_NAMES_BYTES {
            return;
        }
        self.names_bytes += names_bytes;
        for run in runs {
            let number = self.number(path);
            self.arrays.push(Array::slice(path.to_owned(), number, run.clone()));
        }
    }

    /// The next number of that name.
    fn number(&mut self, name: &str) -> u32 {
        match self.numbers.get_mut(name) {
            Some(count) => {
                *count += 1;
                *count - 1
            }
            None => {
                self.numbers.insert(name.to_owned(), 1);
                0
            }
        }
    }
}
