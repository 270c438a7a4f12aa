//! Any bytes, under the name of any kind of table, are read, summed up and compared with themselves, or refused.
//!
//! `cargo +nightly fuzz run table`, with tests/data/parquet as a further corpus. A panic inside a decoder is an
//! error of the table; libFuzzer stops at it all the same unless it runs with `-ignore_crashes=1 -fork=1`.

#![no_main]

use std::sync::Arc;

use git_sparse::dataset::diff::diff;
use git_sparse::dataset::{File, Table, summary};
use git_sparse::progress::unwatched;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["x", "x.csv", "x.jsonl", "x.tsv.gz", "x.csv.zst"] {
        let file: File = Arc::new(bytes.to_vec());
        let Ok(table) = Table::open(file, name) else { continue };
        if summary(&table, &unwatched).is_ok()
            && let Ok(found) = diff(&table, &table, &[], &unwatched)
        {
            assert!(found.is_empty());
        }
    }
});
