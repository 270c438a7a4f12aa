//! Replays what three real git-lfs versions said to an agent (tests/data/lfs-transcripts.jsonl) and judges
//! our answers as git-lfs would, so that the protocol can't drift from what was observed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lfs_agent::{Download, Failure, Init, Progress, ServeError, Transfer, Upload, serve};
use serde::Deserialize;
use serde_json::{Value, json};

/// One recorded command and all agents it started.
#[derive(Deserialize)]
struct Recording {
    case: String,
    git_lfs: String,
    processes: Vec<Vec<Value>>,
}

impl Recording {
    fn all() -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/lfs-transcripts.jsonl");
        let text = fs::read_to_string(&path).expect("the recordings are part of the repository");
        text.lines().map(|line| serde_json::from_str(line).expect("a recording is a line of JSON")).collect()
    }

    /// The sessions of all recordings whose case passes, each with a name for messages.
    fn sessions(wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<Value>)> {
        let chosen = Self::all().into_iter().filter(|recording| wanted(&recording.case));
        chosen
            .flat_map(|Recording { case, git_lfs, processes }| {
                let named = move |(number, process)| (format!("{case} {git_lfs} process {number}"), process);
                processes.into_iter().enumerate().map(named)
            })
            .collect()
    }
}

/// The messages of one side (`in` or `out`) of a session; the end of input is not a message.
fn side<'a>(process: &'a [Value], side: &'a str) -> impl Iterator<Item = &'a Value> {
    process.iter().filter_map(move |entry| entry.get(side)).filter(|message| message.is_object())
}

/// git-lfs as the agent sees it: sends a line only when the one before is answered and flushed, and checks
/// each answer when it needs it.
#[derive(Clone)]
struct GitLfs(Rc<RefCell<Pipes>>);

struct Pipes {
    to_send: VecDeque<Value>,
    /// What the agent has yet to read of the current line.
    sending: VecDeque<u8>,
    /// The message that waits for an answer.
    asked: Option<Value>,
    written: Vec<u8>,
    flushed: Vec<u8>,
    completes: Vec<Value>,
    closed: bool,
}

impl GitLfs {
    fn new(messages: impl Iterator<Item = Value>) -> Self {
        Self(Rc::new(RefCell::new(Pipes {
            to_send: messages.collect(),
            sending: VecDeque::new(),
            asked: None,
            written: Vec::new(),
            flushed: Vec::new(),
            completes: Vec::new(),
            closed: false,
        })))
    }

    /// The `complete` messages of the whole session; nothing may be left unanswered or unasked.
    fn completes(self) -> Vec<Value> {
        let mut pipes = self.0.borrow_mut();
        assert!(pipes.to_send.is_empty(), "left before reading {:?}", pipes.to_send);
        pipes.judge();
        assert!(pipes.written.is_empty() && pipes.flushed.is_empty(), "said more than was asked");
        std::mem::take(&mut pipes.completes)
    }
}

impl Pipes {
    /// Takes the answer to the message asked last, by git-lfs's rules.
    fn judge(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        assert!(self.written.is_empty(), "waits for a line without having flushed its answer");
        let answers = String::from_utf8(std::mem::take(&mut self.flushed)).expect("answers are UTF-8");
        assert!(answers.ends_with('\n') || answers.is_empty(), "cut line: {answers:?}");
        let answers = answers.lines().map(|line| serde_json::from_str(line).expect("answers are JSON"));
        match asked["event"].as_str() {
            Some("init") => assert_eq!(answers.collect::<Vec<Value>>(), [json!({})]),
            Some("terminate") => assert_eq!(answers.count(), 0, "answers to terminate"),
            _ => self.judge_job(&asked, answers.collect()),
        }
    }

    /// Progress that starts above zero, rises, adds up and ends at the size; then one `complete`.
    fn judge_job(&mut self, job: &Value, mut answers: Vec<Value>) {
        let complete = answers.pop().expect("a job is answered");
        assert_eq!(complete["event"], "complete");
        assert_eq!(complete["oid"], job["oid"]);
        let mut so_far = 0;
        for progress in &answers {
            let number = |field: &str| progress[field].as_u64().expect("progress counts bytes");
            assert_eq!((&progress["event"], &progress["oid"]), (&json!("progress"), &job["oid"]));
            assert_eq!(number("bytesSoFar"), so_far + number("bytesSinceLast"));
            assert!(number("bytesSinceLast") > 0, "progress that says nothing");
            so_far = number("bytesSoFar");
        }
        if complete.get("error").is_none() {
            assert_eq!(Some(so_far), job["size"].as_u64(), "progress ends at the size");
        }
        self.completes.push(complete);
    }
}

impl Read for GitLfs {
    /// Gives the rest of one line, never part of the next: what is asked too early shows.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipes = self.0.borrow_mut();
        if pipes.sending.is_empty() {
            pipes.judge();
            assert!(!pipes.closed, "reads on after terminate");
            if let Some(message) = pipes.to_send.pop_front() {
                pipes.closed = message["event"] == "terminate";
                pipes.sending = format!("{message}\n").into_bytes().into();
                pipes.asked = Some(message);
            }
        }
        pipes.sending.read(buffer)
    }
}

impl Write for GitLfs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipes = self.0.borrow_mut();
        assert!(!pipes.closed, "writes after terminate");
        pipes.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut pipes = self.0.borrow_mut();
        let written = std::mem::take(&mut pipes.written);
        pipes.flushed.extend(written);
        Ok(())
    }
}

/// A transfer that copies files between two folders.
struct Copier {
    store: PathBuf,
    tmp: PathBuf,
    begun: usize,
}

impl Copier {
    fn new(folder: &Path) -> Self {
        let [store, tmp] = ["store", "tmp"].map(|name| folder.join(name));
        for folder in [&store, &tmp] {
            fs::create_dir_all(folder).expect("the test folder is writable");
        }
        Self { store, tmp, begun: 0 }
    }

    /// Copies in small pieces, with a report for each.
    fn copy(from: &Path, to: &Path, progress: &mut Progress<'_>) -> io::Result<()> {
        let (mut from, mut to) = (fs::File::open(from)?, fs::File::create(to)?);
        let mut piece = [0; 4096];
        let mut so_far = 0;
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            to.write_all(&piece[..count])?;
            so_far += count as u64;
            assert_eq!(progress(so_far), ControlFlow::Continue(()));
        }
    }
}

impl Transfer for Copier {
    fn begin(&mut self, _: &Init) -> Result<(), Failure> {
        self.begun += 1;
        Ok(())
    }

    fn upload(&mut self, job: &Upload, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let stored = self.store.join(job.oid.as_str());
        Self::copy(&job.path, &stored, progress).map_err(|error| Failure::new(1, error.to_string()))
    }

    fn download(&mut self, job: &Download, progress: &mut Progress<'_>) -> Result<PathBuf, Failure> {
        let (stored, path) = (self.store.join(job.oid.as_str()), self.tmp.join(job.oid.as_str()));
        Self::copy(&stored, &path, progress).map_err(|error| Failure::new(1, error.to_string()))?;
        Ok(path)
    }
}

/// A transfer that refuses: the session at once, or each object.
struct Refuser {
    session: Option<Failure>,
    object: Failure,
}

impl Transfer for Refuser {
    fn begin(&mut self, _: &Init) -> Result<(), Failure> {
        self.session.clone().map_or(Ok(()), Err)
    }

    fn upload(&mut self, _: &Upload, _: &mut Progress<'_>) -> Result<(), Failure> {
        Err(self.object.clone())
    }

    fn download(&mut self, _: &Download, _: &mut Progress<'_>) -> Result<PathBuf, Failure> {
        Err(self.object.clone())
    }
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// The message with its recorded folders moved below `folder`.
fn moved(message: &Value, folder: &Path) -> Value {
    let folder = folder.to_str().expect("the target folder is UTF-8");
    let text = message.to_string().replace("{T}", folder).replace("{LAB}", folder);
    serde_json::from_str(&text).expect("a folder's name needs no escapes")
}

/// Makes the file a job needs: what git-lfs offers, or what the store should have.
fn lay_out(message: &Value, copier: &Copier) {
    let path = match (message["event"].as_str(), message["path"].as_str()) {
        (Some("upload"), Some(path)) => PathBuf::from(path),
        (Some("download"), _) => copier.store.join(message["oid"].as_str().expect("a job has an oid")),
        _ => return,
    };
    let size = message["size"].as_u64().expect("a job has a size") as usize;
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the test folder is writable");
    fs::write(path, vec![7; size]).expect("the test folder is writable");
}

/// Protects every exchange that was ever observed: all 171 sessions, answered by a transfer that works,
/// also those in which the recorded agent misbehaved (git-lfs said the same to begin with).
#[test]
fn every_recorded_session_is_served() {
    let folder = folder("every_recorded_session_is_served");
    let sessions = Recording::sessions(|_| true);
    assert_eq!(sessions.len(), 171);
    for (name, process) in sessions {
        println!("{name}");
        let mut copier = Copier::new(&folder);
        let messages: Vec<Value> = side(&process, "in").map(|message| moved(message, &folder)).collect();
        messages.iter().for_each(|message| lay_out(message, &copier));
        let git_lfs = GitLfs::new(messages.iter().cloned());
        serve(BufReader::new(git_lfs.clone()), git_lfs.clone(), &mut copier)
            .expect("a recorded session is served");

        let jobs: Vec<&Value> = messages.iter().filter(|message| message.get("oid").is_some()).collect();
        let completes = git_lfs.completes();
        assert_eq!(copier.begun, messages.len().min(1));
        assert_eq!(completes.len(), jobs.len());
        for (job, complete) in jobs.iter().zip(&completes) {
            assert_eq!(complete["oid"], job["oid"]);
            assert_eq!(complete.get("error"), None);
            let arrived = match complete["path"].as_str() {
                Some(path) => PathBuf::from(path),
                None => copier.store.join(job["oid"].as_str().expect("a job has an oid")),
            };
            assert_eq!(complete.get("path").is_some(), job["event"] == "download");
            assert_eq!(fs::metadata(arrived).expect("the object arrived").len(), job["size"]);
        }
    }
}

/// Protects our `complete`: it says what the recorded agent's did, to which git-lfs answered with success.
#[test]
fn completes_are_those_that_git_lfs_accepted() {
    let folder = folder("completes_are_those_that_git_lfs_accepted");
    for (name, process) in Recording::sessions(|case| !case.starts_with("mode-")) {
        println!("{name}");
        let mut copier = Copier::new(&folder);
        let messages: Vec<Value> = side(&process, "in").map(|message| moved(message, &folder)).collect();
        messages.iter().for_each(|message| lay_out(message, &copier));
        let git_lfs = GitLfs::new(messages.into_iter());
        serve(BufReader::new(git_lfs.clone()), git_lfs.clone(), &mut copier)
            .expect("a recorded session is served");
        let accepted = side(&process, "out").filter(|answer| answer["event"] == "complete").cloned();
        let without_path = |mut complete: Value| {
            let had_path = complete.as_object_mut().is_some_and(|fields| fields.remove("path").is_some());
            (complete, had_path)
        };
        let ours: Vec<_> = git_lfs.completes().into_iter().map(without_path).collect();
        assert_eq!(ours, accepted.map(without_path).collect::<Vec<_>>());
    }
}

/// Protects the message of a refused session: it is the recorded one, whose words git-lfs showed the user.
#[test]
fn a_refused_init_is_answered_as_recorded() {
    let sessions = Recording::sessions(|case| case == "mode-initerr");
    assert_eq!(sessions.len(), 6);
    for (name, process) in sessions {
        println!("{name}");
        let session = Some(Failure::new(32, "no such store"));
        let mut refuser = Refuser { session, object: Failure::new(0, "never asked") };
        let input: Vec<u8> = side(&process, "in").flat_map(|m| format!("{m}\n").into_bytes()).collect();
        let mut output = Vec::new();
        serve(&input[..], &mut output, &mut refuser).expect("a refusal is no error of the agent");
        let said: Vec<Value> = lines(&output);
        assert_eq!(said.iter().collect::<Vec<_>>(), side(&process, "out").collect::<Vec<_>>());
    }
}

/// Protects the objects after a failed one: each is still answered, with the recorded words.
#[test]
fn a_failed_object_does_not_end_the_session() {
    let sessions = Recording::sessions(|case| case == "mode-err");
    assert_eq!(sessions.len(), 6);
    for (name, process) in sessions {
        println!("{name}");
        let mut refuser = Refuser { session: None, object: Failure::new(2, "agent says no") };
        let git_lfs = GitLfs::new(side(&process, "in").cloned());
        serve(BufReader::new(git_lfs.clone()), git_lfs.clone(), &mut refuser)
            .expect("failed objects are answered");
        let recorded = side(&process, "out").filter(|answer| answer["event"] == "complete");
        assert_eq!(git_lfs.completes().iter().collect::<Vec<_>>(), recorded.collect::<Vec<_>>());
    }
}

/// Protects the other workers: before a transfer has done anything, git-lfs has heard of a first byte.
#[test]
fn the_first_progress_precedes_the_work() {
    struct Peek(GitLfs);
    impl Transfer for Peek {
        fn begin(&mut self, _: &Init) -> Result<(), Failure> {
            Ok(())
        }
        fn upload(&mut self, _: &Upload, _: &mut Progress<'_>) -> Result<(), Failure> {
            unreachable!("the session downloads")
        }
        fn download(&mut self, _: &Download, _: &mut Progress<'_>) -> Result<PathBuf, Failure> {
            let heard = lines(&self.0.0.borrow().flushed);
            assert_eq!(heard.len(), 1, "{heard:?}");
            assert_eq!(heard[0]["bytesSoFar"], 1);
            Ok("x".into())
        }
    }
    let (_, process) = Recording::sessions(|case| case == "clone-two-processes").swap_remove(0);
    let git_lfs = GitLfs::new(side(&process, "in").cloned());
    serve(BufReader::new(git_lfs.clone()), git_lfs.clone(), &mut Peek(git_lfs.clone()))
        .expect("a recorded session is served");
    assert_eq!(git_lfs.completes().len(), 2);
}

/// Protects the machine from work nobody waits for: when git-lfs dies, the transfer is told to stop and
/// the session ends with a write error, whichever line was the last to pass.
#[test]
fn a_closed_pipe_ends_the_session() {
    /// Accepts this many lines, then fails as a closed pipe does.
    struct Closing(usize);
    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    /// Works until told to stop.
    struct Tireless;
    impl Transfer for Tireless {
        fn begin(&mut self, _: &Init) -> Result<(), Failure> {
            Ok(())
        }
        fn upload(&mut self, _: &Upload, _: &mut Progress<'_>) -> Result<(), Failure> {
            unreachable!("the session downloads")
        }
        fn download(&mut self, job: &Download, progress: &mut Progress<'_>) -> Result<PathBuf, Failure> {
            for so_far in 2..job.size {
                std::thread::sleep(std::time::Duration::from_millis(1));
                if progress(so_far).is_break() {
                    return Err(Failure::new(1, "stopped"));
                }
            }
            Ok("x".into())
        }
    }
    let (_, process) = Recording::sessions(|case| case == "clone").swap_remove(0);
    let input: Vec<u8> = side(&process, "in").flat_map(|m| format!("{m}\n").into_bytes()).collect();
    for accepted in 0..4 {
        let end = serve(&input[..], Closing(accepted), &mut Tireless);
        assert!(matches!(&end, Err(ServeError::Write(_))), "after {accepted} lines: {end:?}");
    }
}

fn lines(output: &[u8]) -> Vec<Value> {
    output
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("answers are JSON"))
        .collect()
}
