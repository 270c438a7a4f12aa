//! Tar archives are cut at their members.

use git_sparse::format::Format;

use crate::write::{tar, tar_header};
use crate::{content, cut_and_rejoin, named};

/// Members have their names and bytes; what is small stays with the headers.
#[test]
fn members_are_segments() {
    let bytes = tar(&[("a/one.png", &[7; 5000]), ("a/one.json", b"{}"), ("a/two.png", &[8; 4096])]);
    let cut = cut_and_rejoin(&bytes);
    assert_eq!((cut.format(), named(&cut).len()), (Format::Tar, 2));
    assert_eq!(content(&cut, &bytes, "a/one.png"), [7; 5000]);
    assert_eq!(content(&cut, &bytes, "a/two.png"), [8; 4096]);
}

/// GNU tar and pax tell long names and lengths in blocks of their own.
#[test]
fn long_names_and_lengths_are_read() {
    let long = "d/".repeat(120) + "file";
    let record = format!("path={long}\n");
    let len = record.len() + 4;
    let pax = format!("{len} {record}");
    for (kind, told) in [(b'L', long.clone() + "\0"), (b'x', pax)] {
        let mut bytes = tar_header("././@LongLink", &format!("{:011o}", told.len()), kind).to_vec();
        bytes.extend(told.as_bytes());
        bytes.resize(1024, 0);
        bytes.extend(tar(&[("short", &[9; 6000])]));
        assert_eq!(content(&cut_and_rejoin(&bytes), &bytes, &long), [9; 6000]);
    }
}

/// Lengths that reach beyond the file, sums that are wrong: what was true before stays.
#[test]
fn lies_end_the_archive() {
    let good = tar(&[("one", &[7; 5000])]);
    let good = &good[..good.len() - 1024];
    for lie in [tar_header("two", "77777777777", b'0'), tar_header("two", "99999999999", b'0'), [1; 512]] {
        let bytes = [good, &lie, &[5; 9000]].concat();
        let cut = cut_and_rejoin(&bytes);
        assert_eq!(named(&cut).len(), 1);
    }
}
