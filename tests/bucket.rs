//! Stores in buckets, over a real S3 server in this process: what the contract of `Backend` does not ask.

mod git;

mod servers;

use std::fs;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use git_sparse::backend::bucket::fix_of;
use git_sparse::backend::{Area, Backend, Memory, Name, Taken, probe};
use git_sparse::id::PackId;
use git_sparse::progress::unwatched;
use git_sparse::sync::{self, Remote};

use crate::support::random::Random;
use crate::support::s3::{ALL, BUCKET, Fault, Meets, S3, SECRET};
use crate::support::samples::{assert_clean, fetch, fresh, keep_all, names, sample, samples};

const PART: usize = 8 << 20;

fn pack(number: u8) -> Name {
    Name::Pack(PackId::from_bytes([number; 32]))
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::seeded(seed);
    (0..len.div_ceil(8)).flat_map(|_| random.number().to_le_bytes()).take(len).collect()
}

fn put(backend: &dyn Backend, name: Name, bytes: &[u8], taken: Taken) -> std::io::Result<()> {
    let mut staged = backend.create_as(name)?;
    staged.write_all(bytes)?;
    staged.publish(name, taken)
}

fn read(backend: &dyn Backend, name: Name, bytes: &[u8]) -> std::io::Result<bool> {
    Ok(backend.read(name, 0..bytes.len() as u64)? == bytes)
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A pack is larger than memory should be: it goes in parts, whether its name is known or not, and is
/// whole or not there.
#[test]
fn a_large_file_goes_in_parts() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    let bytes = noise(1, 2 * PART + 12_345);
    for (number, known) in [(1, true), (2, false)] {
        let name = pack(number);
        let mut staged = if known { bucket.create_as(name) } else { bucket.create() }.expect("a file");
        staged.write_all(&bytes).expect("its bytes");
        assert_eq!(bucket.len(name).expect("no error"), None, "it is there too early");
        staged.publish(name, Taken::Replace).expect("its name");
        assert_eq!(bucket.read(name, 0..bytes.len() as u64).expect("its bytes"), bytes);
        let asked = server.asked();
        let parts = asked.iter().filter(|it| it.contains("partNumber=")).count();
        assert_eq!(parts, 3, "{asked:#?}");
        // Its MD5 says that it is whole: it is not read back. The one read is this test's.
        assert_eq!(asked.iter().filter(|it| it.starts_with("GET")).count(), 1, "{asked:#?}");
    }
    let mut staged = bucket.create_as(pack(3)).expect("a file");
    staged.write_all(&bytes).expect("its bytes");
    wait_until("parts are sent before the end", || server.unfinished() > 0);
    staged.publish(pack(4), Taken::Replace).expect_err("another name");
    wait_until("parts are taken away that nobody sees", || server.unfinished() == 0);
    assert_eq!(bucket.len(pack(3)).expect("no error"), None);
}

/// A hub calls from threads that its runtime lends, a daemon from its own, many at once.
#[test]
fn calls_come_from_all_kinds_of_threads() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    let lent = server.on_a_blocking_thread(move || {
        put(&bucket, pack(1), b"the pack", Taken::Replace).and_then(|()| read(&bucket, pack(1), b"the pack"))
    });
    assert!(lent.expect("no error"));
    let bucket = server.bucket("p");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(read(&bucket, pack(1), b"the pack").expect("no error")));
        }
    });
}

/// Servers fail now and then, and connections end at any moment: nobody hears of it.
#[test]
fn what_passes_is_overcome() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    let small = noise(2, 100_000);
    let large = noise(3, PART + 99);
    let once = Meets { most: 1, ..ALL };
    let of = |method| Meets { method, every: 2, most: 4, ..ALL };
    let faults = [
        (of("PUT"), Fault::Status(500)),
        (of("PUT"), Fault::Status(503)),
        (of("PUT"), Fault::Lost),
        (of("POST"), Fault::Status(503)),
        (Meets { path: "partNumber", ..once }, Fault::Cut),
        (Meets { method: "POST", path: "uploadId", ..once }, Fault::Lost),
        (of("GET"), Fault::CutAnswer),
        (of("HEAD"), Fault::Status(503)),
        (once, Fault::Slow(Duration::from_millis(300))),
    ];
    for (number, (meets, fault)) in faults.into_iter().enumerate() {
        server.fail(meets, fault);
        for (add, bytes) in [(0, &small), (100, &large)] {
            let name = pack(number as u8 + add);
            let what = format!("{meets:?} {fault:?} at {name}");
            put(&bucket, name, bytes, Taken::Replace).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(bucket.len(name).expect(&what), Some(bytes.len() as u64), "{what}");
            assert!(read(&bucket, name, bytes).expect(&what), "{what}");
        }
        server.recover();
    }
    assert_eq!(server.unfinished(), 0);
}

/// A name that the first try took, and whose answer was lost, is ours: a second try must not say that
/// somebody else has it.
#[test]
fn a_lost_answer_is_no_refusal() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    server.fail(Meets { method: "PUT", most: 1, ..ALL }, Fault::Lost);
    put(&bucket, Name::Probe(1), b"mine", Taken::Refuse).expect("it is ours");
    let error = put(&bucket, Name::Probe(1), b"theirs", Taken::Refuse).expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
}

/// A place, what is wrong in the environment, and what is said of it.
type Wrong<'a> = (&'a str, &'a [(&'a str, &'a str)], ErrorKind, &'a str, &'a str);

/// What does not pass is told: what failed, where, and what to do, and never with a secret in it.
#[test]
fn what_does_not_pass_is_told() {
    let server = S3::serve();
    let address = format!("s3://{BUCKET}/p");
    let nobody = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let cases: [Wrong<'_>; 6] = [
        (&address, &[("AWS_ACCESS_KEY_ID", "AKIDSTRANGER")], ErrorKind::PermissionDenied, "403", "keys"),
        (&address, &[("AWS_SECRET_ACCESS_KEY", "other")], ErrorKind::PermissionDenied, "403", "keys"),
        ("s3://nothing-here", &[], ErrorKind::Other, "no such bucket", "name right"),
        (&address, &[nobody], ErrorKind::NotConnected, "reached", "AWS_ENDPOINT_URL"),
        (
            &address,
            &[("AWS_ENDPOINT_URL", "http://10.0.0.1")],
            ErrorKind::InvalidInput,
            "not encrypted",
            "ALLOW",
        ),
        (&address, &[("AWS_TIMEOUT", "no time")], ErrorKind::InvalidInput, "configuration", "AWS_"),
    ];
    for (address, other, kind, why, fix) in cases {
        let bucket = server.bucket_with(address, other);
        let list = bucket.list(Area::Packs).map(drop);
        if other.contains(&nobody) {
            // Each try at a server that is not there takes its time.
            check(&list, kind, &[why, fix, address]);
            continue;
        }
        let tries = [
            list,
            bucket.tail(Name::Config, 10).map(drop),
            bucket.read(pack(1), 0..1).map(drop),
            put(&bucket, pack(1), b"x", Taken::Replace),
            put(&bucket, Name::Probe(1), b"x", Taken::Refuse),
        ];
        // This server makes a bucket for whoever writes to it.
        let some = if address.contains("nothing") { &tries[..1] } else { &tries[..] };
        some.iter().for_each(|tried| check(tried, kind, &[why, fix, address]));
    }
    server.fail(Meets { method: "PUT", ..ALL }, Fault::Status(403));
    let denied = put(&server.bucket("p"), pack(1), b"x", Taken::Replace);
    check(&denied, ErrorKind::PermissionDenied, &["403 AccessDenied", "rights"]);
}

#[track_caller]
fn check(tried: &std::io::Result<()>, kind: ErrorKind, words: &[&str]) {
    let error = tried.as_ref().expect_err(words[0]);
    let told = format!("{error}; {}", fix_of(error).unwrap_or_default());
    assert_eq!(error.kind(), kind, "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{words:?} are not in: {told}");
    assert!(!told.contains(SECRET), "{told}");
}

/// Without keys there is one sentence that says so, not the tale of a metadata server.
#[test]
fn missing_keys_are_told() {
    let server = S3::serve();
    let nobody = "http://169.254.169.254.invalid";
    let keys = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_METADATA_ENDPOINT", nobody)];
    let bucket = server.bucket_with(&format!("s3://{BUCKET}"), &keys);
    let error = bucket.tail(Name::Config, 10).expect_err("no keys");
    assert!(error.to_string().contains("no keys"), "{error}");
    assert!(fix_of(&error).is_some_and(|fix| fix.contains("AWS_ACCESS_KEY_ID")));
}

/// A server that gives no MD5 is not believed: what it keeps is read back.
#[test]
fn what_is_not_proven_is_read_back() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    server.fail(Meets { method: "PUT", ..ALL }, Fault::OtherTag);
    put(&bucket, pack(1), b"the pack", Taken::Replace).expect("it is what was sent");
    assert!(server.asked().iter().any(|asked| asked.starts_with("GET")), "it was not read back");
    server.fail(Meets { method: "GET", ..ALL }, Fault::Flip);
    let error = put(&bucket, pack(1), b"the pack", Taken::Replace).expect_err("another byte");
    assert!(error.to_string().contains("other bytes"), "{error}");
}

/// What a bucket lists and sends is not ours to believe: strange names are passed over, and an answer that
/// is longer than what was asked for is no answer.
#[test]
fn a_lying_bucket_is_bounded() {
    let server = S3::serve();
    let bucket = server.bucket("p");
    put(&bucket, pack(1), b"the pack", Taken::Replace).expect("a pack");
    let packs = server.files().join("p/packs");
    fs::write(packs.join("01/notes.txt"), "mine").expect("a file");
    fs::create_dir_all(packs.join("zz")).expect("a folder");
    fs::write(packs.join("zz").join("0".repeat(64)), "in the wrong folder").expect("a file");
    assert_eq!(names(&bucket, Area::Packs), [pack(1)]);
    server.fail(Meets { method: "GET", ..ALL }, Fault::More);
    for error in [bucket.read(pack(1), 2..5).map(drop), bucket.tail(pack(1), 3).map(drop)] {
        let error = error.expect_err("too much");
        assert!(error.to_string().contains("more than the 3 bytes"), "{error}");
    }
}

/// What loses work without a word is refused before anything is kept there.
#[test]
fn a_server_that_ignores_conditions_is_refused() {
    let server = S3::serve();
    let found = probe::all(&server.bucket("p"), 7);
    let failures: Vec<_> = found.iter().filter_map(|found| found.failure.as_deref()).collect();
    assert_eq!((found.len(), failures), (6, Vec::<&str>::new()));
    server.ignore_conditions();
    let found = probe::all(&server.bucket("p"), 8);
    let last = found.last().and_then(|found| found.failure.as_deref()).unwrap_or_default();
    assert!(found.len() == 2 && last.contains("If-None-Match"), "{found:#?}");
    let store = fresh(Memory::default());
    let files = samples();
    keep_all(&store, &files);
    let mut remote = Remote::new(Box::new(server.bucket("p")));
    let error = sync::push(&store, &mut remote, files[0].oid, &unwatched).expect_err("a silent server");
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    for area in [Area::Packs, Area::Recipes, Area::Probes] {
        assert_eq!(names(&server.bucket("p"), area), [], "{area:?}");
    }
}

/// A request takes as long as reading a megabyte: what can be had by one is not asked for by many.
#[test]
fn few_requests_move_many_objects() {
    let server = S3::serve();
    let store = fresh(Memory::default());
    // So long that the end of a pack is not all of it.
    let files: Vec<_> = (0..4).map(|seed| sample(noise(seed, 300_000), Vec::new())).collect();
    keep_all(&store, &files);
    let remote = || Remote::new(Box::new(server.bucket("p")));
    let mut there = remote();
    let mut counts = Vec::new();
    for file in &files {
        sync::push(&store, &mut there, file.oid, &unwatched).expect("a push");
        let asked = server.asked();
        counts.push((asked.len(), asked));
    }
    // The first one tries the server and writes its format. Then: is it there, list, pack, recipe; and a look at
    // what a gc may have taken meanwhile: is it there, list, recipe.
    assert!(counts[0].0 <= 14, "{:#?}", counts[0].1);
    counts[1..].iter().for_each(|(count, asked)| assert!(*count <= 8, "{asked:#?}"));

    let here = fresh(Memory::default());
    let mut there = remote();
    for (number, file) in files.iter().enumerate() {
        assert!(fetch(&here, &mut there, file.oid).expect("the file") == file.bytes);
        let asked = server.asked();
        // Once a list, and the end of each of four packs; then a recipe, and one range of each pack.
        let most = if number == 0 { 1 + 4 + 2 } else { 2 };
        assert!(asked.len() <= most, "file {number}: {asked:#?}");
    }
    assert_clean(&here, "after fetching");
}

/// Between any two requests the server may go away: what was not acknowledged is pushed again, and what was
/// is there.
#[test]
fn a_push_that_is_cut_anywhere_is_finished_by_the_next() {
    let files = samples();
    let store = fresh(Memory::default());
    keep_all(&store, &files);
    let push = |server: &S3| {
        let mut remote = Remote::new(Box::new(server.bucket("p")));
        files
            .iter()
            .take(2)
            .map(|file| sync::push(&store, &mut remote, file.oid, &unwatched).map(drop))
            .collect()
    };
    let server = S3::serve();
    let whole: Vec<Result<(), _>> = push(&server);
    assert!(whole.iter().all(Result::is_ok));
    let steps = server.asked().len();
    for step in 1..=steps {
        let server = S3::serve();
        // A refusal is not tried again, which is what this test has no time for.
        server.fail(Meets { every: step, ..ALL }, Fault::Status(403));
        let first: Vec<Result<(), _>> = push(&server);
        assert!(first.iter().any(Result::is_err), "step {step}: nothing failed");
        server.recover();
        let here = fresh(Memory::default());
        let mut remote = Remote::new(Box::new(server.bucket("p")));
        for (file, _) in files.iter().zip(&first).filter(|(_, pushed)| pushed.is_ok()) {
            assert!(fetch(&here, &mut remote, file.oid).expect("what was acknowledged") == file.bytes);
        }
        assert!(push(&server).iter().all(Result::is_ok), "step {step}: the next push fails");
        for file in files.iter().take(2) {
            assert!(fetch(&here, &mut remote, file.oid).expect("the file") == file.bytes, "step {step}");
        }
    }
}
