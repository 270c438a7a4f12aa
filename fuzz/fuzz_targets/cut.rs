//! Any bytes are cut without panic into segments that tile them, twice the same way.
//!
//! `cargo +nightly fuzz run cut`

#![no_main]

use git_sparse::format::{Cut, cut, layout_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = cut(&bytes).expect("because memory can be read");
    let proven = Cut::tiling(found.format(), bytes.len() as u64, found.segments().to_vec());
    assert_eq!(proven.as_ref(), Ok(&found));
    assert_eq!(cut(&bytes).expect("because memory can be read"), found);
    layout_of(found.segments());
});
