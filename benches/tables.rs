//! Speed of tables: how many bytes of pages, and of the table in memory, one core stores and gives back in a second.
//!
//! `cargo bench --bench tables -- FILE…` prints a row for each Parquet file: a first version is ingested into an empty
//! store, which reads it back as every ingest does, and is then reconstructed. Seconds are those of the CPU, of all
//! threads; `benches/tables_speed.sh` makes the files. `cargo bench --bench tables -- one FILE [BEFORE]` does it once, for
//! whoever measures the memory. `-- coverage FILE…` prints how much of their pages follows from cells, by writer and codec:
//! files are called WRITER-CODEC-TABLE.parquet by `benches/tables_coverage.sh`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use git_sparse::base::Hints;
use git_sparse::codec::Effort;
use git_sparse::daemon::shelf::Recent;
use git_sparse::format::OpenFile;
use git_sparse::heap;
use git_sparse::id::Oid;
use git_sparse::ingest::{Coverage, Ingested, coverage, ingest};
use git_sparse::progress::unwatched;
use git_sparse::reconstruct::reconstruct;
use git_sparse::store::Store;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::time::{ClockId, clock_gettime};

/// Each file is stored so often, and the fastest counts.
const TIMES: usize = 5;

fn main() {
    heap::keep_what_is_freed();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((one, files)) if one == "one" => once(files),
        Some((coverage, files)) if coverage == "coverage" => covered(files),
        _ => table(&arguments),
    }
}

fn table(files: &[String]) {
    println!(
        "| table | pages | in memory | stored | ingest, pages | in memory | reconstruct, pages | in memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for file in files {
        let (pages, arrow) = decoded_bytes(file);
        let runs: Vec<_> = (0..TIMES).map(|_| stored_and_back(file)).collect();
        let fastest = |of: fn(&Run) -> f64| runs.iter().map(of).fold(f64::INFINITY, f64::min);
        let (ingest, back) = (fastest(|run| run.ingest), fastest(|run| run.reconstruct));
        let speeds = [pages / ingest, arrow / ingest, pages / back, arrow / back].map(|speed| speed / 1e6);
        let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
        let [a, b, c, d] = speeds;
        println!(
            "| {name} | {:.1} MB | {:.1} MB | {} | {a:.0} MB/s | {b:.0} MB/s | {c:.0} MB/s | {d:.0} MB/s |",
            pages / 1e6,
            arrow / 1e6,
            runs[0].stored.stored
        );
    }
}

/// Seconds of the CPU.
struct Run {
    ingest: f64,
    reconstruct: f64,
    stored: Ingested,
}

fn stored_and_back(file: &str) -> Run {
    let dir = tempfile::tempdir().expect("because there is room");
    let store = open(dir.path());
    let oid = oid_of(file);
    let (stored, ingest) = timed(|| keep(&store, file, oid, &[]));
    let mut back = Vec::with_capacity(stored.size as usize);
    let (_, reconstruct) = timed(|| give_back(&store, stored.oid, &mut back));
    assert!(back == std::fs::read(file).expect("because it was read before"), "{file} did not come back");
    Run { ingest, reconstruct, stored }
}

/// Stores a file, after the version before it if there is one, and gives it back.
fn once(files: &[String]) {
    let dir = tempfile::tempdir().expect("because there is room");
    let store = open(dir.path());
    let mut earlier = Vec::new();
    for file in files.iter().rev() {
        let oid = oid_of(file);
        let (stored, ingest) = timed(|| keep(&store, file, oid, &earlier));
        let (_, back) = timed(|| give_back(&store, stored.oid, &mut std::io::sink()));
        println!(
            "{file}: {} bytes, {} stored, ingest {ingest:.2} s, reconstruct {back:.2} s",
            stored.size, stored.stored
        );
        earlier.push(stored.oid);
    }
}

/// Least share of the bytes of pages that follow from cells, in percent, by the beginning of the name of a writer; of others
/// nothing is promised.
const GOALS: [(&str, f64); 7] = [
    ("pandas", 100.0),
    ("pyarrow", 100.0),
    ("datasets", 100.0),
    ("parquet-rs", 100.0),
    ("fastparquet", 100.0),
    ("polars", 98.0),
    ("duckdb", 95.0),
];
/// Codecs of the table, in the order of its columns. Brotli has no goal: no packer of ours gives it back.
const CODECS: [&str; 6] = ["snappy", "zstd", "gzip", "lz4", "none", "brotli"];

/// Of all pages, and how many bytes of which column don't follow.
type Covered = (Coverage, BTreeMap<String, u64>);

/// Stores each file, which has to come back, and tells how its pages follow from cells.
fn covered(files: &[String]) {
    // By writer, then codec.
    let mut writers: BTreeMap<String, BTreeMap<String, Covered>> = BTreeMap::new();
    for file in files {
        stored_and_back(file);
        let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.rsplitn(3, '-').map(str::to_owned);
        let [_, codec, writer] = [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
        let (all, left) = writers.entry(writer).or_default().entry(codec).or_default();
        let source = OpenFile::open(Path::new(file)).expect("because the file was named");
        for (column, found) in coverage(&source).expect("because it was read before") {
            *all += found;
            *left.entry(column).or_default() += found.bytes - found.replayed;
        }
    }
    println!("| writer | bytes of pages | goal | {} |", CODECS.join(" | "));
    println!("| --- | --- | --- |{}", " --- |".repeat(CODECS.len()));
    let mut missed = Vec::new();
    for (writer, codecs) in &writers {
        let least = GOALS.iter().find(|(name, _)| writer.starts_with(name)).map(|(_, least)| *least);
        let cells = CODECS.map(|codec| {
            let Some((all, left)) = codecs.get(codec) else { return String::new() };
            let percent = 100.0 * all.share();
            let Some(least) = least.filter(|_| codec != "brotli") else { return format!("{percent:.3} %") };
            if all.bytes > 0 && percent >= least {
                return format!("{percent:.3} % ✓");
            }
            let mut left: Vec<_> = left.iter().filter(|(_, bytes)| **bytes > 0).collect();
            left.sort_by_key(|(_, bytes)| u64::MAX - **bytes);
            let left: Vec<_> = left.iter().take(5).map(|(name, bytes)| format!("{name} {bytes}")).collect();
            missed.push(format!("{writer}, {codec}: {}", left.join(", ")));
            format!("{percent:.3} % ✗")
        });
        let bytes = codecs.values().map(|(all, _)| all.bytes).max().unwrap_or_default();
        let goal = least.map_or("-".to_owned(), |least| format!("{least} %"));
        println!("| {writer} | {bytes} | {goal} | {} |", cells.join(" | "));
    }
    println!("\nBytes that are not replayed where a goal is missed, by columns:\n");
    missed.iter().for_each(|missed| println!("- {missed}"));
}

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("store"), "bench", Box::new(Arc::new(Recent::default())))
        .expect("because it is new")
}

/// The name of a file, which git-lfs has found out before it asks for anything.
fn oid_of(file: &str) -> Oid {
    Oid::of(&std::fs::read(file).expect("because the file was named"))
}

fn keep(store: &Store, file: &str, oid: Oid, earlier: &[Oid]) -> Ingested {
    let source = OpenFile::open(Path::new(file)).expect("because the file was named");
    let hints = Hints { earlier: earlier.to_vec(), ..Hints::default() };
    ingest(store, &source, oid, &hints, Effort::Push, &unwatched).expect("because it is a file")
}

fn give_back(store: &Store, oid: Oid, out: &mut (dyn std::io::Write + Send)) {
    let recipe = store.recipe(&oid).expect("because it was stored").expect("because it was stored");
    reconstruct(store, &recipe, out, &unwatched).expect("because it was proven");
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let now = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let start = now();
    let done = work();
    (done, now() - start)
}

/// Bytes of all pages as they are when they are unpacked, and of the table as Arrow has it.
fn decoded_bytes(file: &str) -> (f64, f64) {
    let open = || File::open(file).expect("because the file was named");
    let builder = ParquetRecordBatchReaderBuilder::try_new(open()).expect("because it is a table");
    let groups = builder.metadata().row_groups();
    let pages: i64 = groups.iter().flat_map(|group| group.columns()).map(|c| c.uncompressed_size()).sum();
    let batches = builder.build().expect("because it is a table");
    let of_batch = |batch: arrow_array::RecordBatch| -> usize {
        let bytes = |column: &arrow_array::ArrayRef| column.to_data().get_slice_memory_size();
        batch.columns().iter().map(|column| bytes(column).expect("because all types have a size")).sum()
    };
    let arrow: usize = batches.map(|batch| of_batch(batch.expect("because it is a table"))).sum();
    (pages as f64, arrow as f64)
}
