//! A hub of this build: `git-sparse serve` as a process of its own, in a throw-away home.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use git_sparse::backend::{Local, Privacy};
use git_sparse::id::Oid;
use git_sparse::serve::Access;
use git_sparse::store::Store;

use super::home::{Home, Mode};
use super::repo::text;
use super::samples::fresh;
use super::web::{Answer, Asking};

/// Longest wait for a server's first line, on a machine that does much else.
const START: Duration = Duration::from_secs(60);
/// Other tests take ports, too.
const TRIES: usize = 5;

/// A running hub; it is killed when it is dropped.
pub struct Server {
    pub home: Home,
    /// What it said that it serves.
    pub url: String,
    pub address: SocketAddr,
    options: Vec<String>,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Serves an empty directory, with further options.
    pub fn start(options: &[&str]) -> Server {
        let home = Home::bare(Mode::Daemon);
        let root = home.path("hub");
        Server::over(home, &root, options)
    }

    /// Anyone may read and write: for tests of everything else.
    pub fn open() -> Server {
        Server::start(&["--anonymous", "write"])
    }

    /// Serves a directory that others may serve, too.
    pub fn over(home: Home, root: &Path, options: &[&str]) -> Server {
        let options: Vec<_> =
            ["--root", text(root)].iter().chain(options).map(|text| (*text).to_owned()).collect();
        let log = Arc::default();
        let has_url = options.iter().any(|option| option == "--url");
        // It tells its --url in place of the port that it has: then one is chosen before.
        for _ in 0..TRIES {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
            let listen = if has_url { free.to_string() } else { "127.0.0.1:0".into() };
            let Some((child, url)) = spawn(&home, &options, &listen, &log) else { continue };
            let told = url.split("//").nth(1).and_then(|address| address.parse().ok());
            let address = if has_url { free } else { told.expect("an address") };
            return Server { home, url, address, options, child, log };
        }
        panic!("the hub does not start: {}", log.lock().expect("a log"));
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.kill();
        let start = || spawn(&self.home, &self.options, &self.address.to_string(), &self.log);
        let started = (0..TRIES).find_map(|_| start());
        let (child, _) = started.unwrap_or_else(|| panic!("the hub does not start again: {}", self.log()));
        self.child = child;
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn root(&self) -> PathBuf {
        PathBuf::from(&self.options[1])
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    /// The address of a repository.
    pub fn repo(&self, name: &str) -> String {
        format!("{}/{name}.git", self.url)
    }

    /// Makes a token.
    pub fn token(&self, name: &str, may: &str, repositories: &[&str]) -> String {
        let access = self.root().join("access.json");
        let mut arguments = vec!["token", "add", name, "--may", may, "--access", text(&access)];
        repositories.iter().for_each(|repo| arguments.extend(["--repository", repo]));
        self.home.run("git-sparse", &self.home.path(""), &arguments).trim().to_owned()
    }

    /// Takes one back.
    pub fn forget_token(&self, name: &str) {
        let access = self.root().join("access.json");
        let arguments = ["token", "remove", name, "--access", text(&access)];
        self.home.run("git-sparse", &self.home.path(""), &arguments);
    }

    /// Has a token end long ago.
    pub fn expire(&self, name: &str) {
        let path = self.root().join("access.json");
        let mut access = Access::read(&path).expect("the file of tokens");
        access.tokens.iter_mut().filter(|token| token.name == name).for_each(|token| token.expires = Some(1));
        access.write(&path).expect("the file of tokens");
    }

    /// Asks it something.
    pub fn ask(&self, asking: Asking<'_>) -> Answer {
        asking.of(self.address)
    }

    /// The store of a repository, as whoever runs the hub would open it.
    pub fn store(&self, name: &str) -> Store {
        fresh(Local::new(self.root().join(format!("{name}.git/sparse")), Privacy::Shared))
    }

    /// A counter of its metrics; `token` may read them.
    pub fn metric(&self, name: &str, token: &str) -> f64 {
        let text = self.ask(Asking::get("/metrics").bearer(token)).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("a number")
    }

    /// Files below a repository's store, without the index: what a refused upload must not add to.
    pub fn stored(&self, name: &str) -> Vec<String> {
        let store = self.root().join(format!("{name}.git/sparse"));
        let mut found = Vec::new();
        for area in ["packs", "recipes", "locks", "tmp"] {
            let entries = fs::read_dir(store.join(area)).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| format!("{area}/{}", entry.file_name().display())));
        }
        found.sort();
        found
    }

    /// Whether a file is whole in a repository's store: it comes back, byte for byte.
    #[track_caller]
    pub fn assert_has(&self, name: &str, bytes: &[u8]) {
        let found = super::samples::give_back(&self.store(name), Oid::of(bytes));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found == bytes, "{name}: other bytes came back");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the hub's log:\n{}", self.log());
        }
    }
}

/// Starts the process and waits until it says that it serves; none if it does not, its port being taken.
fn spawn(home: &Home, options: &[String], listen: &str, log: &Arc<Mutex<String>>) -> Option<(Child, String)> {
    let mut command = home.command("git-sparse", &home.path(""));
    command.arg("serve").args(["--listen", listen]).args(options);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git-sparse runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    let kept = log.clone();
    thread::spawn(move || {
        for line in errors.lines().map_while(Result::ok) {
            kept.lock().expect("a log").push_str(&format!("{line}\n"));
        }
    });
    let start = Instant::now();
    while start.elapsed() < START {
        let Some(Ok(line)) = lines.next() else { break };
        if let Some((_, url)) = line.strip_prefix("serving ").and_then(|rest| rest.rsplit_once(" at ")) {
            let url = url.to_owned();
            let kept = log.clone();
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    kept.lock().expect("a log").push_str(&format!("{line}\n"));
                }
            });
            return Some((child, url));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
