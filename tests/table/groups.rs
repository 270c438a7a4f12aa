//! The same rows in other groups: what the groups have in common is stored once.

use git_sparse::backend::Memory;
use git_sparse::codec::Codec;
use git_sparse::id::Oid;

use super::beside::table;
use super::keep;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

#[test]
fn groups_of_rows_share_their_plans() {
    let (old, new) = (table(true, 40_000), table(true, 2_000));
    let store = fresh(Memory::default());
    let first = keep(&store, &old, &[]);
    let second = keep(&store, &new, &[first.oid]);
    let parts = store.recipe(&second.oid).unwrap().unwrap().parts;
    let records = parts.iter().map(|part| store.find(&part.object).unwrap().record);
    let pages: Vec<_> = records.filter(|record| record.codec == Codec::Pages).collect();
    assert_eq!(pages.len(), 100, "{second:?}");
    for record in &pages {
        assert!(record.payload_len < 10, "a place among the plans: {record:?}");
        let cells = store.find(&record.bases[0]).unwrap().record;
        assert!(
            cells.codec == Codec::ColumnRows && cells.payload_len < 16,
            "rows and nothing else: {cells:?}"
        );
    }
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "in other groups");
    assert_clean(&store, "in other groups");
}
