//! Two tables compared: what is told is what happened.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use git_sparse::dataset::diff::{NEW, TableDiff, details, diff, export};
use git_sparse::dataset::{ColumnChange, CompareError, Selection, Table, values};
use git_sparse::progress::unwatched;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{bytes, parquet, table};

fn compare(old: &Table, new: &Table, key: &[&str]) -> TableDiff {
    let key: Vec<String> = key.iter().map(|name| name.to_string()).collect();
    diff(old, new, &key, &unwatched).unwrap()
}

fn of(columns: Vec<(&str, ArrayRef)>) -> Table {
    table(parquet(columns, 4), "x.parquet")
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn words(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn objects(table: &Table) -> Vec<Map<String, Value>> {
    let batches = table.read(&Selection::default()).unwrap();
    batches.flat_map(|batch| values::objects(&batch.unwrap()).unwrap()).collect()
}

/// Values of JSON are what is written, whatever their column could hold, and stand in no order.
#[test]
fn values_of_json_are_compared_as_they_are_written() {
    let of = |lines: &[&str]| table(format!("{}\n", lines.join("\n")).into_bytes(), "x.jsonl");
    let rest = r#"{"id":2,"a":1.5,"b":[1]}"#;
    for (before, after) in
        [("9007199254740993", "9007199254740992"), ("1", "\"1\""), ("[1]", "[1.0]"), ("null", "\"null\"")]
    {
        let row = |value: &str| format!(r#"{{"id":1,"a":{value},"b":2}}"#);
        let (old, new) = (of(&[&row(before), rest]), of(&[&row(after), rest]));
        let found = compare(&old, &new, &["id"]);
        assert_eq!((&found.changed[..], &found.cells[..]), (&[(0, 0)][..], &[("a".to_owned(), 1)][..]));
        let told = &details(&old, &new, &found, 10).unwrap()[0];
        let value = |text: &str| Some(serde_json::from_str(text).unwrap());
        assert_eq!((&told.cells[0].old, &told.cells[0].new), (&value(before), &value(after)));
        assert_eq!((&told.key[0].old, &told.key[0].new), (&value("1"), &value("1")));
    }
    let (old, new) =
        (of(&[r#"{"id":1,"a":2}"#, r#"{"id":2,"a":3}"#]), of(&[r#"{"a":2, "id":1}"#, r#"{"id":2,"a":3}"#]));
    assert!(compare(&old, &new, &["id"]).is_empty());
    let found = compare(&of(&[r#"{"id":1,"a":2,"b":3}"#]), &of(&[r#"{"b":3,"a":2,"id":1}"#]), &[]);
    assert_eq!(found.columns, []);
}

/// Cells are told by key, and rows that came and went.
#[test]
fn a_key_tells_cells() {
    let old = of(vec![("id", ints(&[1, 2, 3, 4])), ("word", words(&["a", "b", "c", "d"]))]);
    let new = of(vec![("id", ints(&[1, 3, 5, 4])), ("word", words(&["a", "C", "e", "d"]))]);
    let found = compare(&old, &new, &["id"]);
    assert_eq!(
        (&found.added[..], &found.removed[..], &found.changed[..]),
        (&[2][..], &[1][..], &[(2, 1)][..])
    );
    assert_eq!(found.cells, [("word".to_owned(), 1)]);
    assert_eq!(found.moved, 0);
    let told = details(&old, &new, &found, 10).unwrap();
    assert_eq!(told.iter().map(|change| change.change).collect::<Vec<_>>(), ["changed", "removed", "added"]);
    assert_eq!(told[0].cells[0].old, Some(Value::from("c")));
    assert_eq!(told[0].key[0].new, Some(Value::from(3)));
    assert_eq!(details(&old, &new, &found, 1).unwrap().len(), 1);

    let twice = of(vec![("id", ints(&[1, 2, 2]))]);
    let error = diff(&old, &twice, &["id".to_owned()], &unwatched).unwrap_err();
    assert!(matches!(error, CompareError::NotAKey { first: 1, second: 2, .. }), "{error}");
}

/// Without a key rows are a sequence: a changed one goes and comes, and another order is only that.
#[test]
fn rows_without_a_key_go_and_come() {
    let old = of(vec![("a", ints(&[1, 2, 3, 2])), ("b", words(&["x", "y", "z", "y"]))]);
    let new = of(vec![("a", ints(&[1, 2, 9, 2])), ("b", words(&["x", "y", "z", "y"]))]);
    let found = compare(&old, &new, &[]);
    assert_eq!((found.added.as_slice(), found.removed.as_slice()), (&[2][..], &[2][..]));
    let turned = of(vec![("a", ints(&[2, 3, 2, 1])), ("b", words(&["y", "z", "y", "x"]))]);
    let found = compare(&old, &turned, &[]);
    assert!(found.is_reordered() && found.moved == 1, "{found:?}");
    assert!(compare(&old, &old, &[]).is_empty());
}

/// Numbers of rows that were counted anew after a sort are another column: each row has another one. A column that went
/// with its rows is the same under its new name.
#[test]
fn a_column_is_renamed_only_row_by_row() {
    let old = of(vec![("id", ints(&[1, 2, 3])), ("rank", ints(&[0, 1, 2]))]);
    let counted = of(vec![("id", ints(&[3, 1, 2])), ("position", ints(&[0, 1, 2]))]);
    let carried = of(vec![("id", ints(&[3, 1, 2])), ("position", ints(&[2, 0, 1]))]);
    let kinds = |new: &Table, key: &[&str]| {
        let found = compare(&old, new, key);
        let name = |change: &ColumnChange| match change {
            ColumnChange::Renamed { .. } => "renamed",
            ColumnChange::Added { .. } => "added",
            ColumnChange::Dropped { .. } => "dropped",
            _ => "another",
        };
        found.columns.iter().map(name).collect::<Vec<_>>()
    };
    for key in [&["id"][..], &[]] {
        assert_eq!(kinds(&counted, key), ["added", "dropped"], "{key:?}");
    }
    assert_eq!(kinds(&carried, &["id"]), ["renamed"]);
    let edited = of(vec![("id", ints(&[1, 7, 3])), ("position", ints(&[0, 1, 2]))]);
    assert_eq!(kinds(&edited, &[]), ["renamed"]);
}

/// A struct that got one more field is told as its texts, and all rows of the diff are written.
#[test]
fn nested_columns_of_other_types_are_written() {
    use arrow_array::StructArray;
    let structs = |names: &[&str]| -> ArrayRef {
        let field = |name: &&str| (Arc::new(Field::new(*name, DataType::Int64, true)), ints(&[1, 2]));
        Arc::new(StructArray::from(names.iter().map(field).collect::<Vec<_>>()))
    };
    let old = of(vec![("id", ints(&[1, 2])), ("s", structs(&["x"]))]);
    let new = of(vec![("id", ints(&[1, 2])), ("s", structs(&["x", "y"]))]);
    let found = compare(&old, &new, &["id"]);
    let mut out = Vec::new();
    export(&old, &new, &found, &mut out, &unwatched).unwrap();
    let rows = objects(&table(out, "diff.parquet"));
    let told: Vec<_> = rows.iter().map(|row| row["s"].as_str().unwrap()).collect();
    assert_eq!(told, [r#"{"x":1}"#, r#"{"x":1,"y":1}"#, r#"{"x":2}"#, r#"{"x":2,"y":2}"#]);
}

/// A column that changed its name, place or type does not make all rows new.
#[test]
fn columns_change_without_their_rows() {
    let old = of(vec![("id", ints(&[1, 2])), ("a", words(&["x", "y"])), ("n", ints(&[7, 8]))]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 8.5]));
    let new = of(vec![("id", ints(&[1, 2])), ("b", words(&["x", "y"])), ("n", floats), ("c", ints(&[0, 0]))]);
    let found = compare(&old, &new, &["id"]);
    let kinds: Vec<_> = found
        .columns
        .iter()
        .map(|change| match change {
            ColumnChange::Renamed { .. } => "renamed",
            ColumnChange::Retyped { .. } => "retyped",
            ColumnChange::Added { .. } => "added",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["renamed", "retyped", "added"]);
    assert_eq!((found.cells.as_slice(), found.changed.len()), (&[("n".to_owned(), 1)][..], 1));
}

/// The real pair, as a release changed it: the counts hold together, and each change can be written and read.
#[test]
fn a_real_release_adds_up() {
    let [old, new] =
        ["contrib-1", "contrib-2"].map(|name| table(bytes(&format!("tables/{name}.parquet")), name));
    let found = compare(&old, &new, &[]);
    assert!(!found.added.is_empty() && !found.removed.is_empty());
    let shared = found.new_rows - found.added.len() as u64;
    assert_eq!(shared, found.old_rows - found.removed.len() as u64);
    let mut out = Vec::new();
    export(&old, &new, &found, &mut out, &unwatched).unwrap();
    let written = objects(&table(out, "changes.parquet"));
    assert_eq!(written.len(), found.added.len() + found.removed.len());
    let added = written.iter().filter(|row| row["change"] == "added").count();
    assert_eq!(added, found.added.len());
}

/// Rows of a generated table: a key, and values with nulls, NaN, duplicates and lists.
type Rows = Vec<(i64, Option<i32>, u8, Option<Vec<Option<i32>>>)>;

fn rows() -> impl Strategy<Value = Rows> {
    let list = proptest::option::of(proptest::collection::vec(proptest::option::of(0..3i32), 0..3));
    let row = (0..40i64, proptest::option::of(0..3i32), 0..5u8, list);
    proptest::collection::vec(row, 0..30)
}

fn built(rows: &Rows) -> Table {
    const FLOATS: [f64; 5] = [0.0, -0.0, f64::NAN, 1.5, -7.0];
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|row| row.3.clone()));
    of(vec![
        ("key", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("int", Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>())),
        (
            "float",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| FLOATS[usize::from(row.2)]))),
        ),
        ("list", Arc::new(list)),
    ])
}

/// Rows with one sign for 0.0 and -0.0, which are the same to a diff; NaN is null in JSON.
fn plain(table: &Table) -> Vec<Map<String, Value>> {
    let mut rows = objects(table);
    for row in &mut rows {
        if row["float"].as_f64() == Some(0.0) {
            row["float"] = Value::from(0.0);
        }
    }
    rows
}

/// What the diff tells, done to the old table.
fn apply(old: &Table, new: &Table, found: &TableDiff) -> Vec<Map<String, Value>> {
    let (before, after) = (plain(old), plain(new));
    let told = details(old, new, found, usize::MAX).unwrap();
    let row = |(at, from): (usize, &u32)| {
        if *from == NEW {
            assert!(found.added.contains(&(at as u32)));
            return after[at].clone();
        }
        let mut row = before[*from as usize].clone();
        let change =
            told.iter().find(|change| change.change == "changed" && change.new_row == Some(at as u32));
        for cell in change.iter().flat_map(|change| &change.cells) {
            row.insert(cell.column.clone(), cell.new.clone().unwrap());
            if cell.column == "float" && row["float"].as_f64() == Some(0.0) {
                row["float"] = Value::from(0.0);
            }
        }
        row
    };
    found.from.iter().enumerate().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A diff is the whole truth: done to the old table it gives the new one, and each old row is told of once.
    #[test]
    fn a_diff_gives_the_new_table(old in rows(), new in rows(), edits in 0..4usize) {
        let mut mixed = old.clone();
        mixed.truncate(old.len().saturating_sub(edits));
        mixed.extend(new.iter().take(edits).cloned());
        for new in [&new, &mixed] {
            let (old, new) = (built(&old), built(new));
            let found = compare(&old, &new, &[]);
            prop_assert_eq!(apply(&old, &new, &found), plain(&new));
            let shared = found.from.iter().filter(|from| **from != NEW).count();
            prop_assert_eq!(shared + found.removed.len(), found.old_rows as usize);
            prop_assert!(found.changed.is_empty());
        }
    }

    /// The same with a key, where changed rows are told cell by cell.
    #[test]
    fn a_keyed_diff_gives_the_new_table(old in rows(), new in rows()) {
        let unique = |rows: Rows| {
            let mut seen = std::collections::HashSet::new();
            rows.into_iter().filter(|row| seen.insert(row.0)).collect::<Rows>()
        };
        let (old, new) = (built(&unique(old)), built(&unique(new)));
        let found = compare(&old, &new, &["key"]);
        prop_assert_eq!(apply(&old, &new, &found), plain(&new));
    }
}

/// What a batch says is what a table of it says.
#[test]
fn an_empty_table_is_compared_too() {
    let empty = of(vec![("a", ints(&[]))]);
    let one = of(vec![("a", ints(&[1]))]);
    assert_eq!(compare(&empty, &one, &["a"]).added, [0]);
    assert_eq!(compare(&one, &empty, &[]).removed, [0]);
    let batches: Vec<RecordBatch> = empty.read(&Selection::default()).unwrap().map(Result::unwrap).collect();
    assert!(batches.iter().all(|batch| batch.num_rows() == 0));
}
