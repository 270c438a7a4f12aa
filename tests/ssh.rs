//! Plain git-lfs over ssh: real git and git-lfs, a host with `git-lfs-transfer` in a home of its own, and a real sshd.

mod host;
mod protocol;

use std::fs;
use std::path::PathBuf;

use host::{Host, client, plain_repo};
use xtask::tree::{self, Expected};

use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, cmp_trees, text, tree_of};

const MODEL: [(&str, &str); 1] = [("model", "tiny-base")];
const TUNED: [(&str, &str); 1] = [("model", "tiny-sft")];

/// Nothing but git and git-lfs is installed: what is pushed must come back to the byte, and lie in the store as what
/// changed.
#[test]
fn plain_clients_push_and_clone() {
    let (host, client) = (Host::new("host"), client("host"));
    let url = host.with_repository("model");
    host.lead(&client);
    let repo = plain_repo(&client, "work", &url);
    let first = repo.commit_model(&MODEL);
    let size: u64 = first.values().map(|file| fs::metadata(file).unwrap().len()).sum();
    let whole = host.stored("model");
    let second = repo.commit_model(&TUNED);
    let both = host.stored("model");
    assert!(both - whole < size * 2 / 3, "a fine-tune of {size} bytes took {} more", both - whole);
    assert!(!host.git_dir("model").join("lfs/objects").exists(), "files lie as they are");

    client.git(&client.path(""), &["clone", "--quiet", &url, "again"]);
    cmp_trees(&client.path("again"), &second);
    client.git(&client.path("again"), &["checkout", "--quiet", "HEAD~1"]);
    cmp_trees(&client.path("again"), &first);
    let told = host.told();
    assert!(told.contains("git-lfs-transfer") && told.contains("download"), "{told}");
    assert!(!told.contains("git-lfs-authenticate"), "the first way did not work:\n{told}");
    assert_eq!(fs::read_dir(host.git_dir("model").join("sparse/tmp")).unwrap().count(), 0, "files were left");
}

/// One repository serves both kinds of people: each must get what the other pushed.
#[test]
fn both_kinds_of_clients_share_a_repository() {
    let host = Host::new("host");
    let (plain, ours) = (client("host"), Home::new(Mode::InProcess));
    host.lead(&plain);
    host.lead(&ours);
    let url = host.with_repository("model");
    let repo = plain_repo(&ours, "work", &url);
    ours.git(&repo.path, &["sparse", "init", "--local"]);
    assert!(!repo.path.join(".lfsconfig").exists(), "plain clients would be sent to a place they don't know");
    let first = repo.commit_model(&MODEL);
    assert!(host.told().contains("serve --stdio"), "our client pushed whole files:\n{}", host.told());

    plain.git(&plain.path(""), &["clone", "--quiet", &url, "theirs"]);
    cmp_trees(&plain.path("theirs"), &first);
    let theirs = Repo { home: &plain, path: plain.path("theirs") };
    let second = theirs.commit("tuned", tree_of(&TUNED)).expected;
    theirs.git(&["push", "--quiet", "origin", "main"]);

    ours.git(&ours.path(""), &["sparse", "clone", "--store", "sparse::origin", &url, "mine"]);
    cmp_trees(&ours.path("mine"), &second);
    let told = ours.git(&ours.path("mine"), &["config", "lfs.url"]);
    assert_eq!(told.trim(), "sparse::origin", "later pulls would fetch whole files");
}

/// Who leaves for a host that has ssh and nothing else takes all files along, and plain clients find them there.
#[test]
fn a_store_is_migrated_out_to_a_host() {
    let (host, ours, plain) = (Host::new("host"), Home::new(Mode::InProcess), client("host"));
    host.lead(&ours);
    host.lead(&plain);
    let url = host.with_repository("model");
    ours.git(&ours.path(""), &["init", "--quiet", "--bare", "remote.git"]);
    let repo = plain_repo(&ours, "work", text(&ours.path("remote.git")));
    ours.git(&repo.path, &["sparse", "init"]);
    repo.commit_model(&MODEL);
    let second = repo.commit_model(&TUNED);
    let told = ours.git(&repo.path, &["sparse", "migrate", "out", "--to", &url]);
    assert!(told.contains("2 files, each fetched back and compared"), "{told}");
    assert!(host.stored("model") > 0 && host.told().contains("git-lfs-transfer"), "{}", host.told());
    ours.git(&repo.path, &["commit", "--quiet", "--all", "--message", "Large files on the host"]);
    ours.git(&repo.path, &["push", "--quiet", "origin", "main"]);
    fs::remove_dir_all(ours.path("remote.git/sparse")).expect("the store goes");
    plain.git(&plain.path(""), &["clone", "--quiet", text(&ours.path("remote.git")), "theirs"]);
    let model = "model/model.safetensors";
    let theirs = fs::read(plain.path("theirs").join(model)).expect("a model");
    assert!(theirs == fs::read(&second[std::path::Path::new(model)]).expect("a model"), "other bytes came");
    for wrong in ["ssh://-oProxyCommand=x/y", "ssh:///path", "ssh://host", "host:path"] {
        let output =
            ours.output(ours.command("git", &repo.path).args(["sparse", "migrate", "out", "--to", wrong]));
        assert!(!output.status.success(), "{wrong} passed");
    }
}

/// Who edits what cannot be merged must be known to the others, however they came.
#[test]
fn locks_are_seen_and_kept() {
    let host = Host::new("host");
    let url = host.with_repository("model");
    let (mut ann, mut bob) = (client("host"), client("host"));
    ann.set("SSH_AS", "ann");
    bob.set("SSH_AS", "bob");
    host.lead(&ann);
    host.lead(&bob);
    let repo = plain_repo(&ann, "work", &url);
    repo.commit_model(&MODEL);
    let file = "model/model.safetensors";
    ann.git(&repo.path, &["lfs", "lock", file]);
    bob.git(&bob.path(""), &["clone", "--quiet", &url, "work"]);
    let work = bob.path("work");
    let seen = bob.git(&work, &["lfs", "locks"]);
    assert!(seen.contains(file) && seen.contains("ann"), "{seen}");
    let verified = bob.git(&work, &["lfs", "locks", "--verify"]);
    assert!(verified.contains(file), "{verified}");
    bob.git_fails(&work, &["lfs", "lock", file]);
    let refused = bob.git_fails(&work, &["lfs", "unlock", file]);
    assert!(refused.contains("ann") || refused.contains("lock"), "{refused}");
    ann.git(&repo.path, &["lfs", "unlock", file]);
    assert!(!bob.git(&work, &["lfs", "locks"]).contains(file));
    bob.git(&work, &["lfs", "lock", file]);
}

/// People name things as they like: git-lfs sends a path with spaces in pieces, and ours one with any sign as it is.
#[test]
fn spaces_and_quotes_in_paths_arrive() {
    let (host, client, ours) = (Host::new("host"), client("host"), Home::new(Mode::InProcess));
    host.lead(&client);
    host.lead(&ours);
    let name = "two words here";
    let url = host.with_repository(name);
    let repo = plain_repo(&client, "work", &url);
    let expected = repo.commit_model(&MODEL);
    assert!(host.stored(name) > 0, "nothing came");
    for (address, to) in [(url.clone(), "again"), (format!("host:{}", text(&host.git_dir(name))), "scp")] {
        client.git(&client.path(""), &["clone", "--quiet", &address, to]);
        cmp_trees(&client.path(to), &expected);
    }
    for odd in ["a b.safetensors", "it's.safetensors", r#"say "hi" $HOME.safetensors"#] {
        fs::copy(repo.path.join("model/model.safetensors"), repo.path.join(odd)).unwrap();
        client.git(&repo.path, &["lfs", "lock", odd]);
        let seen = client.git(&repo.path, &["lfs", "locks"]);
        assert!(seen.contains(odd), "{seen}");
        client.git(&repo.path, &["lfs", "unlock", "--force", odd]);
    }
    for (at, name) in [name, "it's", r#"say "hi" & $HOME"#].into_iter().enumerate() {
        let url = host.with_repository(name);
        let repo = plain_repo(&ours, &format!("work-{at}"), &url);
        ours.git(&repo.path, &["sparse", "init", "--local"]);
        let expected = if at == 0 { expected.clone() } else { repo.commit_model(&TUNED) };
        let to = format!("mine-{at}");
        ours.git(&ours.path(""), &["sparse", "clone", "--store", "sparse::origin", &url, &to]);
        cmp_trees(&ours.path(&to), &expected);
    }
}

/// A file that the host does not have must be an error that names it, soon, and the others must come.
#[test]
fn a_missing_file_is_named() {
    let (host, client) = (Host::new("host"), client("host"));
    let url = host.with_repository("model");
    host.lead(&client);
    let repo = plain_repo(&client, "work", &url);
    repo.commit_model(&[("a", "tiny-base"), ("b", "tiny-sft")]);
    let oids = repo.as_repo().oids(&["HEAD"]);
    let lost = &oids[0];
    fs::remove_file(host.git_dir("model").join(format!("sparse/recipes/{}/{lost}", &lost[..2]))).unwrap();
    client.git_with(&[("GIT_LFS_SKIP_SMUDGE", "1")], &client.path(""), &["clone", "--quiet", &url, "again"]);
    let begin = std::time::Instant::now();
    let said = client.git_fails(&client.path("again"), &["lfs", "pull"]);
    assert!(said.contains(lost), "{said}");
    assert!(begin.elapsed().as_secs() < 25, "it took {:?}", begin.elapsed());
    let kept = tree::files(&client.path("again/.git/lfs/objects")).unwrap();
    assert!(!kept.iter().any(|file| file.ends_with(lost)), "{kept:?}");
    // Pushed again, it is there again.
    client.git(&repo.path, &["lfs", "push", "--all", "origin"]);
    client.git(&client.path("again"), &["lfs", "pull"]);
}

/// With a hub, ssh is only the way to its door: plain clients get whole files from it, ours deltas, nobody types a token,
/// and who may only read does not write.
#[test]
fn ssh_leads_to_the_hub() {
    let host = Host::new("host");
    let url = host.with_repository("org-model");
    let hub = host.serve();
    let (plain, ours) = (client("host"), Home::new(Mode::InProcess));
    host.lead(&plain);
    host.lead(&ours);
    let repo = plain_repo(&plain, "work", &url);
    let expected = repo.commit_model(&MODEL);
    assert!(host.told().contains("git-lfs-authenticate"), "{}", host.told());
    for home in [&plain, &ours] {
        home.git(&home.path(""), &["clone", "--quiet", &url, "again"]);
        cmp_trees(&home.path("again"), &expected);
    }
    let log = hub.log();
    assert!(log.contains("GET /org-model.git/info/lfs/objects/"), "plain files were not asked for:\n{log}");
    assert!(log.contains("info/lfs/sparse/1/"), "deltas were not asked for:\n{log}");
    assert!(!log.contains("gsl_"), "a token stands in the log");

    let answer =
        host.run("git-lfs-authenticate", &host.path(""), &[text(&host.git_dir("org-model")), "download"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let header = format!("Authorization: {}", answer["header"]["Authorization"].as_str().unwrap());
    let batch = |operation: &str| {
        let body = format!(r#"{{"operation":"{operation}","objects":[]}}"#);
        let address = format!("{}/objects/batch", answer["href"].as_str().unwrap());
        let asked = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, "-d", &body, &address];
        host.run("curl", &host.path(""), &asked)
    };
    assert_eq!(batch("download"), "200");
    assert_eq!(batch("upload"), "403");
}

/// What a user really has: ssh, keys, and a server that starts our program by its name.
#[test]
fn a_real_ssh_server_serves_plain_clients() {
    let host = Host::new("127.0.0.1");
    let Some(server) = host.start_sshd() else {
        eprintln!("SKIPPED: this needs root and sshd (cargo xtask test installs it where it can)");
        return;
    };
    let mut client = client("127.0.0.1");
    client.set("GIT_SSH_COMMAND", &server.command);
    // Over a shared connection git-lfs 3.3 waits for the first ssh, which waits for the others (docs/commands.md).
    client.git(&client.path(""), &["config", "--global", "lfs.ssh.automultiplex", "false"]);
    let url = host.with_repository("model").replace("127.0.0.1", &format!("root@127.0.0.1:{}", server.port));
    let repo = plain_repo(&client, "work", &url);
    let expected = repo.commit_model(&[("a", "tiny-base"), ("b", "tiny-sft")]);
    client.git(&client.path(""), &["clone", "--quiet", &url, "again"]);
    cmp_trees(&client.path("again"), &expected);
    client.git(&repo.path, &["lfs", "lock", "a/model.safetensors"]);
    assert!(host.stored("model") > 0);
}

/// A work tree whose large files go to wherever plain git-lfs finds.
pub struct Plain<'home> {
    home: &'home Home,
    path: PathBuf,
}

impl Plain<'_> {
    fn as_repo(&self) -> Repo<'_> {
        Repo { home: self.home, path: self.path.clone() }
    }

    /// Commits and pushes these models.
    fn commit_model(&self, models: &[(&str, &str)]) -> Expected {
        let revision = self.as_repo().commit("model", tree_of(models));
        self.as_repo().git(&["push", "--quiet", "--set-upstream", "origin", "main"]);
        revision.expected
    }
}
