//! Large tensors are sliced at row borders, without reading them.

use std::sync::atomic::Ordering::Relaxed;

use git_sparse::format::{MAX_SLICE_ELEMENTS, Segment, cut};

use crate::watched::Sparse;
use crate::write::{safetensors, tensor};

/// The slices of one tensor in a file that holds nothing else.
fn slices(dtype: &str, width: u64, shape: &[u64]) -> Vec<Segment> {
    let len = shape.iter().product::<u64>() * width;
    let shape_text = serde_json::to_string(shape).unwrap();
    let head = safetensors(&format!("{{{}}}", tensor("w", dtype, &shape_text, 0, len)), &[]);
    let file = Sparse { len: head.len() as u64 + len, head, ..Sparse::default() };
    let cut = cut(&file).unwrap();
    assert!(file.read_bytes.load(Relaxed) < 1 << 20, "only the header is read");

    let slices = cut.segments()[1..].to_vec();
    for (number, slice) in slices.iter().enumerate() {
        assert_eq!((slice.name.as_str(), slice.slice as usize), ("w", number));
        assert_eq!(slice.shape, shape);
        assert_eq!(slice.row_len, *shape.last().unwrap());
    }
    slices
}

fn elements(slices: &[Segment], width: u64) -> Vec<u64> {
    slices.iter().map(|slice| (slice.range.end - slice.range.start) / width).collect()
}

/// A delta between two copies of a tensor works on slices: those of each type must pair up.
#[test]
fn types_of_all_widths_have_the_same_slices() {
    let shape = [10_000, 4_100];
    let rows_per_slice = MAX_SLICE_ELEMENTS / 4_100;
    let wide = elements(&slices("F32", 4, &shape), 4);
    assert_eq!(wide[0], rows_per_slice * 4_100);
    assert_eq!(wide.iter().sum::<u64>(), 10_000 * 4_100);
    for (dtype, width) in [("U8", 1), ("BF16", 2), ("F64", 8)] {
        assert_eq!(elements(&slices(dtype, width, &shape), width), wide, "{dtype}");
    }
}

/// A row that is too long for a slice is cut inside, and the next one starts anew.
#[test]
fn long_rows_are_cut_inside() {
    let max = MAX_SLICE_ELEMENTS;
    assert_eq!(elements(&slices("F32", 4, &[3, max]), 4), [max; 3]);
    assert_eq!(elements(&slices("F32", 4, &[2, max + 5]), 4), [max, 5, max, 5]);
    assert_eq!(elements(&slices("F32", 4, &[2 * max + 1]), 4), [max, max, 1]);
    assert_eq!(elements(&slices("F32", 4, &[max / 2 + 1, 2, 1]), 4), [max, 2]);
}

/// The largest single files of today are cut by their headers alone.
#[test]
fn a_file_of_140_gigabytes_is_cut_by_its_header() {
    let slices = slices("BF16", 2, &[70_000, 1_000_000]);
    assert_eq!(slices.len(), 70_000usize.div_ceil(4));
}
