//! Networks that cut and wait, hubs that die and fill up: the same command again ends well, and little is sent twice.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use xtask::home::said;
use xtask::tree::{Expected, size_bytes, stored_bytes};

use super::transfer::{assert_gives_all, behind_proxy, plain_home, push_all, repo_for, revisions};
use crate::support::home::{Home, Mode};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::repo::{Repo, model, tree_of};
use crate::support::samples::assert_clean;
use crate::support::server::Server;
use crate::support::tmpfs::Tmpfs;

pub const PUSH: [&str; 4] = ["push", "--quiet", "origin", "main"];

/// Runs git until it ends well; how often that was.
#[track_caller]
pub fn until_well(repo: &Repo<'_>, arguments: &[&str]) -> usize {
    let mut told = String::new();
    for round in 1..=8 {
        let output = repo.home.output(repo.home.command("git", &repo.path).args(arguments));
        if output.status.success() {
            return round;
        }
        told.push_str(&said(&output));
    }
    panic!("git {} never ends well:\n{told}", arguments.join(" "));
}

/// A clone without its large files, whose pull can be tried again.
pub fn pointers<'home>(home: &'home Home, url: &str) -> Repo<'home> {
    let clone = ["clone", "--quiet", url, "clone"];
    home.git_with(&[("GIT_LFS_SKIP_SMUDGE", "1")], &home.path(""), &clone);
    Repo { home, path: home.path("clone") }
}

fn models() -> Expected {
    tree_of(&[("a", "tiny-base"), ("b", "tiny-sft-2"), ("c", "tiny-sft-f32")])
}

/// A connection that is cut in the middle costs what was under way, not what was there before.
#[test]
fn cuts_cost_little() {
    let (server, proxy) = behind_proxy(&[]);
    let (home, reader, plain) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon), plain_home());
    let repo = repo_for(&home, &proxy.repo("model"), "work");
    let revision = repo.commit("models", models());
    proxy.cut(true, 900_000, 3);
    until_well(&repo, &PUSH);
    assert_eq!(proxy.cuts_left(), 0, "nothing was cut");
    let (up, _) = proxy.moved();
    let stored = stored_bytes(&server.root().join("model.git")).expect("a store");
    assert!(up < stored + stored / 10 + 3 * 1_000_000 + 100_000, "{up} bytes went up for {stored}");
    assert_clean(&server.store("model"), "after cuts");

    // Objects that came stay: what is sent again is at most an object, and what was on its way.
    let clone = pointers(&reader, &proxy.repo("model"));
    proxy.moved();
    proxy.cut(false, 300_000, 6);
    until_well(&clone, &["lfs", "pull"]);
    assert_eq!(proxy.cuts_left(), 0, "nothing was cut");
    clone.assert_is(&revision.expected);
    let (_, down) = proxy.moved();
    assert!(down < stored + stored / 10 + 6 * 300_000, "{down} bytes came down for {stored}");

    // Plain clients go on by ranges.
    let clone = pointers(&plain, &proxy.repo("model"));
    proxy.moved();
    proxy.cut(false, 1_500_000, 3);
    until_well(&clone, &["lfs", "pull"]);
    assert_eq!(proxy.cuts_left(), 0, "nothing was cut");
    clone.assert_is(&revision.expected);
    let whole = size_bytes(&model("tiny-base")).unwrap()
        + size_bytes(&model("tiny-sft-2")).unwrap()
        + size_bytes(&model("tiny-sft-f32")).unwrap();
    let (_, down) = proxy.moved();
    assert!(down < whole + 3 * 1_000_000, "{down} bytes came down for {whole}");
}

/// A hub that is busy, restarts, or loses connections is waited for: no command fails for it.
#[test]
fn busy_hubs_are_waited_for() {
    let (server, proxy) = behind_proxy(&[]);
    let (home, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let repo = repo_for(&home, &proxy.repo("model"), "work");
    let revision = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    proxy.delay(30);
    proxy.slow(4_000_000);
    for (part, status) in [("/has", 503), ("/lacking", 429), ("/take", 503), ("PUT /", 502), ("/verify", 429)]
    {
        proxy.refuse(part, 1, status);
    }
    proxy.refuse("/objects/batch", 1, 429);
    push_all(&repo);
    let clone = pointers(&reader, &proxy.repo("model"));
    for (part, status) in [("GET /model.git/info/lfs/sparse", 503), ("/records", 503), ("/give", 429)] {
        proxy.refuse(part, 2, status);
    }
    clone.git(&["lfs", "pull"]);
    clone.assert_is(&revision.expected);
    assert_clean(&server.store("model"), "after a busy time");
}

/// A hub that dies at any moment of a push or clone, and comes back, has all that it said it had.
#[test]
fn a_killed_hub_loses_nothing() {
    let mut random = Random::printed("a_killed_hub_loses_nothing");
    let (mut server, proxy) = behind_proxy(&[]);
    for (round, part) in ["/take", "PUT /", "/has"].into_iter().enumerate() {
        let (home, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
        let name = format!("model-{round}");
        let repo = repo_for(&home, &proxy.repo(&name), "work");
        let revision = repo.commit("models", tree_of(&[("a", "tiny-base"), ("b", "tiny-sft")]));
        let kill =
            |server: &mut Server, proxy: &Proxy, repo: &Repo<'_>, arguments: &[&str], part: &str, wait| {
                let mut git = start(repo, arguments);
                wait_for(proxy, part);
                thread::sleep(Duration::from_millis(wait));
                server.restart();
                let _ = git.wait();
                until_well(repo, arguments);
            };
        proxy.asked();
        kill(&mut server, &proxy, &repo, &PUSH, part, random.below(60) as u64);
        assert_clean(&server.store(&name), "after a killed push");
        let clone = pointers(&reader, &proxy.repo(&name));
        proxy.asked();
        let part = ["/give", "/records", "/recipes/"][round];
        kill(&mut server, &proxy, &clone, &["lfs", "pull"], part, random.below(60) as u64);
        clone.assert_is(&revision.expected);
    }
}

fn start(repo: &Repo<'_>, arguments: &[&str]) -> std::process::Child {
    let mut git = repo.home.command("git", &repo.path);
    git.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git runs")
}

/// Waits until a request was seen.
fn wait_for(proxy: &Proxy, part: &str) {
    let start = Instant::now();
    while !proxy.asked().iter().any(|line| line.contains(part)) {
        assert!(start.elapsed() < Duration::from_secs(90), "nobody asks for {part}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A full disk refuses by name, loses nothing, and takes more when there is room.
#[test]
fn a_full_hub_says_so() {
    let home = Home::bare(Mode::Daemon);
    let Some(disk) = Tmpfs::mount(home.path("hub"), "size=3m") else { return };
    let root = disk.0.clone();
    let cache = home.path("cache");
    let options = ["--anonymous", "write", "--cache", crate::support::repo::text(&cache)];
    let server = Server::over(home, &root, &options);
    let (sparse, plain) = (Home::new(Mode::Daemon), plain_home());
    let repo = repo_for(&sparse, &server.repo("model"), "work");
    let first = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    push_all(&repo);
    let second = repo.commit("more", tree_of(&[("model", "tiny-base"), ("more", "tiny-sft-f32")]));
    let told = repo.home.git_fails(&repo.path, &PUSH);
    assert!(
        told.contains("disk is full") || told.contains("No space left"),
        "a full disk is not named:\n{told}"
    );
    assert_clean(&server.store("model"), "on a full disk");
    let clone = Repo::clone(&plain, &server.repo("model"), "clone", &[]);
    clone.assert_is(&first.expected);
    disk.remount("size=30m");
    push_all(&repo);
    clone.git(&["pull", "--quiet"]);
    clone.assert_is(&second.expected);
    assert_clean(&server.store("model"), "with room again");
    drop(server);
}

/// Two servers over one directory are one hub: any of them answers any request, and one may die.
#[test]
fn several_servers_are_one_hub() {
    let proxy = Proxy::before(&[]);
    let first = Server::start(&["--anonymous", "write", "--url", &proxy.url]);
    let root = first.root();
    let key = root.join("link-keys");
    let options = ["--anonymous", "write", "--url", &proxy.url, "--key", crate::support::repo::text(&key)];
    let mut second = Server::over(Home::bare(Mode::Daemon), &root, &options);
    proxy.set_targets(&[first.address, second.address]);
    let (home, plain, other) = (Home::new(Mode::Daemon), plain_home(), Home::new(Mode::Daemon));
    let repo = repo_for(&home, &proxy.repo("org/model"), "work");
    let mut told = revisions(&repo);
    push_all(&repo);
    let clone = Repo::clone(&other, &proxy.repo("org/model"), "clone", &[]);
    assert_gives_all(&clone, &told);
    told.push(repo.commit("last", tree_of(&[("model", "tiny-sft-f32")])));
    proxy.asked();
    let mut git = start(&repo, &PUSH);
    wait_for(&proxy, "/sparse/1/");
    second.kill();
    let _ = git.wait();
    until_well(&repo, &PUSH);
    let clone = Repo::clone(&plain, &proxy.repo("org/model"), "clone", &[]);
    assert_gives_all(&clone, &told);
    assert_clean(&first.store("org/model"), "of two servers");
    // What plain clients upload through both.
    second.restart();
    let repo = repo_for(&plain, &proxy.repo("plain"), "work");
    let told = revisions(&repo);
    push_all(&repo);
    fs::remove_dir_all(other.path("clone")).expect("a clone");
    let clone = Repo::clone(&other, &proxy.repo("plain"), "clone", &[]);
    assert_gives_all(&clone, &told);
}

/// No temporary file outlives an upload that broke off: they would fill the disk in time.
#[test]
fn broken_uploads_leave_no_files() {
    let (server, proxy) = behind_proxy(&[]);
    let home = plain_home();
    let repo = repo_for(&home, &proxy.repo("model"), "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    proxy.cut(true, 700_000, 2);
    until_well(&repo, &PUSH);
    let uploads = server.home.path("home/.cache/git-sparse/hub/uploads");
    assert_eq!(fs::read_dir(uploads).expect("a directory").count(), 0, "an upload was left");
    let tmp = server.root().join("model.git/sparse/tmp");
    assert_eq!(fs::read_dir(tmp).into_iter().flatten().count(), 0, "a temporary file was left");
}
