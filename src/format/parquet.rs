//! Parquet: chunks of columns, each a run of pages, and at the end a footer that tells where they lie.
//!
//! A page is what writers pack at a time: rows that did not change give the same pages, so that each is a
//! segment. They are told apart by the column's path and a number that runs through the whole file, which
//! pairs up the pages of two versions of a table. Of pages only the headers are read, and nothing is
//! unpacked. A chunk that its pages do not fill exactly is left to `array` as filler.
//! Source: `parquet.thrift` and the specification of Apache Parquet 2.12.

mod footer;
mod page;
mod thrift;

use std::collections::HashMap;
use std::ops::Range;

pub use page::{PageParts, page};

use super::array::Array;
use super::reader::Reader;
use super::{Format, MAX_SEGMENT_BYTES, Parsed, Refusal, Source};
use footer::{Chunk, Footer};
use page::{Header, PageKind};
use thrift::Thrift;

pub(super) const MAGIC: [u8; 4] = *b"PAR1";

/// As no sensible column is called.
const FOOTER: &str = "/footer";
/// Behind the path of the column that the dictionary belongs to.
const DICTIONARY: &str = "/dictionary";
/// Pages that become segments, and the bytes of their names: a page can have fewer bytes than its name.
const MAX_PAGES: usize = 1 << 19;
const MAX_NAMES_BYTES: usize = 32 << 20;

/// Reads the footer and walks through the chunks.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let Footer { range, paths, mut chunks } = Footer::read(source, MAGIC)?;
    let mut segments = Segments::with_footer(range.clone());
    chunks.sort_by_key(|chunk| chunk.range.start);
    let mut at = MAGIC.len() as u64;
    // None is walked through twice, whatever the footer claims: what overlaps the one before is a lie.
    for Chunk { column, range: chunk } in chunks {
        let Some(path) = paths.get(column).filter(|_| at <= chunk.start && chunk.end <= range.start) else {
            continue;
        };
        at = chunk.end;
        match pages(source, chunk, MAX_PAGES - segments.pages) {
            Ok(pages) => segments.add(path, pages),
            Err(Refusal::Malformed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Parsed { format: Format::Parquet, head: MAGIC.len() as u64, arrays: segments.arrays })
}

/// The pages of a chunk, which they must fill; refused where there are more than `most`.
fn pages(source: &dyn Source, chunk: Range<u64>, most: usize) -> Result<Vec<Page>, Refusal> {
    let mut thrift = Thrift::new(Reader::with_window(source, chunk, page::WINDOW_BYTES));
    let mut pages = Vec::new();
    while thrift.left() > 0 {
        if pages.len() == most {
            return Err(Refusal::Malformed);
        }
        let start = thrift.position();
        let Header { kind, body_bytes, .. } = Header::read(&mut thrift)?;
        thrift.skip(body_bytes)?;
        pages.push(Page { kind, range: start..thrift.position() });
    }
    Ok(pages)
}

/// Header and body of a page.
struct Page {
    kind: PageKind,
    range: Range<u64>,
}

/// What was found so far, and how the pages are numbered.
struct Segments {
    arrays: Vec<Array>,
    pages: usize,
    names_bytes: usize,
    /// How many pages each name has.
    numbers: HashMap<String, u32>,
}

impl Segments {
    /// The footer alone; it is always number 0, whatever columns are called.
    fn with_footer(range: Range<u64>) -> Segments {
        let footer = Array::bytes(FOOTER.to_owned(), range, Vec::new());
        let numbers = HashMap::from([(FOOTER.to_owned(), 1)]);
        Segments { arrays: vec![footer], pages: 0, names_bytes: 0, numbers }
    }

    /// Adds the pages of a chunk of the column at `path`; all or, where there is no room, none.
    fn add(&mut self, path: &str, pages: Vec<Page>) {
        let names_bytes = pages.len() * (path.len() + DICTIONARY.len());
        if self.names_bytes + names_bytes > MAX_NAMES_BYTES {
            return;
        }
        self.names_bytes += names_bytes;
        self.pages += pages.len();
        for Page { kind, range } in pages {
            let name = match kind {
                PageKind::Values => path.to_owned(),
                PageKind::Dictionary => format!("{path}{DICTIONARY}"),
                PageKind::Other => continue,
            };
            let number = self.number(&name);
            // A longer one is cut by content.
            if range.end - range.start <= MAX_SEGMENT_BYTES {
                self.arrays.push(Array::slice(name, number, range));
            }
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
