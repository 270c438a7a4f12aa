//! Clients of every kind push to a hub and clone from it: every byte of every revision comes back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use git_sparse::id::Oid;
use xtask::tree::Expected;

use crate::support::home::{Home, Mode};
use crate::support::proxy::Proxy;
use crate::support::repo::{Repo, Revision, model, tree_of};
use crate::support::samples::assert_clean;
use crate::support::server::Server;
use crate::support::web::Asking;

/// A home with git-lfs alone.
pub fn plain_home() -> Home {
    let home = Home::bare(Mode::Daemon);
    home.git(&home.path(""), &["lfs", "install", "--skip-repo"]);
    home
}

/// A repository whose remote is `url`, with the patterns of models and tables.
pub fn repo_for<'home>(home: &'home Home, url: &str, name: &str) -> Repo<'home> {
    home.git(&home.path(""), &["init", "--quiet", name]);
    let repo = Repo { home, path: home.path(name) };
    let patterns = ["safetensors", "gguf", "parquet", "arrow", "jsonl"];
    let lines: String =
        patterns.iter().map(|kind| format!("*.{kind} filter=lfs diff=lfs merge=lfs -text\n")).collect();
    fs::write(repo.path.join(".gitattributes"), lines).expect("a file");
    repo.git(&["remote", "add", "origin", url]);
    repo.git(&["config", "lfs.locksverify", "false"]);
    repo
}

/// Models with a base and fine-tunes, tables, and text.
pub fn revisions(repo: &Repo<'_>) -> Vec<Revision> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut first = tree_of(&[("model", "tiny-base")]);
    first.insert("table.parquet".into(), data.join("tables/contrib-1.parquet"));
    first.insert("rows.arrow".into(), data.join("arrow/plain-1.arrow"));
    first.insert("notes.txt".into(), data.join("models/heldout-python.txt"));
    let mut second = tree_of(&[("model", "tiny-sft"), ("half", "tiny-sft-fp16")]);
    second.insert("table.parquet".into(), data.join("tables/contrib-2.parquet"));
    second.insert("rows.arrow".into(), data.join("arrow/plain-2.arrow"));
    second.insert("notes.txt".into(), data.join("models/heldout-rust-book.txt"));
    let third = tree_of(&[("model", "tiny-sft-2"), ("adapter", "tiny-lora")]);
    [("first", first), ("second", second), ("third", third)]
        .into_iter()
        .map(|(name, expected)| {
            let revision = repo.commit(name, expected);
            repo.git(&["tag", name]);
            revision
        })
        .collect()
}

#[track_caller]
pub fn assert_gives_all(clone: &Repo<'_>, revisions: &[Revision]) {
    for revision in revisions {
        clone.git(&["checkout", "--quiet", &revision.commit]);
        clone.assert_is(&revision.expected);
    }
}

/// An open hub behind a proxy, which its links name.
pub fn behind_proxy(options: &[&str]) -> (Server, Proxy) {
    let proxy = Proxy::before(&[]);
    let server = Server::start(&[&["--anonymous", "write", "--url", &proxy.url], options].concat());
    proxy.set_targets(&[server.address]);
    (server, proxy)
}

pub fn push_all(repo: &Repo<'_>) {
    repo.git(&["push", "--quiet", "--tags", "--set-upstream", "origin", "main"]);
}

/// One pushes deltas, the others want whole files, deltas, or our own clone: they all get the same bytes.
#[test]
fn what_sparse_pushes_everyone_clones() {
    let server = Server::open();
    let (home, plain, other) = (Home::new(Mode::Daemon), plain_home(), Home::new(Mode::Daemon));
    let repo = repo_for(&home, &server.repo("org/model"), "work");
    let revisions = revisions(&repo);
    push_all(&repo);
    repo.git(&["checkout", "--quiet", "-b", "branch", "first"]);
    repo.git(&["push", "--quiet", "origin", "branch"]);

    let clone = Repo::clone(&plain, &server.repo("org/model"), "clone", &[]);
    assert_gives_all(&clone, &revisions);
    let clone = Repo::clone(&other, &server.repo("org/model"), "clone", &[]);
    assert_gives_all(&clone, &revisions);
    other.git(&other.path(""), &["sparse", "clone", &server.repo("org/model"), "ours"]);
    let ours = Repo { home: &other, path: other.path("ours") };
    ours.assert_is(&revisions[2].expected);
    ours.git(&["checkout", "--quiet", "branch"]);
    ours.assert_is(&revisions[0].expected);
    assert_clean(&server.store("org/model"), "after a push");
}

/// Whole files that plain git-lfs pushes become deltas at the hub, and come back to both kinds of client.
#[test]
fn what_plain_git_lfs_pushes_everyone_clones() {
    let server = Server::open();
    let (plain, other) = (plain_home(), Home::new(Mode::Daemon));
    let repo = repo_for(&plain, &server.repo("model"), "work");
    let revisions = revisions(&repo);
    push_all(&repo);
    let clone = Repo::clone(&other, &server.repo("model"), "clone", &[]);
    assert_gives_all(&clone, &revisions);
    let clone = Repo::clone(&plain, &server.repo("model"), "clone", &[]);
    assert_gives_all(&clone, &revisions);
    assert_clean(&server.store("model"), "after a push of whole files");
    // And the other kind of client pushes on what it got here.
    let again = Repo::clone(&other, &server.repo("model"), "again", &[]);
    again.git(&["lfs", "fetch", "--all"]);
    again.git(&["remote", "add", "again", &server.repo("again")]);
    again.git(&["push", "--quiet", "--tags", "again", "main"]);
    let clone = Repo::clone(&plain, &server.repo("again"), "another", &[]);
    assert_gives_all(&clone, &revisions);
}

/// A fine-tune costs its difference on the way up and on the way down, and never more than the file whole.
#[test]
fn only_the_difference_travels() {
    let (server, proxy) = behind_proxy(&[]);
    let (home, other, third) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let repo = repo_for(&home, &proxy.repo("model"), "work");
    let file = |name: &str| {
        let mut tree = Expected::new();
        tree.insert("model.safetensors".into(), model(name).join("model.safetensors"));
        tree
    };
    let base = repo.commit("base", file("tiny-base"));
    push_all(&repo);
    proxy.moved();
    let clone = Repo::clone(&other, &proxy.repo("model"), "clone", &[]);
    clone.assert_is(&base.expected);
    let (_, base_down) = proxy.moved();

    let stored = |server: &Server| {
        let store = server.root().join("model.git");
        xtask::tree::stored_bytes(&store).expect("a store")
    };
    let before = stored(&server);
    let tuned = repo.commit("fine-tune", file("tiny-sft"));
    push_all(&repo);
    let delta = stored(&server) - before;
    let (up, _) = proxy.moved();
    // Besides the delta: git's own push, and questions about objects.
    assert!(up < delta * 105 / 100 + 24_000, "{up} bytes went up for a delta of {delta}");
    clone.git(&["pull", "--quiet"]);
    clone.assert_is(&tuned.expected);
    let (_, down) = proxy.moved();
    assert!(down < delta * 105 / 100 + 24_000, "{down} bytes came down for a delta of {delta}");

    // Someone who has nothing and wants only the fine-tune.
    let fresh = Repo::clone(&third, &proxy.repo("model"), "fresh", &["--depth", "1"]);
    fresh.assert_is(&tuned.expected);
    let (_, down) = proxy.moved();
    assert!(
        down < base_down + delta + 24_000,
        "{down} bytes for a base of {base_down} and a delta of {delta}"
    );
}

/// Verbs and git-lfs' own commands work against a hub as against a store.
#[test]
fn verbs_work_with_a_hub() {
    let server = Server::open();
    let home = Home::new(Mode::Daemon);
    let repo = repo_for(&home, &server.repo("org/model"), "work");
    let revisions = revisions(&repo);
    push_all(&repo);
    home.git(&repo.path, &["sparse", "verify"]);
    let told = repo.git(&["sparse", "doctor"]);
    assert!(told.contains(&server.url), "doctor does not name the hub:\n{told}");
    let status = repo.git(&["sparse", "status", "--json"]);
    assert!(status.contains("\"remote\": true") || status.contains("\"remote\":true"), "{status}");
    let other = Home::new(Mode::Daemon);
    other.git_with(
        &[("GIT_LFS_SKIP_SMUDGE", "1")],
        &other.path(""),
        &["clone", "--quiet", &server.repo("org/model"), "clone"],
    );
    let clone = Repo { home: &other, path: other.path("clone") };
    clone.git(&["lfs", "pull", "-I", "model/*"]);
    let first = &revisions[2].expected[Path::new("model/model.safetensors")];
    assert!(fs::read(first).unwrap() == fs::read(clone.path.join("model/model.safetensors")).unwrap());
    let left = fs::read_to_string(clone.path.join("adapter/adapter_model.safetensors")).expect("a pointer");
    assert!(left.starts_with("version https://git-lfs"), "a file that was not asked for came");
    clone.git(&["lfs", "pull"]);
    clone.assert_is(&revisions[2].expected);
    let pruned = repo.git(&["sparse", "prune", "--dry-run", "--json"]);
    assert!(pruned.contains("git-sparse/prune/1"), "{pruned}");
    repo.git(&["sparse", "prune", "--yes"]);
    assert_gives_all(&repo, &revisions);
}

/// `sparse::origin` means the hub where the remote is one, with the user's own credentials.
#[test]
fn a_store_beside_the_remote_may_be_a_hub() {
    let server = Server::start(&[]);
    let token = server.token("writer", "write", &["org/*"]);
    let person = || {
        let home = Home::new(Mode::Daemon);
        super::access::keep_token(&home, &server, &token);
        home
    };
    let (home, other) = (person(), person());
    home.git(&home.path(""), &["init", "--quiet", "work"]);
    let repo = Repo { home: &home, path: home.path("work") };
    repo.git(&["remote", "add", "origin", &server.repo("org/model")]);
    repo.git(&["sparse", "init"]);
    let first = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    let second = repo.commit("tuned", tree_of(&[("model", "tiny-sft")]));
    push_all(&repo);
    let clone = Repo::clone(&other, &server.repo("org/model"), "clone", &[]);
    assert_gives_all(&clone, &[first, second]);
    assert_clean(&server.store("org/model"), "beside the remote");
    // Who has no token is told that, and not that there is no store.
    let stranger = Home::new(Mode::Daemon);
    let told =
        stranger.git_fails(&stranger.path(""), &["clone", "--quiet", &server.repo("org/model"), "clone"]);
    assert!(told.contains("could not read Username") || told.contains("Authentication"), "{told}");
}

/// Links last an hour, and what git-lfs fetches may take longer: who may do it anyway goes on, and a stranger who got
/// hold of the link does not.
#[test]
fn a_link_that_is_over_is_no_end() {
    let server = Server::start(&["--link-life", "1"]);
    let token = server.token("writer", "write", &["*"]);
    let (home, stranger) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    super::access::keep_token(&home, &server, &token);
    // git-lfs itself asks for a new link where one is about to end; so the agent is asked as git-lfs would do it later.
    let repo = repo_for(&home, &server.repo("model"), "work");
    let other = repo_for(&stranger, &server.repo("model"), "work");
    fs::write(repo.path.join("readme"), "no large file yet").expect("a file");
    repo.git(&["add", "readme"]);
    repo.git(&["commit", "--quiet", "--message", "readme"]);
    push_all(&repo);
    let file = model("tiny-base").join("model.safetensors");
    let bytes = fs::read(&file).expect("a model");
    let (oid, size) = (Oid::of(&bytes), bytes.len());
    let files = [(oid.to_string(), size as u64)];
    let job = |operation: &str, path: serde_json::Value| {
        let answer = server.ask(Asking::batch("model", operation, "sparse", &files).bearer(&token));
        let action = serde_json::json!({ "href": format!("{}{}", server.url, answer.link(operation)) });
        serde_json::json!({ "event": operation, "oid": oid.to_string(), "size": size, "path": path, "action": action })
    };
    let agent = |home: &Home, repo: &Repo<'_>, job: &serde_json::Value| {
        let operation = &job["event"];
        let begin = serde_json::json!({ "event": "init", "operation": operation, "remote": "origin",
            "concurrent": false, "concurrenttransfers": 1 });
        let mut command = home.command("git-sparse", &repo.path);
        command.arg("lfs-agent").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the agent runs");
        let said = format!("{begin}\n{job}\n{{\"event\":\"terminate\"}}\n");
        child.stdin.take().expect("a pipe").write_all(said.as_bytes()).expect("said");
        let output = child.wait_with_output().expect("the agent ends");
        let told = String::from_utf8(output.stdout).expect("text");
        serde_json::from_str::<serde_json::Value>(told.lines().last().expect("an answer")).expect("JSON")
    };
    let push = job("upload", serde_json::json!(file));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let done = agent(&home, &repo, &push);
    assert!(done["event"] == "complete" && done.get("error").is_none(), "{done}");
    server.assert_has("model", &bytes);
    let fetch = job("download", serde_json::Value::Null);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let refused = agent(&stranger, &other, &fetch);
    assert_eq!(refused["error"]["code"], 403, "{refused}");
    // What was pushed from here need not be fetched.
    let mut fresh = Home::new(Mode::Daemon);
    fresh.set("GIT_TERMINAL_PROMPT", "0");
    super::access::keep_token(&fresh, &server, &token);
    let clone = repo_for(&fresh, &server.repo("model"), "work");
    let done = agent(&fresh, &clone, &fetch);
    let path = done["path"].as_str().unwrap_or_else(|| panic!("nothing came: {done}"));
    assert!(fs::read(path).expect("a file") == bytes, "other bytes came");
}
