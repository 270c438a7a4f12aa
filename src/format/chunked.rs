//! Content-defined chunks, for what has no structure that we know: text, logs, damaged files.
//!
//! Borders depend on the bytes around them alone, so that an insertion moves only the borders beside
//! it. The method is FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", IEEE TPDS 2020), as in the `fastcdc` crate.

use std::io;
use std::ops::Range;

use fastcdc::v2020::{self, Normalization};

use super::{Segment, Source};

/// How long chunks are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub min_bytes: usize,
    pub average_bytes: usize,
    pub max_bytes: usize,
}

// These are written down in docs/cut.md. Others would still read every store, but
// nothing stored before would be found again: a change is a new version of the cut.
const SIZES: Sizes = Sizes { min_bytes: 16 << 10, average_bytes: 64 << 10, max_bytes: 256 << 10 };
const LEVEL: Normalization = Normalization::Level1;

/// Bytes in memory at a time; has no influence on the borders.
const WINDOW_BYTES: usize = 4 << 20;

/// How a range without structure is cut.
pub(super) type Fill = fn(&dyn Source, Range<u64>) -> io::Result<Vec<Segment>>;

/// Pieces of `range` as long as the average chunk, without a look at its bytes.
pub(super) fn pieces(_: &dyn Source, range: Range<u64>) -> io::Result<Vec<Segment>> {
    let average = SIZES.average_bytes;
    let starts = range.clone().step_by(average);
    Ok(starts.map(|start| Segment::nameless(start..range.end.min(start + average as u64))).collect())
}

/// The chunks of `range`, which must lie inside the source.
pub(super) fn chunks(source: &dyn Source, range: Range<u64>) -> io::Result<Vec<Segment>> {
    chunks_by_window(source, range, SIZES, WINDOW_BYTES)
}

/// A chunk is cut only when the longest lies in the window, or the rest of the range: so it is cut
/// as if the whole range lay there.
pub(super) fn chunks_by_window(
    source: &dyn Source,
    range: Range<u64>,
    sizes: Sizes,
    window_bytes: usize,
) -> io::Result<Vec<Segment>> {
    assert!(window_bytes >= sizes.max_bytes, "a window of {window_bytes} bytes holds no chunk");
    let mut segments = Vec::new();
    let mut window = Vec::new();
    let Range { start: mut at, end } = range;
    while at < end {
        let kept = window.len();
        let len = (end - at).min(window_bytes as u64) as usize;
        window.resize(len, 0);
        source.read_at(&mut window[kept..], at + kept as u64)?;

        let is_last = at + len as u64 == end;
        let mut used = 0;
        while len - used >= sizes.max_bytes || (is_last && used < len) {
            let next = used + chunk_len(&window[used..], sizes);
            segments.push(Segment::nameless(at + used as u64..at + next as u64));
            used = next;
        }
        window.drain(..used);
        at += used as u64;
    }
    Ok(segments)
}

/// Length of the first chunk of `bytes`, which is not empty.
fn chunk_len(bytes: &[u8], sizes: Sizes) -> usize {
    let Sizes { min_bytes, average_bytes, max_bytes } = sizes;
    let (strict, loose) = v2020::select_masks(average_bytes, LEVEL);
    // The crate tests two bytes per step; the second pair of masks is for the first of them.
    let (_, len) =
        v2020::cut(bytes, min_bytes, average_bytes, max_bytes, strict, loose, strict << 1, loose << 1);
    len
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Bytes without pattern, the same for the same seed.
    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn ends(bytes: &[u8], window_bytes: usize) -> Vec<u64> {
        let chunks = chunks_by_window(&bytes, 0..bytes.len() as u64, SIZES, window_bytes).unwrap();
        chunks.iter().map(|chunk| chunk.range.end).collect()
    }

    /// The borders are a promise: with others, nothing stored before is found again. A new version of
    /// the `fastcdc` crate that moves them must not come unnoticed.
    #[test]
    fn borders_stay_where_they_are() {
        let found = ends(&noise(1 << 20, 7), WINDOW_BYTES);
        assert_eq!(
            found,
            [132218, 230063, 276072, 478805, 588928, 638976, 727077, 854010, 962728, 1007004, 1048576]
        );
    }

    /// An estimate of a file is as long as the file, whatever is in it.
    #[test]
    fn pieces_tile_a_range() {
        let average = SIZES.average_bytes as u64;
        let found: Vec<_> = pieces(&[0u8; 0].as_slice(), 5..2 * average + 7).unwrap();
        let ranges: Vec<_> = found.into_iter().map(|piece| piece.range).collect();
        assert_eq!(ranges, [5..5 + average, 5 + average..5 + 2 * average, 5 + 2 * average..2 * average + 7]);
        assert!(pieces(&[0u8; 0].as_slice(), 5..5).unwrap().is_empty());
    }

    /// Constant bytes have no borders of their own, and the last chunk may be short.
    #[test]
    fn chunks_keep_their_limits() {
        assert!(ends(&[], WINDOW_BYTES).is_empty());
        assert_eq!(ends(&[0; 5], WINDOW_BYTES), [5]);
        let max = SIZES.max_bytes as u64;
        assert_eq!(ends(&[0; 2 * SIZES.max_bytes + 9], WINDOW_BYTES), [max, 2 * max, 2 * max + 9]);
    }

    /// That is what content-defined chunks are for.
    #[test]
    fn an_inserted_byte_moves_few_borders() {
        let before = noise(16 << 20, 1);
        let mut after = before.clone();
        after.insert(before.len() / 2, b'!');
        let chunks = |bytes: &[u8]| -> HashSet<blake3::Hash> {
            let chunks = chunks(&bytes, 0..bytes.len() as u64).unwrap();
            let hash = |range: Range<u64>| blake3::hash(&bytes[range.start as usize..range.end as usize]);
            chunks.into_iter().map(|chunk| hash(chunk.range)).collect()
        };
        let (old, new) = (chunks(&before), chunks(&after));
        let kept = old.intersection(&new).count();
        assert!(kept * 100 >= old.len() * 95, "{kept} of {} chunks survive", old.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// How the file is read must not show in the store.
        #[test]
        fn the_window_does_not_move_borders(
            len in 0usize..3 << 20, seed: u8, window_bytes in SIZES.max_bytes..2 << 20, zeros in 0usize..1 << 20
        ) {
            let mut bytes = noise(len, seed);
            bytes[len / 3..].iter_mut().take(zeros).for_each(|byte| *byte = 0);
            prop_assert_eq!(ends(&bytes, window_bytes), ends(&bytes, usize::MAX));
        }
    }
}
