//! Who waits for what: files that are rebuilt and stored share an amount of memory, and nobody is kept waiting in silence or
//! behind all jobs of another.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use git_sparse::codec::{self, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::id::{ObjectId, Oid};
use git_sparse::pack::Record;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::store::record_for;

use super::basic::{make_repo, model_bytes, upload};
use super::frames::{end, object};
use crate::support::home::{Home, Mode};
use crate::support::server::Server;
use crate::support::web::Asking;

const PIECE: usize = 1 << 20;
/// Pieces in a file that takes long to rebuild, and needs no more than one to be stored.
const PIECES: usize = 12 << 10;

fn piece() -> (Record, Vec<u8>) {
    let bytes = vec![7; PIECE];
    let whole = codec::encode(&bytes, Dtype::Bytes, 0, &[], Effort::Push);
    (record_for(ObjectId::of(&bytes), None, whole.codec, PIECE as u32), whole.payload)
}

/// Gives a repository the piece that long files are made of.
fn stock(server: &Server, token: &str) {
    let (record, payload) = piece();
    let stream = [object(record, &payload), end()].concat();
    let taken = server.ask(Asking::post("/a.git/info/lfs/sparse/1/take", stream).bearer(token));
    assert_eq!(taken.status, 200, "{}", taken.text());
}

/// Has the hub rebuild a file that is none, which takes many seconds, or wait for its turn to.
fn occupy(server: &Server, token: &str) {
    let (record, _) = piece();
    let oid = Oid::of(b"another file");
    let part = Part { object: record.object, len: PIECE as u32, tensor: None, slice: 0 };
    let recipe = Recipe {
        oid,
        size: (PIECES * PIECE) as u64,
        format: Format::Chunked,
        base: None,
        origin: Vec::new(),
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts: vec![part; PIECES],
    };
    let path = format!("/a.git/info/lfs/sparse/1/recipes/{oid}");
    let (asking, address) = (Asking::put(&path, recipe.encode()).bearer(token), server.address);
    thread::spawn(move || asking.of(address));
    thread::sleep(Duration::from_millis(500));
}

/// git-lfs gives up what is silent for a while, and asks anew: a file that waits for its turn must say something, and be the
/// right one in the end. A small one does not wait at all.
#[test]
fn who_waits_for_a_turn_is_not_given_up() {
    let server = Server::start(&["--anonymous", "write", "--decode", "64", "--pulse", "1"]);
    make_repo(&server, "a");
    let writer = Home::new(Mode::Daemon);
    let work = writer.path("work");
    writer.git(&writer.path(""), &["clone", "--quiet", &server.repo("a"), "work"]);
    let large: Vec<u8> = (0..3).flat_map(|_| model_bytes("tiny-base")).collect();
    let small = large[..100_000].to_vec();
    fs::write(work.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").expect("a file");
    fs::write(work.join("large.bin"), &large).expect("a file");
    fs::write(work.join("small.bin"), &small).expect("a file");
    writer.git(&work, &["add", "--all"]);
    writer.git(&work, &["commit", "--quiet", "--message", "two files"]);
    writer.git(&work, &["push", "--quiet", "origin", "HEAD"]);

    let reader = Home::bare(Mode::Daemon);
    reader.git(&reader.path(""), &["lfs", "install", "--skip-repo"]);
    let token = server.token("busy", "write", &["*"]);
    stock(&server, &token);
    occupy(&server, &token);
    let start = Instant::now();
    let (here, url) = (reader.path(""), server.repo("a"));
    let wait = "lfs.activitytimeout=3";
    let only = |name: &str| format!("lfs.fetchinclude={name}.bin");
    reader.git(&here, &["clone", "--quiet", "-c", wait, "-c", &only("small"), &url, "first"]);
    assert!(fs::read(reader.path("first/small.bin")).expect("a file") == small, "other bytes came");
    let took = start.elapsed();
    reader.git(&here, &["clone", "--quiet", "-c", wait, "-c", &only("large"), &url, "second"]);
    assert!(fs::read(reader.path("second/large.bin")).expect("a file") == large, "other bytes came");
    assert!(start.elapsed() > Duration::from_secs(4), "nobody had to wait: this shows nothing");
    assert!(took < start.elapsed() / 2, "a small file waited for {took:?}");
    for bytes in [&small, &large] {
        let line = format!("GET /a.git/info/lfs/objects/{} ", Oid::of(bytes));
        let asked = server.log().lines().filter(|found| found.contains(&line)).count();
        assert_eq!(asked, 1, "git-lfs gave up and asked again:\n{}", server.log());
    }
}

/// One client's jobs leave room to the others'.
#[test]
fn one_client_does_not_take_all_turns() {
    let server = Server::start(&["--decode", "192"]);
    let (many, one) = (server.token("many", "write", &["*"]), server.token("one", "write", &["*"]));
    make_repo(&server, "a");
    let bytes: Vec<u8> = (0..3).flat_map(|_| model_bytes("tiny-base")).collect();
    let link = upload(&server, "a", &bytes, Some(&one));
    stock(&server, &many);
    let start = Instant::now();
    (0..5).for_each(|_| occupy(&server, &many));
    let answer = server.ask(Asking::get(&link).bearer(&one));
    assert!(answer.body == bytes, "other bytes came");
    assert!(start.elapsed() < Duration::from_secs(8), "it waited for {:?}", start.elapsed());
}
