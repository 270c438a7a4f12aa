//! Models that are fetched from a hub: what comes is checked, what came is kept, and the token stays at home.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{copy, files, path};
use crate::support::home::{Home, Mode};
use crate::support::hub::{Asked, COMMIT, Fault, Hub};
use crate::support::repo::model;

/// The file that everything is about.
const WEIGHTS: &str = "model.safetensors";

/// A hub with a model, and a home that asks it.
fn hub() -> (Home, Hub) {
    let mut kept: Vec<_> = files(&model("tiny-base"))
        .into_iter()
        .map(|(name, bytes)| (name.to_str().unwrap().to_owned(), bytes))
        .collect();
    kept.push(("extra dir/a b.txt".into(), b"a name to be quoted".to_vec()));
    kept.push(("empty".into(), Vec::new()));
    let hub = Hub::serve(kept);
    (home_of(&hub), hub)
}

fn home_of(hub: &Hub) -> Home {
    let mut home = Home::bare(Mode::InProcess);
    home.set("HF_ENDPOINT", &hub.endpoint);
    home.set("HF_HUB_OFFLINE", "0");
    home
}

/// Asks for an estimate on a model by its name; exit code and all that was said.
#[track_caller]
fn estimate(home: &Home, spec: &str) -> (i32, String) {
    super::delta(home, &["estimate", spec, path(&model("tiny-sft"))])
}

#[track_caller]
fn fetched(home: &Home, spec: &str) {
    let (code, said) = estimate(home, spec);
    assert_eq!(code, 0, "{said}");
    assert_whole(home);
}

#[track_caller]
fn refused(home: &Home, spec: &str, expected: i32, told: &[&str]) {
    let (code, said) = estimate(home, spec);
    assert_eq!(code, expected, "{said}");
    told.iter().for_each(|told| assert!(said.contains(told), "expected {told:?} in:\n{said}"));
    assert!(!cached(home).join("snapshots").join(COMMIT).exists(), "{said}");
}

fn cached(home: &Home) -> PathBuf {
    home.path("home/.cache/huggingface/hub/models--org--tiny")
}

fn weights_of(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|asked| asked.method == "GET" && asked.path.ends_with(WEIGHTS)).collect()
}

/// The snapshot has the model's bytes, and nothing is left on its way.
#[track_caller]
fn assert_whole(home: &Home) {
    let found = files(&cached(home).join("snapshots").join(COMMIT));
    for (name, bytes) in files(&model("tiny-base")) {
        assert!(found.contains(&(name.clone(), bytes)), "{} came with other bytes", name.display());
    }
    assert!(unfinished(home).is_empty());
}

fn unfinished(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(cached(home).join("blobs")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.ends_with("incomplete")).collect()
}

/// A base that is named and not there is the first thing that every reader of a delta meets: it must come by itself,
/// once, and lie where all other programs look for it.
#[test]
fn a_model_is_fetched_once_and_lies_where_others_find_it() {
    let (home, hub) = hub();
    let (artifact, out) = (home.path("a.delta"), home.path("out"));
    let tuned = model("tiny-sft");
    let (code, said) = super::delta(&home, &["compress", "org/tiny", path(&tuned), "-o", path(&artifact)]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("fetching org/tiny at 0123456789ab from http://127.0.0.1"), "{said}");
    assert_whole(&home);
    let asked = hub.asked();
    assert!(asked.iter().all(|asked| asked.token.is_none()));
    assert_eq!(weights_of(&asked).len(), 1);

    let root = cached(&home);
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let weights = root.join("snapshots").join(COMMIT).join(WEIGHTS);
    let link = fs::read_link(&weights).unwrap();
    assert!(link.starts_with("../../blobs") && link.file_name().unwrap().len() == 64, "{}", link.display());
    let nested = fs::read_link(root.join("snapshots").join(COMMIT).join("extra dir/a b.txt")).unwrap();
    assert!(nested.starts_with("../../../blobs") && nested.file_name().unwrap().len() == 40);
    assert!(root.join("trees").join(format!("{COMMIT}.json")).is_file());

    let (code, said) = super::delta(&home, &["reconstruct", "org/tiny", path(&artifact), "-o", path(&out)]);
    assert_eq!(code, 0, "{said}");
    assert!(files(&out) == files(&tuned) && !said.contains("note:"), "{said}");
    fetched(&home, &format!("org/tiny@{COMMIT}"));
    assert_eq!(hub.asked(), []);
    let info = super::delta_json(&home, &["info", path(&artifact)]);
    assert_eq!(info["base"]["revision"], COMMIT);
}

/// A delta names the commit that it needs: branch, tag, pull request and commit must lead to the same bytes.
#[test]
fn a_revision_has_many_names() {
    for revision in ["main", "v1", "refs/pr/1", COMMIT] {
        let (home, hub) = hub();
        fetched(&home, &format!("org/tiny@{revision}"));
        assert!(hub.asked()[0].path.contains(&revision.replace('/', "%2F")));
        let reference = cached(&home).join("refs").join(revision);
        assert_eq!(fs::read_to_string(reference).is_ok(), revision != COMMIT, "{revision}");
        fetched(&home, &format!("org/tiny@{revision}"));
        assert_eq!(hub.asked(), [], "{revision}");
    }
}

/// Models are large and networks break: what came once must not be asked for again.
#[test]
fn a_cut_connection_is_gone_on_with() {
    let (home, hub) = hub();
    hub.fail("GET /org/tiny/resolve", Fault::Cut(0));
    hub.fail(&format!("GET /org/tiny/resolve/{COMMIT}/{WEIGHTS}"), Fault::Cut(100_000));
    fetched(&home, "org/tiny");
    let asked = hub.asked();
    let ranges: Vec<_> = weights_of(&asked).iter().map(|asked| asked.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("100000-")], "{asked:#?}");

    // What a killed process left is taken, also where the server sends all of it anyway.
    let weights = fs::read(model("tiny-base").join(WEIGHTS)).unwrap();
    let name = fs::read_link(cached(&home).join("snapshots").join(COMMIT).join(WEIGHTS)).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap().to_owned();
    let gone = format!("{name}.pid{}.incomplete", i32::MAX);
    for (left, bytes, fault, expected) in [
        (format!("{name}.incomplete"), &weights[..1000], None, vec![Some("1000-")]),
        (gone, &weights[..2000], None, vec![Some("2000-")]),
        (format!("{name}.incomplete"), &weights[..1000], Some(Fault::Whole), vec![Some("1000-")]),
        (format!("{name}.incomplete"), &[7; 3000][..], None, vec![Some("3000-"), None]),
        (format!("{name}.incomplete"), &[weights.as_slice(), b"x"].concat()[..], None, vec![None]),
        (format!("{name}.incomplete"), &weights[..], None, vec![]),
    ] {
        fs::remove_dir_all(cached(&home)).unwrap();
        fs::create_dir_all(cached(&home).join("blobs")).unwrap();
        fs::write(cached(&home).join("blobs").join(&left), bytes).unwrap();
        hub.asked();
        if let Some(fault) = fault {
            hub.fail(&format!("GET /org/tiny/resolve/{COMMIT}/{WEIGHTS}"), fault);
        }
        fetched(&home, "org/tiny");
        let asked = hub.asked();
        let ranges: Vec<_> = weights_of(&asked).iter().map(|asked| asked.range.as_deref()).collect();
        assert_eq!(ranges, expected, "{left} with {} bytes", bytes.len());
    }
}

/// What a hub sends is a claim: other bytes, other sizes and names that lead out must leave nothing.
#[test]
fn a_hub_that_lies_is_refused() {
    let (home, hub) = hub();
    hub.fail(&format!("GET /org/tiny/resolve/{COMMIT}/{WEIGHTS}"), Fault::Flip);
    refused(&home, "org/tiny", 5, &["model.safetensors: it came with the hash", "nothing of it was kept"]);
    assert!(unfinished(&home).is_empty());
    hub.fail(&format!("GET /org/tiny/resolve/{COMMIT}/config.json"), Fault::Flip);
    fs::remove_dir_all(cached(&home)).unwrap();
    refused(&home, "org/tiny", 5, &["config.json: it came with the hash"]);
    for name in ["../../evil", "/etc/evil", "a/../b", ".git/config", "a\\b", ""] {
        hub.fail("/api/models", Fault::Named(name));
        refused(&home, "org/tiny", 6, &["is not a path that may be written below a directory"]);
    }
    hub.fail("/api/models", Fault::Named("same"));
    refused(&home, "org/tiny", 6, &["is listed twice"]);
    hub.fail("/api/models", Fault::Sized(1 << 60));
    refused(&home, "org/tiny", 6, &["bytes are needed and", "HF_HUB_CACHE"]);
    hub.fail("/api/models", Fault::Sized(7));
    refused(&home, "org/tiny", 5, &["the hub lists 7 bytes and would send"]);
    fetched(&home, "org/tiny");
}

/// Servers have bad minutes, and say when to come back.
#[test]
fn what_passes_is_waited_for_and_what_does_not_is_told() {
    let (home, hub) = hub();
    hub.fail("/api/models", Fault::Status(500, ""));
    hub.fail("HEAD", Fault::Status(503, ""));
    hub.fail("GET /org/tiny/resolve", Fault::Status(429, "Retry-After: 1\r\n"));
    fetched(&home, "org/tiny");
    let mut home = home_of(&hub);
    hub.fail("/api/models", Fault::Status(429, "Retry-After: 9999\r\n"));
    refused(&home, "org/tiny", 4, &["too many requests", "wait 9999 seconds"]);
    hub.fail("HEAD", Fault::Status(403, "X-Error-Code: GatedRepo\r\n"));
    let ask = format!("ask for it at {}/org/tiny, then: hf auth login", hub.endpoint);
    refused(&home, "org/tiny", 6, &["gives access on request only", &ask]);
    refused(
        &home,
        "org/other",
        3,
        &["no such file or directory", "no such model", "(404)", "if it is private"],
    );
    refused(&home, "org/tiny@v9", 3, &["it has no revision v9"]);
    hub.asked();
    refused(&home, "tiny", 3, &["no such file or directory", "org/name"]);
    home.set("HF_HUB_OFFLINE", "1");
    refused(&home, "org/tiny", 3, &["HF_HUB_OFFLINE forbids"]);
    assert_eq!(hub.asked(), []);
    home.set("HF_HUB_OFFLINE", "");
    home.set("HF_ENDPOINT", "http://127.0.0.1:1");
    refused(&home, "org/tiny", 4, &["http://127.0.0.1:1 can't be reached", "check the network"]);
    home.set("HF_ENDPOINT", "hub.example");
    refused(&home, "org/tiny", 2, &["is no address of a hub"]);
}

/// A token is worth what its owner can reach: the hub gets it, and nobody to whom the hub sends us.
#[test]
fn the_token_goes_to_the_hub_alone() {
    let (mut home, hub) = hub();
    hub.ask_for_token("secret");
    refused(&home, "org/tiny", 3, &["no such model", "(401)", "hf auth login, or set HF_TOKEN"]);
    home.set("HF_TOKEN", "old");
    refused(&home, "org/tiny", 3, &["(401)", "whether your token is still good"]);
    home.set("HF_TOKEN", "with a space");
    refused(&home, "org/tiny", 2, &["the token is no token"]);
    home.set("HF_TOKEN", "");
    fs::create_dir_all(home.path("home/.cache/huggingface")).unwrap();
    fs::write(home.path("home/.cache/huggingface/token"), "secret\n").unwrap();
    let weights = (WEIGHTS.to_owned(), fs::read(model("tiny-base").join(WEIGHTS)).unwrap());
    let other = Hub::serve(vec![weights]);
    for method in ["HEAD", "GET"] {
        let place = format!("{method} /org/tiny/resolve/{COMMIT}/{WEIGHTS}");
        hub.fail(&place, Fault::Elsewhere(other.endpoint.clone()));
    }
    hub.asked();
    fetched(&home, "org/tiny");
    assert!(hub.asked().iter().all(|asked| asked.token.as_deref() == Some("secret")));
    let seen = other.asked();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].method.as_str(), &seen[0].token), ("GET", &None));
}

/// Who interrupts a download wants it to end now, and not to begin again.
#[test]
fn an_interrupt_keeps_what_came_and_shows_no_snapshot() {
    let (home, hub) = hub();
    hub.fail(&format!("GET /org/tiny/resolve/{COMMIT}/{WEIGHTS}"), Fault::Slow);
    let mut command = home.command("git-sparse", &home.path(""));
    let tuned = model("tiny-sft");
    let command = command.args(["delta", "estimate", "org/tiny", path(&tuned)]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begun = |name: &String| {
        name.len() > 64
            && fs::metadata(cached(&home).join("blobs").join(name)).is_ok_and(|found| found.len() > 0)
    };
    while !unfinished(&home).iter().any(begun) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(130) && said.contains("interrupted"), "{said}");
    assert!(!cached(&home).join("snapshots").join(COMMIT).exists());
    assert!(
        matches!(unfinished(&home).as_slice(), [name] if !name.contains("pid")),
        "{:?}",
        unfinished(&home)
    );
    hub.asked();
    fetched(&home, "org/tiny");
    let asked = hub.asked();
    assert!(matches!(weights_of(&asked).as_slice(), [one] if one.range.is_some()), "{asked:#?}");
}

/// Others write into the cache, too: what they have is used, and what they left out is told.
#[test]
fn what_others_left_is_used_and_completed() {
    let (home, hub) = hub();
    fetched(&home, "org/tiny");
    hub.asked();
    let snapshot = cached(&home).join("snapshots").join(COMMIT);
    fs::remove_file(snapshot.join("README.md")).unwrap();
    let (code, said) = estimate(&home, "org/tiny");
    assert!(code == 0 && said.contains("the cache has not all of its files; without README.md"), "{said}");
    assert_eq!(hub.asked(), []);
    // Another name of the same commit: a link is made, and no file is asked for.
    fetched(&home, "org/tiny@v1");
    assert!(hub.asked().iter().all(|asked| asked.path.starts_with("/api/")));
    // A cache that was copied without links, and one whose blobs went.
    let plain = home.path("plain");
    copy(&snapshot, &plain);
    fs::remove_dir_all(&snapshot).unwrap();
    fs::rename(&plain, &snapshot).unwrap();
    fetched(&home, "org/tiny");
    assert_eq!(hub.asked(), []);
    assert!(Path::new(&snapshot).join(WEIGHTS).is_file());
}
