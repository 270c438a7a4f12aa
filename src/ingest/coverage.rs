//! How much of a table's pages follows from their cells: what is then stored of them are the cells alone, which the next
//! version shares, however it is packed and cut into pages.

use std::collections::BTreeMap;
use std::io;
use std::ops::{AddAssign, Range};

use super::table::{Last, Piece, goes_on, kinds, needed, runs_of};
use crate::codec::pages::replayed;
use crate::format::{self, Format, Segment, Source};
use crate::id::ObjectId;
use crate::table::Cells;

/// Bytes of pages as they are when they are unpacked, levels included and headers not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    pub bytes: u64,
    /// Those of pages that follow from their cells to the last byte, and that are packed again as they were.
    pub replayed: u64,
}

impl Coverage {
    /// From 0 to 1; 1 where there are no pages.
    pub fn share(&self) -> f64 {
        if self.bytes == 0 { 1.0 } else { self.replayed as f64 / self.bytes as f64 }
    }
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        self.bytes += other.bytes;
        self.replayed += other.replayed;
    }
}

/// The coverage of each column of a Parquet file, by its path, as an ingest finds it; no columns in another file. What a
/// chunk of a column holds that is no page has no name.
///
/// What is not replayed comes back as well, by more that is stored. A run of pages so small that no object is worth it is
/// stored as it is, whatever this says of it.
///
/// # Errors
/// Only what `source` returns.
pub fn coverage(source: &dyn Source) -> io::Result<BTreeMap<String, Coverage>> {
    let cut = format::cut(source)?;
    if cut.format() != Format::Parquet {
        return Ok(BTreeMap::new());
    }
    let kinds = kinds(source)?;
    let chunks = format::chunks(source)?;
    let is_in_a_chunk = |range: &Range<u64>| {
        chunks.iter().any(|chunk| chunk.start.max(range.start) < chunk.end.min(range.end))
    };
    let last = Last::default();
    let mut columns: BTreeMap<String, Coverage> = BTreeMap::new();
    for chunk in cut.segments().chunk_by(|before, next| goes_on(source, before, next)) {
        let Segment { name, range, .. } = &chunk[0];
        let Some(kind) = kinds.get(name) else {
            if name.is_empty() && is_in_a_chunk(range) {
                let bytes = range.end - range.start;
                *columns.entry(String::new()).or_default() += Coverage { bytes, replayed: 0 };
            }
            continue;
        };
        let bytes = |segment: &Segment| {
            let mut bytes = vec![0; (segment.range.end - segment.range.start) as usize];
            source.read_at(&mut bytes, segment.range.start).map(|()| bytes)
        };
        let bytes = chunk.iter().map(bytes).collect::<io::Result<Vec<_>>>()?;
        let pieces: Vec<Piece<'_>> = chunk
            .iter()
            .zip(&bytes)
            .map(|(segment, bytes)| Piece { segment, bytes, object: ObjectId::of(bytes) })
            .collect();
        let runs = last.look(|search| runs_of(&pieces, *kind, search));
        let column = columns.entry(name.clone()).or_default();
        for (at, run) in runs.iter().enumerate() {
            let replayed = run.as_ref().map_or(0, |run| {
                let others = needed(&runs, at);
                let cells = others.iter().filter_map(|other| Some(&runs[*other].as_ref()?.cells));
                let place = others.iter().filter(|other| **other < at).count();
                replayed(run, &cells.collect::<Vec<&Cells>>(), place)
            });
            *column += Coverage { bytes: unpacked_bytes(&bytes[at]), replayed };
        }
    }
    Ok(columns)
}

/// What the headers of pages tell; of what are no pages, all bytes.
fn unpacked_bytes(pages: &[u8]) -> u64 {
    match format::pages(pages) {
        Some(pages) => pages.iter().map(|page| (page.plain.len() + page.unpacked_bytes) as u64).sum(),
        None => pages.len() as u64,
    }
}
