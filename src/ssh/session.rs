//! One conversation: requests in, answers out, until the client quits.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Operation;
use super::pktline::{Packet, PacketError, PacketReader, PacketWriter};
use crate::backend::{Local, Privacy};
use crate::id::Oid;
use crate::index::Index;
use crate::store::{NoShelf, Store};
use crate::sync::Remote;

/// Most arguments of a request, and most bytes of one.
const MAX_ARGUMENTS: usize = 100;
const MAX_ARGUMENT_BYTES: usize = 8 << 10;

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{0}")]
    Packet(#[from] PacketError),
    #[error("write: {0}")]
    Write(#[from] io::Error),
    /// Bytes of the file were on their way already: only breaking off tells the client that it is not whole.
    #[error("file {oid}: {why}")]
    BrokenOff { oid: Oid, why: String },
}

/// Why a request has no good answer.
#[derive(Debug)]
pub enum Stop {
    /// A status and words for the user; the conversation goes on.
    Refused(u16, String),
    Broken(SessionError),
}

impl From<PacketError> for Stop {
    fn from(error: PacketError) -> Stop {
        Stop::Broken(error.into())
    }
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Stop {
        Stop::Broken(error)
    }
}

/// A request without what follows its delimiter.
pub struct Asked {
    pub verb: String,
    /// What stands behind the verb in its line.
    pub of: String,
    arguments: Vec<(String, String)>,
}

impl Asked {
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.arguments.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The file that the request is about.
    pub fn oid(&self) -> Result<Oid, Stop> {
        self.of.parse().map_err(|error| Stop::Refused(400, format!("{error}")))
    }

    /// A number among the arguments.
    pub fn number(&self, key: &str) -> Result<u64, Stop> {
        let number = self.argument(key).and_then(plain_number);
        number.ok_or_else(|| Stop::Refused(400, format!("expected {key}=NUMBER")))
    }
}

/// Decimal digits and nothing else.
pub fn plain_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A client, and the repository that it may use.
pub struct Session<R, W> {
    pub(super) store: Store,
    /// The same store as one that others may write to and collect meanwhile.
    pub(super) shared: Remote,
    /// Where files that are received lie until they are stored.
    pub(super) received: PathBuf,
    pub(super) operation: Operation,
    pub(super) user: String,
    /// Seconds since 1970.
    pub(super) now: fn() -> u64,
    pub(super) to: PacketWriter<W>,
    from: PacketReader<R>,
    /// A part of the request is still to be read.
    goes_on: bool,
}

impl<R: Read, W: Write + Send> Session<R, W> {
    /// A conversation over the store in the directory `root`.
    pub fn new(
        root: &Path,
        operation: Operation,
        user: String,
        now: fn() -> u64,
        (from, to): (R, W),
    ) -> Session<R, W> {
        let backend = || Box::new(Local::new(root, Privacy::Shared));
        let store = Store::with(backend(), Index::in_memory(), Box::new(NoShelf));
        let (shared, received) = (Remote::new(backend()), root.join("tmp"));
        let (from, to) = (PacketReader::new(from), PacketWriter::new(to));
        Session { store, shared, received, operation, user, now, to, from, goes_on: false }
    }

    /// Answers until the client quits or is gone.
    pub fn run(mut self) -> Result<(), SessionError> {
        self.to.line("version=1")?;
        self.to.line("locking")?;
        self.to.flush()?;
        loop {
            let done = match self.request() {
                Ok(None) => return Ok(()),
                Ok(Some(asked)) if asked.verb == "quit" => return self.agree(200, &[]),
                Ok(Some(asked)) => self.answer(&asked),
                Err(stop) => Err(stop),
            };
            match done {
                Ok(()) => {}
                Err(Stop::Refused(status, words)) => self.refuse(status, &words)?,
                Err(Stop::Broken(error)) => {
                    // Nothing that follows can be read; the client may still hear why.
                    if let SessionError::Packet(PacketError::Length(_)) = &error {
                        self.say_no(400, &error.to_string())?;
                    }
                    return Err(error);
                }
            }
        }
    }

    fn answer(&mut self, asked: &Asked) -> Result<(), Stop> {
        match asked.verb.as_str() {
            "version" if asked.of == "1" => self.agree(200, &[]).map_err(Stop::from),
            "version" => Err(Stop::Refused(400, "only version 1 is known here".into())),
            "batch" => self.batch(asked),
            "get-object" => self.get(asked),
            "put-object" => self.put(asked),
            "verify-object" => self.verify(asked),
            "lock" => self.lock(asked),
            // git-lfs before 3.4 says it in the plural.
            "list-lock" | "list-locks" => self.list_locks(asked),
            "unlock" => self.unlock(asked),
            _ => Err(Stop::Refused(400, "unknown command".into())),
        }
    }

    /// Reads a request up to its end or delimiter; none where the client is gone.
    fn request(&mut self) -> Result<Option<Asked>, Stop> {
        let first = match self.from.next()? {
            None => return Ok(None),
            Some(Packet::Data(line)) => {
                self.goes_on = true;
                text(line)?
            }
            Some(packet) => {
                self.goes_on = packet == Packet::Delimiter;
                return Err(Stop::Refused(400, "expected a command".into()));
            }
        };
        let (verb, of) = first.split_once(' ').unwrap_or((&first, ""));
        let mut asked = Asked { verb: verb.into(), of: of.into(), arguments: Vec::new() };
        loop {
            match self.from.next()? {
                None => return Err(PacketError::Short.into()),
                Some(Packet::Delimiter) => return Ok(Some(asked)),
                Some(Packet::Flush) => {
                    self.goes_on = false;
                    return Ok(Some(asked));
                }
                Some(Packet::Data(line)) => {
                    if asked.arguments.len() == MAX_ARGUMENTS || line.len() > MAX_ARGUMENT_BYTES {
                        return Err(Stop::Refused(413, "too many arguments".into()));
                    }
                    let line = text(line)?;
                    let (key, value) = line.split_once('=').unwrap_or((&line, ""));
                    asked.arguments.push((key.into(), value.into()));
                }
            }
        }
    }

    /// The next packet behind the delimiter; none at the end of the request.
    pub(super) fn more(&mut self) -> Result<Option<&[u8]>, Stop> {
        while self.goes_on {
            match self.from.next()? {
                None => return Err(PacketError::Short.into()),
                Some(Packet::Flush) => self.goes_on = false,
                Some(Packet::Delimiter) => {}
                // Asked for again, as a borrow that is returned lasts for the whole loop.
                Some(Packet::Data(_)) => return Ok(Some(self.from.last())),
            }
        }
        Ok(None)
    }

    /// A status without words.
    pub(super) fn agree(&mut self, status: u16, arguments: &[String]) -> Result<(), SessionError> {
        self.to.line(&format!("status {status}"))?;
        arguments.iter().try_for_each(|argument| self.to.line(argument))?;
        Ok(self.to.flush()?)
    }

    /// Reads what is left of the request, so that the client listens, and says no.
    fn refuse(&mut self, status: u16, words: &str) -> Result<(), SessionError> {
        loop {
            match self.more() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(self.say_no(status, words)?),
                Err(Stop::Broken(error)) => return Err(error),
                Err(Stop::Refused(..)) => {}
            }
        }
    }

    fn say_no(&mut self, status: u16, words: &str) -> io::Result<()> {
        self.to.line(&format!("status {status}"))?;
        self.to.delimiter()?;
        self.to.line(words)?;
        self.to.flush()
    }
}

/// A line without its end.
pub fn text(line: &[u8]) -> Result<String, Stop> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = String::from_utf8(line.to_vec());
    line.map_err(|_| Stop::Refused(400, "expected a line in UTF-8".into()))
}
