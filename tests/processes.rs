//! Real processes that die, race, and meet hostile places: a push or clone run again always ends well.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use git_sparse::daemon::message::{self, Event, RemotePlace, Reply, Request};
use git_sparse::id::Oid;
use xtask::home::said;

use crate::support::home::{Home, Mode};
use crate::support::random::Random;
use crate::support::repo::{Repo, text, tree_of};
use crate::support::tmpfs::Tmpfs;

/// Two small models: a push of them takes some tenths of a second.
const MODELS: [(&str, &str); 2] = [("a", "tiny-base"), ("b", "tiny-sft")];

/// What is killed in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Daemon,
    Agent,
}

/// A few rounds each time; fifty with `cargo xtask test --long`.
#[test]
fn a_killed_daemon_loses_nothing() {
    kill_in_push_and_clone(Victim::Daemon, 3);
}

/// The agent dies as git-lfs does when a user presses Ctrl-C.
#[test]
fn a_killed_agent_loses_nothing() {
    kill_in_push_and_clone(Victim::Agent, 3);
}

/// The long form of both.
#[test]
#[ignore = "several minutes"]
fn fifty_kills_of_each_lose_nothing() {
    kill_in_push_and_clone(Victim::Daemon, 50);
    kill_in_push_and_clone(Victim::Agent, 50);
}

fn kill_in_push_and_clone(victim: Victim, rounds: usize) {
    let mut random = Random::printed("kill_in_push_and_clone");
    for _ in 0..rounds {
        let (publisher, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
        let repo = Repo::init(&publisher, "work");
        let committed = repo.commit("two models", tree_of(&MODELS));
        let push = ["push", "--quiet", "origin", "main"];
        disturb(&publisher, &repo.path, &push, victim, Duration::from_millis(random.below(900) as u64));
        // Whatever happened: the same command again ends well.
        repo.git(&push);
        let remote = repo.remote();
        let clone = ["clone", "--quiet", text(&remote), "clone"];
        disturb(&reader, &reader.path(""), &clone, victim, Duration::from_millis(random.below(900) as u64));
        let path = reader.path("clone");
        if !path.join(".git").exists() {
            reader.git(&reader.path(""), &clone);
        }
        let clone = Repo { home: &reader, path };
        let _ = fs::remove_file(clone.path.join(".git/index.lock"));
        clone.git(&["reset", "--quiet", "--hard", "origin/main"]);
        clone.assert_is(&committed.expected);
    }
}

/// Runs git, and kills the victim after `delay`, or when git is done before.
fn disturb(home: &Home, directory: &Path, arguments: &[&str], victim: Victim, delay: Duration) {
    let mut git = home.command("git", directory);
    let mut git = git.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git runs");
    let start = Instant::now();
    while start.elapsed() < delay && git.try_wait().expect("a child").is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    processes_of(home, victim).into_iter().for_each(kill);
    git.wait().expect("a child");
}

/// The processes of a home's binary in one role, found by their environment and arguments.
fn processes_of(home: &Home, victim: Victim) -> Vec<u32> {
    let role: &[u8] = if victim == Victim::Daemon { b"\0daemon\0run" } else { b"\0lfs-agent" };
    let ours = format!("HOME={}\0", home.path("home").display()).into_bytes();
    let holds = |path: PathBuf, part: &[u8]| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(part.len()).any(|window| window == part))
    };
    let entries = fs::read_dir("/proc").expect("a /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        holds(proc.join("cmdline"), role) && holds(proc.join("environ"), &ours)
    })
    .collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    // It may be gone already.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Starts `git sparse daemon run`.
fn daemon(home: &Home) -> Child {
    let mut command = home.command("git-sparse", &home.path(""));
    command.args(["daemon", "run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a daemon")
}

/// The process that answers on a home's socket.
fn answering(home: &Home) -> Option<u64> {
    let told = home.run("git-sparse", &home.path(""), &["daemon", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    status["daemon"]["pid"].as_u64()
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "after 20 s still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Twenty daemons started at once, as many agents do: one serves, the others go and say whom they met.
#[test]
fn of_twenty_daemons_one_serves_and_the_others_go() {
    let home = Home::new(Mode::Daemon);
    let mut daemons: Vec<Child> = (0..20).map(|_| daemon(&home)).collect();
    let mut ended = Vec::new();
    wait_until("nineteen daemons have ended", || {
        daemons.retain_mut(|daemon| match daemon.try_wait().expect("a child") {
            None => true,
            Some(status) => {
                let mut told = String::new();
                let _ = std::io::Read::read_to_string(daemon.stderr.as_mut().expect("a pipe"), &mut told);
                ended.push((status.success(), told));
                false
            }
        });
        daemons.len() <= 1
    });
    let [winner] = &mut daemons[..] else { panic!("no daemon is left: {ended:?}") };
    let pid = u64::from(winner.id());
    assert_eq!(answering(&home), Some(pid));
    for (succeeded, told) in ended {
        assert!(!succeeded && told.contains(&pid.to_string()), "{told}");
    }
    home.stop_daemon();
    winner.wait().expect("a child");
}

/// Daemons that wait for the lock take it over when its owner stops: who said "stop" meant them too.
#[test]
fn stop_stops_those_that_waited_for_their_turn() {
    let home = Home::new(Mode::Daemon);
    fs::create_dir_all(store(&home)).expect("a directory");
    let owner = fs::File::create(store(&home).join("lock")).expect("a file");
    owner.lock().expect("a lock");
    let mut daemons: Vec<Child> = (0..5).map(|_| daemon(&home)).collect();
    // All have looked around once and wait.
    thread::sleep(Duration::from_millis(1000));
    drop(owner);
    wait_until("one daemon answers", || answering(&home).is_some());
    home.run("git-sparse", &home.path(""), &["daemon", "stop"]);
    wait_until("all daemons have ended", || {
        daemons.iter_mut().all(|daemon| daemon.try_wait().expect("a child").is_some())
    });
}

/// A socket that a dead daemon left, or a file in its place, is in nobody's way.
#[test]
fn a_stale_socket_is_replaced() {
    let home = Home::new(Mode::Daemon);
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    processes_of(&home, Victim::Daemon).into_iter().for_each(kill);
    let socket = socket(&home);
    wait_until("the daemon is dead", || answering(&home).is_none());
    assert!(socket.exists(), "a killed daemon can't take its socket away");
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    assert!(answering(&home).is_some());
    home.stop_daemon();
    fs::write(&socket, "no socket").expect("a file");
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    assert!(answering(&home).is_some());
}

fn socket(home: &Home) -> PathBuf {
    let entries = fs::read_dir(home.path("run/git-sparse")).expect("a directory");
    let found = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "sock"));
    found.expect("a socket")
}

fn store(home: &Home) -> PathBuf {
    home.path("home/.local/share/git-sparse")
}

/// Who deletes the lock file of a running daemon gets no second one: the clients still meet the first.
#[test]
fn a_deleted_lock_lets_nobody_else_serve() {
    let home = Home::new(Mode::Daemon);
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    let first = answering(&home);
    fs::remove_file(store(&home).join("lock")).expect("a lock file");
    let mut second = daemon(&home);
    wait_until("the second daemon has ended", || second.try_wait().expect("a child").is_some());
    assert_eq!(answering(&home), first, "two daemons opened one store");
}

/// A daemon of another version hears of it and goes; the client gets one of its own.
#[test]
fn a_daemon_of_another_version_is_replaced() {
    let home = Home::new(Mode::Daemon);
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    let first = answering(&home);
    let mut stream = UnixStream::connect(socket(&home)).expect("a daemon");
    message::write(&mut stream, &Request::Hello { version: "0.0.0-other".into() }).expect("a greeting");
    let answer: Option<Event> = message::read(&mut stream).expect("an answer");
    assert!(matches!(answer, Some(Event::Done(Reply::Hello { version })) if version == git_sparse::VERSION));
    wait_until("the old daemon is gone", || answering(&home).is_none());
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    assert!(answering(&home).is_some() && answering(&home) != first);
}

/// An old daemon, here played by the test: our client tells it who calls, and waits for its own.
#[test]
fn a_client_outlives_a_daemon_of_another_version() {
    let home = Home::new(Mode::Daemon);
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    let socket = socket(&home);
    home.stop_daemon();
    let listener = UnixListener::bind(&socket).expect("a socket");
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let heard: Option<Request> = message::read(&mut stream).expect("a greeting");
        message::write(&mut stream, &Event::Done(Reply::Hello { version: "0.0.0".into() }))
            .expect("an answer");
        heard
    });
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    let heard = heard.join().expect("a thread");
    assert!(matches!(heard, Some(Request::Hello { version }) if version == git_sparse::VERSION));
    assert!(answering(&home).is_some());
}

/// While git-lfs is busy with one file, the daemon rebuilds the next into the same directory: asking for
/// that costs nothing. What nobody asked for goes when the caller does.
#[test]
fn the_next_file_is_rebuilt_before_it_is_asked_for() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    repo.commit(
        "models",
        tree_of(&[("a", "tiny-base"), ("b", "tiny-sft"), ("c", "tiny-sft-2"), ("d", "tiny-lora")]),
    );
    repo.push();
    let clone = Repo::clone(&home, text(&repo.remote()), "clone", &["--no-checkout"]);
    let into = clone.path.join(".git/lfs/tmp");
    fs::create_dir_all(&into).expect("a directory");
    let rebuilt = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&into).expect("a directory").flatten();
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        entries.map(|entry| entry.path()).filter(|path| size(path) > 0).collect()
    };

    let mut stream = UnixStream::connect(socket(&home)).expect("a daemon");
    let mut ask = |oid: &str| -> PathBuf {
        let request = Request::Download {
            oid: oid.parse().expect("an oid"),
            into: into.clone(),
            repo: Some(clone.path.join(".git")),
            remote: RemotePlace::Directory(repo.remote().join("sparse")),
        };
        message::write(&mut stream, &request).expect("a daemon that reads");
        loop {
            match message::read(&mut stream).expect("an answer") {
                Some(Event::Progress(_)) => {}
                Some(Event::Done(Reply::Downloaded { path })) => return path,
                other => panic!("{other:?}"),
            }
        }
    };
    // Who asks for one file may not want the others; who asks for two wants them all.
    let given = [ask(&repo.oids(&["HEAD"])[0]), ask(&repo.oids(&["HEAD"])[1])];
    wait_until("another file is there", || rebuilt().iter().any(|path| !given.contains(path)));
    let ahead = rebuilt().into_iter().find(|path| !given.contains(path)).expect("it was waited for");
    let oid = text(&ahead).rsplit('-').next().expect("a name that ends with an oid").to_owned();
    assert_eq!(ask(&oid), ahead);
    assert_eq!(Oid::of(&fs::read(&ahead).expect("the file")).to_string(), oid);
    drop(stream);
    wait_until("only what was given is left", || {
        rebuilt().iter().all(|path| given.contains(path) || *path == ahead)
    });
    assert!(given.iter().all(|path| path.exists()) && ahead.exists());
}

/// Garbage and lies on the socket end that conversation, and no other.
#[test]
fn garbage_on_the_socket_harms_nobody_else() {
    let home = Home::new(Mode::Daemon);
    home.run("git-sparse", &home.path(""), &["daemon", "start"]);
    let first = answering(&home);
    let long = [u32::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    let deep = [100_000u32.to_le_bytes().as_slice(), &vec![b'['; 100_000]].concat();
    for garbage in
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), long, deep, b"\x02\0\0\0{}".to_vec(), b"\x05".to_vec()]
    {
        let mut stream = UnixStream::connect(socket(&home)).expect("a daemon");
        stream.write_all(&garbage).expect("a daemon that reads");
    }
    assert_eq!(answering(&home), first);
}

/// What a user stores is nobody else's, even if the umask forbids nothing.
#[test]
fn nobody_else_can_read_under_any_umask() {
    for umask in ["000", "077"] {
        let home = Home::new(Mode::Daemon);
        let repo = Repo::init(&home, "work");
        repo.commit("two models", tree_of(&MODELS));
        let script = format!("umask {umask}; exec git push --quiet origin main");
        home.run("sh", &repo.path, &["-c", &script]);
        let cache = home.path("home/.cache/git-sparse");
        for top in
            [store(&home), cache, home.path("run/git-sparse"), home.path("home/.local/state/git-sparse")]
        {
            assert_eq!(
                fs::metadata(&top).expect("a directory").permissions().mode() & 0o077,
                0,
                "{}",
                top.display()
            );
        }
        let remote = repo.remote().join("sparse");
        assert!(fs::metadata(&remote).is_ok_and(|found| found.is_dir()), "nothing was pushed");
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            let peek = Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "ls", text(&store(&home))])
                .output();
            assert!(peek.is_ok_and(|peek| !peek.status.success()), "another user lists the store");
        } else {
            eprintln!("SKIPPED: a look by another user: this is not root");
        }
    }
}

/// A store that can't be written fails by name and with what to do, and harms nothing.
#[test]
fn a_store_that_cannot_be_made_is_named() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    repo.commit("two models", tree_of(&MODELS));
    let blocked = home.path("a-file");
    fs::write(&blocked, "in the way").expect("a file");
    let told = fails_with(&home, &repo, &blocked.join("store"));
    assert!(told.contains("a-file"), "{told}");
    repo.git(&["push", "--quiet", "origin", "main"]);
}

/// Runs a push with the store at `directory`, which must fail; all it said.
#[track_caller]
fn fails_with(home: &Home, repo: &Repo<'_>, directory: &Path) -> String {
    let mut command = home.command("git", &repo.path);
    let command = command.args(["push", "--quiet", "origin", "main"]).env("GIT_SPARSE_DIR", directory);
    let output = home.output(command);
    assert!(!output.status.success(), "a push without a store succeeded");
    said(&output)
}

/// On a full disk a push fails by name, what was pushed before comes back, and with room it goes on.
#[test]
fn a_full_disk_is_harmless() {
    let mut home = Home::new(Mode::Daemon);
    let Some(disk) = Tmpfs::mount(home.path("disk"), "size=4m,mode=0700") else { return };
    home.set_store(&disk.0.join("store"));
    let reader = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    let first = repo.commit("one model", tree_of(&MODELS[..1]));
    repo.push();
    fill(&disk.0.join("ballast"));
    let more = [("a", "tiny-base"), ("c", "tiny-lora-merged"), ("d", "tiny-sft-f32")];
    repo.commit("more models", tree_of(&more));
    let told = home.git_fails(&repo.path, &["push", "--quiet", "origin", "main"]);
    assert!(told.contains("space") || told.contains("No space"), "{told}");
    let staged = fs::read_dir(disk.0.join("store/tmp")).map_or(0, |entries| entries.count());
    assert_eq!(staged, 0, "half-written files take the last of the space");
    Repo::clone(&reader, text(&repo.remote()), "before", &[]).assert_is(&first.expected);
    fs::remove_file(disk.0.join("ballast")).expect("a file that goes");
    disk.remount("size=64m");
    repo.git(&["push", "--quiet", "origin", "main"]);
    Repo::clone(&reader, text(&repo.remote()), "after", &[]).assert_is(&tree_of(&more));
    home.stop_daemon();
}

/// A read-only store is named, and still there when it can be written again.
#[test]
fn a_read_only_store_is_named() {
    let mut home = Home::new(Mode::Daemon);
    let Some(disk) = Tmpfs::mount(home.path("disk"), "size=64m,mode=0700") else { return };
    home.set_store(&disk.0.join("store"));
    let repo = Repo::init(&home, "work");
    repo.commit("one model", tree_of(&MODELS[..1]));
    repo.push();
    home.stop_daemon();
    repo.commit("two models", tree_of(&MODELS));
    disk.remount("ro");
    let push = ["push", "--quiet", "origin", "main"];
    let mut command = home.command("git", &repo.path);
    let output = home.output(command.args(push).env("GIT_SPARSE_NO_DAEMON", "1"));
    assert!(!output.status.success() && said(&output).contains("disk/store"), "{}", said(&output));
    disk.remount("rw");
    repo.git(&push);
    home.stop_daemon();
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    for block in [vec![0u8; 4096], vec![0u8; 1]] {
        while file.write_all(&block).is_ok() {}
    }
}

/// A daemon that dies between two jobs costs the agent a new one, not the user a push.
#[test]
fn an_agent_outlives_its_daemon() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    repo.commit("a model", tree_of(&[("a", "tiny-base")]));
    let oid = repo.oids(&["HEAD"]).pop().expect("one large file");
    let path = repo.path.join(format!(".git/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]));
    let mut agent = home
        .command("git-sparse", &repo.path)
        .arg("lfs-agent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("an agent");
    let mut input = agent.stdin.take().expect("a pipe");
    writeln!(input, "{{\"event\":\"init\",\"operation\":\"upload\",\"remote\":\"origin\"}}").expect("a line");
    wait_until("the daemon runs", || answering(&home).is_some());
    processes_of(&home, Victim::Daemon).into_iter().for_each(kill);
    let size = fs::metadata(&path).expect("git-lfs' copy").len();
    let job =
        serde_json::json!({ "event": "upload", "oid": oid, "size": size, "path": path, "action": null });
    writeln!(input, "{job}\n{{\"event\":\"terminate\"}}").expect("two lines");
    drop(input);
    let output = agent.wait_with_output().expect("an end");
    let told = String::from_utf8_lossy(&output.stdout);
    let complete: serde_json::Value =
        serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&complete["event"], &complete["error"]),
        (&"complete".into(), &serde_json::Value::Null),
        "{told}"
    );
    Repo::clone(&home, text(&repo.remote()), "clone", &["--no-checkout"]);
}

/// The user's own copy is whole: damage in the store alone must not fail a push.
#[test]
fn a_push_mends_what_git_lfs_still_has() {
    let (home, reader) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let repo = Repo::init(&home, "work");
    let committed = repo.commit("a model", tree_of(&[("a", "tiny-base")]));
    repo.push();
    for pack in xtask::tree::files(&store(&home).join("packs")).expect("packs") {
        let pack = store(&home).join("packs").join(pack);
        let mut bytes = fs::read(&pack).expect("a pack");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&pack).expect("a pack that goes");
        fs::write(&pack, bytes).expect("a damaged pack");
    }
    home.git(&home.path(""), &["init", "--quiet", "--bare", "other.git"]);
    repo.git(&["remote", "add", "other", text(&home.path("other.git"))]);
    repo.git(&["push", "--quiet", "other", "main"]);
    Repo::clone(&reader, text(&home.path("other.git")), "clone", &[]).assert_is(&committed.expected);
    assert!(store(&home).join("bad").is_dir(), "the damaged pack was set aside");
}
