//! Three versions made one: both sides' work is in it, or told as a conflict; nothing is lost in between.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use git_sparse::dataset::merge::{Plan, Sides, WriteError, plan, write};
use git_sparse::dataset::{Selection, Table, values};
use git_sparse::format::Source;
use git_sparse::progress::unwatched;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{parquet, table};

type Row = (i64, Option<i64>, &'static str);

fn built(rows: &[Row]) -> Table {
    let column = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let words: Vec<_> = rows.iter().map(|row| row.2).collect();
    let columns = vec![
        ("id", column(rows.iter().map(|row| Some(row.0)).collect())),
        ("n", column(rows.iter().map(|row| row.1).collect())),
        ("word", Arc::new(StringArray::from(words)) as ArrayRef),
    ];
    table(parquet(columns, 5), "x.parquet")
}

fn with(rows: &[Row], name: &str, values: &[i64]) -> Table {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
    let words: ArrayRef = Arc::new(StringArray::from(rows.iter().map(|row| row.2).collect::<Vec<_>>()));
    let more: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    table(parquet(vec![("id", ids), ("n", numbers), ("word", words), (name, more)], 5), "x.parquet")
}

fn decided(base: &Table, ours: &Table, theirs: &Table, key: &[&str]) -> Plan {
    let key: Vec<String> = key.iter().map(|name| name.to_string()).collect();
    plan(Sides { base, ours, theirs }, &key, &unwatched).unwrap()
}

fn objects(table: &Table) -> Vec<Map<String, Value>> {
    let batches = table.read(&Selection::default()).unwrap();
    batches.flat_map(|batch| values::objects(&batch.unwrap()).unwrap()).collect()
}

#[track_caller]
fn written(base: &Table, ours: &Table, theirs: &Table, key: &[&str]) -> Vec<Map<String, Value>> {
    let decided = decided(base, ours, theirs, key);
    assert_eq!(decided.conflicts, []);
    let mut out = Vec::new();
    write(&decided, Sides { base, ours, theirs }, &mut out, &unwatched).unwrap();
    objects(&table(out, "merged.parquet"))
}

fn shown(rows: &[Map<String, Value>]) -> Vec<String> {
    rows.iter().map(|row| Value::Object(row.clone()).to_string()).collect()
}

const BASE: [Row; 4] = [(1, Some(1), "a"), (2, Some(2), "b"), (3, None, "c"), (4, Some(4), "d")];

/// Each side's cells, rows and columns end up in one table, in our order.
#[test]
fn work_of_both_sides_is_merged() {
    let base = built(&BASE);
    let ours = built(&[(1, Some(10), "a"), (2, Some(2), "b"), (4, Some(4), "d"), (5, Some(5), "ours")]);
    let theirs = with(
        &[(1, Some(1), "A"), (2, Some(2), "B"), (7, Some(7), "theirs"), (3, None, "c"), (4, Some(4), "d")],
        "flag",
        &[0, 0, 1, 0, 0],
    );
    let rows = written(&base, &ours, &theirs, &["id"]);
    assert_eq!(
        shown(&rows),
        [
            r#"{"id":1,"n":10,"word":"A","flag":0}"#,
            r#"{"id":2,"n":2,"word":"B","flag":0}"#,
            r#"{"id":7,"n":7,"word":"theirs","flag":1}"#,
            r#"{"id":4,"n":4,"word":"d","flag":0}"#,
            r#"{"id":5,"n":5,"word":"ours","flag":null}"#,
        ]
        .map(|row| serde_json::from_str::<Value>(row).unwrap().to_string())
    );
}

/// What both changed is told cell by cell, and a deleted row that the other side edited is told whole.
#[test]
fn conflicts_are_told() {
    let base = built(&BASE);
    let ours = built(&[(1, Some(10), "x"), (3, None, "c"), (4, Some(9), "d"), (8, None, "o")]);
    let theirs = built(&[(1, Some(11), "a"), (2, Some(22), "b"), (3, None, "c"), (8, None, "t")]);
    let found = decided(&base, &ours, &theirs, &["id"]);
    let told: HashSet<_> = found
        .conflicts
        .iter()
        .map(|conflict| (conflict.conflict, conflict.key.clone().unwrap(), conflict.column.clone()))
        .collect();
    let column = |name: &str| Some(name.to_owned());
    assert_eq!(
        told,
        HashSet::from([
            ("cell", "1".into(), column("n")),
            ("deleted-by-ours", "2".into(), None),
            ("deleted-by-theirs", "4".into(), None),
            ("added-twice", "8".into(), column("word")),
        ])
    );
    let cell = found.conflicts.iter().find(|conflict| conflict.conflict == "cell").unwrap();
    let values = [&cell.base, &cell.ours, &cell.theirs].map(|value| value.as_deref().unwrap());
    assert_eq!(values, ["1", "10", "11"]);
}

/// Columns that each side added are both there, and one that both dropped is gone.
#[test]
fn columns_are_merged() {
    let base = with(&BASE, "old", &[1, 2, 3, 4]);
    let ours = with(&BASE, "mine", &[5, 6, 7, 8]);
    let theirs = with(&BASE, "yours", &[9, 9, 9, 0]);
    for key in [&["id"][..], &[]] {
        let rows = written(&base, &ours, &theirs, key);
        let names: Vec<_> = rows[0].keys().map(String::as_str).collect();
        assert_eq!(
            names.iter().collect::<HashSet<_>>(),
            HashSet::from([&"id", &"n", &"word", &"mine", &"yours"])
        );
        assert_eq!((&rows[3]["mine"], &rows[3]["yours"]), (&Value::from(8), &Value::from(0)));
    }
}

/// Two people who add a column of one name mean two things, unless its cells say the same.
#[test]
fn columns_of_one_name_are_a_conflict() {
    let base = built(&BASE);
    let ours = with(&BASE, "more", &[1, 2, 3, 4]);
    for key in [&["id"][..], &[]] {
        let found = decided(&base, &ours, &with(&BASE, "more", &[1, 2, 3, 5]), key).conflicts;
        let told: Vec<_> =
            found.iter().map(|conflict| (conflict.conflict, conflict.column.as_deref())).collect();
        assert_eq!(told, [("column-added", Some("more"))]);
        assert_eq!(written(&base, &ours, &with(&BASE, "more", &[1, 2, 3, 4]), key).len(), 4);
    }
}

/// A column of numbers that one side counted anew under another name is that side's, whatever the other one edits.
#[test]
fn a_column_that_was_counted_anew_is_not_lost() {
    let base = with(&BASE, "rank", &[0, 1, 2, 3]);
    let turned = [BASE[1], BASE[2], BASE[3], BASE[0]];
    let ours = with(&turned, "position", &[0, 1, 2, 3]);
    let edited = [(1, Some(1), "A"), BASE[1], BASE[2], BASE[3]];
    let theirs = with(&edited, "rank", &[0, 1, 2, 3]);
    let rows = written(&base, &ours, &theirs, &["id"]);
    assert_eq!((&rows[3]["word"], &rows[3]["position"]), (&Value::from("A"), &Value::from(3)));
    // Without a key, rows that stand in one order are one; the side that sorted may be any.
    let rows = written(&base, &with(&BASE, "rank", &[0, 1, 2, 3]), &ours, &[]);
    let positions: Vec<_> = rows.iter().map(|row| row["position"].as_i64().unwrap()).collect();
    assert_eq!(positions, [0, 1, 2, 3]);
}

/// A merge of these tables of CSV, as bytes.
fn merged_text(base: &str, ours: &str, theirs: &str) -> String {
    merged_as("x.csv", [base, ours, theirs])
}

/// A merge of base, ours and theirs, which are called so, as bytes.
fn merged_as(name: &str, texts: [&str; 3]) -> String {
    let tables = texts.map(|text| table(text.as_bytes().to_vec(), name));
    let [base, ours, theirs] = git_sparse::dataset::merge::as_written(tables);
    let decided = decided(&base, &ours, &theirs, &["id"]);
    assert_eq!(decided.conflicts, []);
    let (mut out, sides) = (Vec::new(), Sides { base: &base, ours: &ours, theirs: &theirs });
    write(&decided, sides, &mut out, &unwatched).unwrap();
    String::from_utf8(out).unwrap()
}

/// A quote that stands within a field is a letter like any other, as for whoever reads the table.
#[test]
fn quotes_within_fields_split_nothing() {
    let (base, ours) = ("id,a,b,c\n1,5\"\"x,1,1\n", "id,a,b,c\n1,5\"\"x,2,1\n");
    let theirs = "id,a,b,c\n1,5\"\"x,1,3\n";
    assert_eq!(merged_text(base, ours, theirs), "id,a,b,c\n1,5\"\"x,2,3\n");
    let marked = |text: &str| format!("\u{feff}{}", text.replacen("id", "\"id\"", 1));
    let reordered = "\u{feff}a,\"id\",b,c\n5\"\"x,1,1,1\n";
    assert_eq!(
        merged_text(&marked(base), reordered, &marked(theirs)),
        "\u{feff}a,\"id\",b,c\n5\"\"x,1,1,3\n"
    );
}

/// An edit that the types of columns do not show is one all the same: it is merged, and told where both sides have one.
#[test]
fn values_of_json_are_merged_as_they_are_written() {
    let line = |value: &str| {
        format!("{{\"id\":1,\"a\":{value}}}\n{{\"id\":2,\"a\":1.5}}\n{{\"id\":3,\"a\":\"x\"}}\n")
    };
    for (old, new) in
        [("9007199254740993", "9007199254740992"), ("1", "\"1\""), ("1", "1.0"), ("null", "\"null\"")]
    {
        let (base, theirs) = (line(old), line(new));
        assert_eq!(merged_as("x.jsonl", [&base, &base, &theirs]), theirs);
        assert_eq!(merged_as("x.jsonl", [&base, &theirs, &base]), theirs);
    }
    let tables = [line("1"), line("\"1\""), line("1.0")].map(|text| table(text.into_bytes(), "x.jsonl"));
    let [base, ours, theirs] = git_sparse::dataset::merge::as_written(tables);
    let told = &decided(&base, &ours, &theirs, &["id"]).conflicts;
    let values = [&told[0].base, &told[0].ours, &told[0].theirs].map(|value| value.as_deref().unwrap());
    assert_eq!((told.len(), values), (1, ["1", "\"1\"", "1.0"]));
}

/// A merged Arrow file is packed as ours is.
#[test]
fn merged_arrow_files_are_packed_as_ours() {
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
    let stream = |first: i64, codec: Option<CompressionType>| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..10_000));
        let same: ArrayRef = Arc::new(Int64Array::from_iter_values((first..10_000).map(|_| 7)));
        let batch = RecordBatch::try_from_iter([("id", ids), ("same", same)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
        let mut out = Vec::new();
        let mut writer = StreamWriter::try_new_with_options(&mut out, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        table(out, "x.arrow")
    };
    for (codec, is_packed) in [(Some(CompressionType::ZSTD), true), (None, false)] {
        let (base, ours, theirs) = (stream(1, None), stream(1, codec), stream(0, None));
        let decided = decided(&base, &ours, &theirs, &["id"]);
        let (mut out, sides) = (Vec::new(), Sides { base: &base, ours: &ours, theirs: &theirs });
        write(&decided, sides, &mut out, &unwatched).unwrap();
        assert_eq!(out.len() < 90_000, is_packed, "{codec:?}: {} bytes", out.len());
        assert_eq!(objects(&table(out, "x.arrow")).len(), 10_000);
    }
}

/// A file that counts what is read of it.
struct Watched(Vec<u8>, AtomicU64);

impl Source for Watched {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.as_slice().read_at(buf, offset)
    }
}

/// Tables of text are read from their start: each conflict must not do that.
#[test]
fn many_conflicts_are_told_in_a_few_readings() {
    let text = |rows: std::ops::Range<u32>, word: &str, seldom: &str| {
        let row = |row: u32| format!("{row},{}\n", if row % 5 == 2 { seldom } else { word });
        format!("id,word\n{}", rows.map(row).collect::<String>())
    };
    let base = table(text(0..1000, "a", "a").into_bytes(), "x.csv");
    let file = Arc::new(Watched(text(0..1000, "b", "c").into_bytes(), AtomicU64::new(0)));
    let ours = Table::open(file.clone(), "x.csv").unwrap();
    let readings = |theirs: String, key: &[&str]| {
        let before = file.1.load(Ordering::Relaxed);
        let found = decided(&base, &ours, &table(theirs.into_bytes(), "x.csv"), key).conflicts;
        (found, (file.1.load(Ordering::Relaxed) - before) / file.len())
    };
    let (deleted, times) = readings(text(0..0, "", "") + "1000,z\n", &["id"]);
    assert_eq!((deleted.len(), &*deleted[7].key.clone().unwrap()), (1000, "7"));
    assert_eq!(deleted[7].ours.as_deref(), Some(r#"{"id":7,"word":"c"}"#));
    assert_eq!((deleted[7].conflict, deleted[7].theirs.as_deref()), ("deleted-by-theirs", None));
    assert!(times < 5, "{times} readings");

    // Every fifth row is as both have it, so that what lies between is a conflict of its own.
    let ours = text(0..1000, "b", "a");
    let file = Arc::new(Watched(ours.into_bytes(), AtomicU64::new(0)));
    let ours = Table::open(file.clone(), "x.csv").unwrap();
    let theirs = table(text(0..1000, "d", "a").into_bytes(), "x.csv");
    let before = file.1.load(Ordering::Relaxed);
    let found = decided(&base, &ours, &theirs, &[]).conflicts;
    let times = (file.1.load(Ordering::Relaxed) - before) / file.len();
    assert_eq!(found.len(), 201);
    assert!(found[1].ours.as_deref().unwrap().starts_with(r#"{"id":3,"word":"b"}"#), "{:?}", found[1]);
    assert!(times < 5, "{times} readings");
}

/// A time in a zone by name is shown as any other.
#[test]
fn times_have_zones() {
    let times = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]).with_timezone("Europe/Berlin");
    let bytes = parquet(vec![("at", Arc::new(times) as ArrayRef)], 5);
    let shown = shown(&objects(&table(bytes, "x.parquet")));
    assert!(shown[0].contains("2023-11-14T23:13:20+01:00"), "{shown:?}");
}

/// A column that one side dropped takes nothing with it that the other wrote into it; nor does another type.
#[test]
fn nothing_is_lost_with_a_column() {
    let base = with(&BASE, "old", &[1, 2, 3, 4]);
    let ours = built(&BASE);
    let theirs = with(&BASE, "old", &[1, 2, 3, 44]);
    for key in [&["id"][..], &[]] {
        let found = decided(&base, &ours, &theirs, key);
        assert_eq!(found.conflicts.iter().map(|one| one.conflict).collect::<Vec<_>>(), ["column-dropped"]);
    }
    let floats = |values: [f64; 2]| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        table(parquet(vec![("id", ids), ("n", values)], 5), "x.parquet")
    };
    let whole = {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![3, 4]));
        table(parquet(vec![("id", ids), ("n", values)], 5), "x.parquet")
    };
    let base = floats([3.0, 4.0]);
    let rows = written(&base, &whole, &floats([5.0, 4.0]), &["id"]);
    assert_eq!((rows[0]["n"].clone(), rows[1]["n"].clone()), (Value::from(5), Value::from(4)));
    let theirs = floats([5.5, 4.0]);
    let sides = Sides { base: &base, ours: &whole, theirs: &theirs };
    let decided = plan(sides, &["id".to_owned()], &unwatched).unwrap();
    let error = write(&decided, sides, &mut Vec::new(), &unwatched).unwrap_err();
    assert!(matches!(error, WriteError::Lossy { .. }), "{error}");
}

/// Without a key rows are a sequence, as lines are to git.
#[test]
fn sequences_are_merged() {
    let base = built(&BASE);
    let ours = built(&[(0, None, "first"), BASE[0], BASE[1], BASE[2], BASE[3]]);
    let theirs = built(&[BASE[0], BASE[2], BASE[3], (9, None, "last")]);
    let rows = written(&base, &ours, &theirs, &[]);
    let words: Vec<_> = rows.iter().map(|row| row["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["first", "a", "c", "d", "last"]);
    let same = written(&base, &ours, &ours, &[]);
    assert_eq!(shown(&same), shown(&objects(&ours)));
    let other = built(&[(0, None, "other"), BASE[0], BASE[1], BASE[2], BASE[3]]);
    let found = decided(&base, &ours, &other, &[]);
    assert_eq!(found.conflicts.len(), 1);
    assert_eq!(found.conflicts[0].conflict, "rows");
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let words = prop_oneof![Just("a"), Just("b"), Just("c")];
    let row = (0..12i64, proptest::option::of(0..3i64), words);
    proptest::collection::vec(row, 0..14).prop_map(|rows| {
        let mut seen = HashSet::new();
        rows.into_iter().filter(|row| seen.insert(row.0)).collect()
    })
}

/// What a merge by key should be, cell by cell, from three maps; none where there is a conflict.
fn model(base: &[Row], ours: &[Row], theirs: &[Row]) -> Option<BTreeMap<i64, (Option<i64>, &'static str)>> {
    let map = |rows: &[Row]| rows.iter().map(|row| (row.0, (row.1, row.2))).collect::<BTreeMap<_, _>>();
    let (base, ours, theirs) = (map(base), map(ours), map(theirs));
    fn cell<T: PartialEq + Copy>(base: Option<T>, ours: T, theirs: T) -> Option<T> {
        match () {
            () if ours == theirs || Some(theirs) == base => Some(ours),
            () if Some(ours) == base => Some(theirs),
            () => None,
        }
    }
    let keys: HashSet<_> = ours.keys().chain(theirs.keys()).copied().collect();
    let mut merged = BTreeMap::new();
    for key in keys {
        let (before, our, their) = (base.get(&key), ours.get(&key), theirs.get(&key));
        let row = match (our, their) {
            (Some(our), Some(their)) => {
                let n = cell(before.map(|row| row.0), our.0, their.0)?;
                let word = cell(before.map(|row| row.1), our.1, their.1)?;
                Some((n, word))
            }
            (Some(one), None) | (None, Some(one)) if before.is_none() => Some(*one),
            (Some(one), None) | (None, Some(one)) if before == Some(one) => None,
            _ => return None,
        };
        merged.extend(row.map(|row| (key, row)));
    }
    Some(merged)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A keyed merge is what a plain model of cells says, and has conflicts just where that has.
    #[test]
    fn a_keyed_merge_is_cell_by_cell(base in rows(), ours in rows(), theirs in rows()) {
        let tables = [&base, &ours, &theirs].map(|rows| built(rows));
        let found = decided(&tables[0], &tables[1], &tables[2], &["id"]);
        let expected = model(&base, &ours, &theirs);
        prop_assert_eq!(found.conflicts.is_empty(), expected.is_some());
        if let Some(expected) = expected {
            let rows = written(&tables[0], &tables[1], &tables[2], &["id"]);
            let found: BTreeMap<_, _> = rows
                .iter()
                .map(|row| (row["id"].as_i64().unwrap(), (row["n"].as_i64(), row["word"].as_str().unwrap())))
                .collect();
            prop_assert_eq!(rows.len(), found.len());
            prop_assert_eq!(found, expected);
        }
    }

    /// Without a key: what one side alone did is the merge, and both sides' same work is done once.
    #[test]
    fn one_sided_work_is_taken(base in rows(), ours in rows()) {
        let (base, ours) = (built(&base), built(&ours));
        let expected = shown(&objects(&ours));
        prop_assert_eq!(shown(&written(&base, &ours, &base, &[])), expected.clone());
        prop_assert_eq!(shown(&written(&base, &base, &ours, &[])), expected.clone());
        prop_assert_eq!(shown(&written(&base, &ours, &ours, &[])), expected);
    }
}
