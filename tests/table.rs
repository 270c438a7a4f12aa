//! Tables: the next version is compared with the one before, page by page.

use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::codec::Effort;
use git_sparse::format::{Format, cut};
use git_sparse::id::Oid;
use git_sparse::ingest::{Ingested, ingest};
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::store::Store;

use crate::support::samples::fresh;

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
