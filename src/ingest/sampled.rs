//! A sample of the rows of a table, or of the stretches of a text, by which files are found that have some of them.

use std::collections::HashMap;
use std::io;

use rayon::prelude::*;

use super::rows::{columns_of, each_run};
use super::table::{Last, kinds};
use crate::anchor::anchors;
use crate::format::{Cut, Format, Segment, Source};
use crate::minhash::{Least, Sampled};
use crate::table::{Kind, add_hashes};

/// The columns that take most are read; a row is known by any two of these, any three and all, so that one may be new.
const COLUMNS: usize = 4;
/// Rows that are looked at: 8 bytes of memory each, for each column.
const MOST_ROWS: usize = 1 << 25;
/// An anchor in so many bytes of text, as a power of two.
const ANCHOR_BITS: u32 = 8;
/// Text that is read at a time,
const WINDOW_BYTES: usize = 1 << 20;
/// and before it again, since anchors depend on what stands before them.
const OVERLAP_BYTES: usize = 63;

/// The sample of a table or a text.
///
/// # Errors
/// Only what `source` returns.
pub fn sample(source: &dyn Source, cut: &Cut) -> io::Result<Sampled> {
    match cut.format() {
        Format::Parquet => Ok(of_rows(source, cut, &kinds(source)?)),
        _ => of_text(source),
    }
}

/// The sample of a text, by its anchors.
///
/// # Errors
/// Only what `source` returns.
pub fn of_text(source: &dyn Source) -> io::Result<Sampled> {
    let mut least = Least::default();
    let mut window = vec![0; WINDOW_BYTES + OVERLAP_BYTES];
    for start in (0..source.len()).step_by(WINDOW_BYTES) {
        let from = start.saturating_sub(OVERLAP_BYTES as u64);
        let bytes = &mut window[..(source.len().min(start + WINDOW_BYTES as u64) - from) as usize];
        source.read_at(bytes, from)?;
        anchors(bytes, ANCHOR_BITS).into_iter().for_each(|anchor| least.add(anchor));
    }
    Ok(least.finish())
}

/// The rows of a table whose columns are of these kinds; none where nothing can be read.
fn of_rows(source: &dyn Source, cut: &Cut, kinds: &HashMap<String, Kind>) -> Sampled {
    let known = cut.segments().iter().filter(|segment| kinds.contains_key(&segment.name));
    let mut columns = columns_of(known.map(|segment| (segment.name.as_str(), segment)));
    let bytes = |segments: &[&Segment]| segments.iter().map(|s| s.range.end - s.range.start).sum::<u64>();
    columns.sort_by_key(|(name, segments)| (u64::MAX - bytes(segments), *name));
    columns.truncate(COLUMNS);
    let hashes =
        columns.par_iter().filter_map(|(name, segments)| of_column(source, name, kinds[*name], segments));
    let mut columns: Vec<Vec<u64>> = hashes.collect();
    let rows = columns.first().map_or(0, Vec::len);
    columns.retain(|hashes| hashes.len() == rows);
    let fewest = columns.len().min(2) as u32;
    let chosen = (1..1u32 << columns.len()).filter(|chosen| chosen.count_ones() >= fewest);
    let chosen: Vec<Vec<&Vec<u64>>> = chosen
        .map(|chosen| {
            columns.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, c)| c).collect()
        })
        .collect();
    let mut least = Least::default();
    for row in 0..rows {
        for columns in &chosen {
            least.add(columns.iter().fold(0, |sum: u64, hashes| sum.wrapping_add(hashes[row])));
        }
    }
    least.finish()
}

/// The hash of each row's cells in one column.
fn of_column(source: &dyn Source, name: &str, kind: Kind, segments: &[&Segment]) -> Option<Vec<u64>> {
    let (mut hashes, last) = (Vec::new(), Last::default());
    let all = each_run(source, kind, segments, &last, |_, _, cells| {
        let start = hashes.len();
        (start < MOST_ROWS).then_some(())?;
        hashes.resize(start + cells.rows(), 0);
        add_hashes(&cells, name, &mut hashes[start..]).then_some(())
    });
    let is_read = all.is_some() || hashes.len() >= MOST_ROWS;
    hashes.truncate(MOST_ROWS);
    is_read.then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cut;

    /// What recipes keep is compared by versions of this program that come later: their hashes must be the same.
    #[test]
    fn samples_stay_what_they_are() {
        let table = std::fs::read("tests/data/tables/contrib-1.parquet").unwrap();
        let text: Vec<u8> =
            (0..4000).flat_map(|line| format!("{line},{}\n", line * line).into_bytes()).collect();
        let expected = [[0xbcdd_f878, 0x807d_34c1], [0x99e6_c8c2, 0x05f0_ff90]];
        for (file, expected) in [&table, &text].into_iter().zip(expected) {
            let source: &[u8] = file;
            let kept = sample(&source, &cut(&source).unwrap()).unwrap().kept();
            assert_eq!(kept.iter().take(2).map(|kept| kept.to_bits()).collect::<Vec<_>>(), expected);
        }
    }

    /// An anchor at a border of what is read at a time is none the less one.
    #[test]
    fn text_is_read_without_gaps() {
        let mut text = vec![0; 3 * WINDOW_BYTES + 1000];
        blake3::Hasher::new().finalize_xof().fill(&mut text);
        text.iter_mut().for_each(|byte| *byte &= 0x7f);
        let mut whole = Least::default();
        anchors(&text, ANCHOR_BITS).into_iter().for_each(|anchor| whole.add(anchor));
        let source: &[u8] = &text;
        assert_eq!(of_text(&source).unwrap().kept(), whole.finish().kept());
    }
}
