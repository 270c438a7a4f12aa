//! Text: JSON by lines, CSV, logs, anything that is written in lines.
//!
//! A new version is compared with the old one wherever its lines lie now (docs/architecture.md, "Text"), so chunks need
//! not be small to be found again; large ones compress better and cost less by their number.

use std::io;
use std::ops::Range;

use super::chunked::{Sizes, chunks_by_window};
use super::{Segment, Source};

/// Written down in docs/cut.md.
const SIZES: Sizes = Sizes { min_bytes: 2 << 20, average_bytes: 4 << 20, max_bytes: 8 << 20 };

/// Bytes in memory at a time; has no influence on the borders.
const WINDOW_BYTES: usize = 12 << 20;

/// So much of the beginning tells whether it is text.
const LOOK_BYTES: u64 = 16 << 10;
/// The longest part of a character that the end of the look cuts off.
const MOST_CUT_OFF: usize = 3;

/// Whether a source begins like text: UTF-8 without controls, but those that format.
pub(super) fn is_text(source: &dyn Source) -> io::Result<bool> {
    let mut begin = vec![0; source.len().min(LOOK_BYTES) as usize];
    source.read_at(&mut begin, 0)?;
    let is_whole = source.len() <= LOOK_BYTES;
    let valid = match std::str::from_utf8(&begin) {
        Ok(_) => begin.len(),
        Err(error) => error.valid_up_to(),
    };
    let is_utf8 = valid == begin.len() || (!is_whole && begin.len() - valid <= MOST_CUT_OFF);
    let is_control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    Ok(!begin.is_empty() && is_utf8 && !begin.iter().any(is_control))
}

/// The chunks of `range`, which must lie inside the source.
pub(super) fn chunks(source: &dyn Source, range: Range<u64>) -> io::Result<Vec<Segment>> {
    chunks_by_window(source, range, SIZES, WINDOW_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It decides the size of chunks, and must not change from one version to the next for an edit in the middle.
    #[test]
    fn text_is_told_from_its_beginning() {
        let tells = |bytes: &[u8]| is_text(&bytes).unwrap();
        assert!(tells(b"{\"a\": 1}\n"));
        assert!(tells("a\tb\r\ncaf\u{e9}".as_bytes()));
        assert!(!tells(b""));
        assert!(!tells(b"a\0b"));
        assert!(!tells(b"caf\xe9"));
        let mut long = "\u{20ac}".repeat(LOOK_BYTES as usize).into_bytes();
        assert!(tells(&long), "a character is cut off");
        long[40_000] = 0;
        assert!(tells(&long));
        long[400] = 0;
        assert!(!tells(&long));
    }

    /// The borders are a promise: with others, nothing stored before is found again.
    #[test]
    fn borders_stay_where_they_are() {
        let mut bytes = vec![0; 20 << 20];
        blake3::Hasher::new_keyed(&[7; 32]).finalize_xof().fill(&mut bytes);
        let found: Vec<u64> =
            chunks(&bytes, 0..bytes.len() as u64).unwrap().iter().map(|chunk| chunk.range.end).collect();
        assert_eq!(found, [6020389, 9425377, 14922478, 17902719, 20543332, 20971520]);
    }
}
