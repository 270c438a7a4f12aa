//! Transfer `basic`: whole files up and down, in ranges, and nothing that is not what its link says.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use git_sparse::id::Oid;

use crate::support::home::{Home, Mode};
use crate::support::repo::{model, text};
use crate::support::server::Server;
use crate::support::web::{Answer, Asking};

/// A model as a test's file.
pub fn model_bytes(name: &str) -> Vec<u8> {
    fs::read(model(name).join("model.safetensors")).expect("a model")
}

/// Makes an empty repository at a hub.
pub fn make_repo(server: &Server, name: &str) {
    let path = server.root().join(format!("{name}.git"));
    server.home.git(&server.home.path(""), &["init", "--quiet", "--bare", text(&path)]);
}

pub fn named(bytes: &[u8]) -> (String, u64) {
    (Oid::of(bytes).to_string(), bytes.len() as u64)
}

/// The batch API's answer for one file and transfer `basic`.
#[track_caller]
pub fn batch(server: &Server, repo: &str, operation: &str, bytes: &[u8], token: Option<&str>) -> Answer {
    let asking = Asking::batch(repo, operation, "basic", &[named(bytes)]);
    let answer = server.ask(match token {
        Some(token) => asking.bearer(token),
        None => asking,
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Uploads a file as plain git-lfs does; the path of a link to it.
#[track_caller]
pub fn upload(server: &Server, repo: &str, bytes: &[u8], token: Option<&str>) -> String {
    let links = batch(server, repo, "upload", bytes, token);
    let put = server.ask(Asking::put(&links.link("upload"), bytes));
    assert_eq!(put.status, 200, "{}", put.text());
    let (oid, size) = named(bytes);
    let question = serde_json::json!({ "oid": oid, "size": size }).to_string();
    let verified = server.ask(Asking::post(&links.link("verify"), question).lfs());
    assert_eq!(verified.status, 200, "{}", verified.text());
    batch(server, repo, "download", bytes, token).link("download")
}

const REBUILDS: &str = "git_sparse_rebuilds_total";

/// Clients look before they load, and go on where they stopped: a look costs no rebuild, a part is the right part.
#[test]
fn looks_are_cheap_and_parts_are_right() {
    let server = Server::open();
    let admin = server.token("admin", "admin", &["*"]);
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    let (oid, size) = named(&bytes);
    let link = upload(&server, "a", &bytes, None);

    let look = server.ask(Asking::of_method("HEAD", &link));
    assert_eq!((look.status, look.header("content-length")), (200, Some(size.to_string().as_str())));
    assert_eq!(look.header("etag"), Some(format!("\"{oid}\"").as_str()));
    assert_eq!(look.header("accept-ranges"), Some("bytes"));
    assert_eq!(server.metric(REBUILDS, &admin), 0.0, "a look rebuilt the file");

    let whole = server.ask(Asking::get(&link));
    assert!(whole.whole && whole.body == bytes, "other bytes came");
    let part = |range: &str| server.ask(Asking::get(&link).header("Range", range));
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-", 100_000, bytes.len()),
        ("bytes=1000-1999", 1000, 2000),
        ("bytes=-7", bytes.len() - 7, bytes.len()),
        ("bytes=5-99999999999", 5, bytes.len()),
    ] {
        let answer = part(range);
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == bytes[from..to], "{range}: other bytes came");
        let told = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(answer.header("content-range"), Some(told.as_str()));
    }
    let beyond = part(&format!("bytes={size}-"));
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()));
    assert_eq!(part("bytes=0-1,5-6").status, 200);
    let same = Asking::get(&link).header("Range", "bytes=9-").header("If-Range", &format!("\"{oid}\""));
    assert_eq!(server.ask(same).status, 206);
    let other = Asking::get(&link).header("Range", "bytes=9-").header("If-Range", "\"another\"");
    assert_eq!(server.ask(other).body.len(), bytes.len(), "a part of another file came");
    assert_eq!(server.metric(REBUILDS, &admin), 1.0, "one file was rebuilt again");
}

/// The same by a program that people use.
#[test]
fn curl_goes_on_where_it_stopped() {
    if Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: a download that goes on: there is no curl");
    }
    let server = Server::open();
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-sft");
    let url = format!("{}{}", server.url, upload(&server, "a", &bytes, None));
    let path = server.home.path("half");
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let arguments = ["-fsS", "-C", "-", "-o", text(&path), &url];
    server.home.run("curl", &server.home.path(""), &arguments);
    assert!(fs::read(&path).unwrap() == bytes, "other bytes came");
}

/// A popular model is asked for by many at once, and costs one rebuild.
#[test]
fn fifty_clients_cost_one_rebuild() {
    let server = Server::open();
    let admin = server.token("admin", "admin", &["*"]);
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-sft");
    let link = upload(&server, "a", &bytes, None);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let answer = server.ask(Asking::get(&link));
                assert!(answer.whole && answer.body == bytes, "other bytes came");
            });
        }
    });
    assert_eq!(server.metric(REBUILDS, &admin), 1.0);
}

/// What is not the file that the link says is refused in a way that no client takes for success, and leaves nothing.
#[test]
fn wrong_uploads_leave_nothing() {
    let server = Server::open();
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    let links = batch(&server, "a", "upload", &bytes, None);
    let link = links.link("upload");
    let mut other = bytes.clone();
    other[9000] ^= 1;
    let chunk = format!("{:x}\r\n", bytes.len());
    let chunked = [chunk.as_bytes(), &bytes, b"\r\n4\r\nmore\r\n0\r\n\r\n"].concat();
    let bad: [(&str, Asking<'_>); 4] = [
        ("another file", Asking::put(&link, other)),
        ("a short file", Asking::put(&link, &bytes[1..])),
        ("a long file", Asking::put(&link, [&bytes[..], b"more"].concat())),
        ("a long file of unknown length", Asking::put(&link, chunked).header("Transfer-Encoding", "chunked")),
    ];
    for (what, asking) in bad {
        assert_eq!(server.ask(asking).status, 400, "{what}");
    }
    Asking::put(&link, bytes.clone()).broken_off(server.address, bytes.len() / 2);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stored("a"), Vec::<String>::new());
    let uploads = server.home.path("home/.cache/git-sparse/hub/uploads");
    assert_eq!(fs::read_dir(&uploads).expect("a directory").count(), 0, "an upload was left");
    let (oid, size) = named(&bytes);
    let question = serde_json::json!({ "oid": oid, "size": size }).to_string();
    assert_eq!(server.ask(Asking::post(&links.link("verify"), question).lfs()).status, 404);
    // And the right one is taken after all that.
    upload(&server, "a", &bytes, None);
    server.assert_has("a", &bytes);
}

/// Links are good for what they were made for, and as long as they say.
#[test]
fn links_are_good_for_one_thing() {
    let server = Server::open();
    make_repo(&server, "a");
    make_repo(&server, "b");
    let bytes = model_bytes("tiny-base");
    let link = batch(&server, "a", "upload", &bytes, None).link("upload");
    let (path, query) = link.split_once('?').expect("a signature");
    let put = |link: &str| server.ask(Asking::put(link, bytes.clone())).status;
    let size = bytes.len();
    assert_eq!(put(&format!("{path}?size={size}")), 403, "without a signature");
    let last = if query.ends_with('0') { '1' } else { '0' };
    assert_eq!(put(&format!("{path}?{}{last}", &query[..query.len() - 1])), 403, "another signature");
    assert_eq!(put(&link.replacen("/a.git", "/b.git", 1)), 403, "another repository");
    assert_eq!(put(&link.replace(&format!("size={size}"), "size=1")), 403, "another size");
    let get = upload(&server, "a", &bytes, None);
    assert_eq!(put(&get), 403, "a link to read");
    // Another server over the same directory, whose links are soon over, and who asks for a token else.
    let hasty = Server::over(Home::bare(Mode::Daemon), &server.root(), &["--link-life", "2"]);
    let token = hasty.token("writer", "write", &["*"]);
    let get = batch(&hasty, "a", "download", &bytes, Some(&token)).link("download");
    let next = model_bytes("tiny-sft");
    let put = batch(&hasty, "a", "upload", &next, Some(&token)).link("upload");
    thread::sleep(Duration::from_millis(3200));
    assert_eq!(hasty.ask(Asking::put(&put, next)).status, 403, "a link to write that is over");
    assert_eq!(hasty.ask(Asking::get(&get)).status, 403, "a link to read that is over");
    let sparse = Asking::batch("a", "download", "sparse", &[named(&bytes)]).bearer(&token);
    let has = hasty.ask(sparse).link("download").replacen("?", "/has?", 1);
    let ask = || hasty.ask(Asking::post(&has, "")).status;
    assert_eq!(ask(), 200);
    assert_eq!(hasty.ask(Asking::post(&has.replacen("/has?", "/take?", 1), [0])).status, 403, "to write");
    thread::sleep(Duration::from_millis(3200));
    assert_eq!(ask(), 403, "a link of transfer sparse that is over");
}

/// Who knows a file's name has not got the file: another repository's files are not given for it.
#[test]
fn knowing_a_hash_is_not_having_the_file() {
    let server = Server::start(&[]);
    let (mine, theirs) = (server.token("a", "write", &["a"]), server.token("b", "write", &["b"]));
    make_repo(&server, "a");
    make_repo(&server, "b");
    let bytes = model_bytes("tiny-base");
    upload(&server, "a", &bytes, Some(&mine));
    let links = batch(&server, "b", "upload", &bytes, Some(&theirs));
    let (oid, size) = named(&bytes);
    links.link("upload");
    let question = serde_json::json!({ "oid": oid, "size": size }).to_string();
    assert_eq!(server.ask(Asking::post(&links.link("verify"), question).lfs()).status, 404);
    let objects = format!("/b.git/info/lfs/objects/{oid}");
    assert_eq!(server.ask(Asking::get(&objects).bearer(&theirs)).status, 404);
    let down = batch(&server, "b", "download", &bytes, Some(&theirs)).json();
    assert_eq!(down["objects"][0]["error"]["code"], 404);
    assert_eq!(server.stored("b"), Vec::<String>::new());
}

/// Uploads of one file at the same time, while others read: each ends well, and the file is stored once.
#[test]
fn many_may_upload_one_file_at_once() {
    let server = Server::open();
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    let link = batch(&server, "a", "upload", &bytes, None).link("upload");
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let status = server.ask(Asking::put(&link, bytes.clone())).status;
                failed.fetch_or(status != 200, Ordering::SeqCst);
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst), "an upload failed");
    server.assert_has("a", &bytes);
}
