//! Rows that are left because of what a cell is: a rule, and not a list of rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use git_sparse::backend::Memory;
use git_sparse::codec::Codec;
use git_sparse::id::Oid;
use git_sparse::ingest::Ingested;
use git_sparse::store::Store;
use parquet::arrow::ArrowWriter;

use super::keep;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

/// The rows that `is_left` leaves of some thousand: an id, one of twelve groups or none, a text, in no order.
fn table(is_left: impl Fn(u64) -> bool) -> Vec<u8> {
    let rows: Vec<u64> = (0..6000).filter(|row| is_left(*row)).collect();
    let ids = rows.iter().map(|row| (row * 7919 % 6007) as i64);
    let groups = rows.iter().map(|row| group(*row).map(|group| format!("group {group}")));
    let texts = rows.iter().map(|row| Some(format!("text of {}", row * row)));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids))),
        ("group", Arc::new(StringArray::from_iter(groups))),
        ("text", Arc::new(StringArray::from_iter(texts))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn group(row: u64) -> Option<u64> {
    let mixed = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (mixed % 13 < 12).then_some(mixed % 13)
}

/// A store with the whole table and with what is left of it, and the codecs of the maps of rows there.
fn kept(left: &[u8]) -> (Ingested, Vec<Codec>) {
    let (store, whole) = (fresh(Memory::default()), table(|_| true));
    let first = keep(&store, &whole, &[]);
    let second = keep(&store, left, &[first.oid]);
    let files =
        [whole, left.to_vec()].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "filtered");
    assert_clean(&store, "filtered");
    (second, maps(&store, second.oid))
}

fn maps(store: &Store, oid: Oid) -> Vec<Codec> {
    let parts = store.recipe(&oid).unwrap().unwrap().parts;
    let records = parts.iter().map(|part| store.find(&part.object).unwrap().record);
    let pages = records.filter(|record| record.codec == Codec::Pages);
    let cells = pages.map(|pages| store.find(&pages.bases[0]).unwrap().record);
    cells.map(|cells| store.find(&cells.bases[0]).unwrap().record.codec).collect()
}

#[test]
fn rows_that_are_left_by_a_value_cost_a_rule() {
    let some = table(|row| matches!(group(row), None | Some(3 | 4 | 9)));
    let (by_rule, maps) = kept(&some);
    assert_eq!(maps, [Codec::Filtered; 3]);
    // As many that no column tells apart.
    let (by_rows, maps) = kept(&table(|row| group(row * 31 + 7).is_none_or(|group| group < 3)));
    assert!(!maps.contains(&Codec::Filtered), "{maps:?}");
    assert!(by_rule.stored * 2 < by_rows.stored, "{by_rule:?} {by_rows:?}");
}
