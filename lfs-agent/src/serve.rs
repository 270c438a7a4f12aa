//! The conversation with git-lfs: read an event, do it, answer, until it ends.
//!
//! git-lfs waits for the `complete` of one object before it sends the next, so one thread is enough. What
//! happens when a line is wrong is decided here: a wrong job fails alone, a wrong line ends the session.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use crate::answer::{Answer, Failure, path_text};
use crate::event::{Event, Operation};
use crate::oid::Oid;
use crate::throttle::Throttle;
use crate::{Progress, Transfer};

/// The longest line we read. The longest honest one holds a path and a signed URL, a few KiB.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// The code of a failure that ends the session because git-lfs broke the protocol, as HTTP would number it.
const BAD_REQUEST: i32 = 400;

/// Why a session ended other than by `terminate`, by the end of input, or by a refusal of `begin`.
#[derive(Debug)]
pub enum ServeError {
    /// Reading from git-lfs failed.
    Read(io::Error),
    /// Writing to git-lfs failed: it is gone.
    Write(io::Error),
    /// A line was not what the protocol allows; git-lfs has been told.
    Protocol {
        /// Which line of the input, counted from one.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(out, "reading from git-lfs: {error}"),
            Self::Write(error) => write!(out, "writing to git-lfs: {error}"),
            Self::Protocol { line, reason } => write!(out, "line {line} from git-lfs: {reason}"),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) | Self::Write(error) => Some(error),
            Self::Protocol { .. } => None,
        }
    }
}

/// Serves one git-lfs process: `reader` and `writer` are usually standard input and output.
///
/// Returns `Ok` after `terminate`, at the end of input, and after `begin` refused the session (git-lfs then
/// reports the refusal). A panic of the transfer is not caught.
pub fn serve(
    reader: impl BufRead,
    writer: impl Write,
    transfer: &mut dyn Transfer,
) -> Result<(), ServeError> {
    let mut events = Events { reader, line: Vec::new(), number: 0 };
    let mut answers = Answers { writer };
    let end = converse(&mut events, &mut answers, transfer);
    if let Err(error @ ServeError::Protocol { .. }) = &end {
        // If even this cannot be written, the broken line is still the cause to report.
        let _ = answers.send(&Answer::refusal(&Failure::new(BAD_REQUEST, error.to_string())));
    }
    end
}

fn converse(
    events: &mut Events<impl BufRead>,
    answers: &mut Answers<impl Write>,
    transfer: &mut dyn Transfer,
) -> Result<(), ServeError> {
    let init = match events.next()? {
        Some(Event::Init(init)) => init,
        Some(Event::Terminate) | None => return Ok(()),
        Some(other) => return Err(events.protocol_error(format!("{} before init", other.name()))),
    };
    if let Err(failure) = transfer.begin(&init) {
        return answers.send(&Answer::refusal(&failure));
    }
    answers.send(&Answer::ready())?;
    while let Some(event) = events.next()? {
        match (event, init.operation) {
            (Event::Upload(job), Operation::Upload) => {
                run(answers, &job.oid, job.size, |progress| transfer.upload(&job, progress).map(|()| None))?;
            }
            (Event::Download(job), Operation::Download) => {
                run(answers, &job.oid, job.size, |progress| transfer.download(&job, progress).map(Some))?;
            }
            (Event::Refused { oid, failure, .. }, _) => answers.send(&Answer::failed(&oid, &failure))?,
            (Event::Terminate, _) => break,
            (other, operation) => {
                let reason = format!("{} in a session of {operation:?}s", other.name());
                return Err(events.protocol_error(reason.to_lowercase()));
            }
        }
    }
    Ok(())
}

/// Does one job and answers it: progress from the first byte to the last, then `complete`.
fn run(
    answers: &mut Answers<impl Write>,
    oid: &Oid,
    size: u64,
    work: impl FnOnce(&mut Progress<'_>) -> Result<Option<PathBuf>, Failure>,
) -> Result<(), ServeError> {
    let mut throttle = Throttle::new(size, Instant::now());
    let mut written = Ok(());
    if let Some(step) = throttle.open() {
        answers.send(&Answer::progress(oid, step))?;
    }
    let done = work(&mut |bytes_so_far| {
        if written.is_err() {
            return ControlFlow::Break(());
        }
        if let Some(step) = throttle.report(bytes_so_far, Instant::now()) {
            written = answers.send(&Answer::progress(oid, step));
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    let path = match &done {
        Ok(path) => path.as_deref().map(path_text).transpose(),
        Err(failure) => Err(failure.clone()),
    };
    match path {
        Ok(path) => {
            if let Some(step) = throttle.close() {
                answers.send(&Answer::progress(oid, step))?;
            }
            answers.send(&Answer::complete(oid, path))
        }
        Err(failure) => answers.send(&Answer::failed(oid.as_str(), &failure)),
    }
}

/// The lines from git-lfs.
struct Events<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Events<R> {
    /// The next event, or `None` at the end of input.
    fn next(&mut self) -> Result<Option<Event>, ServeError> {
        self.line.clear();
        self.number += 1;
        // One byte more than allowed tells a long line from one that just fits.
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read =
            (&mut self.reader).take(limit).read_until(b'\n', &mut self.line).map_err(ServeError::Read)?;
        if read == 0 {
            return Ok(None);
        }
        if read > MAX_LINE_BYTES {
            return Err(self.protocol_error(format!("longer than {MAX_LINE_BYTES} bytes")));
        }
        match Event::parse(&self.line) {
            Ok(event) => Ok(Some(event)),
            Err(reason) => Err(self.protocol_error(reason)),
        }
    }

    /// An error about the line read last.
    fn protocol_error(&self, reason: String) -> ServeError {
        ServeError::Protocol { line: self.number, reason }
    }
}

/// The lines to git-lfs.
struct Answers<W> {
    writer: W,
}

impl<W: Write> Answers<W> {
    /// Writes a line whole and at once: git-lfs waits for it.
    fn send(&mut self, answer: &Answer<'_>) -> Result<(), ServeError> {
        self.writer.write_all(&answer.encode()).and_then(|()| self.writer.flush()).map_err(ServeError::Write)
    }
}
