//! What a hub takes from strangers: so much and no more, and lies not at all.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use git_sparse::backend::{Local, Privacy};
use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::id::{ObjectId, Oid};
use git_sparse::index::Index;
use git_sparse::pack::{MAX_DEPTH, Record};
use git_sparse::recipe::{Part, Recipe};
use git_sparse::store::{Store, check_config, record_for};

use super::basic::{batch, make_repo, model_bytes, named, upload};
use super::frames::{end, framed, object};
use crate::support::home::{Home, Mode};
use crate::support::repo::text;
use crate::support::samples::assert_clean;
use crate::support::server::Server;
use crate::support::web::{Asking, LFS_JSON};

const BATCH: &str = "/a.git/info/lfs/objects/batch";
const TAKE: &str = "/a.git/info/lfs/sparse/1/take";

/// Requests that no client sends get the status that says what is wrong with them.
#[test]
fn odd_requests_are_named() {
    let server = Server::open();
    make_repo(&server, "a");
    let object = |number: usize| (Oid::of(&number.to_le_bytes()).to_string(), 1);
    let many: Vec<_> = (0..1001).map(object).collect();
    let question = |text: &str| Asking::post(BATCH, text).lfs();
    let good = r#"{"operation":"download","objects":[]}"#;
    for (what, asking, expected) in [
        ("a long body", question(&" ".repeat((1 << 20) + 1)), 413),
        ("many objects", Asking::batch("a", "download", "basic", &many), 413),
        ("as many as may be", Asking::batch("a", "download", "basic", &many[..1000]), 200),
        ("no JSON", question("{"), 400),
        ("a bomb of brackets", question(&"[".repeat(500_000)), 400),
        ("another operation", question(r#"{"operation":"delete","objects":[]}"#), 422),
        ("another hash", question(r#"{"operation":"download","objects":[],"hash_algo":"md5"}"#), 409),
        ("another type", Asking::post(BATCH, good).header("Accept", "text/html"), 406),
        ("any type", Asking::post(BATCH, good), 200),
        ("another method", Asking::of_method("DELETE", BATCH), 405),
        ("another method on git", Asking::of_method("PUT", "/a.git/info/refs"), 405),
        ("git's old way", Asking::get("/a.git/info/refs"), 403),
        ("a file of the repository", Asking::get("/a.git/config"), 404),
        ("a way out", Asking::get("/a/../../etc/info/refs?service=git-upload-pack"), 404),
        ("long headers", Asking::get("/healthz").header("X", &"x".repeat(2 << 20)), 431),
        ("a list that is not whole", Asking::post("/a.git/info/lfs/sparse/1/has", [1; 33]), 400),
        ("want of nothing", Asking::post("/a.git/info/lfs/sparse/1/give", [255; 49]), 400),
    ] {
        let answer = server.ask(asking);
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
    }
    let long = server.ask(Asking::batch("a", "download", "basic", &[("x".into(), 1)]));
    assert_eq!(long.json()["objects"][0]["error"]["code"], 422, "a name that is no hash");
    assert_eq!(long.header("content-type"), Some(LFS_JSON));
    assert_eq!(server.ask(Asking::get("/healthz")).status, 200);
}

/// Someone who sends a head byte by byte, or opens connections and says nothing, must not shut out the others.
#[test]
fn slow_heads_are_cut() {
    let server = Server::start(&["--anonymous", "write", "--connections", "3"]);
    make_repo(&server, "a");
    let start = Instant::now();
    let idle: Vec<_> = (0..3).map(|_| TcpStream::connect(server.address).expect("a connection")).collect();
    (&idle[0]).write_all(b"GET / HT").expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let mut late = TcpStream::connect(server.address).expect("a connection");
    let _ = late.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut said = Vec::new();
    let _ = late.read_to_end(&mut said);
    assert!(said.is_empty(), "more connections than the limit");
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
    }
    assert!(start.elapsed() < Duration::from_secs(50), "connections that say nothing are kept");
    assert_eq!(server.ask(Asking::get("/healthz")).status, 200);
}

/// One client that asks without end waits; nobody else does.
#[test]
fn a_flood_is_told_to_wait() {
    let server = Server::start(&["--anonymous", "read", "--rate", "1"]);
    let token = server.token("calm", "read", &["*"]);
    make_repo(&server, "a");
    let ask = || server.ask(Asking::get("/a.git/info/lfs/locks"));
    let answers: Vec<_> = (0..20).map(|_| ask()).collect();
    let told = answers.iter().find(|answer| answer.status == 429).expect("no end of answers");
    assert_eq!(told.header("retry-after"), Some("1"));
    assert_eq!(server.ask(Asking::get("/a.git/info/lfs/locks").bearer(&token)).status, 200);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(ask().status, 200);
}

/// A record of an object without a base.
fn whole(bytes: &[u8]) -> (Record, Vec<u8>) {
    let whole = codec::encode(bytes, Dtype::Bytes, 0, &[], Effort::Push);
    (record_for(ObjectId::of(bytes), None, whole.codec, bytes.len() as u32), whole.payload)
}

/// An index that has to be made first is made at the start: who needs it is told to come again, all others are answered.
#[test]
fn an_index_that_is_made_keeps_nobody_waiting() {
    const PACKS: u32 = 20;
    const OBJECTS: u32 = 5000;
    let home = Home::bare(Mode::Daemon);
    let (root, path) = (home.path("hub"), home.path("hub/a.git"));
    home.git(&home.path(""), &["init", "--quiet", "--bare", text(&path)]);
    let files = Local::new(path.join("sparse"), Privacy::Shared);
    let store = Store::over(Box::new(files), Index::in_memory());
    check_config(store.backend()).expect("a store");
    for pack in 0..PACKS {
        let mut writer = store.begin_pack().expect("a pack");
        for number in pack * OBJECTS..(pack + 1) * OBJECTS {
            let bytes = number.to_le_bytes();
            writer.add(record_for(ObjectId::of(&bytes), None, Codec::Raw, 4), &bytes).expect("an object");
        }
        store.admit(writer).expect("a pack");
    }
    let bytes = (PACKS * OBJECTS - 1).to_le_bytes();
    let (oid, object) = (Oid::of(&bytes), ObjectId::of(&bytes));
    let recipe = Recipe {
        oid,
        size: 4,
        format: Format::Chunked,
        base: None,
        origin: Vec::new(),
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts: vec![Part { object, len: 4, tensor: None, slice: 0 }],
    };
    store.publish(&recipe.prove(oid).expect("its hash")).expect("a recipe");
    let server = Server::over(home, &root, &["--anonymous", "write", "--patience", "0"]);
    let has = || server.ask(Asking::post("/a.git/info/lfs/sparse/1/has", *oid.as_bytes()));
    let told = has();
    assert_eq!(told.status, 503, "the index was made before anyone asked: {}", told.text());
    assert!(told.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| wait > 0)));
    let link = batch(&server, "a", "download", &bytes, None).link("download");
    assert_eq!(server.ask(Asking::get(&link)).status, 429, "git-lfs gives up where it hears 503");
    let end = Instant::now() + Duration::from_secs(120);
    while has().status == 503 {
        assert!(Instant::now() < end, "the index is never made");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(has().body, [1]);
    assert!(server.ask(Asking::get(&link)).body == bytes, "other bytes came");
}

/// Streams that lie are refused by name; nothing of them is stored, and the hub needs no memory for what they claim.
#[test]
fn lying_streams_leave_nothing() {
    let server = Server::open();
    make_repo(&server, "a");
    // So that the store is there, and what it needs at the start is counted before.
    upload(&server, "a", &model_bytes("tiny-base"), None);
    let before = server.stored("a");
    let peak = peak_kib(server.id());
    let text = b"some text that is long enough to be worth the while ".repeat(20);
    let (record, payload) = whole(&text);
    let good = object(record, &payload);
    let on = |base: ObjectId, object: ObjectId| record_for(object, Some((base.into(), 0)), Codec::Raw, 4);
    let (one, two) = (ObjectId::of(b"one!"), ObjectId::of(b"two!"));
    let mut changed = good.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    let bomb = codec::encode(&vec![0; 30 << 20], Dtype::Bytes, 0, &[], Effort::Push);
    let bombs: Vec<u8> = (0..20u8)
        .flat_map(|number| {
            object(record_for(ObjectId::of(&[number]), None, bomb.codec, 30 << 20), &bomb.payload)
        })
        .collect();
    let long = Record { payload_len: u32::MAX, ..record };
    let huge = Record { logical_len: u32::MAX, ..record };
    for (what, stream, expected) in [
        ("nothing", vec![], 400),
        ("a stream without its end", good.clone(), 400),
        ("half an object", good[..good.len() / 2].to_vec(), 400),
        ("a wrong checksum", [changed, end()].concat(), 422),
        ("an unknown tag", [&good[..], &[9]].concat(), 422),
        ("a record alone", [framed(2, record, &[]), end()].concat(), 422),
        ("a payload of 4 GiB", [framed(1, long, &payload), end()].concat(), 422),
        ("an object of 4 GiB", [object(huge, &payload), end()].concat(), 422),
        ("another object", [object(Record { object: one, ..record }, &payload), end()].concat(), 422),
        ("a base on itself", [object(on(one, one), b"one!"), end()].concat(), 422),
        ("a circle", [object(on(two, one), b"one!"), object(on(one, two), b"two!"), end()].concat(), 422),
        ("a base that is nowhere", [object(on(two, one), b"one!"), end()].concat(), 422),
        ("bombs", [bombs, end()].concat(), 422),
        ("a good object, then a lie", [&good[..], &object(on(two, one), b"one!"), &end()].concat(), 422),
    ] {
        let answer = server.ask(Asking::post(TAKE, stream));
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
        assert_eq!(server.stored("a"), before, "{what} left something");
    }
    let grown = peak_kib(server.id()) - peak;
    assert!(grown < 256 << 10, "{grown} KiB of memory for lies");
    let taken = server.ask(Asking::post(TAKE, [good, end()].concat()));
    assert_eq!(taken.status, 200, "the hub takes nothing any more: {}", taken.text());
    assert_clean(&server.store("a"), "after lies");
}

/// A chain that a client made as long as it likes is stored no deeper than chains may be.
#[test]
fn long_chains_are_made_short() {
    let server = Server::open();
    make_repo(&server, "a");
    let revision = |number: usize| {
        let mut bytes = model_bytes("tiny-base")[4096..40960].to_vec();
        bytes[number * 100..number * 100 + 8].fill(number as u8);
        bytes
    };
    let (record, payload) = whole(&revision(0));
    let mut stream = object(record, &payload);
    for number in 1..100 {
        let (bytes, before) = (revision(number), revision(number - 1));
        let base = Base { bytes: &before, dtype: Dtype::Bytes };
        let encoded = codec::encode(&bytes, Dtype::Bytes, 0, &[base], Effort::Push);
        let on = Some((ObjectId::of(&before).into(), 0));
        let record = record_for(ObjectId::of(&bytes), on, encoded.codec, bytes.len() as u32);
        stream.extend(object(record, &encoded.payload));
    }
    let answer = server.ask(Asking::post(TAKE, [stream, end()].concat()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let store = server.store("a");
    for number in 0..100 {
        let bytes = revision(number);
        let chain = store.chain(&ObjectId::of(&bytes)).expect("a chain");
        assert!(chain.links().len() <= usize::from(MAX_DEPTH) + 1, "{number} is too deep");
        assert!(*store.get(&ObjectId::of(&bytes)).expect("an object") == bytes, "{number}: other bytes");
    }
    assert_clean(&store, "a long chain");
}

/// A recipe that does not give its file, or would be rebuilt for hours, is refused before anyone relies on it.
#[test]
fn lying_recipes_are_refused() {
    let server = Server::start(&["--anonymous", "write", "--file-size", "1"]);
    make_repo(&server, "a");
    let text = vec![7; 1 << 20];
    let (record, payload) = whole(&text);
    let taken = server.ask(Asking::post(TAKE, [object(record, &payload), end()].concat()));
    assert_eq!(taken.status, 200, "{}", taken.text());
    let recipe = |oid: Oid, parts: usize, object: ObjectId| Recipe {
        oid,
        size: (parts * text.len()) as u64,
        format: Format::Chunked,
        base: None,
        origin: Vec::new(),
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts: vec![Part { object, len: text.len() as u32, tensor: None, slice: 0 }; parts],
    };
    let before = server.stored("a");
    let put = |oid: Oid, bytes: Vec<u8>| {
        let answer = server.ask(Asking::put(&format!("/a.git/info/lfs/sparse/1/recipes/{oid}"), bytes));
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let last = text.lines().last().expect("a verdict").to_owned();
        serde_json::from_str::<serde_json::Value>(&last).expect("JSON")
    };
    let (right, wrong) = (Oid::of(&text), Oid::of(b"wrong"));
    let start = Instant::now();
    for (what, oid, bytes, status) in [
        ("no recipe", right, b"garbage".to_vec(), 422),
        ("nothing", right, vec![], 422),
        ("another file's", wrong, recipe(right, 1, record.object).encode(), 422),
        ("other bytes", wrong, recipe(wrong, 1, record.object).encode(), 422),
        ("an object that is nowhere", right, recipe(right, 1, ObjectId::of(b"nowhere")).encode(), 409),
        ("a file of 40 GiB", wrong, recipe(wrong, 40 << 10, record.object).encode(), 422),
    ] {
        let verdict = put(oid, bytes);
        assert_eq!(verdict["status"], status, "{what}: {verdict}");
        assert_eq!(server.stored("a"), before, "{what} left something");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "a lie was rebuilt");
    assert_eq!(put(right, recipe(right, 1, record.object).encode())["accepted"], true);
    server.assert_has("a", &text);
}

/// Clients that send or take slowly wait for themselves: they hold no place that others need.
#[test]
fn slow_clients_hold_up_nobody() {
    let server = Server::open();
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    let oid: Oid = named(&bytes).0.parse().expect("an oid");
    upload(&server, "a", &bytes, None);
    let recipe = server.store("a").recipe(&oid).expect("read").expect("a recipe");
    let wants: Vec<u8> = (0..40)
        .flat_map(|_| &recipe.parts)
        .flat_map(|part| [part.object.as_bytes() as &[u8], &[0; 17]].concat())
        .collect();
    let mut slow = Vec::new();
    for number in 0..48 {
        let stream = TcpStream::connect(server.address).expect("a connection");
        let (path, len, body) = match number % 2 {
            0 => (TAKE, 1 << 20, &[1u8; 500][..]),
            _ => ("/a.git/info/lfs/sparse/1/give", wants.len(), &wants[..]),
        };
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
        (&stream).write_all(&[head.as_bytes(), body].concat()).expect("sent");
        slow.push(stream);
    }
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let next = model_bytes("tiny-sft");
    let link = upload(&server, "a", &next, None);
    assert!(server.ask(Asking::get(&link)).body == next, "other bytes came");
    assert!(start.elapsed() < Duration::from_secs(30), "the others waited {:?}", start.elapsed());
    assert_eq!(batch(&server, "a", "download", &next, None).status, 200);
}

/// The most memory that a process ever had.
pub fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
