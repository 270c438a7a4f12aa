//! Real git and git-lfs with a store in a bucket: pushes, clones, and machines that push at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, model, text, tree_of};
use crate::support::s3::{ALL, BUCKET, Fault, KEY, Meets, S3, SECRET};

const STORE: &str = "sparse::s3://models/team/store";

/// A home whose environment has the server's keys.
fn home(server: &S3, mode: Mode) -> Home {
    let mut home = Home::new(mode);
    server.variables().into_iter().for_each(|(name, value)| home.set(name, value));
    home
}

/// A repository whose store is the bucket.
fn init<'home>(home: &'home Home, name: &str) -> Repo<'home> {
    let repo = Repo::init(home, name);
    repo.git(&["sparse", "init", "--store", STORE]);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "a bucket"]);
    repo
}

fn push(repo: &Repo<'_>, branch: &str) {
    repo.git(&["push", "--quiet", "--set-upstream", "origin", branch]);
}

/// The bytes that the server keeps.
fn kept(server: &S3) -> u64 {
    xtask::tree::size_bytes(&server.files()).expect("a readable directory")
}

/// What a user does: name the bucket, trust it, push, and clone elsewhere with keys from a profile. Only
/// what changed travels, and in few requests.
#[test]
fn a_bucket_takes_pushes_and_gives_clones() {
    let server = S3::serve();
    let publisher = home(&server, Mode::Daemon);
    let repo = init(&publisher, "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    let told = publisher.git_fails(&repo.path, &["push", "--quiet", "origin", "main"]);
    assert!(told.contains(&format!("git sparse trust {STORE}")), "{told}");
    repo.git(&["sparse", "trust", STORE]);
    push(&repo, "main");
    let base = kept(&server);
    let before = server.asked().len();
    let tuned = repo.commit("fine-tune", tree_of(&[("model", "tiny-sft")]));
    push(&repo, "main");
    let size = fs::metadata(model("tiny-sft").join("model.safetensors")).expect("a model").len();
    let grown = kept(&server) - base;
    assert!(grown > 0 && grown < size * 3 / 10, "the fine-tune took {grown} bytes of {size}");
    let asked = server.asked();
    let files = tuned.expected.len();
    assert!(before > 0 && asked.len() <= 6 * files, "{files} files: {asked:#?}");

    let mut reader = Home::new(Mode::InProcess);
    let aws = reader.path("home/.aws");
    fs::create_dir_all(&aws).expect("a folder");
    let config = format!("[profile work]\nregion = us-east-1\nendpoint_url = {}\n", server.endpoint);
    fs::write(aws.join("config"), config).expect("a file");
    let keys = format!("[work]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    fs::write(aws.join("credentials"), keys).expect("a file");
    reader.set("AWS_PROFILE", "work");
    reader.git(&reader.path(""), &["sparse", "trust", &format!("{STORE}/")]);
    let clone = Repo::clone(&reader, text(&repo.remote()), "clone", &[]);
    clone.assert_is(&tuned.expected);
    let doctor = reader.output(reader.command("git", &clone.path).args(["sparse", "doctor"]));
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        told.lines().any(|line| line.starts_with("ok") && line.contains("s3://models/team/store")),
        "{told}"
    );
    reader.git(&reader.path(""), &["sparse", "clone", text(&repo.remote()), "second"]);
    Repo { home: &reader, path: reader.path("second") }.assert_is(&tuned.expected);
}

/// Keys that a program of the user gives, as single sign-on and vaults have them: it is asked again before they end, what
/// it says when it fails reaches the user, and what it gives stands nowhere.
#[test]
fn a_program_gives_the_keys() {
    let server = S3::serve();
    let mut user = Home::new(Mode::Daemon);
    let tools = tempfile::tempdir().expect("a folder");
    let (vault, runs) = (tools.path().join("my vault"), tools.path().join("runs"));
    let program = format!(
        "#!/bin/sh\nset -e\ntest \"$1=$2\" = \"--account=of models\"\ntest \"$AWS_PROFILE\" = vault\n\
         test -e {gone} && {{ echo {SECRET}; echo your session is over >&2; exit 9; }}\n\
         echo run >>{runs}\nend=$(date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         echo '{{\"Version\": 1, \"AccessKeyId\": \"{KEY}\", \"SecretAccessKey\": \"{SECRET}\",'\n\
         echo '\"SessionToken\": \"canary0token\", \"Expiration\": \"'$end'\"}}'\n",
        gone = tools.path().join("gone").display(),
        runs = runs.display(),
    );
    fs::write(&vault, program).expect("a program");
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).expect("a program");
    let aws = user.path("home/.aws");
    fs::create_dir_all(&aws).expect("a folder");
    let config = format!(
        "[profile vault]\nregion = us-east-1\nendpoint_url = {}\n\
         credential_process = \"{}\" --account \"of models\"\n",
        server.endpoint,
        vault.display(),
    );
    fs::write(aws.join("config"), config).expect("a file");
    user.set("AWS_PROFILE", "vault");
    let repo = init(&user, "work");
    repo.git(&["sparse", "trust", STORE]);
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    fs::write(tools.path().join("gone"), "").expect("a mark");
    let told = user.git_fails(&repo.path, &["push", "--quiet", "origin", "main"]);
    assert!(told.contains("exit status: 9: your session is over") && told.contains("by hand"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    fs::remove_file(tools.path().join("gone")).expect("a mark");
    push(&repo, "main");
    let count = || fs::read_to_string(&runs).expect("a count").lines().count();
    let first = count();
    assert!(first >= 1);
    // By now the daemon's keys have ended.
    thread::sleep(Duration::from_secs(7));
    let tuned = repo.commit("fine-tune", tree_of(&[("model", "tiny-sft")]));
    push(&repo, "main");
    assert!(count() > first, "keys that have ended were used");
    let reader = home(&server, Mode::InProcess);
    reader.git(&reader.path(""), &["sparse", "trust", STORE]);
    Repo::clone(&reader, text(&repo.remote()), "clone", &[]).assert_is(&tuned.expected);
    for file in [user.path("home"), user.path("work/.git")].iter().flat_map(|place| files_below(place)) {
        let bytes = fs::read(&file).unwrap_or_default();
        let has = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!has(SECRET) && !has("canary0token"), "a secret stands in {}", file.display());
    }
}

/// A user hears what is wrong with a bucket in words that name it, with what to do, and without a secret;
/// when it is right again, the same push works.
#[test]
fn a_push_says_what_is_wrong_and_works_when_it_is_right() {
    let server = S3::serve();
    let home = home(&server, Mode::Daemon);
    let repo = init(&home, "work");
    repo.git(&["sparse", "trust", STORE]);
    let expected = tree_of(&[("model", "tiny-lora")]);
    repo.commit("an adapter", expected.clone());
    let push_with = |variables: &[(&str, &str)]| {
        let mut command = home.command("git", &repo.path);
        command.args(["push", "--quiet", "origin", "main"]).envs(variables.iter().copied());
        let output = home.output(&mut command);
        assert!(!output.status.success(), "it was pushed with {variables:?}");
        xtask::home::said(&output)
    };
    let check = |told: &str, words: &[&str]| {
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} are not in:\n{told}");
        assert!(!told.contains(SECRET), "{told}");
    };
    check(
        &push_with(&[("AWS_SECRET_ACCESS_KEY", "wrong")]),
        &["403", "s3://models/team/store", "AWS_ACCESS_KEY_ID"],
    );
    check(&push_with(&[("AWS_PROFILE", "gone")]), &["no profile", "AWS_PROFILE"]);
    fs::rename(server.files(), server.files().with_extension("away")).expect("a bucket that is gone");
    check(&push_with(&[]), &["no such bucket", "name right"]);
    fs::rename(server.files().with_extension("away"), server.files()).expect("it is back");
    server.fail(Meets { method: "PUT", path: "recipes", ..ALL }, Fault::Status(503));
    check(&push_with(&[]), &["503 SlowDown", "try again"]);
    server.recover();
    server.fail(Meets { method: "PUT", path: "recipes", ..ALL }, Fault::Cut);
    check(&push_with(&[]), &["the connection ended", "try again"]);
    server.recover();
    push(&repo, "main");
    let reader = self::home(&server, Mode::InProcess);
    reader.git(&reader.path(""), &["sparse", "trust", STORE]);
    Repo::clone(&reader, text(&repo.remote()), "clone", &[]).assert_is(&expected);
    let places = [home.path("home"), home.path("work/.git"), reader.path("home")];
    for file in places.iter().flat_map(|place| files_below(place)) {
        let bytes = fs::read(&file).unwrap_or_default();
        let has = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!has, "the secret key stands in {}", file.display());
    }
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let files = xtask::tree::files(directory).expect("a readable directory");
    files.into_iter().map(|file| directory.join(file)).collect()
}

/// Several machines push to one bucket at once, and one of them dies in the middle: nothing is lost that
/// anybody was told is there, and a stranger gets every byte.
#[test]
fn machines_that_push_at_once_lose_nothing() {
    let server = S3::serve();
    let names = ["tiny-sft", "tiny-sft-2", "tiny-lora-merged", "tiny-sft-fp16"];
    let homes: Vec<Home> = names.iter().map(|_| home(&server, Mode::Daemon)).collect();
    homes.iter().for_each(|home| drop(home.git(&home.path(""), &["sparse", "trust", STORE])));
    let first = init(&homes[0], "work");
    first.commit("base", tree_of(&[("model", "tiny-base")]));
    push(&first, "main");
    let origin = first.remote();
    let repos: Vec<Repo<'_>> = homes
        .iter()
        .map(|home| {
            let repo = Repo::clone(home, text(&origin), "mine", &[]);
            repo.git(&[
                "checkout",
                "--quiet",
                "-b",
                home.path("").file_name().and_then(|it| it.to_str()).expect("a name"),
            ]);
            repo
        })
        .collect();
    let tuned: Vec<_> =
        names.iter().zip(&repos).map(|(name, repo)| repo.commit(name, tree_of(&[("model", name)]))).collect();
    // Slow enough for all of them to meet.
    let meets = Meets { method: "PUT", path: "/packs/", ..ALL };
    server.fail(meets, Fault::Slow(Duration::from_millis(700)));
    server.asked();
    thread::scope(|scope| {
        for repo in &repos[1..] {
            scope.spawn(|| repo.git(&["push", "--quiet", "origin", "HEAD"]));
        }
        let mut command = homes[0].command("git", &repos[0].path);
        command.args(["push", "--quiet", "origin", "HEAD"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut dying = command.spawn().expect("git");
        let since = Instant::now();
        while !server.asked().iter().any(|asked| asked.starts_with("PUT") && asked.contains("/packs/")) {
            assert!(since.elapsed() < Duration::from_secs(60), "nobody pushes");
            thread::sleep(Duration::from_millis(20));
        }
        let status = homes[0].run("git-sparse", &homes[0].path(""), &["daemon", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        dying.kill().expect("a push that is killed");
        let daemon =
            status["daemon"]["pid"].as_u64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        let _ = rustix::process::kill_process(daemon.expect("a daemon"), rustix::process::Signal::KILL);
        dying.wait().expect("its end");
    });
    server.recover();
    repos[0].git(&["push", "--quiet", "origin", "HEAD"]);
    let reader = home(&server, Mode::InProcess);
    reader.git(&reader.path(""), &["sparse", "trust", STORE]);
    let clone = Repo::clone(&reader, text(&origin), "clone", &[]);
    for revision in &tuned {
        clone.git(&["checkout", "--quiet", "--detach", &revision.commit]);
        clone.assert_is(&revision.expected);
    }
}

/// Before anybody relies on a server: `remote check` says what it can do, by words and by exit code, and a
/// first push refuses the same server by itself.
#[test]
fn a_remote_is_checked_before_it_is_relied_on() {
    let server = S3::serve();
    let home = home(&server, Mode::Daemon);
    let here = home.path("");
    let check = |place: &str| {
        let told =
            home.output(home.command("git", &here).args(["sparse", "remote", "check", "--json", place]));
        (told.status.code(), String::from_utf8_lossy(&told.stdout).into_owned(), xtask::home::said(&told))
    };
    let directory = format!("sparse::file://{}", home.path("store").display());
    for place in [STORE, &directory] {
        let (code, json, said) = check(place);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!((code, &json["ok"]), (Some(0), &true.into()), "{said}");
        assert_eq!(json["needs"].as_array().map(Vec::len), Some(6), "{json}");
    }
    let left: Vec<_> =
        files_below(&server.files()).into_iter().chain(files_below(&home.path("store"))).collect();
    assert!(left.is_empty(), "{left:?}");
    server.ignore_conditions();
    let (code, json, said) = check(STORE);
    assert_eq!(code, Some(6), "{said}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["needs"][1]["failure"].as_str().is_some_and(|why| why.contains("If-None-Match")), "{json}");
    let repo = init(&home, "work");
    repo.git(&["sparse", "trust", STORE]);
    repo.commit("an adapter", tree_of(&[("model", "tiny-lora")]));
    let told = home.git_fails(&repo.path, &["push", "--quiet", "origin", "main"]);
    assert!(told.contains("If-None-Match") && told.contains("remote check"), "{told}");
    assert_eq!(files_below(&server.files()), Vec::<std::path::PathBuf>::new());
    server.fail(ALL, Fault::Status(403));
    let (code, _, said) = check(STORE);
    assert!(code == Some(4) && said.contains("403 AccessDenied"), "{code:?}: {said}");
    let bucket = format!("sparse::s3://{BUCKET}/../x");
    assert_eq!(check(&bucket).0, Some(2));
}
