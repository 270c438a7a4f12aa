//! Tables as people's own programs write them, in two versions each (`tests/table/writers.py`): every byte comes back, pages
//! follow from cells as far as it was promised, and the second version costs what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use git_sparse::backend::Memory;
use git_sparse::id::Oid;
use git_sparse::ingest::{Coverage, coverage};

use super::keep;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

/// What the tables are drawn from; a test that fails is told by it and by the name of the file.
const SEED: &str = "4";

/// The Python that `cargo xtask test` installed the writers for; none, and a word about it, where it did not.
fn installed(writer: &str) -> Option<PathBuf> {
    let found = xtask::table_writers::python();
    if found.is_none() {
        eprintln!("SKIPPED: {writer} is not installed, see `cargo xtask test`");
    }
    found
}

/// Both versions of each table of a writer, by their names.
fn tables(writer: &str, python: &Path) -> BTreeMap<String, [Vec<u8>; 2]> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table/writers.py");
    let dir = tempfile::tempdir().expect("a directory");
    let made =
        Command::new(python).arg(script).arg(writer).arg(dir.path()).arg(SEED).output().expect("python");
    assert!(made.status.success(), "{writer}: {}", String::from_utf8_lossy(&made.stderr));
    let names =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let firsts = names.filter(|name| name.contains("-1."));
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    firsts.map(|name| (name.replace("-1.", "."), [read(&name), read(&name.replace("-1.", "-2."))])).collect()
}

/// What is expected of the tables of a writer, by the beginnings of their names; the first that fits counts.
struct Goal {
    name: &'static str,
    /// Least share of the bytes of pages that follows from cells, of each file; none where it has none, or none to be seen.
    replayed: Option<f64>,
    /// Greatest share of the second version that is stored.
    stored: f64,
}

const fn goal(name: &'static str, replayed: f64, stored: f64) -> Goal {
    Goal { name, replayed: Some(replayed), stored }
}

const fn text(name: &'static str, stored: f64) -> Goal {
    Goal { name, replayed: None, stored }
}

/// Stores both versions of each table of a writer, the second after the first.
fn come_back(writer: &str, goals: &[Goal]) {
    let Some(python) = installed(writer) else { return };
    let tables = tables(writer, &python);
    let mut met = vec![false; goals.len()];
    let mut missed = Vec::new();
    for (name, [old, new]) in tables {
        let store = fresh(Memory::default());
        let first = keep(&store, &old, &[]);
        let second = keep(&store, &new, &[first.oid]);
        let share = second.stored as f64 / new.len() as f64;
        let is_table = name.ends_with(".parquet");
        let replayed = is_table.then(|| [&old, &new].map(|bytes| columns(bytes)));
        let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
        assert_gives_back(&store, &files, &name);
        assert_clean(&store, &name);
        let at = goals.iter().position(|goal| name.starts_with(goal.name));
        let at = at.unwrap_or_else(|| panic!("nothing is said of {name}"));
        met[at] = true;
        let covered = replayed.iter().flatten().map(total).fold(1.0, f64::min);
        eprintln!("{name}: {} of {} stored, {share:.4}; {covered:.4} replayed", second.stored, second.size);
        if share > goals[at].stored {
            missed.push(format!("{name}: {} of {} bytes stored, {share:.4}", second.stored, second.size));
        }
        if goals[at].replayed.is_some_and(|least| covered < least) {
            missed.push(format!("{name}: {covered:.4} replayed, not {}", left(&replayed.unwrap())));
        }
    }
    assert_eq!(missed, [] as [String; 0], "seed {SEED}");
    let unmet: Vec<_> = goals.iter().zip(met).filter(|(_, met)| !met).map(|(goal, _)| goal.name).collect();
    assert_eq!(unmet, [] as [&str; 0], "no such tables");
}

fn columns(bytes: &[u8]) -> BTreeMap<String, Coverage> {
    coverage(&bytes).unwrap()
}

fn total(columns: &BTreeMap<String, Coverage>) -> f64 {
    let mut all = Coverage::default();
    columns.values().for_each(|column| all += *column);
    all.share()
}

/// The columns that are not replayed as a whole.
fn left(files: &[BTreeMap<String, Coverage>]) -> String {
    let left = files.iter().flatten().filter(|(_, column)| column.replayed < column.bytes);
    let left =
        left.map(|(name, column)| format!("{name} ({} of {})", column.bytes - column.replayed, column.bytes));
    left.collect::<Vec<_>>().join(", ")
}

#[test]
fn tables_of_pyarrow_come_back() {
    let goals = [
        // No packer of ours is the brotli that it has.
        goal("pyarrow-brotli", 0.0, 0.9),
        goal("pyarrow", 1.0, 0.12),
        goal("other-encodings", 0.0, 0.15),
        goal("encrypted-columns", 0.0, 0.4),
        text("encrypted-footer", 0.5),
        text("empty", 0.0),
        text("arrow-zstd", 0.4),
        text("arrow-lz4", 0.17),
        text("arrow", 0.1),
    ];
    come_back("pyarrow", &goals);
}

#[test]
fn tables_of_pandas_come_back() {
    let goals = [
        text("pandas.csv", 0.01),
        text("pandas.jsonl", 0.01),
        text("pandas.feather", 0.1),
        text("pandas-gzip", 0.02),
        goal("pandas", 1.0, 0.04),
    ];
    come_back("pandas", &goals);
}

#[test]
fn tables_of_polars_come_back() {
    let goals = [
        text("polars.csv", 0.01),
        text("polars.jsonl", 0.01),
        text("polars.arrow", 0.03),
        text("polars-zstd.arrow", 0.25),
        text("polars-lz4.arrow", 0.13),
        text("empty", 0.0),
        goal("polars-brotli", 0.0, 1.0),
        goal("polars", 0.98, 0.1),
    ];
    come_back("polars", &goals);
}

#[test]
fn tables_of_duckdb_come_back() {
    let goals = [
        text("duckdb.csv", 0.01),
        text("duckdb.jsonl", 0.01),
        text("empty", 0.0),
        goal("duckdb-brotli", 0.0, 1.0),
        // It has zstd before 1.5.7, which packs most pages in another way.
        goal("duckdb-zstd", 0.5, 0.4),
        goal("duckdb", 0.95, 0.04),
        goal("other-duckdb-v2", 0.0, 0.3),
    ];
    come_back("duckdb", &goals);
}

#[test]
fn tables_of_fastparquet_come_back() {
    come_back("fastparquet", &[goal("fastparquet-brotli", 0.0, 1.0), goal("fastparquet", 1.0, 0.06)]);
}

#[test]
fn tables_of_datasets_come_back() {
    let goals =
        [text("datasets.csv", 0.01), text("datasets.jsonl", 0.01), goal("datasets.parquet", 1.0, 0.04)];
    come_back("datasets", &goals);
}

/// Texts as Python writes them, with lines that are broken.
#[test]
fn texts_come_back() {
    let goals = [text("texts.jsonl.gz", 0.02), text("texts.jsonl", 0.005), text("texts.csv", 0.01)];
    come_back("texts", &goals);
}
