//! Any bytes are cut without panic into segments that tile them, twice the same way.
//!
//! `cargo +nightly fuzz run cut`, with tests/data/arrow, tests/data/parquet, tests/data/gguf and tests/data/zip as further corpora

#![no_main]

use git_sparse::format::{Cut, cut, layout_of, pages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = cut(&bytes).expect("because memory can be read");
    let proven = Cut::tiling(found.format(), bytes.len() as u64, found.segments().to_vec());
    assert_eq!(proven.as_ref(), Ok(&found));
    assert_eq!(cut(&bytes).expect("because memory can be read"), found);
    layout_of(found.segments());
    for segment in found.segments() {
        let own = &bytes[segment.range.start as usize..segment.range.end as usize];
        if let Some(pages) = pages(own) {
            let parts = pages.iter().flat_map(|page| [page.header, page.plain, page.packed]);
            assert_eq!(parts.collect::<Vec<_>>().concat(), own);
        }
    }
});
