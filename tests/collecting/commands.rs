//! `git sparse gc --remote` as a user runs it, on a store beside a real git remote.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text, tree_of};

/// A repository with a base and a fine-tune, pushed; both files are old at the remote.
fn published(home: &Home) -> Repo<'_> {
    let repo = Repo::init(home, "work");
    for name in ["tiny-base", "tiny-sft"] {
        repo.commit(name, tree_of(&[("model", name)]));
        repo.push();
    }
    make_old(&repo.remote().join("sparse"));
    repo
}

/// Takes the fine-tune out of the history here and at the remote; its oid.
fn give_up(repo: &Repo<'_>) -> String {
    let oid = repo.oids(&["HEAD"]).pop().expect("a large file");
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    repo.git(&["push", "--quiet", "--force", "origin", "main"]);
    oid
}

/// Dates all files below a directory thirty days back.
fn make_old(dir: &Path) {
    let then = SystemTime::now() - Duration::from_secs(30 * 86_400);
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true => make_old(&entry.path()),
            false => fs::File::open(entry.path()).expect("a file").set_modified(then).expect("a date"),
        }
    }
}

fn size(repo: &Repo<'_>) -> u64 {
    xtask::tree::size_bytes(&repo.remote().join("sparse")).expect("a store")
}

/// Runs `git sparse gc --remote …` and gives its exit code and all it said.
fn gc(repo: &Repo<'_>, arguments: &[&str]) -> (i32, String) {
    let mut command = repo.home.command("git-sparse", &repo.path);
    let output = repo.home.output(command.args(["gc", "--remote"]).args(arguments));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

/// The plan that it prints.
#[track_caller]
fn plan(repo: &Repo<'_>, arguments: &[&str]) -> Value {
    let (exit, said) = gc(repo, &[arguments, &["--json"]].concat());
    assert_eq!(exit, 0, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["schema"], "git-sparse/gc-remote/1");
    let docs = include_str!("../../docs/commands.md");
    let keys = document["plan"].as_object().expect("an object").keys();
    let missing: Vec<_> = keys.filter(|key| !docs.contains(&format!("`{key}"))).collect();
    assert!(missing.is_empty(), "not in docs/commands.md: {missing:?}");
    document["plan"].clone()
}

/// A clone in a home of its own, so that all its files come from the remote.
#[track_caller]
fn assert_clones(repo: &Repo<'_>, branch: &str, model: &str) {
    let home = Home::new(Mode::Daemon);
    let clone = Repo::clone(&home, text(&repo.remote()), "clone", &["--branch", branch]);
    clone.assert_is(&tree_of(&[("model", model)]));
}

/// The reason for the verb: bytes of a version that was given up leave the remote, asked for and in two steps, and
/// nothing else does. Who wants it back can push it.
#[test]
fn what_was_given_up_leaves_the_remote() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let whole = size(&repo);
    let commit = repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let oid = give_up(&repo);

    let kept = plan(&repo, &["--yes"]);
    assert_eq!((&kept["unreached"][0], size(&repo)), (&oid.as_str().into(), whole), "{kept}");
    let (exit, said) = gc(&repo, &["--dry-run"]);
    assert!(exit == 0 && said.contains("--forget-unreachable lets them go"), "{said}");
    let (exit, said) = gc(&repo, &["origin", "--forget-unreachable"]);
    assert!(exit == 6 && said.contains("git sparse gc --remote origin --forget-unreachable --yes"), "{said}");
    assert_eq!(size(&repo), whole);

    let forgotten = plan(&repo, &["--forget-unreachable", "--yes"]);
    assert_eq!(forgotten["forget"], serde_json::json!([oid]), "{forgotten}");
    assert!(forgotten["drop"].as_array().unwrap().len() == 1 && size(&repo) >= whole, "{forgotten}");
    assert_clones(&repo, "main", "tiny-base");
    let (exit, said) = gc(&repo, &["--forget-unreachable", "--yes", "--grace", "0"]);
    assert!(exit == 0 && said.contains("out of the trash for good: 2 entries"), "{said}");
    assert!(size(&repo) + forgotten["freed"].as_u64().unwrap() <= whole, "{} of {whole}", size(&repo));
    let (_, said) = gc(&repo, &["--forget-unreachable", "--grace", "0"]);
    assert!(said.contains("nothing to remove"), "{said}");
    assert_clones(&repo, "main", "tiny-base");

    repo.git(&["push", "--quiet", "origin", &format!("{commit}:refs/heads/again")]);
    assert_clones(&repo, "again", "tiny-sft");
}

/// What somebody pushed to a branch that is not here yet is reached, too, and asking for it changes no ref here.
#[test]
fn branches_of_others_count() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let other_home = Home::new(Mode::Daemon);
    let other = Repo::clone(&other_home, text(&repo.remote()), "other", &[]);
    other.git(&["switch", "--quiet", "--create", "theirs"]);
    other.commit("theirs", tree_of(&[("model", "tiny-sft-2")]));
    other.git(&["push", "--quiet", "origin", "theirs"]);
    let oid = give_up(&repo);
    make_old(&repo.remote().join("sparse"));
    let refs = repo.git(&["for-each-ref"]);
    let forgotten = plan(&repo, &["--forget-unreachable", "--grace", "3", "--yes"]);
    // Their branch stands on the fine-tune that was given up here.
    assert_eq!(forgotten["forget"], serde_json::json!([]), "{oid}: {forgotten}");
    assert_eq!(repo.git(&["for-each-ref"]), refs);
    assert_clones(&repo, "theirs", "tiny-sft-2");

    other.git(&["push", "--quiet", "origin", "--delete", "theirs"]);
    let forgotten = plan(&repo, &["--forget-unreachable", "--grace", "3", "--yes"]);
    assert_eq!(forgotten["forget"].as_array().unwrap().len(), 2, "{forgotten}");
}

/// A file of the last days may belong to refs that are about to be pushed.
#[test]
fn young_files_are_not_forgotten() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let oid = give_up(&repo);
    // git-lfs is told to push what is at the remote already.
    repo.git(&["lfs", "push", "--object-id", "origin", &oid]);
    let kept = plan(&repo, &["--forget-unreachable", "--yes"]);
    assert_eq!((&kept["forget"], &kept["unreached"]), (&serde_json::json!([]), &serde_json::json!([oid])));
}

/// What is not known is not taken for unreachable, and what is not whole is not collected.
#[test]
fn it_refuses_where_it_could_take_too_much() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    give_up(&repo);
    let url = format!("file://{}", text(&repo.remote()));
    let shallow = Repo::clone(&home, &url, "shallow", &["--depth", "1"]);
    let (exit, said) = gc(&shallow, &["--forget-unreachable", "--yes"]);
    assert!(exit == 6 && said.contains("git fetch --unshallow"), "{exit} {said}");

    let packs = repo.remote().join("sparse/packs");
    let away = repo.remote().join("away");
    fs::rename(&packs, &away).expect("packs that go");
    let (exit, said) = gc(&repo, &["--yes"]);
    assert!(exit == 5 && said.contains("not whole") && said.contains("git lfs push --all"), "{exit} {said}");
    fs::rename(&away, &packs).expect("packs that come back");

    repo.git(&["config", "lfs.url", "https://hub.example/org/model"]);
    let (exit, said) = gc(&repo, &[]);
    assert!(exit == 6 && said.contains("takes care of its store itself"), "{exit} {said}");
    repo.git(&["config", "lfs.url", "sparse::origin"]);
    let (exit, said) = gc(&repo, &["nowhere"]);
    assert!(exit == 3 && said.contains("nowhere"), "{exit} {said}");
}
