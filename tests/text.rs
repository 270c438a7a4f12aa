//! Text, Arrow, compressed files and archives: the next version costs what changed, and every byte comes back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::census;
use git_sparse::codec::{self, Effort};
use git_sparse::format::Format;
use git_sparse::id::Oid;
use git_sparse::ingest::{Ingested, ingest};
use git_sparse::packing::{Deflate, Encoder, Kind, Packer, Wrapper, Zstd};
use git_sparse::progress::unwatched;
use git_sparse::store::Store;
use xtask::tree::Expected;

use crate::support::home::{Home, Mode};
use crate::support::random::Random;
use crate::support::repo::Repo;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fresh};

fn keep(store: &Store, bytes: &[u8], earlier: &[Oid]) -> Ingested {
    let hints = Hints { earlier: earlier.to_vec(), ..Hints::default() };
    ingest(store, &bytes, Oid::of(bytes), &hints, Effort::Push, &unwatched).unwrap()
}

/// Stores one version, then each of the others against it; tells what these took.
fn costs(first: &[u8], others: &[Vec<u8>]) -> Vec<u64> {
    let store = fresh(Memory::default());
    let base = keep(&store, first, &[]);
    let kept: Vec<_> = others.iter().map(|bytes| keep(&store, bytes, &[base.oid])).collect();
    let all = others.iter().cloned().chain([first.to_vec()]);
    let samples: Vec<_> =
        all.map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() }).collect();
    assert_gives_back(&store, &samples, "with versions");
    assert_clean(&store, "with versions");
    kept.iter().map(|kept| kept.stored).collect()
}

/// Lines as a data set has them: some fields that repeat, some that do not.
fn lines(count: usize) -> Vec<String> {
    let line = |number: usize| {
        let hash = blake3::hash(&number.to_le_bytes()).to_hex();
        let kind = ["train", "test", "validation"][number % 3];
        format!(
            "{{\"id\": {number}, \"split\": \"{kind}\", \"text\": \"{hash}\", \"score\": 0.{}}}\n",
            &hash[..3]
        )
    };
    (0..count).map(line).collect()
}

/// Every hundredth line is another one.
fn updated(lines: &[String], version: usize) -> Vec<String> {
    let mut new = lines.to_vec();
    for (at, line) in new.iter_mut().enumerate().filter(|(at, _)| at % 100 == version * 7 % 100) {
        *line = line.replace("split", if at % 2 == 0 { "part" } else { "which of the splits" });
    }
    new
}

/// The edits that people make, on a file of several chunks: each costs little more than what it says.
#[test]
fn the_next_version_of_a_text_adds_what_changed() {
    let first = lines(110_000);
    let fewer = |of: &[String]| -> Vec<String> {
        of.iter().enumerate().filter(|(at, _)| at % 100 != 50).map(|(_, line)| line.clone()).collect()
    };
    let mut longer = first.clone();
    longer.extend(lines(110_500).split_off(110_000));
    let others = [updated(&first, 1), fewer(&first), longer].map(|lines| lines.concat().into_bytes());
    let bytes = first.concat().into_bytes();
    let [update, delete, append] = costs(&bytes, &others)[..] else { panic!("three costs") };
    let share = |cost: u64| cost as f64 / bytes.len() as f64;
    assert!(bytes.len() > 12 << 20);
    assert!(share(update) < 0.003, "{update}");
    assert!(share(delete) < 0.002, "{delete}");
    // Half of each new line is 32 random bytes in hexadecimal.
    assert!(append < 500 * 50, "{append}");
}

/// Lines in another order come from wherever they were.
#[test]
fn sorted_lines_are_copied() {
    let first = lines(40_000);
    let mut sorted = first.clone();
    sorted.sort_by_key(|line| line[line.len() - 40..].to_owned());
    let bytes = first.concat().into_bytes();
    let cost = costs(&bytes, &[sorted.concat().into_bytes()])[0];
    assert!(cost < 40_000 * 5, "{cost} of {}", bytes.len());
}

/// A chain of versions ends where reading would get slow, and all of them come back.
#[test]
fn many_versions_come_back() {
    let store = fresh(Memory::default());
    let mut now = lines(20_000);
    let mut samples = Vec::new();
    let mut earlier = Vec::new();
    for version in 0..14 {
        let bytes = now.concat().into_bytes();
        let kept = keep(&store, &bytes, &earlier);
        assert!(version == 0 || kept.stored * 50 < bytes.len() as u64, "version {version}: {kept:?}");
        let cost = census::file(&store, &store.recipe(&kept.oid).unwrap().unwrap()).unwrap();
        assert!(cost.depth <= 8, "version {version}: {cost:?}");
        earlier.insert(0, kept.oid);
        samples.push(Sample { oid: kept.oid, bytes, earlier: Vec::new() });
        now = updated(&now, version);
        now.swap(version, 15_000 + version);
    }
    assert_gives_back(&store, &samples, "in a chain");
    assert_clean(&store, "in a chain");
}

/// What is no text and has no format is compared as well.
#[test]
fn unknown_files_are_compared() {
    let mut bytes = vec![0; 3 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let mut changed = bytes.clone();
    changed.iter_mut().step_by(50_000).for_each(|byte| *byte ^= 1);
    changed.splice(1 << 20..1 << 20, *b"something more");
    let cost = costs(&bytes, &[changed])[0];
    assert!(cost < 8000, "{cost}");
}

/// A small file is one chunk without anchors; what lay there is what it is compared with.
#[test]
fn a_small_text_is_compared() {
    let [first, second] = [lines(40), updated(&lines(40), 0)].map(|lines| lines.concat().into_bytes());
    let cost = costs(&first, &[second])[0];
    assert!(cost < 100, "{cost}");
}

/// As zlib packs at that level.
fn gzip(level: u8) -> Packer {
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let wrapper = Wrapper::read(header, Kind::Gzip).unwrap();
    Packer::Deflate(Deflate::new(Encoder::Zlib { level, memory: 8 }, wrapper).unwrap())
}

/// zstd, as a push takes it, packs numbers in text worse than zlib does: that is no reason to keep them packed.
#[test]
fn compressed_numbers_are_compared_by_what_they_hold() {
    let mut random = Random::printed("numbers");
    let number = |random: &mut Random| (random.below(1 << 20) as f64 - 524_288.0) / 524_288.0;
    let mut lines: Vec<String> = (0..12_000)
        .map(|id| {
            format!(
                "{{\"id\": {id}, \"a\": {:.9}, \"b\": {:.5}}}\n",
                number(&mut random),
                number(&mut random)
            )
        })
        .collect();
    let first = gzip(9).pack(lines.concat().as_bytes());
    assert!(
        codec::zstd::compress(lines.concat().as_bytes(), 3).len() > first.len(),
        "this tests nothing else"
    );
    lines.iter_mut().step_by(100).for_each(|line| *line = line.replacen('}', ", \"c\": 1}", 1));
    let second = gzip(9).pack(lines.concat().as_bytes());
    let store = fresh(Memory::default());
    let base = keep(&store, &first, &[]);
    assert!(base.stored <= first.len() as u64 + 200, "{base:?} of {}", first.len());
    let next = keep(&store, &second, &[base.oid]);
    assert!(next.stored * 50 < second.len() as u64, "{next:?} of {}", second.len());
    let samples = [first, second].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &samples, "numbers");
}

/// As the program `gzip` packs, which searches in its own way.
fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .args(["-6", "-n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`gzip`, which every system has");
    let mut input = gzip.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(plain).unwrap());
        gzip.wait_with_output().unwrap().stdout
    })
}

/// Nobody has the library of the program `gzip`: what it chose otherwise than zlib is kept.
#[test]
fn files_of_the_program_gzip_are_compared_by_what_they_hold() {
    let [first, second] =
        [lines(30_000), updated(&lines(30_000), 3)].map(|lines| gzipped(lines.concat().as_bytes()));
    let store = fresh(Memory::default());
    let base = keep(&store, &first, &[]);
    assert!(base.stored < first.len() as u64, "{base:?}");
    let next = keep(&store, &second, &[base.oid]);
    assert!(next.stored * 8 < second.len() as u64, "{next:?} of {}", second.len());
    let samples = [first, second].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &samples, "gzip");
    assert_clean(&store, "gzip");
}

/// A compressed file is what it holds, where a packer gives it back; else it is kept as it is.
#[test]
fn compressed_files_are_compared_by_what_they_hold() {
    let packers = [gzip(6), Packer::Zstd(Zstd::streamed(3, false, true).unwrap())];
    let [first, second] =
        [lines(30_000), updated(&lines(30_000), 3)].map(|lines| lines.concat().into_bytes());
    for packer in packers {
        let [old, new] = [&first, &second].map(|plain| packer.pack(plain));
        let store = fresh(Memory::default());
        let base = keep(&store, &old, &[]);
        let next = keep(&store, &new, &[base.oid]);
        assert!(next.stored * 200 < new.len() as u64, "{next:?} of {}", new.len());
        let cost = census::file(&store, &store.recipe(&next.oid).unwrap().unwrap()).unwrap();
        assert_eq!((cost.format, cost.stored), (Format::Stream, next.stored));
        let mut other = new.clone();
        other.push(0);
        let odd = keep(&store, &other, &[next.oid]);
        assert_eq!(store.recipe(&odd.oid).unwrap().unwrap().format, Format::Chunked);
        let samples =
            [old, new, other].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
        assert_gives_back(&store, &samples, "compressed");
        assert_clean(&store, "compressed");
    }
}

fn data(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rows that went move all rows behind them: buffers are compared wherever their bytes lie now, packed ones unpacked.
#[test]
fn tables_of_arrow_are_compared() {
    for (name, most) in [("plain", 10), ("polars", 10), ("zstd", 4), ("lz4", 4)] {
        let [old, new] = [1, 2].map(|version| data(&format!("arrow/{name}-{version}.arrow")));
        let cost = costs(&old, std::slice::from_ref(&new))[0];
        assert!(cost * most < new.len() as u64, "{name}: {cost} of {}", new.len());
    }
}

/// Real git and git-lfs: a data set of lines, pushed twice, cloned.
#[test]
fn a_data_set_of_lines_is_pushed_and_cloned() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    let versions = [lines(30_000), updated(&lines(30_000), 3)];
    let sources = home.path("sources");
    fs::create_dir_all(&sources).unwrap();
    let mut pushed = Vec::new();
    for (number, lines) in versions.iter().enumerate() {
        let source = sources.join(format!("{number}.jsonl"));
        fs::write(&source, lines.concat()).unwrap();
        let expected: Expected = [("data.jsonl".into(), source)].into();
        repo.commit("a version", expected);
        pushed.push(repo.push());
    }
    assert!(pushed[1] * 100 < lines(30_000).concat().len() as u64, "{pushed:?}");
    let clone = Repo::clone(&home, repo.remote().to_str().unwrap(), "clone", &[]);
    assert_eq!(fs::read(clone.path.join("data.jsonl")).unwrap(), versions[1].concat().into_bytes());
}
