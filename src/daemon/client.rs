//! Calls the daemon, starting it if there is none; or does the work here, if the user says so.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::handle::Handler;
use super::message::{self, Event, Failure, Kind, Reply, Request};
use super::place::Place;
use crate::progress::Progress;

/// A daemon that starts opens its store first, and rebuilds a lost index before that.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// A daemon that finds another one exits before that one answers; longer than this, it had a reason.
const YIELD_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks for a daemon that answers.
const POLL: Duration = Duration::from_millis(15);
/// In-process runs take turns.
const TURN_PATIENCE: Duration = Duration::from_secs(600);

/// A way to have requests done.
pub struct Client {
    place: Place,
    stream: Option<UnixStream>,
    /// Whether a daemon may be started when there is none, or none any more.
    starts: bool,
}

impl Client {
    /// Connects to the user's daemon, or prepares to work in this process.
    pub fn connect(place: &Place) -> Result<Client, Failure> {
        let mut client = Client { place: place.clone(), stream: None, starts: true };
        if !place.in_process {
            client.stream = Some(client.greet()?);
        }
        Ok(client)
    }

    /// A running daemon's connection, whatever its version, or `None`: nothing is started.
    pub fn existing(place: &Place) -> Option<Client> {
        let stream = UnixStream::connect(&place.socket).ok()?;
        Some(Client { place: place.clone(), stream: Some(stream), starts: false })
    }

    /// Has one request done. If the daemon dies over it, another one is asked, once: every request may
    /// be done twice.
    pub fn call(&mut self, request: &Request, progress: &Progress<'_>) -> Result<Reply, Failure> {
        let Some(stream) = &mut self.stream else {
            return Handler::open(&self.place, "git-sparse", TURN_PATIENCE)?.handle(request, progress);
        };
        let first = converse(stream, request, progress);
        if first.is_ok() || !self.starts {
            return first.unwrap_or_else(|error| Err(lost(&error)));
        }
        let stream = self.stream.insert(self.greet()?);
        converse(stream, request, progress).unwrap_or_else(|error| Err(lost(&error)))
    }

    fn greet(&self) -> Result<UnixStream, Failure> {
        let start = Instant::now();
        let mut started: Option<Child> = None;
        let mut gave_up: Option<(Instant, ExitStatus)> = None;
        while start.elapsed() < START_PATIENCE {
            if let Ok(mut stream) = UnixStream::connect(&self.place.socket) {
                // One that hangs must not make its clients hang.
                let patience = START_PATIENCE.saturating_sub(start.elapsed()).max(POLL);
                let _ = stream.set_read_timeout(Some(patience));
                match hello(&mut stream) {
                    Ok(version) if version == crate::VERSION => {
                        let _ = stream.set_read_timeout(None);
                        return Ok(stream);
                    }
                    // It finishes what it does and goes; a new one waits for its lock.
                    _ => started = None,
                }
            }
            match started.as_mut().map(Child::try_wait) {
                None => started = Some(start_daemon(&self.place)?),
                // One that was killed, as by a lack of memory, says nothing about the next.
                Some(Ok(Some(status))) if status.signal().is_some() || status.success() => started = None,
                // One that gives up may do so for another that begins to answer.
                Some(Ok(Some(status))) => {
                    let (since, status) = *gave_up.get_or_insert((Instant::now(), status));
                    if since.elapsed() > YIELD_PATIENCE {
                        return Err(
                            self.silent(&format!("the daemon gave up ({status}){}", self.last_words()))
                        );
                    }
                }
                Some(_) => {}
            }
            thread::sleep(POLL);
        }
        Err(self.silent("the daemon does not answer"))
    }

    /// The last error in the daemon's log, with its fix.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.place.log).unwrap_or_default();
        log.rfind("error: ")
            .map_or_else(String::new, |at| format!("; its log ends with:\n{}", log[at..].trim_end()))
    }

    fn silent(&self, what: &str) -> Failure {
        let log = self.place.log.display();
        let fix = format!("see {log} and git sparse daemon run; or set GIT_SPARSE_NO_DAEMON=1");
        Failure::new(Kind::Fatal, what).fix(fix)
    }
}

/// The process id of a daemon of this version that answers now.
pub(super) fn serving(place: &Place) -> Option<u32> {
    match Client::existing(place)?.call(&Request::Status, &crate::progress::unwatched) {
        Ok(Reply::Status(status)) if status.version == crate::VERSION => Some(status.pid),
        _ => None,
    }
}

fn hello(stream: &mut UnixStream) -> Result<String, Failure> {
    let request = Request::Hello { version: crate::VERSION.into() };
    let reply = converse(stream, &request, &crate::progress::unwatched).map_err(|error| lost(&error))?;
    match reply? {
        Reply::Hello { version } => Ok(version),
        other => Err(unexpected(&other)),
    }
}

/// The daemon's answer; an I/O error when the daemon was lost before it gave one.
fn converse(
    stream: &mut UnixStream,
    request: &Request,
    progress: &Progress<'_>,
) -> io::Result<Result<Reply, Failure>> {
    message::write(stream, request)?;
    loop {
        match message::read(stream)? {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Event::Progress(bytes)) => {
                if let Err(cancelled) = progress(bytes) {
                    return Ok(Err(Failure::new(Kind::Fatal, cancelled.to_string())));
                }
            }
            Some(Event::Done(reply)) => return Ok(Ok(reply)),
            Some(Event::Failed(failure)) => return Ok(Err(failure)),
        }
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(Kind::Fatal, format!("lost the daemon: {error}"))
        .fix("try again; it starts by itself, and git sparse daemon log tells what it said")
}

/// Detached, in a session of its own, with no stream of ours: git waits for whoever holds its pipes.
fn start_daemon(place: &Place) -> Result<Child, Failure> {
    let failed = |what: String, error: io::Error| {
        Failure::new(Kind::Fatal, format!("can't start the daemon: {what}: {error}"))
            .fix("set GIT_SPARSE_NO_DAEMON=1 to work without it")
    };
    let program = std::env::current_exe().map_err(|error| failed("own path".into(), error))?;
    let log = open_log(place).map_err(|error| failed(place.log.display().to_string(), error))?;
    let mut command = Command::new(&program);
    command.args(["daemon", "run", "--detached"]).current_dir("/");
    command.env("GIT_SPARSE_DIR", &place.store).env("GIT_SPARSE_CACHE_DIR", &place.cache);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().map_err(|error| failed(program.display().to_string(), error))
}

fn open_log(place: &Place) -> io::Result<std::fs::File> {
    if let Some(dir) = place.log.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // It names files and repositories: under a loose umask, too, for the user alone.
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&place.log)
}

pub(super) fn unexpected(reply: &Reply) -> Failure {
    Failure::new(Kind::Fatal, format!("the daemon answered something else: {reply:?}"))
}
