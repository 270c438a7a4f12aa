//! `git sparse lfs-agent`: what git-lfs starts. A thin client of the daemon.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use lfs_agent::{Action, Download, Failure as LfsFailure, Init, Operation, Progress, Transfer, Upload};

use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::daemon::place::Place;
use crate::daemon::{reach, words};
use crate::git::command::Git;
use crate::id::Oid;
use crate::locator;
use crate::progress::Cancelled;

/// One git-lfs process' transfers.
pub struct Agent {
    git: Git,
    place: Place,
    session: Option<Session>,
}

struct Session {
    client: Client,
    repo: Option<PathBuf>,
    /// Where git-lfs can move a finished download from.
    into: PathBuf,
    /// For jobs without an action: a store that git-lfs knows nothing of.
    standalone: Result<RemotePlace, Failure>,
    /// The LFS server that git-lfs asked for jobs with an action.
    lfs_url: Option<String>,
}

impl Agent {
    /// An agent for the repository that `git` acts on.
    pub fn new(git: Git, place: Place) -> Agent {
        Agent { git, place, session: None }
    }

    fn open(&self, init: &Init) -> Result<Session, Failure> {
        let pushing = init.operation == Operation::Upload;
        let place = locator::resolve(&self.git, &init.remote, pushing);
        let standalone = match place {
            Ok(place) => Ok(reach::store(&self.git, place)?),
            // An LFS server is asked, which names a place for each file.
            Err(error) if error.is_no_locator() => Err(words::locator(&error)),
            Err(error) => return Err(words::locator(&error)),
        };
        let lfs_url = locator::lfs_url(&self.git, &init.remote, pushing);
        let git_failed = |error: crate::git::command::GitError| Failure::new(Kind::Fatal, error.to_string());
        let into = self.git.lfs_dir().map_err(git_failed)?.join("tmp");
        fs::create_dir_all(&into)
            .map_err(|error| Failure::new(Kind::Fatal, format!("{}: {error}", into.display())))?;
        let repo = self.git.common_dir().ok();
        let client = Client::connect(&self.place)?;
        Ok(Session { client, repo, into, standalone, lfs_url })
    }
}

impl Session {
    /// Where a job's file goes to or comes from.
    fn remote(&self, git: &Git, action: Option<&Action>) -> Result<RemotePlace, LfsFailure> {
        match action {
            Some(action) => reach::linked(git, self.lfs_url.as_deref(), &action.href)
                .map(RemotePlace::Hub)
                .map_err(to_lfs),
            None => self.standalone.clone().map_err(to_lfs),
        }
    }

    /// Does a job. Links are good for an hour, and git-lfs asks for new ones with its next command alone: where one is
    /// good no longer, what is left is done by the user's own rights.
    fn ask(
        &mut self,
        git: &Git,
        action: Option<&Action>,
        request: impl Fn(RemotePlace) -> Request,
        progress: &mut Progress<'_>,
    ) -> Result<Reply, LfsFailure> {
        let remote = self.remote(git, action)?;
        let done = call(&mut self.client, &request(remote), progress);
        let own = match &done {
            Err(failure) if failure.kind == Kind::Refused && action.is_some() => {
                self.lfs_url.as_deref().and_then(|url| reach::hub(git, url).ok().flatten())
            }
            _ => None,
        };
        match own {
            Some(remote) => call(&mut self.client, &request(remote), progress),
            None => done,
        }
        .map_err(to_lfs)
    }
}

impl Transfer for Agent {
    fn begin(&mut self, init: &Init) -> Result<(), LfsFailure> {
        self.session = Some(self.open(init).map_err(to_lfs)?);
        Ok(())
    }

    fn upload(&mut self, job: &Upload, progress: &mut Progress<'_>) -> Result<(), LfsFailure> {
        let session = self.session.as_mut().ok_or_else(no_session)?;
        let (oid, path, repo) = (parse(job.oid.as_str())?, job.path.clone(), session.repo.clone());
        let request = |remote| Request::Upload { oid, path: path.clone(), repo: repo.clone(), remote };
        session.ask(&self.git, job.action.as_ref(), request, progress).map(drop)
    }

    fn download(&mut self, job: &Download, progress: &mut Progress<'_>) -> Result<PathBuf, LfsFailure> {
        let session = self.session.as_mut().ok_or_else(no_session)?;
        let (oid, into, repo) = (parse(job.oid.as_str())?, session.into.clone(), session.repo.clone());
        let request = |remote| Request::Download { oid, into: into.clone(), repo: repo.clone(), remote };
        match session.ask(&self.git, job.action.as_ref(), request, progress)? {
            Reply::Downloaded { path } => Ok(path),
            other => Err(LfsFailure::new(500, format!("the daemon answered something else: {other:?}"))),
        }
    }
}

/// The client works on a thread of its own, so that git-lfs hears of progress from this one.
fn call(client: &mut Client, request: &Request, progress: &mut Progress<'_>) -> Result<Reply, Failure> {
    let (report, reports) = mpsc::channel();
    thread::scope(|scope| {
        let work =
            scope.spawn(move || client.call(request, &|bytes| report.send(bytes).map_err(|_| Cancelled)));
        let mut done = 0;
        for bytes in reports {
            done += bytes;
            // Leaving the loop hangs up, which cancels the work.
            if progress(done).is_break() {
                break;
            }
        }
        let outcome =
            work.join().map_err(|_| Failure::new(Kind::Fatal, "internal error: the transfer panicked"));
        outcome.and_then(|reply| reply)
    })
}

fn parse(oid: &str) -> Result<Oid, LfsFailure> {
    oid.parse().map_err(|error| LfsFailure::new(400, format!("{error}")))
}

fn no_session() -> LfsFailure {
    LfsFailure::new(400, "no session was begun".to_owned())
}

/// git-lfs shows the message only: it carries the fix.
fn to_lfs(failure: Failure) -> LfsFailure {
    let code = match failure.kind {
        Kind::NotFound => 404,
        Kind::Refused => 403,
        Kind::Usage => 400,
        Kind::Remote | Kind::Corrupt | Kind::Interrupted | Kind::Fatal => 500,
    };
    LfsFailure::new(code, format!("git sparse: {failure}"))
}
