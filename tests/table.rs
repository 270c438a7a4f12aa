//! Tables: the next version is compared with the one before, page by page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::census;
use git_sparse::codec::Effort;
use git_sparse::format::{Format, cut};
use git_sparse::id::Oid;
use git_sparse::ingest::{Ingested, ingest};
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::store::Store;

use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

fn keep(store: &Store, bytes: &[u8], earlier: &[Oid]) -> Ingested {
    let hints = Hints { earlier: earlier.to_vec(), ..Hints::default() };
    ingest(store, &bytes, Oid::of(bytes), &hints, Effort::Push, &unwatched).unwrap()
}

/// A table of which one page and the footer changed adds these two, and comes back.
#[test]
fn the_next_version_of_a_table_adds_what_changed() {
    let old = include_bytes!("data/parquet/pyarrow-v1.parquet").to_vec();
    let cut = cut(&old).unwrap();
    let page =
        cut.segments().iter().find(|segment| (segment.name.as_str(), segment.slice) == ("score", 2)).unwrap();
    let writer = old.windows(11).rposition(|bytes| bytes == b"parquet-cpp").unwrap();
    let mut new = old.clone();
    new[page.range.end as usize - 1] ^= 1;
    new[writer] ^= 1;
    let store = fresh(Memory::default());
    let first = keep(&store, &old, &[]);
    assert!(first.new_objects > 100, "{first:?}");
    let second = keep(&store, &new, &[first.oid]);
    assert_eq!((second.new_objects, second.base), (2, Some((first.oid, Reason::History))));
    let recipe = store.recipe(&second.oid).unwrap().unwrap();
    assert_eq!(recipe.format, Format::Parquet);
    assert!(second.stored < 600, "{second:?}");
}

fn data(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Two versions of a real table as pyarrow writes it: each page is compared with what it was when both are unpacked.
#[test]
fn pages_are_compared_unpacked() {
    let [old, new] = [data("tables/contrib-1.parquet"), data("tables/contrib-2.parquet")];
    let store = fresh(Memory::default());
    let first = keep(&store, &old, &[]);
    let second = keep(&store, &new, &[first.oid]);
    assert!(first.stored < old.len() as u64, "{first:?}");
    assert!(second.stored * 10 < new.len() as u64 * 6, "{second:?} of {} bytes", new.len());
    let cost = census::file(&store, &store.recipe(&second.oid).unwrap().unwrap()).unwrap();
    assert!(cost.codecs.contains_key("packed") && cost.stored == second.stored, "{cost:?}");
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "by pages");
    assert_clean(&store, "with pages");
}

/// Every writer's pages come back, those whose packer is not known as they are.
#[test]
fn tables_of_all_writers_come_back() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut packed = BTreeSet::new();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| name.ends_with(".parquet")) {
        let bytes = data(&format!("parquet/{name}"));
        let store = fresh(Memory::default());
        let kept = keep(&store, &bytes, &[]);
        let cost = census::file(&store, &store.recipe(&kept.oid).unwrap().unwrap()).unwrap();
        packed.extend(cost.codecs.contains_key("packed").then(|| name.split('-').next().unwrap().to_owned()));
        assert_gives_back(&store, &[Sample { oid: kept.oid, bytes, earlier: Vec::new() }], name);
    }
    for writer in ["duckdb", "fastparquet.parquet", "parquet", "polars", "pyarrow"] {
        assert!(packed.contains(writer), "{writer}: {packed:?}");
    }
}
