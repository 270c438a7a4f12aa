//! GGUF files are cut at their tensors, quantised or not.

use git_sparse::format::{Dtype, Format};
use proptest::prelude::*;

use crate::write::Gguf;
use crate::{cut_and_rejoin, named};

/// Some types: number, elements and bytes of a block, and what their rows are read as.
const KINDS: [(u32, u64, u64, Dtype); 7] = [
    (0, 1, 4, Dtype::F32),
    (1, 1, 2, Dtype::F16),
    (30, 1, 2, Dtype::Bf16),
    (27, 1, 8, Dtype::I64),
    (2, 32, 18, Dtype::U8),
    (8, 32, 34, Dtype::U8),
    (14, 256, 210, Dtype::U8),
];

/// A file with some metadata of every kind.
fn file(version: u32, alignment: u32, tensors: &[(usize, u64, u64)]) -> (Vec<u8>, Vec<std::ops::Range<u64>>) {
    let mut file = Gguf::new(version, tensors.len() as u64, 4)
        .string("general.name")
        .u32(8)
        .string("a model")
        .alignment(alignment)
        .string("tokens")
        .u32(9)
        .u32(8)
        .length(2)
        .string("<s>")
        .string("")
        .string("nested")
        .u32(9)
        .u32(9)
        .length(2)
        .u32(4)
        .length(1)
        .u32(77)
        .u32(0)
        .length(0);
    let mut offset = 0;
    let mut ranges = Vec::new();
    for (at, &(kind, blocks, rows)) in tensors.iter().enumerate() {
        let (number, block, bytes, _) = KINDS[kind];
        file = file.tensor(&format!("blk.{at}"), number, &[blocks * block, rows], offset);
        let len = blocks * bytes * rows;
        ranges.push(offset..offset + len);
        offset = (offset + len).next_multiple_of(alignment.into());
    }
    let mut bytes = file.pad(alignment as usize).bytes;
    let data_at = bytes.len() as u64;
    let end = ranges.last().map_or(0, |range| range.end);
    bytes.resize(bytes.len() + end as usize, 5);
    let ranges = ranges.iter().map(|range| range.start + data_at..range.end + data_at);
    (bytes, ranges.collect())
}

proptest! {
    /// Each tensor is a segment with whole rows, in every version of the format.
    #[test]
    fn tensors_are_segments(
        version in 1u32..=3,
        alignment in (0u32..8).prop_map(|power| 1 << power),
        tensors in prop::collection::vec((0..KINDS.len(), 1u64..4, 1u64..5), 0..6),
    ) {
        let (bytes, ranges) = file(version, alignment, &tensors);
        let cut = cut_and_rejoin(&bytes);
        prop_assert_eq!(cut.format(), Format::Gguf);
        let found = named(&cut);
        prop_assert_eq!(found.len(), tensors.len());
        for ((segment, range), (kind, blocks, rows)) in found.into_iter().zip(ranges).zip(tensors) {
            let (_, block, bytes, dtype) = KINDS[kind];
            prop_assert_eq!(&segment.range, &range);
            prop_assert_eq!(segment.dtype, dtype);
            prop_assert_eq!(segment.row_len, blocks * bytes / dtype.width() as u64);
            prop_assert_eq!(&segment.shape, &vec![rows, blocks * block]);
        }
    }
}

/// A type of tomorrow costs its own borders, not those of its neighbours.
#[test]
fn an_unknown_type_is_filler() {
    let bytes = Gguf::new(3, 3, 0)
        .tensor("a", 0, &[8], 0)
        .tensor("new", 999, &[8], 32)
        .tensor("b", 0, &[8], 64)
        .pad(32)
        .raw(&[1; 96])
        .bytes;
    let cut = cut_and_rejoin(&bytes);
    let names: Vec<_> = cut.segments().iter().map(|segment| segment.name.as_str()).collect();
    assert_eq!(names, ["", "a", "", "b"]);
}

/// The other byte order reads as version 50331648 and is cut by content.
#[test]
fn big_endian_files_are_not_guessed_at() {
    let mut bytes = file(3, 32, &[(0, 1, 1)]).0;
    bytes[4..8].reverse();
    assert_eq!(cut_and_rejoin(&bytes).format(), Format::Chunked);
}
