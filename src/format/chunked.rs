//! Content-defined chunks, for what has no structure that we know: text, logs, damaged files.
//!
//! Borders depend on the bytes around them alone, so that an insertion moves only the borders beside
//! it. The method is FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", IEEE TPDS 2020), as in the `fastcdc` crate.

use std::io;
use std::ops::Range;

use fastcdc::v2020::{self, Normalization};

use super::{Segment, Source};

// These four are written down in docs/format-cut.md. Others would still read every store, but
// nothing stored before would be found again: a change is a new version of the cut.
const MIN_BYTES: usize = 16 << 10;
const AVERAGE_BYTES: usize = 64 << 10;
const MAX_BYTES: usize = 256 << 10;
const LEVEL: Normalization = Normalization::Level1;

/// Bytes in memory at a time; has no influence on the borders.
const WINDOW_BYTES: usize = 4 << 20;

/// The chunks of `range`, which must lie inside the source.
pub(super) fn chunks(source: &dyn Source, range: Range<u64>) -> io::Result<Vec<Segment>> {
    chunks_by_window(source, range, WINDOW_BYTES)
}

/// A chunk is cut only when [`MAX_BYTES`] lie in the window, or the rest of the range: so it is cut
/// as if the whole range lay there.
fn chunks_by_window(source: &dyn Source, range: Range<u64>, window_bytes: usize) -> io::Result<Vec<Segment>> {
    assert!(window_bytes >= MAX_BYTES, "a window of {window_bytes} bytes holds no chunk");
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
        while len - used >= MAX_BYTES || (is_last && used < len) {
            let next = used + chunk_len(&window[used..]);
            segments.push(Segment::nameless(at + used as u64..at + next as u64));
            used = next;
        }
        window.drain(..used);
        at += used as u64;
    }
    Ok(segments)
}

/// Length of the first chunk of `bytes`, which is not empty.
fn chunk_len(bytes: &[u8]) -> usize {
    let (strict, loose) = v2020::select_masks(AVERAGE_BYTES, LEVEL);
    // The crate tests two bytes per step; the second pair of masks is for the first of them.
    let (_, len) =
        v2020::cut(bytes, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES, strict, loose, strict << 1, loose << 1);
    len
}
