//! git-lfs at work on one batch, and what its words mean.
//!
//! git-lfs goes on with the other files of a batch when one fails, and its exit code tells of the batch alone. So what
//! came is seen on disk; its words are read only to tell a file that the server lost from one that did not come now.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::cli::interrupt;
use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;
use crate::id::Oid;

/// What is kept of git-lfs' words.
const MOST_WORDS: usize = 1 << 20;
const POLL: Duration = Duration::from_millis(20);
/// How servers and git-lfs say that there is no such file (3.3: "Object does not exist: [404]", "remote missing object").
const LOST: [&str; 5] = ["404", "410", "does not exist", "missing object", "not found"];

/// What git-lfs said.
pub struct Outcome {
    words: String,
}

/// Why a file did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The server says that it has no such file.
    Lost,
    /// Anything else: the network, the server, a wrong hash.
    Failed,
}

impl Outcome {
    pub fn absence(&self, oid: Oid) -> Absence {
        let name = oid.to_string();
        let is_lost = |line: &str| {
            // The oid's own digits are no status.
            let rest = line.replace(&name, "").to_lowercase();
            LOST.iter().any(|word| rest.contains(word))
        };
        match self.words.lines().any(|line| line.contains(&name) && is_lost(line)) {
            true => Absence::Lost,
            false => Absence::Failed,
        }
    }

    pub fn names(&self, oid: Oid) -> bool {
        self.words.contains(&oid.to_string())
    }

    /// The line that tells of a file, or the last that tells anything.
    pub fn about(&self, oid: Oid) -> String {
        let name = oid.to_string();
        let told = self.words.lines().find(|line| line.contains(&name));
        told.map_or_else(|| self.last_words(), |line| line.trim().to_owned())
    }

    /// Its first error, without what it says of its own log.
    pub fn last_words(&self) -> String {
        let tells = |line: &&str| {
            !line.trim().is_empty() && !line.contains("git lfs logs") && !line.starts_with("Errors logged")
        };
        let line = self.words.lines().find(tells).unwrap_or("git-lfs did not say why");
        line.trim().to_owned()
    }
}

/// Has git-lfs fetch what `commit` of the repository `scratch` selects, into the repository of `git`.
pub fn fetch(
    git: &Git,
    scratch: &Path,
    settings: &[String],
    remote: &str,
    commit: &str,
) -> Result<Outcome, Failure> {
    let mut command = within(git, settings);
    command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", scratch.join("objects"));
    command.args(["lfs", "fetch", "--include=", "--exclude=", remote, commit]);
    run(command)
}

/// The same inside of the scratch repository, from the server that it aims at.
pub fn fetch_back(scratch: &Path, commit: &str) -> Result<Outcome, Failure> {
    let mut command = within(&Git::at(scratch), &[]);
    command.args(["lfs", "fetch", "--include=", "--exclude=", "server", commit]);
    run(alone(command))
}

/// Has git-lfs push files of the scratch repository to the server that it aims at; those it has are left out.
pub fn push(scratch: &Path, oids: &[Oid]) -> Result<Outcome, Failure> {
    let mut command = within(&Git::at(scratch), &[]);
    command.args(["lfs", "push", "--object-id", "server"]).args(oids.iter().map(Oid::to_string));
    run(alone(command))
}

fn within(git: &Git, settings: &[String]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(git.dir()).args(["-c", "lfs.fetchrecentalways=false"]);
    command.args(settings.iter().flat_map(|setting| ["-c", setting]));
    command
}

/// Not the user's repository, whatever the environment says.
fn alone(mut command: Command) -> Command {
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end, or until the user interrupts.
fn run(mut command: Command) -> Result<Outcome, Failure> {
    let failed = |error: io::Error| Failure::new(Kind::Fatal, format!("git lfs can't be run: {error}"));
    let interrupted = interrupt::flag();
    let mut child = command.stdout(meter()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let stderr = child.stderr.take().expect("because it was piped");
    let listener = thread::spawn(move || listen(stderr));
    while child.try_wait().map_err(failed)?.is_none() {
        if interrupted.load(Ordering::Relaxed) {
            end(&mut child);
            return Err(stopped());
        }
        thread::sleep(POLL);
    }
    let words = listener.join().unwrap_or_default();
    if interrupted.load(Ordering::Relaxed) {
        return Err(stopped());
    }
    Ok(Outcome { words: String::from_utf8_lossy(&words).into_owned() })
}

/// git-lfs' own progress goes to the terminal, if there is one; standard output is ours.
fn meter() -> Stdio {
    use std::io::IsTerminal;
    let stderr = io::stderr();
    if stderr.is_terminal() { Stdio::from(stderr) } else { Stdio::null() }
}

/// All of it, so that git-lfs never waits; a bounded part is kept.
fn listen(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 8192]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let room = MOST_WORDS.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

/// git passes a request to end on to git-lfs; a kill it could not.
fn end(child: &mut Child) {
    if let Some(id) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    let _ = child.wait();
}

/// What the user hears who wanted it to end.
pub fn stopped() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; what is done is done")
        .fix("run it again: it goes on from here")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that a server lost is listed; one that did not come through is asked for again: git-lfs' words decide.
    #[test]
    fn words_tell_lost_files_from_failed_ones() {
        let oid = Oid::of(b"404");
        let outcome = |words: String| Outcome { words };
        for words in [
            format!("[{oid}] Object does not exist: [404] Object does not exist"),
            format!("error transferring \"{oid}\": [0] remote missing object {oid}"),
            format!("LFS: Repository or object not found: http://h/o/{oid}"),
        ] {
            assert_eq!(outcome(words).absence(oid), Absence::Lost);
        }
        for words in [
            format!("{oid}: expected OID {oid}, got 1"),
            format!("[{}] Object does not exist: [404]", Oid::of(b"another")),
            "batch response: Post \"http://h/404\": connection refused".to_owned(),
        ] {
            assert_eq!(outcome(words).absence(oid), Absence::Failed);
        }
    }
}
