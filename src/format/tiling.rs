//! `Cut`: segments that are known to tile their file.
//!
//! Whoever holds one may write the segments one after another and has the file back; that is why
//! there is no other way to make one than to prove it.

use super::{Format, Segment};

/// No segment is longer, so that an encoder or decoder knows what memory it needs.
pub const MAX_SEGMENT_BYTES: u64 = 32 << 20;

/// A file cut into segments that tile it: in order, without gap or overlap, none empty or too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    format: Format,
    segments: Vec<Segment>,
}

/// Why segments do not tile a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TilingError {
    #[error("segment {index} starts at {found}, expected {expected}")]
    Start { index: usize, expected: u64, found: u64 },
    #[error("segment {index} starts at {start} and ends at {end}, expected 1 to {MAX_SEGMENT_BYTES} bytes")]
    Length { index: usize, start: u64, end: u64 },
    #[error("the last segment ends at {found}, the file has {expected} bytes")]
    End { expected: u64, found: u64 },
}

impl Cut {
    /// A cut of a file of `len` bytes.
    ///
    /// # Errors
    /// The first segment that leaves a gap, overlaps, is empty or is longer than
    /// [`MAX_SEGMENT_BYTES`], or an end that is not the file's.
    pub fn tiling(format: Format, len: u64, segments: Vec<Segment>) -> Result<Cut, TilingError> {
        let mut at = 0;
        for (index, Segment { range, .. }) in segments.iter().enumerate() {
            if range.start != at {
                return Err(TilingError::Start { index, expected: at, found: range.start });
            }
            if range.is_empty() || range.end - range.start > MAX_SEGMENT_BYTES {
                return Err(TilingError::Length { index, start: range.start, end: range.end });
            }
            at = range.end;
        }
        if at != len {
            return Err(TilingError::End { expected: len, found: at });
        }
        Ok(Cut { format, segments })
    }

    /// A file of `len` bytes as one segment.
    ///
    /// # Errors
    /// As [`Cut::tiling`].
    pub fn whole(format: Format, len: u64) -> Result<Cut, TilingError> {
        Cut::tiling(format, len, vec![Segment::nameless(0..len)])
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The segments, in the order of the file.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Dtype;

    /// The proof is worth what it refuses: each way to lose or double a byte.
    #[test]
    fn only_tilings_pass() {
        let tiling = |len, ranges: &[(u64, u64)]| {
            let segments = ranges.iter().map(|&(start, end)| Segment::nameless(start..end)).collect();
            Cut::tiling(Format::Chunked, len, segments)
        };
        assert!(tiling(0, &[]).is_ok());
        let cut = tiling(9, &[(0, 4), (4, 9)]).unwrap();
        assert_eq!(cut.segments()[1].dtype, Dtype::Bytes);

        let long = MAX_SEGMENT_BYTES;
        assert!(tiling(long, &[(0, long)]).is_ok());
        assert!(matches!(tiling(long + 1, &[(0, long + 1)]), Err(TilingError::Length { index: 0, .. })));
        assert!(matches!(tiling(9, &[]), Err(TilingError::End { .. })), "nothing");
        assert!(matches!(tiling(9, &[(0, 4), (5, 9)]), Err(TilingError::Start { index: 1, .. })), "gap");
        assert!(matches!(tiling(9, &[(0, 5), (4, 9)]), Err(TilingError::Start { .. })), "overlap");
        assert!(matches!(tiling(9, &[(4, 9), (0, 4)]), Err(TilingError::Start { index: 0, .. })), "order");
        assert!(matches!(tiling(9, &[(0, 9), (9, 9)]), Err(TilingError::Length { .. })), "empty");
        assert!(matches!(tiling(9, &[(0, 9), (9, 4)]), Err(TilingError::Length { .. })), "backwards");
        assert!(matches!(tiling(9, &[(0, 8)]), Err(TilingError::End { .. })), "short");
        assert!(matches!(tiling(9, &[(0, 10)]), Err(TilingError::End { .. })), "beyond");
    }
}
