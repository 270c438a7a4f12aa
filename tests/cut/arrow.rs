//! Arrow's files and streams are cut at the buffers of their columns.

use std::collections::HashSet;

use git_sparse::format::{Dtype, Format};

use crate::{cut_and_rejoin, named};

const FILE: &[u8] = include_bytes!("../data/arrow/plain-1.arrow");
const STREAM: &[u8] = include_bytes!("../data/arrow/stream-1.arrow");
const OF_POLARS: &[u8] = include_bytes!("../data/arrow/polars-1.arrow");
const PACKED: &[u8] = include_bytes!("../data/arrow/zstd-1.arrow");

/// Buffers have the names of their columns and the types of their numbers, and are numbered through all batches.
#[test]
fn buffers_are_segments() {
    for bytes in [FILE, STREAM] {
        let cut = cut_and_rejoin(bytes);
        assert_eq!(cut.format(), Format::Arrow);
        let found: HashSet<_> = named(&cut).iter().map(|it| (it.name.as_str(), it.slice, it.dtype)).collect();
        for (name, dtype) in [
            ("name/offsets", Dtype::I32),
            ("name", Dtype::Bytes),
            ("size", Dtype::I64),
            ("kind", Dtype::I32),
            ("list/offsets", Dtype::I32),
            ("weight/validity", Dtype::Bytes),
            ("weight", Dtype::F32),
        ] {
            assert!([0, 1].iter().all(|slice| found.contains(&(name, *slice, dtype))), "{name} in {found:?}");
        }
    }
}

/// What is packed has no type; it has its column's name nevertheless.
#[test]
fn packed_buffers_are_bytes() {
    let cut = cut_and_rejoin(PACKED);
    assert!(named(&cut).iter().any(|segment| segment.name == "size"));
    assert!(named(&cut).iter().all(|segment| segment.dtype == Dtype::Bytes));
}

/// Polars writes no message with the schema: only the footer tells where its batches are.
#[test]
fn a_footer_leads_to_the_buffers() {
    let cut = cut_and_rejoin(OF_POLARS);
    assert_eq!(cut.format(), Format::Arrow);
    let found: HashSet<_> = named(&cut).iter().map(|it| (it.name.as_str(), it.dtype)).collect();
    for (name, dtype) in [
        ("name", Dtype::Bytes),
        ("name/strings", Dtype::Bytes),
        ("size", Dtype::I64),
        ("list/offsets", Dtype::I64),
        ("weight/validity", Dtype::Bytes),
        ("weight", Dtype::F32),
    ] {
        assert!(found.contains(&(name, dtype)), "{name} in {found:?}");
    }
    let cut_off = &OF_POLARS[..OF_POLARS.len() - 1];
    assert_ne!(cut_and_rejoin(cut_off).format(), Format::Arrow, "one that was cut off has no footer");
}

/// A file that was cut off anywhere is stored, too.
#[test]
fn truncated_files_tile() {
    for end in (0..STREAM.len()).step_by(97) {
        cut_and_rejoin(&STREAM[..end]);
    }
}

/// So is one whose footer lies.
#[test]
fn damaged_footers_tile() {
    for at in (OF_POLARS.len() - 400..OF_POLARS.len() - 4).step_by(4) {
        for lie in [0u32, 1, 0x7fff_ffff, 0xffff_fff0, 0x100] {
            let mut bytes = OF_POLARS.to_vec();
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            cut_and_rejoin(&bytes);
        }
    }
}

/// Offsets that lead anywhere: none is believed.
#[test]
fn damaged_metadata_tile() {
    for at in (0..3000).step_by(4) {
        for lie in [0u32, 1, 0x7fff_ffff, 0xffff_fff0, 0x100] {
            let mut bytes = STREAM.to_vec();
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            cut_and_rejoin(&bytes);
        }
    }
}
