//! Zip archives are cut at the data of their members, and nothing in them is opened.

use git_sparse::format::{Dtype, Format};
use proptest::prelude::*;

use crate::write::Zip;
use crate::{content, cut_and_rejoin, named};

proptest! {
    /// Each member is a segment, also with sizes of 8 bytes and a comment behind.
    #[test]
    fn members_are_segments(
        members in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..6),
        is_zip64: bool,
        comment in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut zip = Zip { is_zip64, ..Zip::default() };
        let starts: Vec<_> = members.iter().enumerate().map(|(at, data)| zip.member(&format!("m/data/{at}"), data)).collect();
        let cut = cut_and_rejoin(&zip.finish(&comment));
        prop_assert_eq!(cut.format(), Format::Zip);
        let found = named(&cut);
        prop_assert_eq!(found.len(), members.len());
        for ((segment, start), data) in found.into_iter().zip(starts).zip(members) {
            prop_assert_eq!(&segment.range, &(start..start + data.len() as u64));
            prop_assert_eq!((segment.dtype, segment.row_len), (Dtype::Bytes, 0));
        }
    }
}

/// An archive of another writer: stored and deflated members, a folder, a streamed member whose sizes
/// follow its data, a comment. Made by Python's `zipfile` with tests/data/zip/make.py.
#[test]
fn an_archive_of_python_is_cut_at_its_members() {
    let bytes = include_bytes!("../data/zip/python.zip");
    let cut = cut_and_rejoin(bytes);
    assert_eq!(cut.format(), Format::Zip);
    assert_eq!(content(&cut, bytes, "stored.txt"), b"stored as it is");
    assert_eq!(content(&cut, bytes, "streamed/é.bin"), [7; 100]);
    let deflated = content(&cut, bytes, "deflated.txt");
    assert!(deflated.len() < 100, "stays deflated: {deflated:?}");
    assert_eq!(named(&cut).len(), 3, "a folder has no data");
}

/// The reason why checkpoints are feared: whoever unpickles this one runs a program.
#[test]
fn a_pickle_is_never_run() {
    let canary = std::env::temp_dir().join(format!("git-sparse-canary-{}", std::process::id()));
    let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", canary.display());
    let mut zip = Zip::default();
    zip.member("archive/data.pkl", pickle.as_bytes());
    zip.member("archive/data/0", &[1; 64]);
    zip.member("../../../../tmp/evil", b"a name is no path");
    let bytes = zip.finish(b"");
    let cut = cut_and_rejoin(&bytes);
    assert_eq!(content(&cut, &bytes, "archive/data.pkl"), pickle.as_bytes());
    assert_eq!(content(&cut, &bytes, "../../../../tmp/evil"), b"a name is no path");
    assert!(!canary.exists(), "the pickle was run");
}
