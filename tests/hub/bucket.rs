//! Several servers over one bucket, and nothing else between them: any of them answers, any of them may die.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use xtask::home::said;

use super::transfer::{assert_gives_all, plain_home, push_all, repo_for, revisions};
use crate::support::home::{Home, Mode};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::repo::{Repo, text, tree_of};
use crate::support::s3::{BUCKET, S3};
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
