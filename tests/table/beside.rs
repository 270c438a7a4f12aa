//! Columns that follow from others are stored by them.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use git_sparse::backend::Memory;
use git_sparse::codec::Codec;
use git_sparse::id::Oid;
use git_sparse::store::Store;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::keep;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

const ROWS: u64 = 40_000;

fn mixed(row: u64, salt: u64) -> u64 {
    (row + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

/// A town, which is free; how far it is and in which country, which follow, the country from the distance too; a
/// delay, which is free, and sometimes missing; whether that is late, where it is asked for.
pub fn table(has_late: bool, rows_in_group: usize) -> Vec<u8> {
    let town = |row| mixed(row, 1) % 90;
    let delay = |row| Some(mixed(row, 7) % 300).filter(|delay| *delay > 8);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("far", Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| (town(row) * 37 % 1009) as i64)))),
        ("town", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("town {}", town(row)))))),
        (
            "country",
            Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("c{}", town(row) % 11)))),
        ),
        ("delay", Arc::new(Int64Array::from_iter((0..ROWS).map(|row| delay(row).map(|delay| delay as i64))))),
    ];
    if has_late {
        let late = (0..ROWS).map(|row| delay(row).map(|delay| delay > 90));
        columns.push(("is_late", Arc::new(BooleanArray::from_iter(late))));
    }
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_in_group)).build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

/// How many runs of a file are stored by another column.
fn beside(store: &Store, oid: Oid) -> usize {
    let parts = store.recipe(&oid).unwrap().unwrap().parts;
    let records = parts.iter().map(|part| store.find(&part.object).unwrap().record);
    let pages = records.filter(|record| record.codec == Codec::Pages);
    let cells = pages.map(|pages| store.find(&pages.bases[0]).unwrap().record);
    cells.filter(|cells| cells.codec == Codec::ColumnBeside).count()
}

/// Of three columns that follow from each other one is enough, whichever comes first in the file.
#[test]
fn a_first_version_has_no_column_twice() {
    for (groups, rows_in_group) in [(1, ROWS as usize), (4, 10_000)] {
        let (store, file) = (fresh(Memory::default()), table(true, rows_in_group));
        let kept = keep(&store, &file, &[]);
        assert_eq!(beside(&store, kept.oid), 3 * groups, "{kept:?}");
        let files = [Sample { oid: kept.oid, bytes: file, earlier: Vec::new() }];
        assert_gives_back(&store, &files, "beside others");
        assert_clean(&store, "beside others");
    }
}

/// A column that somebody calculated is a few bytes beside what it was calculated from.
#[test]
fn a_column_that_was_calculated_takes_next_to_nothing() {
    let (old, new) = (table(false, ROWS as usize), table(true, ROWS as usize));
    let store = fresh(Memory::default());
    let first = keep(&store, &old, &[]);
    let second = keep(&store, &new, &[first.oid]);
    assert_eq!(beside(&store, second.oid), 3, "two of them were there before");
    assert!(second.stored < 1500, "{second:?}");
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "with a new column");
    assert_clean(&store, "with a new column");
}
