//! Several servers over one bucket, and nothing else between them: any of them answers, any of them may die.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use xtask::home::said;

use super::faults::{PUSH, pointers, until_well};
use super::transfer::{assert_gives_all, plain_home, push_all, repo_for, revisions};
use crate::support::home::{Home, Mode};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::repo::{Repo, text, tree_of};
use crate::support::s3::{ALL, BUCKET, Fault, Meets, S3, SECRET};
use crate::support::samples::{assert_clean, fresh};
use crate::support::server::Server;

/// A repository whose commits go to a path, and whose large files go to the hub.
fn work<'home>(home: &'home Home, bare: &str, hub: &str, name: &str) -> Repo<'home> {
    let repo = repo_for(home, bare, name);
    repo.git(&["config", "lfs.url", hub]);
    repo
}

fn clone<'home>(home: &'home Home, bare: &str, hub: &str, name: &str) -> Repo<'home> {
    let lfs = format!("lfs.url={hub}");
    Repo::clone(home, bare, name, &["-c", &lfs])
}

/// Three servers that share no disk, behind one that sends each request to the next of them. One is killed in the
/// middle of pushes and of clones; the same command again ends well, and everybody gets every byte.
#[test]
fn three_servers_over_a_bucket_are_one_hub() {
    let mut random = Random::printed("three_servers_over_a_bucket_are_one_hub");
    let s3 = S3::serve();
    let proxy = Proxy::before(&[]);
    let keys = tempfile::tempdir().expect("a directory");
    let key = keys.path().join("link-keys");
    let store = format!("sparse::s3://{BUCKET}/hub");
    let mut servers: Vec<Server> = (0..3)
        .map(|_| {
            let mut home = Home::bare(Mode::Daemon);
            s3.variables().iter().for_each(|(name, value)| home.set(name, value));
            let root = home.path("hub");
            let shared =
                ["--anonymous", "write", "--url", &proxy.url, "--key", text(&key), "--store", &store];
            Server::over(home, &root, &shared)
        })
        .collect();
    let all: Vec<_> = servers.iter().map(|server| server.address).collect();
    proxy.set_targets(&all);

    let (home, plain, other) = (Home::new(Mode::Daemon), plain_home(), Home::new(Mode::Daemon));
    home.git(&home.path(""), &["init", "--quiet", "--bare", "commits.git"]);
    let bare = home.path("commits.git");
    let bare = text(&bare);
    let hub = format!("{}/info/lfs", proxy.repo("org/model"));
    let repo = work(&home, bare, &hub, "work");
    let mut told = revisions(&repo);
    push_all(&repo);
    for reader in [&other, &plain] {
        assert_gives_all(&clone(reader, bare, &hub, "clone"), &told);
    }

    // One dies while something is sent, another while it is fetched.
    told.push(repo.commit("last", tree_of(&[("model", "tiny-sft-f32"), ("more", "tiny-lora-merged")])));
    killed_while(&mut servers[1], &mut random, &repo, &["push", "--quiet", "origin", "main"]);
    let again = Home::new(Mode::Daemon);
    again.git_with(
        &[("GIT_LFS_SKIP_SMUDGE", "1")],
        &again.path(""),
        &["clone", "--quiet", "-c", &format!("lfs.url={hub}"), bare, "clone"],
    );
    let pulled = Repo { home: &again, path: again.path("clone") };
    killed_while(&mut servers[2], &mut random, &pulled, &["lfs", "pull"]);
    assert_gives_all(&pulled, &told);

    // What a plain client uploads, in turns to all three.
    servers.iter_mut().for_each(Server::restart);
    let hub = format!("{}/info/lfs", proxy.repo("plain"));
    plain.git(&plain.path(""), &["init", "--quiet", "--bare", "plain.git"]);
    let bare = plain.path("plain.git");
    let repo = work(&plain, text(&bare), &hub, "work");
    let told = revisions(&repo);
    push_all(&repo);
    let reader = Home::new(Mode::Daemon);
    assert_gives_all(&clone(&reader, text(&bare), &hub, "clone"), &told);
    for name in ["org/model", "plain"] {
        assert_clean(&fresh(s3.bucket(&format!("hub/{name}"))), name);
    }
}

/// A hub over the bucket, in a home of its own.
fn over_bucket(s3: &S3) -> Server {
    let mut home = Home::bare(Mode::Daemon);
    s3.variables().iter().for_each(|(name, value)| home.set(name, value));
    let root = home.path("hub");
    Server::over(home, &root, &["--anonymous", "write", "--store", &format!("sparse::s3://{BUCKET}/hub")])
}

/// The bucket's server fails, is busy, slow, cuts connections at every stage and loses answers, while a hub works over it: the
/// same push or clone again ends well, for both kinds of client, and everybody gets every byte.
#[test]
fn a_bucket_that_fails_now_and_then_loses_nothing() {
    let s3 = S3::serve();
    let server = over_bucket(&s3);
    let every = |method, every| Meets { method, every, ..ALL };
    let faults: [(&str, &[(Meets, Fault)]); 4] = [
        ("busy", &[(every("", 5), Fault::Status(503)), (every("GET", 7), Fault::Status(429))]),
        ("broken", &[(every("GET", 6), Fault::Status(500)), (every("PUT", 3), Fault::Lost)]),
        ("cut", &[(every("PUT", 4), Fault::Cut), (every("GET", 6), Fault::CutAnswer)]),
        ("slow", &[(every("", 3), Fault::Slow(Duration::from_millis(150)))]),
    ];
    for (name, faults) in faults {
        let (home, plain, other) = (Home::new(Mode::Daemon), plain_home(), Home::new(Mode::Daemon));
        let repo = repo_for(&home, &server.repo(name), "work");
        repo.commit("base", tree_of(&[("a", "tiny-base")]));
        faults.iter().for_each(|(meets, fault)| s3.fail(*meets, *fault));
        until_well(&repo, &PUSH);
        let tuned = repo.commit("tuned", tree_of(&[("a", "tiny-sft"), ("b", "tiny-lora")]));
        until_well(&repo, &PUSH);
        for reader in [&other, &plain] {
            let clone = pointers(reader, &server.repo(name));
            until_well(&clone, &["lfs", "pull"]);
            clone.assert_is(&tuned.expected);
        }
        // What a plain client sends is stored through the same faults.
        let own = repo_for(&plain, &server.repo(&format!("{name}-plain")), "own");
        let sent = own.commit("sent", tree_of(&[("a", "tiny-sft-2")]));
        until_well(&own, &PUSH);
        s3.recover();
        let fresh_home = plain_home();
        Repo::clone(&fresh_home, &server.repo(&format!("{name}-plain")), "clone", &[])
            .assert_is(&sent.expected);
        for name in [name.to_owned(), format!("{name}-plain")] {
            assert_clean(&fresh(s3.bucket(&format!("hub/{name}"))), &name);
        }
    }
}

/// A bucket that takes nothing any more, or gives other bytes, is no reason to lose a push or to hand out a wrong file: both
/// fail with words, and work when it is well again.
#[test]
fn a_bucket_that_is_broken_is_told_of() {
    let s3 = S3::serve();
    let server = over_bucket(&s3);
    let (home, reader, plain) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon), plain_home());
    let repo = repo_for(&home, &server.repo("model"), "work");
    let base = repo.commit("base", tree_of(&[("a", "tiny-base")]));
    s3.fail(Meets { method: "PUT", ..ALL }, Fault::Status(403));
    let told = home.git_fails(&repo.path, &PUSH);
    assert!(told.contains("500") && told.contains("log"), "{told}");
    assert!(server.log().contains("403 AccessDenied"), "{}", server.log());
    assert!(!told.contains(SECRET) && !server.log().contains(SECRET), "a secret was told");
    s3.recover();
    repo.git(&PUSH);
    for (home, meets) in [(&reader, Meets { method: "GET", path: "/packs/", ..ALL }), (&plain, ALL)] {
        let clone = pointers(home, &server.repo("model"));
        s3.fail(Meets { method: "GET", ..meets }, Fault::Flip);
        let told = home.git_fails(&clone.path, &["lfs", "pull"]);
        assert!(!told.contains("panic"), "{told}");
        s3.recover();
        clone.git(&["lfs", "pull"]);
        clone.assert_is(&base.expected);
    }
    assert_clean(&fresh(s3.bucket("hub/model")), "after a bad time");
}

/// Kills a server at a moment while git works, which is run again until it ends well; then the server is back.
#[track_caller]
fn killed_while(server: &mut Server, random: &mut Random, repo: &Repo<'_>, arguments: &[&str]) {
    let mut command = repo.home.command("git", &repo.path);
    let mut git =
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git runs");
    thread::sleep(Duration::from_millis(200 + random.below(1500) as u64));
    server.kill();
    let _ = git.wait();
    let mut words = String::new();
    let well = (0..8).any(|_| {
        let output = repo.home.output(repo.home.command("git", &repo.path).args(arguments));
        words.push_str(&said(&output));
        output.status.success()
    });
    assert!(well, "git {} never ends well:\n{words}", arguments.join(" "));
    server.restart();
}
