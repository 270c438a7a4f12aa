//! Tables and texts whose rows lie in other files of the store: renamed, split, put together, cut into other shards.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::codec::Effort;
use git_sparse::id::Oid;
use git_sparse::ingest::{Ingested, ingest};
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::store::Store;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::keep;
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text};
use crate::support::samples::{assert_clean, fresh, give_back, open};

fn mixed(row: u64) -> u64 {
    let row = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (row ^ row >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Rows of one large table; every `edited`th has another text.
fn rows(range: Range<u64>, edited: u64) -> Vec<(i64, String, f64, i64)> {
    let row = |row: u64| {
        let text = if edited > 0 && row % edited == 3 { "corrected" } else { "text" };
        let text = format!("{text} {:x} of {}", mixed(row), row % 17);
        (mixed(row + 1) as i64 >> 40, text, mixed(row + 2) as u16 as f64 / 8.0, (mixed(row + 3) % 40) as i64)
    };
    range.map(row).collect()
}

/// These rows as a Parquet file.
fn table(rows: &[(i64, String, f64, i64)], has_class: bool) -> Vec<u8> {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("text", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)))),
        ("value", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)))),
    ];
    if has_class {
        columns.push(("class", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)))));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1900)).build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn part(range: Range<u64>) -> Vec<u8> {
    table(&rows(range, 0), true)
}

fn lines(range: Range<u64>, edited: u64) -> Vec<u8> {
    let line = |row: &(i64, String, f64, i64)| format!("{},{},{},{}\n", row.0, row.1, row.2, row.3);
    rows(range, edited).iter().map(line).collect::<String>().into_bytes()
}

/// Stores a file that nobody says anything of; it takes less than this share of itself, and comes back.
#[track_caller]
fn takes(store: &Store, bytes: &[u8], share: f64) -> Ingested {
    let done = keep(store, bytes, &[]);
    let stored = done.stored as f64 / bytes.len() as f64;
    assert!(stored < share, "{:.1} % of {} bytes: {done:?}", stored * 100.0, bytes.len());
    assert!(give_back(store, done.oid).unwrap() == bytes);
    assert_clean(store, "across");
    done
}

#[track_caller]
fn has_bases(store: &Store, oid: Oid, expected: &[Oid]) {
    let recipe = store.recipe(&oid).unwrap().unwrap();
    assert_eq!(recipe.base, Some((expected[0], Reason::Likeness)));
    let made_of: Vec<Oid> = recipe.origin.iter().map(|parent| parent.oid).collect();
    let several = if expected.len() > 1 { expected } else { &[] };
    assert_eq!(made_of, several);
}

/// Nobody tells that a table was renamed; only its rows do.
#[test]
fn a_table_is_found_under_another_name() {
    let store = fresh(Memory::default());
    let old = keep(&store, &part(0..8000), &[]);
    keep(&store, &part(20_000..28_000), &[]);
    let renamed = takes(&store, &table(&rows(0..8000, 100), true), 0.04);
    has_bases(&store, renamed.oid, &[old.oid]);
    // A column more and a tenth of the rows gone as well.
    let narrow = keep(&store, &table(&rows(40_000..48_000, 0), false), &[]);
    let wide = takes(&store, &table(&rows(40_800..48_000, 0), true), 0.12);
    has_bases(&store, wide.oid, &[narrow.oid]);
}

/// A table of the same columns is no relative, whatever its numbers are.
#[test]
fn strangers_are_no_bases() {
    let store = fresh(Memory::default());
    keep(&store, &part(0..8000), &[]);
    assert_eq!(keep(&store, &part(9000..17_000), &[]).base, None);
    assert_eq!(keep(&store, &lines(0..4000, 0), &[]).base, None);
    assert_eq!(keep(&store, &lines(5000..9000, 0), &[]).base, None);
}

/// An index may be lost at any time.
#[test]
fn a_table_is_found_after_the_index_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let old = keep(&open(dir.path(), "a boot"), &part(0..8000), &[]);
    let store = open(dir.path(), "another boot");
    let renamed = takes(&store, &table(&rows(0..8000, 100), true), 0.04);
    has_bases(&store, renamed.oid, &[old.oid]);
}

#[test]
fn parts_of_a_table_are_found_in_it() {
    let store = fresh(Memory::default());
    let whole = keep(&store, &part(0..12_000), &[]);
    for range in [0..6000, 6000..12_000, 5000..7000] {
        let half = takes(&store, &part(range), 0.04);
        has_bases(&store, half.oid, &[whole.oid]);
    }
}

/// Rows come from as many files as have them, also where these lack a column.
#[test]
fn tables_that_were_put_together_are_found() {
    let store = fresh(Memory::default());
    let first = keep(&store, &part(0..7000), &[]);
    let second = keep(&store, &part(20_000..25_000), &[]);
    let both = [rows(0..7000, 0), rows(20_000..25_000, 0)].concat();
    let union = takes(&store, &table(&both, true), 0.04);
    has_bases(&store, union.oid, &[first.oid, second.oid]);

    let narrow = keep(&store, &table(&rows(40_000..45_000, 0), false), &[]);
    let mixed = [rows(0..6000, 0), rows(40_000..45_000, 0)].concat();
    let mixed = takes(&store, &table(&mixed, true), 0.12);
    let recipe = store.recipe(&mixed.oid).unwrap().unwrap();
    assert!(recipe.origin.iter().any(|parent| parent.oid == narrow.oid), "{:?}", recipe.origin);
}

/// Each new shard has rows of two or three old ones.
#[test]
fn shards_are_cut_anew() {
    let store = fresh(Memory::default());
    for shard in 0..6 {
        keep(&store, &part(shard * 4000..(shard + 1) * 4000), &[]);
    }
    for shard in 0..4 {
        takes(&store, &part(shard * 6000..(shard + 1) * 6000), 0.05);
    }
}

/// What the next version of a path takes from elsewhere is found beside the version before.
#[test]
fn the_next_version_may_have_rows_of_other_files() {
    let store = fresh(Memory::default());
    let old = keep(&store, &part(0..6000), &[]);
    let other = keep(&store, &part(20_000..26_000), &[]);
    let both = table(&[rows(0..6000, 0), rows(20_000..26_000, 0)].concat(), true);
    let hints = Hints { earlier: vec![old.oid], ..Hints::default() };
    let done = ingest(&store, &&*both, Oid::of(&both), &hints, Effort::Push, &unwatched).unwrap();
    assert_eq!(done.base, Some((old.oid, Reason::History)));
    let recipe = store.recipe(&done.oid).unwrap().unwrap();
    assert_eq!(recipe.origin.iter().map(|parent| parent.oid).collect::<Vec<_>>(), [old.oid, other.oid]);
    assert!(done.stored * 25 < both.len() as u64, "{done:?} of {}", both.len());
    assert!(give_back(&store, done.oid).unwrap() == both);
}

/// With git alone: a table is moved and edited, then split, then put together again; a clone has every byte.
#[test]
fn git_moves_tables_for_next_to_nothing() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    let put = |path: &str, bytes: &[u8]| fs::write(repo.path.join(path), bytes).unwrap();
    let push = |message: &str| {
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", message]);
        repo.push()
    };
    repo.git(&["lfs", "track", "*.csv"]);
    put("train.parquet", &part(0..9000));
    put("train.csv", &lines(0..20_000, 0));
    let first = push("first");
    repo.git(&["mv", "train.parquet", "train-v2.parquet"]);
    repo.git(&["mv", "train.csv", "renamed.csv"]);
    put("train-v2.parquet", &table(&rows(0..9000, 100), true));
    put("renamed.csv", &lines(0..20_000, 100));
    let renamed = push("renamed");
    assert!(renamed * 20 < first, "{renamed} of {first}");
    let why = |path: &str| -> Value {
        serde_json::from_str(&repo.git(&["sparse", "show", &format!("HEAD:{path}"), "--json"])).unwrap()
    };
    for path in ["train-v2.parquet", "renamed.csv"] {
        assert_eq!(why(path)["file"]["reason"], "likeness", "{path}");
    }
    repo.git(&["mv", "train-v2.parquet", "train-0.parquet"]);
    put("train-0.parquet", &table(&rows(0..4500, 100), true));
    put("train-1.parquet", &table(&rows(4500..9000, 100), true));
    let split = push("split");
    assert!(split * 20 < first, "{split} of {first}");
    repo.git(&["rm", "--quiet", "train-0.parquet", "train-1.parquet"]);
    put("other.parquet", &part(20_000..29_000));
    push("another");
    put("all.parquet", &table(&[rows(0..9000, 0), rows(20_000..29_000, 0)].concat(), true));
    let union = push("union");
    assert!(union * 20 < first, "{union} of {first}");
    let told = repo.git(&["sparse", "where", "all.parquet"]);
    assert!(told.contains("by likeness") && told.contains("made of"), "{told}");

    let clone = Repo::clone(&home, text(&repo.remote()), "clone", &[]);
    for file in ["all.parquet", "other.parquet", "renamed.csv"] {
        assert!(
            fs::read(clone.path.join(file)).unwrap() == fs::read(repo.path.join(file)).unwrap(),
            "{file}"
        );
    }
}

/// Text has no rows, and is found by its stretches.
#[test]
fn texts_are_found_by_what_they_hold() {
    let store = fresh(Memory::default());
    let first = keep(&store, &lines(0..20_000, 0), &[]);
    let second = keep(&store, &lines(30_000..50_000, 0), &[]);
    let renamed = takes(&store, &lines(0..20_000, 100), 0.02);
    has_bases(&store, renamed.oid, &[first.oid]);
    let half = takes(&store, &lines(35_000..45_000, 0), 0.01);
    has_bases(&store, half.oid, &[second.oid]);
    let both = [lines(0..10_000, 0), lines(30_000..50_000, 0)].concat();
    let both = takes(&store, &both, 0.01);
    assert_eq!(both.base.map(|(_, reason)| reason), Some(Reason::Likeness));
}
