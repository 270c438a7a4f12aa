//! From the arrays that a header tells of to segments that tile the file.
//!
//! Parsers only collect claims. What to believe, how to slice and what to do with the rest is decided
//! here, once for all formats: a claim that is out of bounds, overlaps or repeats a name is dropped,
//! and its bytes become filler.

use std::collections::HashSet;
use std::io;
use std::mem;
use std::ops::Range;

use super::chunked::Fill;
use super::{Dtype, MAX_SEGMENT_BYTES, MAX_SLICE_ELEMENTS, Segment, Source};

/// Bytes of one slice where there are no rows.
const BYTES_SLICE: u64 = 8 << 20;
/// Filler up to this length is one segment; more of it is cut by content.
const MAX_FILLER_BYTES: u64 = 1 << 20;
/// Every slice repeats name and shape: without limits a large file could make them fill the memory.
pub(super) const MAX_NAME_BYTES: usize = 4096;
pub(super) const MAX_RANK: usize = 32;
/// Most arrays in one file. A parser gives up beyond, so that the table of a file whose header repeats
/// one short line stays small.
pub const MAX_ARRAYS: usize = 1 << 20;
/// Keeps slice numbers far below 2^32; no file system holds such a file.
const MAX_ARRAY_BYTES: u64 = 1 << 48;

/// An array in a file, as its header tells.
#[derive(Debug)]
pub(super) struct Array {
    pub name: String,
    /// Number of its first slice, where others of that name lie elsewhere; else 0.
    first: u32,
    /// Where it lies in the file, in bytes.
    pub range: Range<u64>,
    pub dtype: Dtype,
    /// As in [`Segment`].
    pub row_len: u64,
    /// What a row counts for in a slice: `row_len`, or the elements of its blocks.
    row_elements: u64,
    /// Longest slice where there are no rows.
    slice_bytes: u64,
    pub shape: Vec<u64>,
}

/// How the elements of an array lie in the file: `block` of them take `units` numbers of `dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub dtype: Dtype,
    pub block: u64,
    pub units: u64,
}

impl Element {
    /// One number each.
    pub const fn plain(dtype: Dtype) -> Self {
        Element { dtype, block: 1, units: 1 }
    }

    /// Packed or quantised: `block` elements in `bytes` bytes.
    pub const fn packed(block: u64, bytes: u64) -> Self {
        Element { dtype: Dtype::U8, block, units: bytes }
    }
}

impl Array {
    /// An array of that shape; none where its size overflows or a row is no whole number of blocks.
    pub fn new(name: String, start: u64, element: Element, shape: Vec<u64>) -> Option<Self> {
        let (row, outer) = match shape.split_last() {
            Some((&row, outer)) => (row, outer),
            None => (1, [].as_slice()),
        };
        if row % element.block != 0 {
            return None;
        }
        let row_len = (row / element.block).checked_mul(element.units)?;
        let rows = outer.iter().try_fold(1u64, |rows, &len| rows.checked_mul(len))?;
        let len = rows.checked_mul(row_len)?.checked_mul(element.dtype.width() as u64)?;
        let range = start..start.checked_add(len)?;
        let row_elements = if element.block == 1 { row_len } else { row };
        let dtype = element.dtype;
        Some(Array { dtype, row_len, row_elements, ..Array::bytes(name, range, shape) })
    }

    /// Bytes without rows.
    pub fn bytes(name: String, range: Range<u64>, shape: Vec<u64>) -> Self {
        let (dtype, slice_bytes) = (Dtype::Bytes, BYTES_SLICE);
        Array { name, first: 0, range, dtype, row_len: 0, row_elements: 0, slice_bytes, shape }
    }

    /// One slice, of at most [`MAX_SEGMENT_BYTES`], of bytes that lie in several places.
    pub fn slice(name: String, number: u32, range: Range<u64>) -> Self {
        Array { first: number, slice_bytes: MAX_SEGMENT_BYTES, ..Array::bytes(name, range, Vec::new()) }
    }

    /// Numbers without rows, the first slice of which has this number.
    pub fn numbers(name: String, number: u32, range: Range<u64>, dtype: Dtype) -> Self {
        let slice_bytes = MAX_SLICE_ELEMENTS * dtype.width() as u64;
        Array { first: number, dtype, slice_bytes, ..Array::bytes(name, range, Vec::new()) }
    }

    fn is_usable(&self) -> bool {
        let len = self.range.end.saturating_sub(self.range.start);
        (1..=MAX_ARRAY_BYTES).contains(&len)
            && (1..=MAX_NAME_BYTES).contains(&self.name.len())
            && self.shape.len() <= MAX_RANK
    }

    /// Where the slice that starts at byte `at` of the array ends, in bytes from its start.
    fn slice_end(&self, at: u64) -> u64 {
        let len = self.range.end - self.range.start;
        let width = self.dtype.width() as u64;
        let end = match self.row_len {
            0 => at + self.slice_bytes,
            row_len if row_len <= MAX_SLICE_ELEMENTS => {
                at + (MAX_SLICE_ELEMENTS / self.row_elements).max(1) * row_len * width
            }
            row_len => {
                let row_end = (at / (row_len * width) + 1) * row_len * width;
                row_end.min(at + MAX_SLICE_ELEMENTS * width)
            }
        };
        end.min(len)
    }

    fn push_slices(mut self, segments: &mut Vec<Segment>) {
        let Range { start, end } = self.range;
        let mut at = 0;
        let mut slice = self.first;
        while start + at < end {
            let next = self.slice_end(at);
            // Most arrays have one slice, which can have the only copy of the name.
            let (name, shape) = if start + next == end {
                (mem::take(&mut self.name), mem::take(&mut self.shape))
            } else {
                (self.name.clone(), self.shape.clone())
            };
            let range = start + at..start + next;
            segments.push(Segment { range, name, slice, dtype: self.dtype, row_len: self.row_len, shape });
            at = next;
            slice += 1;
        }
    }
}

impl Segment {
    /// Bytes that belong to no tensor or member.
    pub(super) fn nameless(range: Range<u64>) -> Self {
        Segment { range, name: String::new(), slice: 0, dtype: Dtype::Bytes, row_len: 0, shape: Vec::new() }
    }
}

/// Segments that tile the source: its header up to `head`, then the arrays in the order of the file
/// and filler between and behind them, which `fill` cuts where there is much of it.
pub(super) fn tile(
    source: &dyn Source,
    head: u64,
    arrays: Vec<Array>,
    fill: Fill,
) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let push_filler = |range, segments: &mut _| push_filler(source, range, fill, segments);
    push_filler(0..head, &mut segments)?;
    let mut at = head;
    for array in usable(arrays) {
        let Range { start, end } = array.range;
        if start < at || end > source.len() {
            continue;
        }
        push_filler(at..start, &mut segments)?;
        array.push_slices(&mut segments);
        at = end;
    }
    push_filler(at..source.len(), &mut segments)?;
    Ok(segments)
}

/// The arrays that can be used as far as they themselves tell, by offset; of equal names and numbers the first.
fn usable(mut arrays: Vec<Array>) -> impl Iterator<Item = Array> {
    arrays.retain(Array::is_usable);
    arrays.sort_by_key(|array| array.range.start);
    let mut seen = HashSet::with_capacity(arrays.len());
    let is_first: Vec<bool> =
        arrays.iter().map(|array| seen.insert((array.name.as_str(), array.first))).collect();
    arrays.into_iter().zip(is_first).filter_map(|(array, is_first)| is_first.then_some(array))
}

fn push_filler(
    source: &dyn Source,
    range: Range<u64>,
    fill: Fill,
    segments: &mut Vec<Segment>,
) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    if range.end - range.start <= MAX_FILLER_BYTES {
        segments.push(Segment::nameless(range));
    } else {
        segments.extend(fill(source, range)?);
    }
    Ok(())
}
