//! Who may do what: each kind of caller at each door, and what one learns of what one may not see.

use std::fs;
use std::path::Path;

use git_sparse::codec::{self, Effort};
use git_sparse::format::Dtype;
use git_sparse::id::ObjectId;
use git_sparse::store::record_for;
use xtask::home::said;

use super::basic::{batch, make_repo, model_bytes, named, upload};
use super::frames::{end, object};
use super::transfer::{repo_for, revisions};
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text};
use crate::support::server::Server;
use crate::support::web::Asking;

const ROLES: [&str; 7] = ["none", "bad", "expired", "other", "read", "write", "admin"];

/// What is asked, by what name, and what each of `ROLES` gets.
type Door = (&'static str, Asking<'static>, [u16; 7]);

fn doors(repo: &str, bytes: &[u8]) -> Vec<Door> {
    let read = [401, 401, 401, 404, 200, 200, 200];
    let write = [401, 401, 401, 404, 403, 200, 200];
    let (oid, size) = named(bytes);
    let (git, lfs) = (format!("/{repo}.git"), format!("/{repo}.git/info/lfs"));
    let sparse = format!("{lfs}/sparse/1");
    let post = |path: &str, body: &str| Asking::post(&format!("{lfs}/{path}"), body).lfs();
    let known = serde_json::json!({ "oid": oid, "size": size }).to_string();
    vec![
        ("git fetch", Asking::get(&format!("{git}/info/refs?service=git-upload-pack")), read),
        ("git push", Asking::get(&format!("{git}/info/refs?service=git-receive-pack")), write),
        ("batch down", Asking::batch(repo, "download", "basic", &[named(bytes)]), read),
        ("batch up", Asking::batch(repo, "upload", "basic", &[named(bytes)]), write),
        ("batch sparse", Asking::batch(repo, "download", "sparse", &[named(bytes)]), read),
        ("object", Asking::get(&format!("{lfs}/objects/{oid}")), read),
        ("look at object", Asking::of_method("HEAD", &format!("{lfs}/objects/{oid}")), read),
        // Only a link allows it, whoever asks.
        ("upload", Asking::put(&format!("{lfs}/objects/{oid}?size=1"), "x"), [403; 7]),
        ("verify", post("verify", &known), read),
        ("has", Asking::post(&format!("{sparse}/has"), ""), read),
        ("lacking", Asking::post(&format!("{sparse}/lacking"), ""), read),
        ("records", Asking::post(&format!("{sparse}/records"), ""), read),
        ("give", Asking::post(&format!("{sparse}/give"), ""), read),
        ("recipe", Asking::get(&format!("{sparse}/recipes/{oid}")), read),
        ("take", Asking::post(&format!("{sparse}/take"), [0]), write),
        ("new recipe", Asking::put(&format!("{sparse}/recipes/{oid}"), "x"), write),
        ("locks", Asking::get(&format!("{lfs}/locks")), read),
        ("locks to push", post("locks/verify", "{}"), write),
        ("unlock", post("locks/0/unlock", "{}"), [401, 401, 401, 404, 403, 404, 404]),
        ("metrics", Asking::get("/metrics"), [401, 401, 401, 401, 401, 401, 200]),
        ("health", Asking::get("/healthz"), [200; 7]),
    ]
}

struct Tokens(Vec<Option<String>>);

impl Tokens {
    fn at(server: &Server) -> Tokens {
        let made = [
            ("bad", None),
            ("expired", Some(server.token("expired", "admin", &["*"]))),
            ("other", Some(server.token("other", "write", &["b/*"]))),
            ("read", Some(server.token("read", "read", &["a/one"]))),
            ("write", Some(server.token("write", "write", &["a/*"]))),
            ("admin", Some(server.token("admin", "admin", &["*"]))),
        ];
        server.expire("expired");
        let bad = format!("gsp_{}", "0".repeat(64));
        let tokens = made.into_iter().map(|(_, token)| Some(token.unwrap_or_else(|| bad.clone())));
        Tokens([None].into_iter().chain(tokens).collect())
    }

    fn of(&self, role: &str) -> Option<&str> {
        let at = ROLES.iter().position(|known| *known == role).expect("a role");
        self.0[at].as_deref()
    }
}

fn ask(server: &Server, asking: &Asking<'_>, token: Option<&str>) -> crate::support::web::Answer {
    server.ask(match token {
        Some(token) => asking.clone().basic(token),
        None => asking.clone(),
    })
}

/// Every door asks every caller, and says the same of what is closed to them as of what is not there.
#[test]
fn every_door_knows_every_caller() {
    let server = Server::start(&[]);
    let tokens = Tokens::at(&server);
    make_repo(&server, "a/one");
    make_repo(&server, "b/two");
    let bytes = model_bytes("tiny-base");
    upload(&server, "a/one", &bytes, tokens.of("write"));
    let mut wrong = Vec::new();
    for (name, asking, expected) in doors("a/one", &bytes) {
        for (role, expected) in ROLES.iter().zip(expected) {
            let answer = ask(&server, &asking, tokens.of(role));
            if answer.status != expected {
                wrong.push(format!(
                    "{name}, {role}: {} instead of {expected}: {}",
                    answer.status,
                    answer.text()
                ));
            }
            if answer.status == 401 {
                assert!(answer.header("lfs-authenticate").is_some(), "{name}: no LFS-Authenticate");
                assert!(answer.header("www-authenticate").is_some(), "{name}: no WWW-Authenticate");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let there = doors("a/one", &bytes).into_iter();
    for ((name, there, expected), (_, gone, _)) in there.zip(doors("a/gone", &bytes)) {
        for (role, expected) in ROLES.iter().zip(expected).take(4) {
            let (there, gone) = (ask(&server, &there, tokens.of(role)), ask(&server, &gone, tokens.of(role)));
            assert_eq!(there.shown(), gone.shown(), "{name} tells {role} what is there ({expected})");
        }
    }
    assert!(!server.root().join("a/gone.git").exists(), "a stranger made a repository");
    // The matrix' recipe was garbage, and the bearer's header is as good as a password.
    let listed = Asking::get("/a/one.git/info/lfs/locks").bearer(tokens.of("read").expect("a token"));
    assert_eq!(server.ask(listed).status, 200);
    server.assert_has("a/one", &bytes);
}

/// A delta on somebody else's object would bring that object out: it is refused as one on nothing is.
#[test]
fn nobody_builds_on_what_others_have() {
    let server = Server::start(&[]);
    let tokens = Tokens::at(&server);
    make_repo(&server, "a/one");
    make_repo(&server, "b/two");
    let bytes = model_bytes("tiny-base");
    upload(&server, "a/one", &bytes, tokens.of("write"));
    let oid = named(&bytes).0.parse().expect("an oid");
    let secret = server.store("a/one").recipe(&oid).expect("read").expect("a recipe").parts[0].object;
    let nothing = ObjectId::of(b"nobody has this");
    let take = |base: ObjectId| {
        let whole = codec::encode(b"what I guess", Dtype::Bytes, 0, &[], Effort::Push);
        let record = record_for(ObjectId::of(b"what I guess"), Some((base.into(), 0)), whole.codec, 12);
        let stream = [object(record, &whole.payload), end()].concat();
        let asking = Asking::post("/b/two.git/info/lfs/sparse/1/take", stream);
        let answer = ask(&server, &asking, tokens.of("other"));
        (answer.status, answer.text().replace(&base.to_string(), "BASE"))
    };
    let (theft, lie) = (take(secret), take(nothing));
    assert_eq!(theft.0, 422, "{}", theft.1);
    assert_eq!(theft, lie);
    // Nor can it be asked for, nor named in a recipe of one's own.
    let recipe = server.store("a/one").recipe(&oid).expect("read").expect("a recipe").encode();
    let put = Asking::put(&format!("/b/two.git/info/lfs/sparse/1/recipes/{oid}"), recipe);
    let verdict = ask(&server, &put, tokens.of("other")).text();
    assert!(verdict.contains("409") && !verdict.contains("\"accepted\":true"), "{verdict}");
    let has = |repo: &str, token| {
        let asking = Asking::post(&format!("/{repo}.git/info/lfs/sparse/1/lacking"), *secret.as_bytes());
        ask(&server, &asking, tokens.of(token)).body
    };
    assert_eq!((has("b/two", "other"), has("a/one", "read")), (vec![1], vec![0]));
    assert_eq!(server.stored("b/two").iter().filter(|name| !name.starts_with("tmp")).count(), 0);
}

/// Links lead to where the operator says, whatever a client calls the server.
#[test]
fn links_never_follow_the_host_header() {
    let server = Server::open();
    make_repo(&server, "a");
    let bytes = model_bytes("tiny-base");
    for transfer in ["basic", "sparse"] {
        let asking = Asking::batch("a", "upload", transfer, &[named(&bytes)]).header("Host", "evil.example");
        let answer = server.ask(asking.header("X-Forwarded-Host", "evil.example"));
        let href = answer.json()["objects"][0]["actions"]["upload"]["href"].to_string();
        assert!(href.starts_with(&format!("\"{}/a.git/", server.url)), "{href}");
    }
    let server = Server::start(&["--anonymous", "write", "--url", "https://hub.example/"]);
    make_repo(&server, "a");
    let href = batch(&server, "a", "upload", &bytes, None).json()["objects"][0]["actions"]["upload"]["href"]
        .to_string();
    assert!(href.starts_with("\"https://hub.example/a.git/"), "{href}");
}

/// A token that was taken back is good no more from the next request on.
#[test]
fn tokens_are_taken_back_at_once() {
    let server = Server::start(&[]);
    make_repo(&server, "a");
    for round in 0..3 {
        let token = server.token("someone", "read", &["a"]);
        let ask = || server.ask(Asking::get("/a.git/info/lfs/locks").bearer(&token)).status;
        assert_eq!(ask(), 200, "round {round}");
        server.forget_token("someone");
        assert_eq!(ask(), 401, "round {round}");
    }
    // A slip while it is edited by hand locks nobody out or in.
    let token = server.token("other", "read", &["a"]);
    let ask = || server.ask(Asking::get("/a.git/info/lfs/locks").bearer(&token)).status;
    assert_eq!(ask(), 200);
    fs::write(server.root().join("access.json"), "{").expect("a file");
    assert_eq!(ask(), 200);
}

/// What anyone may do is what the operator said, and nothing if nothing was said.
#[test]
fn strangers_may_do_what_was_allowed() {
    let refs = |server: &Server, service: &str| {
        server.ask(Asking::get(&format!("/a.git/info/refs?service=git-{service}"))).status
    };
    for (options, expected) in [
        (&[][..], (401, 401)),
        (&["--anonymous", "read"], (200, 401)),
        (&["--anonymous", "write"], (200, 200)),
    ] {
        let server = Server::start(options);
        make_repo(&server, "a");
        assert_eq!((refs(&server, "upload-pack"), refs(&server, "receive-pack")), expected, "{options:?}");
    }
    let home = Home::bare(Mode::Daemon);
    let mut command = home.command("git-sparse", &home.path(""));
    let output = home.output(command.args(["serve", "--listen", "0.0.0.0:0"]));
    assert!(!output.status.success(), "it serves the world without TLS");
    assert!(said(&output).contains("--tls-cert"), "{}", said(&output));
}

/// What goes wrong at the hub stands in its log; a client learns that, and no path of the machine.
#[test]
fn trouble_is_told_to_the_operator_alone() {
    let server = Server::open();
    make_repo(&server, "a");
    let store = server.root().join("a.git/sparse");
    fs::create_dir_all(&store).expect("a directory");
    fs::write(store.join("recipes"), "no directory").expect("a file");
    fs::write(store.join("packs"), "no directory").expect("a file");
    let bytes = model_bytes("tiny-base");
    let (oid, _) = named(&bytes);
    let root = text(&server.root()).to_owned();
    for asking in [
        Asking::post("/a.git/info/lfs/sparse/1/lacking", [7; 32]),
        Asking::batch("a", "upload", "basic", &[named(&bytes)]),
        Asking::get(&format!("/a.git/info/lfs/sparse/1/recipes/{oid}")),
    ] {
        let answer = server.ask(asking);
        assert!(!answer.text().contains(&root), "{}", answer.text());
        assert!(!answer.text().contains("directory"), "{}", answer.text());
    }
    // It comes through a pipe, and may come after the answer.
    let is_told = |_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.log().contains("directory")
    };
    assert!((0..100).any(is_told), "the log does not say what is wrong:\n{}", server.log());
}

/// A token must not get into anything that is shown or kept, also where things fail.
#[test]
fn no_secret_is_told() {
    let server = Server::start(&[]);
    let token = server.token("writer", "write", &["*"]);
    let home = Home::new(Mode::Daemon);
    keep_token(&home, &server, &token);
    let repo = repo_for(&home, &server.repo("org/model"), "work");
    revisions(&repo);
    let push = home.command("git", &repo.path).args(["push", "origin", "main"]).spawn();
    let mut push = push.expect("git runs");
    let mut seen = String::new();
    while push.try_wait().expect("a child").is_none() {
        seen.push_str(&processes_of(&home));
        std::thread::sleep(std::time::Duration::from_millis(40));
    }
    assert!(push.wait().expect("a child").success(), "the push failed");
    assert!(seen.contains("lfs-agent"), "no process was seen");
    let mut told = vec![("processes", seen)];
    let clone = Repo::clone(&home, &server.repo("org/model"), "clone", &[]);
    told.push(("doctor", clone.git(&["sparse", "doctor"])));
    server.forget_token("writer");
    let mut failed = |directory: &Path, arguments: &[&str]| {
        told.push(("failure", home.git_fails(directory, arguments)));
    };
    fs::write(repo.path.join("more.safetensors"), b"more").expect("a file");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    failed(&repo.path, &["push", "origin", "main"]);
    failed(&clone.path, &["-c", "lfs.url=http://127.0.0.1:1/x", "lfs", "push", "--all", "origin"]);
    failed(&clone.path, &["sparse", "verify", "--remote", "origin"]);
    told.push(("log", server.log()));
    for directory in ["home/.local/state", "home/.cache", "run", "work/.git/lfs", "clone/.git/lfs"] {
        told.push((directory, everything_in(&home.path(directory))));
    }
    for (what, text) in told {
        assert!(!text.contains(&token) && !text.contains(&token[4..]), "the token stands in {what}:\n{text}");
        assert!(!text.contains("&sig="), "a signature stands in {what}:\n{text}");
    }
}

/// Keeps a token for a server as a user does, by git's own credential store.
pub fn keep_token(home: &Home, server: &Server, token: &str) {
    let line = format!("{}\n", server.url.replacen("://", &format!("://any:{token}@"), 1));
    fs::write(home.path("home/.git-credentials"), line).expect("a file");
    home.git(&home.path(""), &["config", "--global", "credential.helper", "store"]);
}

/// The arguments of all processes of a home.
fn processes_of(home: &Home) -> String {
    let mut told = String::new();
    let root = home.path("");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if !String::from_utf8_lossy(&environment).contains(text(&root)) {
            continue;
        }
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        told.push_str(&String::from_utf8_lossy(&arguments).replace('\0', " "));
        told.push('\n');
    }
    told
}

fn everything_in(directory: &Path) -> String {
    let mut told = String::new();
    for file in xtask::tree::files(directory).unwrap_or_default() {
        let bytes = fs::read(directory.join(&file)).unwrap_or_default();
        told.push_str(&String::from_utf8_lossy(&bytes));
    }
    told
}

/// A password in the remote's address opens the hub as a kept one does.
#[test]
fn a_token_may_stand_in_the_address() {
    let server = Server::start(&[]);
    let token = server.token("writer", "write", &["*"]);
    let home = Home::new(Mode::Daemon);
    let url = server.repo("model").replacen("://", &format!("://any:{token}@"), 1);
    let repo = repo_for(&home, &url, "work");
    let revisions = revisions(&repo);
    repo.git(&["push", "--quiet", "origin", "main"]);
    let other = Home::new(Mode::Daemon);
    keep_token(&other, &server, &token);
    other.git(&other.path(""), &["sparse", "clone", &server.repo("model"), "ours"]);
    Repo { home: &other, path: other.path("ours") }.assert_is(&revisions[2].expected);
    let told = other.git(&other.path("ours"), &["sparse", "doctor"]);
    assert!(told.contains(&server.url), "{told}");
    // And as a header, which a job in CI has.
    let third = Home::new(Mode::Daemon);
    let header = format!("http.extraHeader=Authorization: Bearer {token}");
    third.git(&third.path(""), &["-c", &header, "clone", "--quiet", &server.repo("model"), "clone"]);
    Repo { home: &third, path: third.path("clone") }.assert_is(&revisions[2].expected);
}

/// Whoever opens the hub in a browser sees what they may read, and no sign of the rest.
#[test]
fn the_front_page_shows_what_one_may_read() {
    let server = Server::start(&[]);
    let tokens = Tokens::at(&server);
    let bytes = model_bytes("tiny-base");
    for repo in ["a/one", "a/two", "b/three"] {
        make_repo(&server, repo);
    }
    upload(&server, "a/one", &bytes, tokens.of("admin"));
    let page =
        |role: &str| ask(&server, &Asking::get("/").header("Accept", "text/html,*/*"), tokens.of(role));
    let text = |role: &str| ask(&server, &Asking::get("/"), tokens.of(role)).text();
    for (role, seen) in [
        ("none", &[][..]),
        ("bad", &[]),
        ("expired", &[]),
        ("other", &["b/three"]),
        ("read", &["a/one"]),
        ("write", &["a/one", "a/two"]),
        ("admin", &["a/one", "a/two", "b/three"]),
    ] {
        let (page, text) = (page(role), text(role));
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{role}");
        assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("'none'")));
        for repo in ["a/one", "a/two", "b/three"] {
            let clone = format!("git clone {}/{repo}.git", server.url);
            let expected = (seen.contains(&repo), seen.contains(&repo));
            assert_eq!((page.text().contains(&clone), text.contains(&clone)), expected, "{role}: {repo}");
        }
        assert!(!page.text().contains("<script") && !text.contains('<'), "{role}");
    }
    assert_eq!(page("none").text(), page("expired").text(), "one learns that the token was good once");
    assert!(page("read").text().contains("1 file, 2.0 MB stored as 1."), "{}", page("read").text());
    let sign_in = Asking::get("/?sign-in");
    let asked = ask(&server, &sign_in, None);
    assert_eq!((asked.status, asked.header("www-authenticate").is_some()), (401, true));
    assert_eq!(ask(&server, &sign_in, tokens.of("read")).status, 200);
    assert_eq!(server.ask(Asking::post("/", "")).status, 405);
    assert!(server.ask(Asking::get("/docs/hub.md")).text().contains("# The hub"));
}
