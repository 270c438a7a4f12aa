//! What slow clients can hold at a hub: no memory without end, and no place for ever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use git_sparse::codec::Codec;
use git_sparse::id::ObjectId;
use git_sparse::store::record_for;

use super::basic::{make_repo, model_bytes, upload};
use super::frames::{end, object};
use super::limits::peak_kib;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::web::{Answer, Asking};

const HAS: &str = "/a.git/info/lfs/sparse/1/has";
const TAKE: &str = "/a.git/info/lfs/sparse/1/take";
const GIVE: &str = "/a.git/info/lfs/sparse/1/give";

/// Begins a request whose body is announced and sent by the test.
fn begin(server: &Server, path: &str, len: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

#[track_caller]
fn answer(mut stream: TcpStream) -> Answer {
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    Answer::read(&raw, false).expect("an answer")
}

/// All bodies that are held share one budget: who comes when it is full is told to wait, and served when others are done.
#[test]
fn bodies_share_a_budget() {
    let server = Server::start(&["--anonymous", "write", "--held", "1", "--silence", "4"]);
    make_repo(&server, "a");
    let list = vec![7; 13_000 * 32];
    assert_eq!(server.ask(Asking::post(HAS, list.clone())).status, 200, "one alone has no room");
    let mut slow = begin(&server, HAS, 1 << 20);
    slow.write_all(&list).expect("sent");
    thread::sleep(Duration::from_millis(500));
    let refused = server.ask(Asking::post(HAS, list.clone()));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    // git-lfs gives up where it hears 503.
    let batch = Asking::post("/a.git/info/lfs/objects/batch", " ".repeat(400_000)).lfs();
    let refused = server.ask(batch.clone());
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.text());
    assert_eq!(server.ask(Asking::post(HAS, [7; 32])).status, 200, "a short one has no room");
    // The slow one says no more, and is given up.
    let told = answer(slow);
    assert!(told.status == 400 && told.text().contains("nothing"), "{}", told.text());
    assert_eq!(server.ask(Asking::post(HAS, list)).status, 200, "what was held is not given back");
    assert_eq!(server.ask(batch).status, 400, "blanks are no JSON");
}

/// A client that is never silent for long and never done holds its place no longer than one that is silent.
#[test]
fn who_drips_is_cut() {
    let server = Server::start(&["--anonymous", "write", "--silence", "3"]);
    make_repo(&server, "a");
    let drip = |path: &str, first: &[u8], piece: &[u8], pieces: usize| {
        let mut stream = begin(&server, path, first.len() + piece.len() * pieces);
        stream.write_all(first).expect("sent");
        let start = Instant::now();
        for _ in 0..pieces {
            if stream.write_all(piece).is_err() || start.elapsed() > Duration::from_secs(20) {
                break;
            }
            thread::sleep(Duration::from_millis(250));
            stream.set_nonblocking(true).expect("a socket");
            let heard = stream.peek(&mut [0]).is_ok();
            stream.set_nonblocking(false).expect("a socket");
            if heard {
                break;
            }
        }
        (answer(stream), start.elapsed())
    };
    thread::scope(|scope| {
        // A fast beginning buys no slow end.
        let slow = [(HAS, 0, &[7; 320][..]), (TAKE, 0, &[7; 32][..]), (HAS, 1 << 20, &[7; 320][..])];
        for (path, first, piece) in slow {
            scope.spawn(move || {
                let (told, took) = drip(path, &vec![7; first], piece, 1000);
                assert!(told.status == 400 && told.text().contains("slowly"), "{path}: {}", told.text());
                assert!(took < Duration::from_secs(15), "{path}: cut after {took:?}");
            });
        }
        // One that is slow and not too slow is served.
        scope.spawn(move || {
            let (told, took) = drip(HAS, &[], &[7; 32 << 10], 20);
            assert_eq!(told.status, 200, "{}", told.text());
            assert!(took > Duration::from_secs(4), "it was not slow");
        });
    });
}

/// Clients that take nothing cost a few pieces each, however large the objects are that they ask for.
#[test]
fn slow_takers_cost_little_memory() {
    let server = Server::open();
    make_repo(&server, "a");
    let mut bytes = vec![0; 24 << 20];
    let mut random = Random::seeded(24);
    bytes.chunks_exact_mut(8).for_each(|eight| eight.copy_from_slice(&random.number().to_le_bytes()));
    let id = ObjectId::of(&bytes);
    let stream = object(record_for(id, None, Codec::Raw, bytes.len() as u32), &bytes);
    let taken = server.ask(Asking::post(TAKE, [stream, end()].concat()));
    assert_eq!(taken.status, 200, "{}", taken.text());
    let want = [id.as_bytes() as &[u8], &[0; 17]].concat();
    let given = server.ask(Asking::post(GIVE, want.clone()));
    assert!(given.whole && given.body.len() > bytes.len(), "the object does not come");
    let before = peak_kib(server.id());
    let slow: Vec<_> = (0..30)
        .map(|_| {
            let mut stream = begin(&server, GIVE, want.len());
            stream.write_all(&want).expect("sent");
            stream
        })
        .collect();
    thread::sleep(Duration::from_secs(2));
    let grown = peak_kib(server.id()).saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB for thirty clients that take nothing");
    drop(slow);
}

/// However many push at once, what is decoded for them stays within one amount, and all are served.
#[test]
fn what_decodes_shares_an_amount_of_memory() {
    let server = Server::start(&["--anonymous", "write", "--decode", "128"]);
    let admin = server.token("admin", "admin", &["*"]);
    make_repo(&server, "a");
    let bodies: Vec<_> = (0..8)
        .map(|seed| {
            let mut random = Random::seeded(100 + seed);
            let mut body = Vec::new();
            for _ in 0..4 {
                let mut bytes = vec![0; 16 << 20];
                bytes
                    .chunks_exact_mut(8)
                    .for_each(|eight| eight.copy_from_slice(&random.number().to_le_bytes()));
                let record = record_for(ObjectId::of(&bytes), None, Codec::Raw, bytes.len() as u32);
                body.extend(object(record, &bytes));
            }
            [body, end()].concat()
        })
        .collect();
    let before = peak_kib(server.id());
    thread::scope(|scope| {
        for body in bodies {
            scope.spawn(|| {
                let taken = server.ask(Asking::post(TAKE, body));
                assert_eq!(taken.status, 200, "{}", taken.text());
            });
        }
    });
    let grown = peak_kib(server.id()).saturating_sub(before);
    assert!(grown < 320 << 10, "{grown} KiB for eight that push at once");
    let shared = server.metric("git_sparse_decoding_peak_bytes", &admin);
    assert_eq!(shared, f64::from(128 << 20), "of the amount");
    let bytes = model_bytes("tiny-base");
    let link = upload(&server, "a", &bytes, None);
    assert!(server.ask(Asking::get(&link)).body == bytes, "other bytes came");
}

/// Operators see what leaves, also where nobody knew before how long it would be.
#[test]
fn sent_bytes_are_those_that_left() {
    let server = Server::open();
    let admin = server.token("admin", "admin", &["*"]);
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    let link = upload(&server, "a", &bytes, None);
    let sent = || server.metric("git_sparse_sent_bytes_total", &admin);
    let before = sent();
    assert!(server.ask(Asking::get(&link)).body == bytes, "other bytes came");
    let grown = sent() - before;
    let most = bytes.len() as f64 + 20_000.0;
    assert!((bytes.len() as f64..most).contains(&grown), "{grown} bytes for a file of {}", bytes.len());
}
