//! A process that answers lines of JSON: one line to it, lines from it, and its last words when it dies.
//!
//! The engine is one, and so are outside tools. Such a process can hang nobody: what it says beside its answers is read all
//! the time, and an answer that is longer than it may be is no answer.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is kept of its last words.
const MAX_WORDS_BYTES: usize = 2000;
/// Between two looks whether it has ended, and how many there are before it is made to.
const PAUSE: Duration = Duration::from_millis(10);
const LOOKS: usize = 100;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It ended: how, and the last that it said.
    #[error("{status}{}", said(words))]
    Died { status: String, words: String },
    #[error("an answer in words that mean nothing")]
    Answer,
}

/// A process that answers questions one after another.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    max_answer_bytes: u64,
    words: Option<JoinHandle<String>>,
}

impl Worker {
    /// Starts it; an answer may have so many bytes.
    ///
    /// # Errors
    /// A program that can't be started.
    pub fn start(mut command: Command, max_answer_bytes: u64) -> io::Result<Worker> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for whoever started it, who then says what became of the work.
        command.process_group(0);
        let mut child = command.spawn()?;
        let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(questions), Some(answers), Some(words)) = taken else {
            unreachable!("because all three are pipes")
        };
        let words = thread::Builder::new().spawn(move || last_words(words))?;
        let (questions, answers) = (Some(questions), BufReader::new(answers));
        Ok(Worker { child, questions, answers, max_answer_bytes, words: Some(words) })
    }

    /// Asks, and gives the first answer.
    ///
    /// # Errors
    /// A process that ended, and what is no answer.
    pub fn call<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<A, WorkerError> {
        let mut line = serde_json::to_vec(question).map_err(|_| WorkerError::Answer)?;
        line.push(b'\n');
        let Some(questions) = &mut self.questions else { return Err(self.died()) };
        match questions.write_all(&line).and_then(|()| questions.flush()) {
            Ok(()) => self.answer(),
            Err(_) => Err(self.died()),
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn answer<A: DeserializeOwned>(&mut self) -> Result<A, WorkerError> {
        let mut line = Vec::new();
        let read = self.answers.by_ref().take(self.max_answer_bytes).read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|_| WorkerError::Answer),
            Ok(count) if count as u64 == self.max_answer_bytes => Err(WorkerError::Answer),
            Ok(_) | Err(_) => Err(self.died()),
        }
    }

    /// How it ended: by itself, since it hears nothing more, or in a while by force.
    fn end(&mut self) -> io::Result<ExitStatus> {
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(PAUSE);
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// What can be told of a process that no longer answers.
    fn died(&mut self) -> WorkerError {
        self.questions = None;
        let status = match self.end() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        WorkerError::Died { status, words: words.trim().to_owned() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it said: {words}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(script: &str) -> Worker {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Worker::start(command, 100).unwrap()
    }

    /// Whatever a process does, whoever asked it goes on: with an answer, or with a reason.
    #[test]
    fn a_process_answers_or_its_end_is_told() {
        let mut echo = worker("cat");
        assert_eq!(echo.call::<[u8; 2]>(&[1, 2]).unwrap(), [1, 2]);
        assert!(matches!(echo.call::<bool>(&[1, 2]), Err(WorkerError::Answer)));
        let told = |script: &str| worker(script).call::<u8>(&1).unwrap_err().to_string();
        assert_eq!(
            told("read -r line; echo 'out of memory' >&2; exit 3"),
            "exit status: 3; it said: out of memory"
        );
        // More words than a pipe holds, and more of an answer than is allowed.
        let much = "read -r line; head -c 1000000 /dev/zero | tr '\\0' a >&2; exit 1";
        assert!(told(much).len() < 2100);
        assert!(told("yes | tr -d '\\n'").contains("mean nothing"));
    }
}
