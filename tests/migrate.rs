//! `git sparse migrate`: a plain Git LFS repository in and out again, with every byte of every revision.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use git_sparse::git::appearance;
use git_sparse::id::Oid;
use serde_json::Value;
use xtask::tree::{self, Expected};

use crate::support::home::{Home, Mode};
use crate::support::lfs_server::LfsServer;
use crate::support::repo::{Repo, Revision, tree_of};

const NOTHING: [&str; 0] = [];

/// A repository as people have it: two branches and a tag, models and a table, in plain Git LFS.
struct Plain {
    /// Its bare repository as git-lfs needs it: by URL.
    url: String,
    remote: PathBuf,
    revisions: Vec<Revision>,
    /// Its large files.
    oids: Vec<String>,
    size: u64,
}

impl Plain {
    /// Made in `home`; its files lie on `server`, or in the bare repository itself.
    fn new(home: &Home, server: Option<&LfsServer>) -> Plain {
        home.git(&home.path(""), &["init", "--quiet", "--bare", "plain.git"]);
        home.git(&home.path(""), &["init", "--quiet", "plain"]);
        let repo = Repo { home, path: home.path("plain") };
        let remote = home.path("plain.git");
        let url = format!("file://{}", remote.display());
        repo.git(&["remote", "add", "origin", &url]);
        repo.git(&["lfs", "track", "*.safetensors", "*.parquet"]);
        if let Some(server) = server {
            repo.git(&["config", "-f", ".lfsconfig", "lfs.url", &server.url]);
        }
        repo.git(&["add", "--all"]);
        let mut revisions = vec![
            repo.commit("base", with_table(&[("model", "tiny-base")], "pyarrow-v1")),
            repo.commit("fine-tune", with_table(&[("model", "tiny-sft")], "pyarrow-v2")),
        ];
        repo.git(&["tag", "--annotate", "--message", "first", "v1"]);
        repo.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
        let side = [("model", "tiny-base"), ("merged", "tiny-lora-merged"), ("lora", "tiny-lora")];
        revisions.push(repo.commit("merged", with_table(&side, "duckdb-v1")));
        repo.git(&["checkout", "--quiet", "main"]);
        revisions.push(repo.commit("continued", with_table(&[("model", "tiny-sft-2")], "pyarrow-v2")));
        repo.git(&["push", "--quiet", "--set-upstream", "origin", "main", "side", "v1"]);
        let mut oids = repo.oids(&["--all"]);
        oids.sort();
        oids.dedup();
        assert_eq!(oids.len(), 8, "five models and three tables");
        let object =
            |oid: &String| repo.path.join(".git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid);
        let size = oids.iter().map(|oid| fs::metadata(object(oid)).expect("an object").len()).sum();
        Plain { url, remote, revisions, oids, size }
    }

    /// A clone with all branches, and no large file.
    fn clone<'home>(&self, home: &'home Home, name: &str) -> Repo<'home> {
        let arguments = ["clone", "--quiet", self.url.as_str(), name];
        home.git_with(&[("GIT_LFS_SKIP_SMUDGE", "1")], &home.path(""), &arguments);
        Repo { home, path: home.path(name) }
    }

    /// Takes away what the bare repository itself has of large files.
    fn forget_lfs(&self) {
        fs::remove_dir_all(self.remote.join("lfs")).expect("the old server's files");
    }

    /// Checks every revision in a clone whose own configuration names the server, as docs/migrate.md says.
    #[track_caller]
    fn assert_all(&self, home: &Home, url: &str) {
        let setting = format!("lfs.url={url}");
        let clone = Repo::clone(home, &self.url, "reader", &["-c", &setting]);
        for revision in &self.revisions {
            clone.git(&["checkout", "--quiet", "--detach", &revision.commit]);
            clone.assert_is(&revision.expected);
        }
    }
}

fn with_table(models: &[(&str, &str)], table: &str) -> Expected {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/parquet/{table}.parquet"));
    let mut expected = tree_of(models);
    expected.insert("data/train.parquet".into(), source);
    expected
}

/// Runs `git sparse migrate …`: exit code and all it said.
#[track_caller]
fn migrate(repo: &Repo<'_>, arguments: &[&str]) -> (i32, String) {
    let mut command = repo.home.command("git-sparse", &repo.path);
    let output = repo.home.output(command.arg("migrate").args(arguments));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn migrates(repo: &Repo<'_>, arguments: &[&str]) -> String {
    let (code, said) = migrate(repo, arguments);
    assert_eq!(code, 0, "{said}");
    said
}

#[track_caller]
fn json(repo: &Repo<'_>, arguments: &[&str]) -> Value {
    let told = repo.git(&[&["sparse", "migrate"], arguments, &["--json"]].concat());
    let document: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(document["schema"], format!("git-sparse/migrate-{}/1", arguments[0]));
    document
}

/// What the verb tells the user to do in the end.
fn commit(repo: &Repo<'_>) {
    repo.git(&["add", "--all", "--", ".lfsconfig", "*.gitattributes"]);
    repo.git(&["commit", "--quiet", "--message", "Large files elsewhere"]);
    repo.git(&["push", "--quiet"]);
}

/// Begins `git sparse migrate …` and kills it as soon as `is_time`.
fn kill_when(repo: &Repo<'_>, arguments: &[&str], is_time: impl Fn() -> bool) {
    let mut command = repo.home.command("git-sparse", &repo.path);
    command.arg("migrate").args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = command.spawn().expect("a process");
    let start = Instant::now();
    while !is_time() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing moved");
        assert!(child.try_wait().expect("a state").is_none(), "it ended before it was killed");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("a process to kill");
    child.wait().expect("its end");
}

/// What git-lfs keeps in a clone.
fn local_objects(repo: &Repo<'_>) -> Vec<String> {
    let objects = repo.path.join(".git/lfs/objects");
    let files =
        if objects.exists() { tree::files(&objects).expect("a readable directory") } else { Vec::new() };
    files.iter().map(|file| file.display().to_string()).collect()
}

/// Recipes that a store has, so how many files.
fn stored(store: &Path) -> usize {
    let recipes = store.join("recipes");
    if recipes.exists() { tree::files(&recipes).expect("a store").len() } else { 0 }
}

/// The whole promise: in, out, and every byte of every branch and tag is had on both sides, the other one being gone.
#[test]
fn a_repository_goes_in_and_out_with_every_revision() {
    let (owner, reader, plain_reader) =
        (Home::new(Mode::Daemon), Home::new(Mode::Daemon), Home::bare(Mode::Daemon));
    let plain = Plain::new(&owner, None);
    let clone = plain.clone(&owner, "migrated");
    let heads = clone.git(&["for-each-ref"]);
    let said = migrates(&clone, &["in"]);
    assert!(
        said.contains("moved 8 files, each rebuilt and compared") && said.contains("next: git add"),
        "{said}"
    );
    assert_eq!(clone.git(&["for-each-ref"]), heads, "history was touched");
    assert_eq!(stored(&plain.remote.join("sparse")), 8);
    let ratio = tree::stored_bytes(&plain.remote).expect("a store") as f64 / plain.size as f64;
    assert!(ratio < 0.55, "{ratio:.3} of the bytes: versions did not find their bases");
    assert_eq!(local_objects(&clone), NOTHING, "what was fetched for the move stays");
    let attributes = fs::read_to_string(clone.path.join(".gitattributes")).expect("attributes");
    assert!(attributes.contains("*.parquet filter=lfs diff=sparse merge=sparse -text"), "{attributes}");
    assert!(!attributes.contains("*.bin"), "a file that git has itself would show as changed:\n{attributes}");
    commit(&clone);
    assert_eq!(clone.git(&["status", "--porcelain"]), "", "the steps that are told leave something undone");
    plain.forget_lfs();
    let now = Repo::clone(&reader, &plain.url, "now", &[]);
    now.assert_is(&plain.revisions.last().expect("a revision").expected);
    plain.assert_all(&reader, "sparse::origin");

    owner.git(&owner.path(""), &["init", "--quiet", "--bare", "other.git"]);
    let url = format!("file://{}", owner.path("other.git").display());
    let said = migrates(&clone, &["out", "--to", &url]);
    assert!(said.contains("8 files, each fetched back and compared"), "{said}");
    let objects = tree::files(&owner.path("other.git/lfs/objects")).expect("objects");
    assert_eq!(objects.len(), 8);
    let attributes = fs::read_to_string(clone.path.join(".gitattributes")).expect("attributes");
    assert!(!attributes.contains("=sparse"), "{attributes}");
    commit(&clone);
    fs::rename(plain.remote.join("sparse"), owner.path("sparse-away")).expect("the store is gone");
    plain_reader.git(&plain_reader.path(""), &["lfs", "install", "--skip-repo"]);
    Repo::clone(&plain_reader, &plain.url, "now", &[])
        .assert_is(&plain.revisions.last().expect("one").expected);
    plain.assert_all(&plain_reader, &url);
}

/// A second run must cost nothing: people run what they are not sure of once more.
#[test]
fn a_second_run_finds_all_there() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    server.moved();
    let dry = json(&clone, &["in", "--dry-run"]);
    assert_eq!((dry["files"].as_u64(), dry["to_move"].as_u64()), (Some(8), Some(8)));
    assert_eq!(
        (server.moved(), stored(&plain.remote.join("sparse"))),
        ((0, 0), 0),
        "a dry run did something"
    );
    let first = json(&clone, &["in"]);
    assert_eq!((first["moved"].as_u64(), first["size"].as_u64()), (Some(8), Some(plain.size)));
    assert!(first["stored"].as_u64().expect("bytes") * 2 < plain.size, "{first}");
    assert_eq!(server.moved(), (8, 0));
    let second = json(&clone, &["in"]);
    assert_eq!((second["moved"].as_u64(), second["present"].as_u64()), (Some(0), Some(8)));
    assert_eq!(second["changes"].as_array().expect("a list").len(), 0, "{second}");
    let said = migrates(&clone, &["in"]);
    assert!(said.contains("nothing was left to move") && said.contains("next: git add"), "{said}");
    let (code, said) = migrate(&clone, &["out", "--to", &server.url]);
    assert!(code == 6 && said.contains("not committed"), "{code} {said}");
    commit(&clone);
    assert!(!migrates(&clone, &["in"]).contains("next:"), "a committed move has no next step");

    let back = LfsServer::serve();
    let first = json(&clone, &["out", "--to", &back.url]);
    assert_eq!((first["moved"].as_u64(), back.moved()), (Some(8), (8, 8)));
    assert_eq!(back.has(), plain.oids);
    let second = json(&clone, &["out", "--to", &back.url]);
    assert_eq!((second["moved"].as_u64(), back.moved()), (Some(0), (0, 0)));
    let again = json(&clone, &["out", "--to", &back.url, "--again", "--store", "sparse::origin"]);
    assert_eq!(
        (again["moved"].as_u64(), back.moved()),
        (Some(8), (8, 0)),
        "what the server has is compared, not sent"
    );
    commit(&clone);
    let unset = json(&clone, &["out", "--to", &back.url, "--unset"]);
    assert_eq!(unset["moved"].as_u64(), Some(0));
    assert!(!clone.path.join(".lfsconfig").exists(), "an empty file is left");
}

/// A migration takes days, and machines don't stay up: what was done is not done again, and nothing is left behind.
#[test]
fn a_killed_run_is_gone_on_with() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    let store = plain.remote.join("sparse");
    server.moved();
    server.slow_down(Duration::from_millis(150));
    kill_when(&clone, &["in", "--batch-bytes", "3000000"], || stored(&store) >= 3);
    let (was_stored, (was_sent, _)) = (stored(&store), server.moved());
    assert!((3..8).contains(&was_stored), "{was_stored} files were stored before the kill");
    migrates(&clone, &["in", "--batch-bytes", "3000000"]);
    assert_eq!(stored(&store), 8);
    assert_eq!(local_objects(&clone), NOTHING, "the killed run left files behind");
    let (sent, _) = server.moved();
    assert!(was_sent + sent < 8 + 3, "{was_sent} and then {sent} files were fetched: it began anew");
    commit(&clone);

    let back = LfsServer::serve();
    back.slow_down(Duration::from_millis(150));
    let arguments = ["out", "--to", &back.url, "--batch-bytes", "3000000"];
    kill_when(&clone, &arguments, || back.has().len() >= 4);
    migrates(&clone, &arguments);
    assert_eq!(back.has(), plain.oids);
    let (_, received) = back.moved();
    assert!(received < 8 + 3, "{received} files were sent: it began anew");
    assert_eq!(local_objects(&clone), NOTHING, "what was rebuilt stays");
    assert!(!clone.path.join(".git/lfs/sparse-migrate/scratch.git").exists(), "the scratch repository stays");
}

/// Ctrl-C is how people stop what takes long: it must end soon, with its exit code, and lose nothing.
#[test]
fn an_interrupted_run_says_that_it_goes_on() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    server.slow_down(Duration::from_millis(300));
    let mut command = home.command("git-sparse", &clone.path);
    command.args(["migrate", "in", "--batch-bytes", "1"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("a process");
    let start = Instant::now();
    while stored(&plain.remote.join("sparse")) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing moved");
        thread::sleep(Duration::from_millis(5));
    }
    home.run("kill", &home.path(""), &["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted") && said.contains("it goes on from here"), "{said}");
    migrates(&clone, &["in"]);
    assert_eq!((stored(&plain.remote.join("sparse")), local_objects(&clone).len()), (8, 0));
}

/// A server that goes away ends the run with words, and not with half a repository that looks whole.
#[test]
fn a_lost_server_ends_the_run_and_the_next_goes_on() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    server.break_after(Some(2));
    // git-lfs asks a broken connection eight times, with pauses.
    clone.git(&["config", "lfs.transfer.maxretries", "1"]);
    let (code, said) = migrate(&clone, &["in", "--batch-bytes", "1"]);
    assert!(
        code == 4 && said.contains("git-lfs moves no more files") && said.contains("run it again"),
        "{said}"
    );
    assert_eq!(stored(&plain.remote.join("sparse")), 2, "{said}");
    let config = fs::read_to_string(clone.path.join(".lfsconfig")).expect("a file");
    assert!(config.contains(&server.url), "it went over to a store that is not whole");
    server.break_after(None);
    migrates(&clone, &["in"]);
    assert_eq!(stored(&plain.remote.join("sparse")), 8);
}

/// Old servers lost files: each is named, the others get there, and going over without them is the user's word.
#[test]
fn files_that_the_server_lost_are_named() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    server.lose(&plain.oids[0]);
    let (code, said) = migrate(&clone, &["in"]);
    assert!(code == 3 && said.contains("lost  ") && said.contains(&plain.oids[0]), "{code} {said}");
    assert!(said.contains("1 of 8 files are lost") && said.contains("--allow-missing"), "{said}");
    assert_eq!(stored(&plain.remote.join("sparse")), 7);
    let config = fs::read_to_string(clone.path.join(".lfsconfig")).expect("a file");
    assert!(config.contains(&server.url), "it went over without being told to");
    let told = json(&clone, &["in", "--allow-missing"]);
    assert_eq!(told["missing"][0]["oid"], plain.oids[0].as_str());
    let config = fs::read_to_string(clone.path.join(".lfsconfig")).expect("a file");
    assert!(config.contains("sparse::origin"), "{config}");
    commit(&clone);

    let back = LfsServer::serve();
    let (code, said) = migrate(&clone, &["out", "--to", &back.url]);
    assert!(
        code == 3 && said.contains(&plain.oids[0]) && said.contains("1 of 8 files are lost"),
        "{code} {said}"
    );
    assert_eq!(back.has().len(), 7);
    migrates(&clone, &["out", "--to", &back.url, "--allow-missing"]);
    let config = fs::read_to_string(clone.path.join(".lfsconfig")).expect("a file");
    assert!(config.contains(&back.url), "{config}");
}

/// Wrong bytes never get in: a damaged local copy is fetched anew and kept aside, a damaged one at the server is named.
#[test]
fn damaged_files_do_not_get_in() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    clone.git(&["lfs", "fetch", "--all"]);
    let objects = clone.path.join(".git/lfs/objects");
    let [flipped, short] = [&plain.oids[1], &plain.oids[2]];
    for oid in [flipped, short] {
        let path = objects.join(&oid[..2]).join(&oid[2..4]).join(oid);
        let mut bytes = fs::read(&path).expect("an object");
        *bytes.last_mut().expect("a byte") ^= 1;
        bytes.truncate(if oid == short { 7 } else { bytes.len() });
        fs::remove_file(&path).expect("a name");
        fs::write(&path, bytes).expect("a damaged object");
    }
    server.moved();
    let said = migrates(&clone, &["in", "--store", "sparse::origin"]);
    assert_eq!(server.moved().0, 2, "only what is damaged is fetched:\n{said}");
    assert!(said.contains(".git/lfs/bad") && said.contains(flipped.as_str()), "{said}");
    assert_eq!(tree::files(&clone.path.join(".git/lfs/bad")).expect("a directory").len(), 2);
    assert_eq!(local_objects(&clone).len(), 6, "the user's own copies stay, and only those");

    let second = Plain { remote: plain.remote.clone(), ..plain }.clone(&home, "second");
    let oid = server.has().swap_remove(3);
    server.damage(&oid);
    second.git(&["config", "lfs.transfer.maxretries", "1"]);
    let store = format!("sparse::file://{}", home.path("store").display());
    let (code, said) = migrate(&second, &["in", "--store", &store, "--keep"]);
    assert!(code == 4 && said.contains("FAIL") && said.contains(&oid), "{code} {said}");
    assert_eq!(stored(&home.path("store")), 7, "all others get there");
    assert_eq!(local_objects(&second).len(), 7, "they were to be kept");
}

/// What this clone can't tell in full is refused at once, with the command that helps.
#[test]
fn a_clone_that_can_not_tell_is_refused() {
    let home = Home::new(Mode::Daemon);
    let plain = Plain::new(&home, None);
    let in_clone = |name: &str, options: &[&str], arguments: &[&str]| {
        let variables = [("GIT_LFS_SKIP_SMUDGE", "1")];
        let clone = [&["clone", "--quiet"], options, &[plain.url.as_str(), name]].concat();
        home.git_with(&variables, &home.path(""), &clone);
        migrate(&Repo { home: &home, path: home.path(name) }, arguments)
    };
    let (code, said) = in_clone("shallow", &["--depth=1", "--no-single-branch"], &["in"]);
    assert!(code == 6 && said.contains("git fetch --unshallow origin"), "{code} {said}");
    home.git(&plain.remote, &["config", "uploadpack.allowFilter", "true"]);
    let (code, said) = in_clone("partial", &["--filter=blob:none", "--no-checkout"], &["in"]);
    assert!(code == 6 && said.contains("without --filter"), "{code} {said}");
    let (code, said) = in_clone("single", &["--single-branch"], &["in"]);
    assert!(
        code == 6 && said.contains("refs/heads/side") && said.contains("git fetch --tags origin"),
        "{said}"
    );

    let clone = plain.clone(&home, "clone");
    fs::write(clone.path.join(".lfsconfig"), "[lfs]\n\tlocksverify = false\n").expect("a file");
    let (code, said) = migrate(&clone, &["in"]);
    assert!(code == 6 && said.contains("not committed"), "{code} {said}");
    let store = format!("sparse::file://{}", home.path("store").display());
    clone.git(&["config", "-f", ".lfsconfig", "lfs.url", &store]);
    clone.git(&["add", "--all"]);
    clone.git(&["commit", "--quiet", "--message", "a store that nobody trusts"]);
    let (code, said) = migrate(&clone, &["in"]);
    assert!(code == 6 && said.contains(&format!("git sparse trust {store}")), "{code} {said}");
    for (to, word) in [
        ("sparse::origin", "no plain LFS server"),
        ("https://user:secret@host/lfs", "would publish it"),
        ("file:///nowhere", "git init --bare"),
    ] {
        let (code, said) = migrate(&clone, &["out", "--to", to]);
        assert!(code == 2 && said.contains(word), "{code} {said}");
    }

    home.git(&home.path(""), &["init", "--quiet", "empty"]);
    let empty = Repo { home: &home, path: home.path("empty") };
    let (code, said) = migrate(&empty, &["in"]);
    assert!(code == 3 && said.contains("nothing to migrate"), "{code} {said}");
    let nowhere = Repo { home: &home, path: home.path("") };
    let (code, said) = migrate(&nowhere, &["in"]);
    assert!(code == 128 && said.contains("not a git repository"), "{code} {said}");
}

/// A mirror is what people migrate on a server: files move, and the message says what is left to do elsewhere.
#[test]
fn a_bare_mirror_is_migrated() {
    let (home, reader) = (Home::new(Mode::InProcess), Home::new(Mode::InProcess));
    let plain = Plain::new(&home, None);
    home.git(&home.path(""), &["clone", "--quiet", "--mirror", &plain.url, "mirror.git"]);
    let mirror = Repo { home: &home, path: home.path("mirror.git") };
    let store = format!("sparse::file://{}", home.path("store").display());
    let said = migrates(&mirror, &["in", "--store", &store]);
    assert!(said.contains(&format!("git config -f .lfsconfig lfs.url {store}")), "{said}");
    assert_eq!(stored(&home.path("store")), 8);
    plain.forget_lfs();
    plain.assert_all(&reader, &store);
}

/// A hub is a store as well, and one that people without git sparse can read: files go into it and come out of it.
#[test]
fn a_hub_is_migrated_into_and_out_of() {
    let (home, plain_reader) = (Home::new(Mode::Daemon), Home::bare(Mode::Daemon));
    let plain = Plain::new(&home, None);
    let clone = plain.clone(&home, "migrated");
    home.git(&home.path(""), &["init", "--quiet", "--bare", "hub/org/model.git"]);
    let mut command = home.command("git-sparse", &home.path(""));
    command.args(["serve", "--root", "hub", "--listen", "127.0.0.1:0", "--anonymous", "write"]);
    let mut hub = Hub(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a hub"));
    let mut line = String::new();
    BufReader::new(hub.0.stdout.take().expect("its words")).read_line(&mut line).expect("a line");
    let url = format!("{}/org/model.git/info/lfs", line.trim().rsplit(' ').next().expect("an address"));

    let (code, said) = migrate(&clone, &["in", "--store", &url.replace("/info/lfs", "/nothing")]);
    assert!(code == 4 && said.contains("info/lfs"), "{code} {said}");
    let said = migrates(&clone, &["in", "--store", &url]);
    assert!(said.contains("moved 8 files"), "{said}");
    assert_eq!(stored(&home.path("hub/org/model.git/sparse")), 8);
    commit(&clone);
    plain.forget_lfs();
    plain_reader.git(&plain_reader.path(""), &["lfs", "install", "--skip-repo"]);
    plain.assert_all(&plain_reader, &url);

    let back = LfsServer::serve();
    let fresh = Home::new(Mode::Daemon);
    let clone = plain.clone(&fresh, "fresh");
    migrates(&clone, &["out", "--to", &back.url]);
    assert_eq!(back.has(), plain.oids);
}

/// A hub that ends with its test.
struct Hub(Child);

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Settings that count before `lfs.url` would send the next push to the old server.
#[test]
fn settings_that_count_first_go_or_are_named() {
    let home = Home::new(Mode::Daemon);
    let server = LfsServer::serve();
    let plain = Plain::new(&home, Some(&server));
    let clone = plain.clone(&home, "migrated");
    clone.git(&["config", "-f", ".lfsconfig", "lfs.pushurl", &server.url]);
    clone.git(&["config", "-f", ".lfsconfig", "lfs.locksverify", "false"]);
    clone.git(&["commit", "--quiet", "--all", "--message", "another server for pushes"]);
    clone.git(&["config", "remote.origin.lfsurl", &server.url]);
    let said = migrates(&clone, &["in"]);
    assert!(said.contains("lfs.pushurl is gone"), "{said}");
    assert!(said.contains("git config --unset remote.origin.lfsurl"), "{said}");
    let config = fs::read_to_string(clone.path.join(".lfsconfig")).expect("a file");
    assert!(!config.contains(&server.url) && config.contains("locksverify"), "{config}");
}

/// A file that is left out of the list is lost with the old server: long histories, clocks that went backwards and
/// pointers of git-lfs' first versions must all be on it, the earlier version first.
#[test]
fn the_list_has_no_bound_and_is_in_order() {
    let home = Home::bare(Mode::InProcess);
    home.git(&home.path(""), &["init", "--quiet", "--bare", "long.git"]);
    let remote = home.path("long.git");
    let mut oids: Vec<_> = (0..6000_u32).map(|number| Oid::of(&number.to_le_bytes())).collect();
    let mut stream = String::new();
    for (number, oid) in oids.iter().enumerate() {
        let version = if number == 0 {
            "https://hawser.github.com/spec/v1"
        } else {
            "https://git-lfs.github.com/spec/v1"
        };
        let pointer = format!("version {version}\noid sha256:{oid}\nsize 4\n");
        let time = 2_000_000_000 - number;
        stream.push_str(&format!("commit refs/heads/main\ncommitter a <a@b> {time} +0000\ndata 1\nx\n"));
        stream.push_str(&format!("M 100644 inline models/a.bin\ndata {}\n{pointer}\n", pointer.len()));
    }
    let mut command = home.command("git", &remote);
    let mut child = command.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git");
    child.stdin.take().expect("its input").write_all(stream.as_bytes()).expect("a stream");
    assert!(child.wait().expect("its end").success());
    let found = appearance::all(&remote, &[]).expect("a list");
    assert!(found.iter().all(|file| file.path == "models/a.bin"));
    assert_eq!(found.iter().map(|file| file.pointer.oid).collect::<Vec<_>>(), oids);

    let head = home.git(&remote, &["rev-parse", "main"]);
    home.git(&remote, &["update-ref", "refs/heads/main", "main~2000"]);
    let also = [head.trim().to_owned()];
    assert_eq!(appearance::all(&remote, &also).expect("a list").len(), oids.len(), "a tip that no ref has");
    oids.truncate(4000);
    assert_eq!(appearance::all(&remote, &[]).expect("a list").len(), oids.len());
    let strange = ["0123456789012345678901234567890123456789".to_owned()];
    assert_eq!(appearance::lacking(&remote, &[also, strange.clone()].concat()).expect("an answer"), strange);
}
