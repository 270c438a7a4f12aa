//! Locks of Git LFS: who has one keeps the others from pushing, and nobody breaks it but an administrator.

use std::fs;

use super::access::keep_token;
use super::basic::make_repo;
use super::transfer::{push_all, repo_for};
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, tree_of};
use crate::support::server::Server;
use crate::support::web::Asking;

const FILE: &str = "model/model.safetensors";

/// Two people and an administrator with real git-lfs.
#[test]
fn a_lock_keeps_others_from_pushing() {
    let server = Server::start(&[]);
    let person = |name: &str, may: &str| {
        let home = Home::new(Mode::Daemon);
        keep_token(&home, &server, &server.token(name, may, &["*"]));
        home
    };
    let (alice, bob, admin) = (person("alice", "write"), person("bob", "write"), person("admin", "admin"));
    let repo = repo_for(&alice, &server.repo("model"), "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    push_all(&repo);
    repo.git(&["lfs", "lock", FILE]);
    assert!(repo.git(&["lfs", "locks"]).contains("alice"));

    let other = Repo::clone(&bob, &server.repo("model"), "work", &[]);
    other.git(&["config", "lfs.locksverify", "true"]);
    let told = bob.git_fails(&other.path, &["lfs", "lock", FILE]);
    assert!(told.to_lowercase().contains("locked") || told.contains("exists"), "{told}");
    let path = other.path.join(FILE);
    let mut permissions = fs::metadata(&path).expect("a file").permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).expect("a file");
    other.commit("tuned", tree_of(&[("model", "tiny-sft")]));
    let told = bob.git_fails(&other.path, &["push", "origin", "main"]);
    assert!(told.contains("alice"), "the push does not say who has the lock:\n{told}");
    let told = bob.git_fails(&other.path, &["lfs", "unlock", "--force", FILE]);
    assert!(told.contains("administrator"), "{told}");

    let theirs = Repo::clone(&admin, &server.repo("model"), "work", &[]);
    theirs.git(&["lfs", "unlock", "--force", FILE]);
    other.git(&["push", "--quiet", "origin", "main"]);
    // And one's own is given back.
    other.git(&["lfs", "lock", FILE]);
    other.git(&["lfs", "unlock", FILE]);
    assert_eq!(repo.git(&["lfs", "locks"]).trim(), "");
}

/// A lock belongs to its repository: through another one it can neither be seen nor taken away.
#[test]
fn locks_stay_in_their_repository() {
    let server = Server::start(&[]);
    let (one, two) = (server.token("one", "write", &["a"]), server.token("two", "admin", &["b"]));
    make_repo(&server, "a");
    make_repo(&server, "b");
    let made = Asking::post("/a.git/info/lfs/locks", r#"{"path":"x.bin"}"#).lfs().bearer(&one);
    let lock = server.ask(made.clone());
    assert_eq!(lock.status, 201, "{}", lock.text());
    let id = lock.json()["lock"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.ask(made).status, 409);
    let unlock = |repo: &str, token: &str| {
        let path = format!("/{repo}.git/info/lfs/locks/{id}/unlock");
        server.ask(Asking::post(&path, r#"{"force":true}"#).lfs().bearer(token)).status
    };
    assert_eq!(unlock("b", &two), 404);
    assert_eq!(unlock("a", &two), 404);
    let list = |repo: &str, token: &str| {
        let asking = Asking::get(&format!("/{repo}.git/info/lfs/locks?path=x.bin")).bearer(token);
        server.ask(asking).json()["locks"].as_array().expect("a list").len()
    };
    assert_eq!((list("a", &one), list("b", &two)), (1, 0));
    assert_eq!(unlock("a", &one), 200);
    assert_eq!(unlock("a", &one), 404);
}
