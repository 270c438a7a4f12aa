//! A hub that lies, and a client that must not believe it: it fails in clear words, and nothing false stays behind.

use std::time::{Duration, Instant};

use git_sparse::codec::Codec;
use git_sparse::format::Dtype;
use git_sparse::id::Oid;
use git_sparse::peer::Want;
use git_sparse::store::record_for;
use xtask::home::said;

use super::basic::{model_bytes, named};
use super::faults::pointers;
use super::frames::{end, object};
use super::transfer::{behind_proxy, push_all, repo_for};
use crate::support::home::{Home, Mode};
use crate::support::proxy::Proxy;
use crate::support::repo::{Revision, tree_of};
use crate::support::server::Server;

/// A hub behind a proxy that can lie, with one model.
fn pushed(home: &Home) -> (Server, Proxy, Revision) {
    let (server, proxy) = behind_proxy(&[]);
    let repo = repo_for(home, &proxy.repo("model"), "work");
    let revision = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    push_all(&repo);
    (server, proxy, revision)
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Whatever a hub says in place of the truth, the file does not come and the reason is told; from the same hub, honest
/// again, it does.
#[test]
fn lies_of_a_hub_do_no_harm() {
    let (home, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let (server, proxy, revision) = pushed(&home);
    let clone = pointers(&reader, &proxy.repo("model"));
    let oid: Oid = named(&model_bytes("tiny-base")).0.parse().expect("an oid");
    let store = server.store("model");
    let recipe = store.recipe(&oid).expect("read").expect("a recipe");
    let part = recipe.parts.iter().find(|part| part.len > 100).expect("a part");
    let lie = vec![7; part.len as usize];
    let record = record_for(part.object, None, Codec::Raw, part.len);
    let wrong = object(record, &lie);
    let stranger = object(record_for(git_sparse::id::ObjectId::of(b"x"), None, Codec::Raw, 1), b"x");
    let elsewhere = format!("Location: {}/elsewhere\r\n", proxy.url);
    for (what, path, answer, words) in [
        (
            "a wrong object",
            "/give",
            http("200 OK", "", &[wrong.clone(), end()].concat()),
            "not what its id says",
        ),
        ("an object too many", "/give", http("200 OK", "", &[stranger, end()].concat()), "not asked for"),
        ("an empty answer", "/give", http("200 OK", "", &end()), "does not give all objects"),
        ("garbage", "/give", http("200 OK", "", b"garbage garbage"), "malformed"),
        ("garbage for records", "/records", http("200 OK", "", &[5; 100]), "malformed"),
        ("no recipe", "/recipes/", http("200 OK", "", b"garbage"), "recipe"),
        ("a recipe of nothing", "/recipes/", http("200 OK", "", b""), "recipe"),
        ("another address", "/recipes/", http("302 Found", &elsewhere, b""), "another address"),
        ("no such file", "/recipes/", http("404 Not Found", "", b"{}"), "has no file"),
        ("no right", "/recipes/", http("403 Forbidden", "", br#"{"message":"go away"}"#), "go away"),
    ] {
        // Twice: who is refused by the link asks once more by the user's own rights.
        proxy.answer(path, 2, answer);
        let start = Instant::now();
        let told = said(&reader.output(reader.command("git", &clone.path).args(["lfs", "pull"])));
        assert!(told.contains(words), "{what} is not named by {words:?}:\n{told}");
        assert!(start.elapsed() < Duration::from_secs(60), "{what} took {:?}", start.elapsed());
        proxy.forget_refusals();
    }
    assert!(!proxy.asked().iter().any(|line| line.contains("/elsewhere")), "a redirect was followed");
    // Nothing false was kept: the objects that the lies named are fetched and are right.
    clone.git(&["lfs", "pull"]);
    clone.assert_is(&revision.expected);
    reader.git(&clone.path, &["sparse", "fsck"]);
}

/// An answer that is cut is gone on with, one that never ends is ended.
#[test]
fn answers_that_are_cut_or_endless_end() {
    let (home, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let (server, proxy, revision) = pushed(&home);
    let oid: Oid = named(&model_bytes("tiny-base")).0.parse().expect("an oid");
    let store = server.store("model");
    let recipe = store.recipe(&oid).expect("read").expect("a recipe");
    let part = recipe.parts.iter().find(|part| part.len > 100).expect("a part");
    let mut true_one = Vec::new();
    let want = Want { object: part.object, whole_below: 0, dtype: Dtype::Bytes, row_len: 0 };
    git_sparse::peer::give(&store, &[want], &|_, work| work(), &mut true_one).expect("given");
    true_one.pop();
    let endless = true_one.repeat((64 << 20) / true_one.len());
    proxy.answer("/give", 1, http("200 OK", "", &endless));
    let clone = pointers(&reader, &proxy.repo("model"));
    let told = said(&reader.output(reader.command("git", &clone.path).args(["lfs", "pull"])));
    assert!(told.contains("not asked for"), "{told}");
    // A lie's beginning was true, and is kept: the rest is asked for.
    // A cut answer: three times half of it.
    for _ in 0..3 {
        proxy.answer(
            "/give",
            1,
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n\x01abc",
        );
    }
    clone.git(&["lfs", "pull"]);
    clone.assert_is(&revision.expected);
}
