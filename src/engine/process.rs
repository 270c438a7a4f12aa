//! The engine's process: a line to it, lines from it, and its last words when it dies.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine_messages::{Reply, Request};

use super::EngineError;

/// The longest reply: what was scored of some windows is far below it.
const MAX_REPLY_BYTES: u64 = 256 << 20;
/// What is kept of its last words.
const MAX_WORDS_BYTES: usize = 2000;
/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// A process that answers requests one after another.
pub struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    words: Option<JoinHandle<String>>,
}

impl Process {
    pub fn start(path: &Path) -> Result<Process, EngineError> {
        let failed = |error| EngineError::Start { path: path.to_owned(), error };
        let mut command = Command::new(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for whoever started it, who then says what became of the work.
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(requests), Some(replies), Some(words)) = taken else {
            unreachable!("because all three are pipes")
        };
        let words = thread::Builder::new().spawn(move || last_words(words)).map_err(failed)?;
        Ok(Process { child, requests: Some(requests), replies: BufReader::new(replies), words: Some(words) })
    }

    /// Asks, and gives the first reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, EngineError> {
        let mut line = serde_json::to_vec(request).map_err(|_| EngineError::Answer)?;
        line.push(b'\n');
        let Some(requests) = &mut self.requests else { return Err(self.died()) };
        match requests.write_all(&line).and_then(|()| requests.flush()) {
            Ok(()) => self.next(),
            Err(_) => Err(self.died()),
        }
    }

    /// The next reply.
    pub fn next(&mut self) -> Result<Reply, EngineError> {
        let mut line = Vec::new();
        let read = self.replies.by_ref().take(MAX_REPLY_BYTES).read_until(b'\n', &mut line);
        match read {
            Ok(count) if count as u64 == MAX_REPLY_BYTES => Err(EngineError::Answer),
            Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|_| EngineError::Answer),
            Ok(_) | Err(_) => Err(self.died()),
        }
    }

    /// How it ended: by itself, since it hears nothing more, or in a while by force.
    fn end(&mut self) -> io::Result<ExitStatus> {
        for _ in 0..100 {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(PAUSE);
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// What can be told of a process that no longer answers.
    fn died(&mut self) -> EngineError {
        self.requests = None;
        let status = match self.end() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let words = words.trim();
        EngineError::Died(if words.is_empty() { status } else { format!("{status}; it said: {words}") })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all that a process says, so that it never waits for a reader, and keeps the end.
fn last_words(mut from: ChildStderr) -> String {
    let mut kept = VecDeque::with_capacity(MAX_WORDS_BYTES);
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                kept.extend(&buffer[..count]);
                kept.drain(..kept.len().saturating_sub(MAX_WORDS_BYTES));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}
