//! Tables: the next version is compared with the one before, row by row.

mod across;
mod beside;
mod damaged;
mod filtered;
mod generated;
mod groups;
mod kinds;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::census;
use git_sparse::codec::{self, Effort, Encoded, pages};
use git_sparse::format::{Column, Format, columns, cut};
use git_sparse::id::Oid;
use git_sparse::ingest::{Coverage, Ingested, coverage, ingest};
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::store::Store;
use git_sparse::table::{Kind, Run, Search};

use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

fn keep(store: &Store, bytes: &[u8], earlier: &[Oid]) -> Ingested {
    let hints = Hints { earlier: earlier.to_vec(), ..Hints::default() };
    ingest(store, &bytes, Oid::of(bytes), &hints, Effort::Push, &unwatched).unwrap()
}

fn data(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Two versions of a real table as pyarrow writes it: cells are compared, whatever became of the pages.
#[test]
fn the_next_version_of_a_table_adds_what_changed() {
    let [old, new] = [data("tables/contrib-1.parquet"), data("tables/contrib-2.parquet")];
    let store = fresh(Memory::default());
    let first = keep(&store, &old, &[]);
    let second = keep(&store, &new, &[first.oid]);
    assert!(first.stored * 10 < old.len() as u64 * 9, "{first:?} of {} bytes", old.len());
    assert!(second.stored * 2 < new.len() as u64, "{second:?} of {} bytes", new.len());
    assert_eq!(second.base, Some((first.oid, Reason::History)));
    let recipe = store.recipe(&second.oid).unwrap().unwrap();
    assert_eq!(recipe.format, Format::Parquet);
    let cost = census::file(&store, &recipe).unwrap();
    assert!(cost.codecs.contains_key("pages") && cost.stored == second.stored, "{cost:?}");
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "by rows");
    assert_clean(&store, "with rows");
}

/// Every writer's table comes back from a store, and is compared with the table of another one.
#[test]
fn tables_of_all_writers_come_back() {
    let store = fresh(Memory::default());
    let mut files: Vec<Sample> = Vec::new();
    for (_, bytes) in tables() {
        let earlier: Vec<_> = files.iter().map(|file| file.oid).collect();
        let kept = keep(&store, &bytes, &earlier);
        files.push(Sample { oid: kept.oid, bytes, earlier });
    }
    assert_gives_back(&store, &files, "of all writers");
    assert_clean(&store, "of all writers");
}

fn tables() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".parquet")).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), data(&format!("parquet/{name}")))).collect()
}

/// Columns of these tables of which some pages are not replayed. DuckDB's second version writes differences, fastparquet
/// entries of dictionaries that no row has.
#[test]
fn pages_are_replayed() {
    let mut left = Vec::new();
    for (name, bytes) in tables() {
        let columns = coverage(&bytes.as_slice()).unwrap();
        let mut all = Coverage::default();
        columns.values().for_each(|column| all += *column);
        assert!(all.bytes > 0 || name.starts_with("pyarrow-no-"), "{name}");
        let columns: Vec<_> =
            columns.into_iter().filter(|(_, column)| column.replayed < column.bytes).collect();
        if !columns.is_empty() {
            let columns: Vec<_> = columns.into_iter().map(|(name, _)| name).collect();
            left.push(format!("{name}: {}", columns.join(", ")));
        }
    }
    let known = [
        "duckdb-v2.parquet: id, place.x, place.y.z, score, tags.list.element, word",
        "fastparquet.parquet: word",
        // Columns that are called as the footer is, and as what has no name.
        "pyarrow-named-oddly.parquet: , /footer",
    ];
    assert_eq!(left, known);
}

/// In the first byte of a plan: some page is written in a way that does not follow from its cells.
const LEFT_OVER: u8 = 2;

/// Pages of these tables follow from cells, but for what is told here.
#[test]
fn pages_follow_from_cells() {
    let (mut found, mut other) = (BTreeMap::new(), Vec::new());
    for (name, bytes) in tables() {
        let columns = columns(&bytes).unwrap();
        let (mut left_over, mut strange, mut search) = (0, BTreeSet::new(), Search::default());
        for segment in cut(&bytes).unwrap().segments().iter().filter(|segment| segment.name != "/footer") {
            let Some(column) = columns.iter().find(|column| column.path == segment.name) else { continue };
            let Column { physical, max_definition, max_repetition, .. } = *column;
            let kind = Kind { physical, max_definition, max_repetition };
            let pages = &bytes[segment.range.start as usize..segment.range.end as usize];
            search.failures = 0;
            let run = Run::read(pages, kind, &mut None, &mut search);
            let run = run.or_else(|| {
                strange.insert(segment.name.clone());
                Run::unpack(pages, &mut search)
            });
            let Some(run) = run else { continue };
            let Encoded { codec, payload } = pages::encode(&run, &[], 0, Effort::Push);
            let cells = run.cells.encode();
            assert_eq!(codec::decode(codec, &payload, &[&cells], pages.len()).unwrap(), pages, "{name}");
            // Cells of any other column are no cells of this one.
            let _ = codec::decode(codec, &payload, &[&other, &cells], pages.len());
            let _ = codec::decode(codec, &payload, &[&cells, &other], pages.len());
            other = cells.clone();
            left_over +=
                usize::from(run.is_understood && pages::plan_alone(&payload).unwrap()[0] & LEFT_OVER != 0);
        }
        found.insert(name, (left_over, strange.into_iter().collect::<Vec<_>>().join(" ")));
    }
    let not_all = found.iter().filter(|(_, found)| **found != (0, String::new()));
    let not_all: Vec<String> =
        not_all.map(|(name, (left, strange))| format!("{name} {left} {strange}")).collect();
    // Some order their dictionaries in their own way; DuckDB's second version writes differences.
    let known = [
        "duckdb-v2.parquet 0 id place.x place.y.z score tags.list.element word",
        "fastparquet-gzip.parquet 1 ",
        "fastparquet.parquet 3 ",
    ];
    assert_eq!(not_all, known);
}
