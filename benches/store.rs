//! Speed and size of the codecs, of ingest and reconstruct, and of the index, with zstd beside them.
//!
//! `cargo bench` prints a table that goes into docs/benchmarks.md. All figures are of one run, with
//! files in memory or in the page cache; of one thread, or where it says so of one a core. The pair is
//! generated: normal weights of σ 0.02, rows of 4096 whose steps have a σ of 1e-4 to 6e-4.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use git_sparse::backend::{Local, Name, Privacy};
use git_sparse::base::Hints;
use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::id::{ObjectId, Oid, PackId};
use git_sparse::index::Index;
use git_sparse::ingest::ingest;
use git_sparse::pack::{Bases, Record};
use git_sparse::progress::unwatched;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::reconstruct::reconstruct;
use git_sparse::store::{BaseKey, Decoded, Make, Shelf, Store, StoreError, check_config, record_for};

const ROW: usize = 4096;
/// Weights of one object in the codec's table: as large as an object gets.
const OBJECT: usize = 4 << 20;
/// Weights of the file that is ingested: 256 MiB of bf16.
const FILE: usize = 128 << 20;
/// Of the weights of a family's fine-tunes; some more are equal after rounding.
const EQUAL_SHARE: f32 = 0.58;

fn main() {
    // As the program does.
    git_sparse::heap::keep_what_is_freed();
    // `cargo bench --bench store -- write DIR` writes the pair for benches/clone.sh instead.
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "write") {
        return write_pair(Path::new(&arguments[at + 1]));
    }
    // `cargo bench --bench store -- family DIR` writes a base and three fine-tunes for benches/hub.sh.
    if let Some(at) = arguments.iter().position(|argument| argument == "family") {
        return write_family(Path::new(&arguments[at + 1]));
    }
    // `cargo bench --bench store -- million DIR` fills a store with a million files for benches/batch.sh.
    if let Some(at) = arguments.iter().position(|argument| argument == "million") {
        return write_million(Path::new(&arguments[at + 1]));
    }
    // `cargo bench --bench store -- codecs` prints that table alone.
    let tables: [(&str, fn()); 3] = [
        // First, so that the peak of memory that it prints is its own.
        ("index", index),
        ("codecs", codecs),
        ("files", files),
    ];
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !tables.iter().any(|(name, _)| named(name));
    tables.iter().filter(|(name, _)| all || named(name)).for_each(|(_, table)| table());
}

/// Weights and the same after one fine-tune.
struct Pair {
    base: Vec<f32>,
    tuned: Vec<f32>,
}

impl Pair {
    fn new(count: usize, changed_share: f32) -> Pair {
        let mut random = Random(0x5eed);
        let (mut base, mut tuned) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for row in 0..count / ROW {
            let step = 1e-4 + 5e-4 * (row % 97) as f32 / 97.0;
            for _ in 0..ROW {
                // A base that was saved in bf16, as most are.
                let weight = f32::from_bits((0.02 * random.normal()).to_bits() & 0xffff_0000);
                let moves = random.uniform() < changed_share;
                base.push(weight);
                tuned.push(if moves { weight + step * random.normal() } else { weight });
            }
        }
        Pair { base, tuned }
    }
}

fn bf16(weights: &[f32]) -> Vec<u8> {
    let round = |x: &f32| ((x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) >> 16) as u16;
    weights.iter().flat_map(|weight| round(weight).to_le_bytes()).collect()
}

fn f32s(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

fn codecs() {
    println!("\n| object of 4 Mi weights | machine as | size | encode MB/s | decode MB/s |");
    println!("| --- | --- | --- | --- | --- |");
    let (dense, sparse) = (Pair::new(OBJECT, 1.0), Pair::new(OBJECT, 0.01));
    let (base, tuned) = (bf16(&dense.base), bf16(&dense.tuned));
    codec("bf16, dense fine-tune", &tuned, Dtype::Bf16, Some((&base, Dtype::Bf16)));
    codec(
        "bf16, 1 % of the weights changed",
        &bf16(&sparse.tuned),
        Dtype::Bf16,
        Some((&bf16(&sparse.base), Dtype::Bf16)),
    );
    codec("f32, dense fine-tune", &f32s(&dense.tuned), Dtype::F32, Some((&f32s(&dense.base), Dtype::F32)));
    codec("bf16, no base", &base, Dtype::Bf16, None);
    codec("f32, no base", &f32s(&dense.tuned), Dtype::F32, None);
    peer("zstd -3 of the bf16 fine-tune", &tuned, |bytes| bytes.to_vec(), |bytes| bytes);
    let xor: Vec<u8> = tuned.iter().zip(&base).map(|(a, b)| a ^ b).collect();
    let planes =
        |bytes: &[u8]| (0..2).flat_map(|plane| bytes.iter().skip(plane).step_by(2).copied()).collect();
    peer("XOR + byte planes + zstd -3 (as BitX), bf16 dense", &xor, planes, |planes| {
        let half = planes.len() / 2;
        let joined = planes[..half].iter().zip(&planes[half..]).zip(base.chunks_exact(2));
        joined.flat_map(|((low, high), base)| [low ^ base[0], high ^ base[1]]).collect()
    });
}

fn codec(name: &str, bytes: &[u8], dtype: Dtype, base: Option<(&[u8], Dtype)>) {
    let with = base.map(|(bytes, dtype)| Base { bytes, dtype });
    let once = || {
        let (encoded, encode) =
            timed(|| codec::encode(bytes, dtype, ROW as u64, with.as_slice(), Effort::Push));
        let base = base.map(|(bytes, _)| bytes).filter(|_| encoded.codec.needs_base());
        let (decoded, decode) = timed(|| {
            codec::decode(encoded.codec, &encoded.payload, base.as_slice(), bytes.len())
                .expect("because we encoded it")
        });
        assert_eq!(decoded, bytes);
        (encoded, encode, decode)
    };
    for (machine, (encoded, encode, decode)) in codec::on_each_kind(once) {
        let name = format!("{name} ({:?}) | {machine:?}", encoded.codec);
        row(&name, bytes.len(), encoded.payload.len(), encode, decode);
    }
}

fn peer(name: &str, bytes: &[u8], before: impl Fn(&[u8]) -> Vec<u8>, after: impl Fn(Vec<u8>) -> Vec<u8>) {
    let (packed, encode) = timed(|| codec::zstd::compress(&before(bytes), 3));
    let (_, decode) =
        timed(|| after(codec::zstd::decompress(&packed, bytes.len()).expect("because we packed it")));
    row(&format!("{name} |"), bytes.len(), packed.len(), encode, decode);
}

fn row(name: &str, bytes: usize, stored: usize, encode: f64, decode: f64) {
    let speed = |seconds: f64| bytes as f64 / seconds / 1e6;
    println!(
        "| {name} | {:.1} % | {:.0} | {:.0} |",
        100.0 * stored as f64 / bytes as f64,
        speed(encode),
        speed(decode)
    );
}

/// A whole file through the store: read-back, recipe and fsync included.
fn files() {
    let pair = Pair::new(FILE, 1.0);
    let (base, tuned) = (safetensors(&bf16(&pair.base)), safetensors(&bf16(&pair.tuned)));
    drop(pair);
    let oids = [Oid::of(&base), Oid::of(&tuned)];
    println!(
        "\n| file of 256 MiB, bf16 | size | MB/s, one thread | MB/s, one a core |\n| --- | --- | --- | --- |"
    );
    // The default of a pool is a thread a core.
    let [one, all] = [1, 0].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| file_speeds([&base, &tuned], oids))
    });
    for (one, all) in one.iter().zip(&all) {
        println!("| {} | {} | {:.0} | {:.0} |", one.what, one.size, one.speed, all.speed);
    }
    let (_, seconds) = timed(|| Oid::of(&tuned));
    println!("| SHA-256 alone | | {:.0} | |", tuned.len() as f64 / seconds / 1e6);
}

/// A row of the table.
struct Speed {
    what: &'static str,
    size: String,
    /// MB/s.
    speed: f64,
}

fn file_speeds([base, tuned]: [&[u8]; 2], oids: [Oid; 2]) -> Vec<Speed> {
    let dir = std::env::temp_dir().join(format!("git-sparse-bench-{}", std::process::id()));
    let mut rows = Vec::new();
    for round in 0..3 {
        remove(&dir);
        let store = Store::over(Box::new(Local::new(&dir, Privacy::Private)), Index::in_memory());
        let ingested = [
            keep(&store, "ingest, no base", base, oids[0], &[]),
            keep(&store, "ingest, dense fine-tune", tuned, oids[1], &oids[..1]),
        ];
        let rebuilt = [
            rebuild(&store, "reconstruct, no base", base, oids[0]),
            rebuild(&store, "reconstruct, dense fine-tune and its base", tuned, oids[1]),
            rebuild_again(&dir, "reconstruct, dense fine-tune, base decoded before", tuned, oids[1]),
        ];
        for (at, row) in ingested.into_iter().chain(rebuilt).enumerate() {
            if round == 0 {
                rows.push(row);
            } else {
                rows[at].speed = rows[at].speed.max(row.speed);
            }
        }
    }
    remove(&dir);
    rows
}

fn keep(store: &Store, what: &'static str, bytes: &[u8], oid: Oid, earlier: &[Oid]) -> Speed {
    let hints = Hints { earlier: earlier.to_vec(), ..Hints::default() };
    let start = Instant::now();
    let done = ingest(store, &bytes, oid, &hints, Effort::Push, &unwatched).expect("because it is sound");
    let speed = bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    Speed { what, size: format!("{:.1} %", 100.0 * done.stored as f64 / bytes.len() as f64), speed }
}

fn rebuild(store: &Store, what: &'static str, bytes: &[u8], oid: Oid) -> Speed {
    let recipe = store.recipe(&oid).expect("readable").expect("there");
    // Memory that is there already: a file would be written to.
    let mut out = vec![1; bytes.len()];
    out.clear();
    let start = Instant::now();
    reconstruct(store, &recipe, &mut out, &unwatched).expect("because it was proven");
    let speed = bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    assert_eq!(&out, bytes);
    Speed { what, size: String::new(), speed }
}

/// As in a clone of several fine-tunes of one base.
fn rebuild_again(dir: &Path, what: &'static str, bytes: &[u8], oid: Oid) -> Speed {
    let store = Store::open(dir, "bench", Box::new(Kept::default())).expect("a store");
    rebuild(&store, what, bytes, oid);
    rebuild(&store, what, bytes, oid)
}

/// Bases stay decoded.
#[derive(Default)]
struct Kept(Mutex<HashMap<BaseKey, Arc<Decoded>>>);

impl Shelf for Kept {
    fn base(&self, key: BaseKey, make: &mut Make<'_>) -> Result<Arc<Decoded>, StoreError> {
        if let Some(base) = self.0.lock().expect("because nobody panics").get(&key) {
            return Ok(base.clone());
        }
        let base = Arc::new(make()?);
        self.0.lock().expect("because nobody panics").insert(key, base.clone());
        Ok(base)
    }

    fn clear(&self) {
        self.0.lock().expect("because nobody panics").clear();
    }
}

fn write_pair(dir: &Path) {
    let pair = Pair::new(FILE, 1.0);
    for (name, weights) in [("base", &pair.base), ("tuned", &pair.tuned)] {
        let path = dir.join(name).with_extension("safetensors");
        std::fs::write(&path, safetensors(&bf16(weights)))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A base of 128 MiB and three fine-tunes of it, in which as many weights stay equal as in the real ones of
/// benches/pairs (63 %).
fn write_family(dir: &Path) {
    let Pair { base, .. } = Pair::new(FILE / 2, 0.0);
    let write = |name: &str, weights: &[f32]| {
        let path = dir.join(name).with_extension("safetensors");
        std::fs::write(&path, safetensors(&bf16(weights)))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    write("base", &base);
    for (seed, name) in [(1, "tuned-1"), (2, "tuned-2"), (3, "tuned-3")] {
        let mut random = Random(seed);
        let tuned: Vec<f32> = base
            .iter()
            .map(
                |weight| {
                    if random.uniform() < EQUAL_SHARE { *weight } else { weight + 4e-4 * random.normal() }
                },
            )
            .collect();
        write(name, &tuned);
    }
}

fn safetensors(weights: &[u8]) -> Vec<u8> {
    let (tensors, each) = (32, weights.len() / 32);
    let entry = |index: usize| {
        let (start, end) = (index * each, (index + 1) * each);
        format!(
            "\"layers.{index}\":{{\"dtype\":\"BF16\",\"shape\":[{},{ROW}],\"data_offsets\":[{start},{end}]}}",
            each / 2 / ROW
        )
    };
    let header = format!("{{{}}}", (0..tensors).map(entry).collect::<Vec<_>>().join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), weights].concat()
}

/// A million objects in sled.
/// A store at `dir` with a million files of eight bytes each, and the list of them. Its recipes are written without the
/// care of a real one: nobody waits for a million fsyncs.
fn write_million(dir: &Path) {
    const FILES: u64 = 1_000_000;
    const PACK: u64 = 10_000;
    let store = Store::over(Box::new(Local::new(dir, Privacy::Shared)), Index::in_memory());
    check_config(store.backend()).expect("a store");
    let mut list = String::new();
    for pack in 0..FILES / PACK {
        let mut writer = store.begin_pack().expect("a pack");
        for number in pack * PACK..(pack + 1) * PACK {
            let bytes = number.to_le_bytes();
            let (object, oid) = (ObjectId::of(&bytes), Oid::of(&bytes));
            let record = record_for(object, None, Codec::Raw, 8);
            writer.add(record, &bytes).expect("an object");
            let recipe = Recipe {
                oid,
                size: 8,
                format: Format::Chunked,
                base: None,
                origin: Vec::new(),
                layout: None,
                sketch: Vec::new(),
                tensors: Vec::new(),
                parts: vec![Part { object, len: 8, tensor: None, slice: 0 }],
            };
            let path = dir.join(Name::Recipe(oid).to_string());
            std::fs::create_dir_all(path.parent().expect("because it has a directory")).expect("a directory");
            std::fs::write(&path, recipe.encode()).expect("a recipe");
            list.push_str(&format!("{oid}\n"));
        }
        writer.finish().expect("a pack");
    }
    std::fs::write(dir.join("list"), list).expect("the list");
}

fn index() {
    const OBJECTS: u64 = 1_000_000;
    println!("| index of 1 000 000 objects (sled) | |\n| --- | --- |");
    let dir = std::env::temp_dir().join(format!("git-sparse-index-{}", std::process::id()));
    let record = |number: u64| Record {
        object: ObjectId::of(&number.to_le_bytes()),
        bases: Bases::NONE,
        offset: number,
        payload_len: 1,
        logical_len: 1,
        checksum: [0; 16],
        codec: Codec::Raw,
        depth: 0,
    };
    let start = Instant::now();
    let fresh = Index::open(&dir, "bench");
    for pack in 0..100 {
        let records: Vec<_> = (pack * OBJECTS / 100..(pack + 1) * OBJECTS / 100).map(record).collect();
        fresh.put_pack(PackId::from_bytes(*ObjectId::of(&pack.to_be_bytes()).as_bytes()), &records);
    }
    println!("| filled | {:.1} s |", start.elapsed().as_secs_f64());
    drop(fresh);
    let start = Instant::now();
    let opened = Index::open(&dir, "bench");
    println!("| opened | {:.2} s |", start.elapsed().as_secs_f64());
    let mut random = Random(7);
    let start = Instant::now();
    for _ in 0..100_000 {
        let object = ObjectId::of(&(random.next() % OBJECTS).to_le_bytes());
        assert!(black_box(opened.get(&object)).is_some());
    }
    println!("| look-ups a second | {:.0} |", 100_000.0 / start.elapsed().as_secs_f64());
    println!("| most memory of this process | {} |", peak_memory());
    drop(opened);
    remove(&dir);
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |found| found.trim().to_owned())
}

fn remove(dir: &Path) {
    // Object files are read-only, their directories are not: this is enough.
    let _ = std::fs::remove_dir_all(dir);
}

/// The result and the best of three times.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut best = f64::INFINITY;
    let mut result = None;
    for _ in 0..3 {
        let start = Instant::now();
        result = Some(black_box(work()));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (result.expect("because it ran three times"), best)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Nearly normal: a sum of uniforms (Irwin–Hall, 12 terms in three draws of four).
    fn normal(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..3 {
            let bits = self.next();
            sum += (0..4).map(|part| (bits >> (16 * part) & 0xffff) as f32 / 65536.0).sum::<f32>();
        }
        sum - 6.0
    }
}
