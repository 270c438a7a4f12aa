//! Stores of each format version, written once and kept: what an old version wrote, a new one reads.
//!
//! The files in a golden store are made here anew from their seeds, and must come back. A new format
//! version gets a store of its own by `cargo test --test all -- --ignored write_the_golden_stores`; the
//! old ones stay as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use git_sparse::backend::{Local, Privacy};
use git_sparse::pack;
use git_sparse::store::FORMAT_VERSION;

use crate::support::random::Random;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh, keep_all, sample};

/// Numbers of the long tensors: enough for streams of all 64 lanes.
const LONG: usize = 1_100_000;
/// The safetensors name of each type, and the bytes of an element.
const DTYPES: [(&str, usize); 15] = [
    ("BOOL", 1),
    ("U8", 1),
    ("I8", 1),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
    ("U16", 2),
    ("I16", 2),
    ("F16", 2),
    ("BF16", 2),
    ("U32", 4),
    ("I32", 4),
    ("F32", 4),
    ("U64", 8),
    ("I64", 8),
    ("F64", 8),
];

/// What is in a store.
type Files = fn() -> Vec<Sample>;

/// The stores, and what is in each, in the order in which it was stored. What a version learnt to write
/// later has a store of its own.
const STORES: [(&str, Files); 4] =
    [("1", files), ("1-cells", crossed), ("1-rules", computed), ("1-tables", tables)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A model whose steps depend on the row and on the column, and are far and wide where there are any.
fn crossed() -> Vec<Sample> {
    const SHAPE: [usize; 2] = [400, 300];
    let mut random = Random::seeded(2);
    let base: Vec<u8> = (0..SHAPE[0] * SHAPE[1])
        .flat_map(|_| (0x3c00 | random.number() as u16 & 0x81ff).to_le_bytes())
        .collect();
    let mut tuned = |one_in: usize, wide: usize| -> Vec<u8> {
        let step = |(at, bits): (usize, &[u8])| {
            let widest = 1 + wide * (at / SHAPE[1] % 5) * (at % SHAPE[1] % 7);
            let step = if random.below(one_in) == 0 { random.below(2 * widest + 1) as u16 } else { 0 };
            u16::from_le_bytes([bits[0], bits[1]]).wrapping_add(step).to_le_bytes()
        };
        base.chunks(2).enumerate().flat_map(step).collect()
    };
    let (dense, sparse) = (tuned(1, 1), tuned(300, 40));
    let mut files = Vec::new();
    add_line(&mut files, &[("BF16", &base), ("BF16", &dense)], SHAPE);
    add_line(&mut files, &[("BF16", &base), ("BF16", &sparse)], SHAPE);
    files
}

/// Two versions of a real table, pushed before headers of pages were kept without what follows from their pages.
fn tables() -> Vec<Sample> {
    let table =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tables").join(name));
    ["contrib-1.parquet", "contrib-2.parquet"]
        .map(|name| sample(table(name).expect("a table of the tests"), Vec::new()))
        .into()
}

/// Three revisions of one model whose weights go to and fro between two numbers, and the mean of two of them.
fn computed() -> Vec<Sample> {
    const SHAPE: [usize; 2] = [100, 300];
    let mut random = Random::seeded(3);
    let mut weights: Vec<f32> =
        (0..SHAPE[0] * SHAPE[1]).map(|_| 0.02 + random.below(1000) as f32 * 1e-5).collect();
    let bf16 = |weight: f32| ((weight.to_bits() + 0x7fff + (weight.to_bits() >> 16 & 1)) >> 16) as u16;
    let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    let mut revisions: Vec<Vec<u16>> = Vec::new();
    for _ in 0..3 {
        revisions.push(weights.iter().map(|weight| bf16(*weight)).collect());
        weights.iter_mut().for_each(|weight| *weight += random.below(1000) as f32 * 2e-7 - 1e-4);
    }
    let halves = revisions[0].iter().zip(&revisions[2]);
    let mean: Vec<u16> = halves.map(|(one, other)| bf16((value(*one) + value(*other)) / 2.0)).collect();
    let bytes = |bits: &Vec<u16>| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>();
    let revisions: Vec<Vec<u8>> = revisions.iter().map(bytes).collect();
    let line: Vec<(&str, &[u8])> = revisions.iter().map(|numbers| ("BF16", numbers.as_slice())).collect();
    let mut files = Vec::new();
    add_line(&mut files, &line, SHAPE);
    add_line(&mut files, &[("BF16", &bytes(&mean))], SHAPE);
    files
}

/// Everything that the first version knew.
fn files() -> Vec<Sample> {
    let mut random = Random::seeded(1);
    let mut files = Vec::new();
    for (dtype, width) in DTYPES {
        // An odd number of groups, and a row that ends in the middle of one.
        let base = numbers(&mut random, width, 75 * 40);
        let tuned = stepped(&mut random, &base, width, 75);
        let again = stepped(&mut random, &tuned, width, 75);
        add_line(&mut files, &[(dtype, &base), (dtype, &tuned), (dtype, &again)], [40, 75]);
    }
    let base: Vec<u8> = (0..LONG)
        .flat_map(|at| (0x3c40 | (at % 50 / 49 * (at & 0x3f))).to_le_bytes()[..2].to_vec())
        .collect();
    let step = |(at, element): (usize, &[u8])| {
        let bits = u16::from_le_bytes(element.try_into().expect("two bytes")) + 1 + u16::from(at % 61 == 0);
        bits.to_le_bytes()
    };
    let tuned: Vec<u8> = base.chunks(2).enumerate().flat_map(step).collect();
    add_line(&mut files, &[("BF16", &base), ("BF16", &tuned)], [LONG / 1000, 1000]);
    let wide: Vec<u8> = tuned.chunks(2).take(4000).flat_map(|bits| [0, 0, bits[0], bits[1]]).collect();
    add_line(&mut files, &[("BF16", &base[..8000]), ("F32", &wide)], [40, 100]);

    let mut text = (0..400).map(|line| format!("line {line}: {}\n", random.below(1000))).collect::<String>();
    let mut earlier = Vec::new();
    for revision in 0..3 {
        text = text.replace(&format!("line {revision}:"), "changed:");
        let file = sample(text.clone().into_bytes(), earlier.clone());
        earlier.insert(0, file.oid);
        files.push(file);
    }
    files.push(sample((0..3000).map(|_| random.number() as u8).collect(), Vec::new()));
    files.push(sample(npy(&base[..6000]), Vec::new()));
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zip/python.zip");
    files.push(sample(fs::read(archive).expect("the archive"), Vec::new()));
    files.push(sample(Vec::new(), Vec::new()));
    files
}

/// Numbers whose high bits are nearly the same, as weights are.
fn numbers(random: &mut Random, width: usize, count: usize) -> Vec<u8> {
    let bits = 8 * width as u32;
    let number =
        |_| ((0x3c << (bits - 8)) ^ (random.number() % (1 << (bits - 4)))).to_le_bytes()[..width].to_vec();
    (0..count).flat_map(number).collect()
}

/// The same after a step: small ones, wild ones, rows that stay.
fn stepped(random: &mut Random, base: &[u8], width: usize, row_len: usize) -> Vec<u8> {
    let step = |(at, element): (usize, &[u8])| {
        let mut number = [0; 8];
        number[..width].copy_from_slice(element);
        let step = match (at / row_len % 7, random.below(200)) {
            (3, _) => 0,
            (_, 0) => random.number(),
            (row, _) => (random.below(2 * row + 3) as u64).wrapping_sub(row as u64 + 1),
        };
        u64::from_le_bytes(number).wrapping_add(step).to_le_bytes()[..width].to_vec()
    };
    base.chunks(width).enumerate().flat_map(step).collect()
}

/// Adds models, each of which was made from those before it.
fn add_line(files: &mut Vec<Sample>, models: &[(&str, &[u8])], shape: [usize; 2]) {
    let mut earlier = Vec::new();
    for (dtype, numbers) in models {
        let file = sample(safetensors(dtype, numbers, shape), earlier.clone());
        earlier.insert(0, file.oid);
        files.push(file);
    }
}

fn safetensors(dtype: &str, numbers: &[u8], [rows, columns]: [usize; 2]) -> Vec<u8> {
    let header = format!(
        "{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":[{rows},{columns}],\"data_offsets\":[0,{}]}}}}",
        numbers.len()
    );
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), numbers].concat()
}

fn npy(numbers: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({},), }}\n", numbers.len() / 2);
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), numbers].concat()
}

/// Every version that ever wrote stores: nobody loses a model to an update.
#[test]
fn stores_of_all_versions_are_read() {
    for (name, files) in STORES {
        let root = golden(name);
        assert!(root.join("config").is_file(), "{}: the golden store is missing", root.display());
        let store = fresh(Local::new(&root, Privacy::Private));
        assert_gives_back(&store, &files(), name);
        assert_clean(&store, name);
        let packs = store.packs().expect("a list of packs");
        let records =
            packs.iter().flat_map(|pack| pack::read_trailer(store.backend(), *pack).expect("a trailer"));
        let (codecs, depths): (BTreeSet<u8>, BTreeSet<u8>) =
            records.map(|record| (record.codec as u8, record.depth)).unzip();
        if name == "1-tables" {
            assert!(codecs.contains(&10), "{name}: no pages in the golden store");
        }
        if name == FORMAT_VERSION.to_string() {
            assert_eq!(codecs, (0..=4).collect(), "{name}: a codec is not in the golden store");
            assert!(depths.contains(&2), "{name}: no chain in the golden store");
        }
    }
}

/// Writes the stores that are missing: a golden store is never changed.
#[test]
#[ignore = "writes into the source tree, once a format"]
fn write_the_golden_stores() {
    for (name, files) in STORES.iter().filter(|(name, _)| !golden(name).exists()) {
        let root = golden(name);
        let backend = Local::new(&root, Privacy::Shared);
        git_sparse::store::check_config(&backend).expect("a new store");
        keep_all(&fresh(backend), &files());
        let _ = fs::remove_dir(root.join("tmp"));
    }
}
