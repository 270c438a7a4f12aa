//! What git-lfs says to us: lines become events of checked types.
//!
//! Everything git-lfs sends passes through [`Event::parse`], so a [`Transfer`](crate::Transfer) never sees
//! an oid that is not 64 hexadecimal digits or a size that does not fit.

use std::fmt;
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::action::{Action, without_secrets};
use crate::answer::Failure;
use crate::oid::Oid;

/// The code of a failure that names a job we can't accept, as HTTP would number it.
const UNPROCESSABLE: i32 = 422;
/// Errors quote what was sent, up to this many characters.
const MAX_QUOTE_CHARS: usize = 200;

/// How git-lfs opens the conversation.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Init {
    /// What all jobs of this process will be.
    pub operation: Operation,
    /// The remote's name or, after `git push <url>`, its URL, which may hold a password.
    #[serde(default)]
    pub remote: String,
    /// Whether git-lfs may start more than one agent.
    #[serde(default)]
    pub concurrent: bool,
    /// How many agents it may start.
    #[serde(default, rename = "concurrenttransfers")]
    pub concurrent_transfers: u32,
}

/// The direction of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// From the repository to the store.
    Upload,
    /// From the store to the repository.
    Download,
}

/// One object to store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Upload {
    /// The object.
    pub oid: Oid,
    /// Its size in bytes, at most 2^63 − 1.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where its bytes are: a file in `.git/lfs/objects`, to be read and left alone.
    #[serde(deserialize_with = "path")]
    pub path: PathBuf,
    /// Where a batch server wants it; `None` without a server.
    pub action: Option<Action>,
}

/// One object to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Download {
    /// The object.
    pub oid: Oid,
    /// Its size in bytes, at most 2^63 − 1.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where a batch server has it; `None` without a server.
    pub action: Option<Action>,
}

/// One line from git-lfs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Init(Init),
    Upload(Upload),
    Download(Download),
    /// A job that names its object but is otherwise wrong: it fails alone, the session goes on.
    /// The oid is as sent, for git-lfs accepts no other in the answer.
    Refused {
        event: &'static str,
        oid: String,
        failure: Failure,
    },
    Terminate,
}

impl Event {
    /// Reads a line, or says what is wrong with it. Fields we don't know are skipped without recursion;
    /// those we know nest at most 128 deep (serde_json's limit).
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let line = line.trim_ascii();
        // serde reads structs from arrays too, but git-lfs sends objects.
        if line.first() != Some(&b'{') {
            return Err("expected a JSON object".into());
        }
        let Name { event } = fields(line)?;
        match event.as_str() {
            "init" => fields(line).map(Self::Init).map_err(|why| format!("init: {why}")),
            "upload" => fields(line).map(Self::Upload).or_else(|why| refuse("upload", line, &why)),
            "download" => fields(line).map(Self::Download).or_else(|why| refuse("download", line, &why)),
            "terminate" => Ok(Self::Terminate),
            other => Err(format!("unknown event {:?}", quote(other))),
        }
    }

    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Upload(_) => "upload",
            Self::Download(_) => "download",
            Self::Refused { event, .. } => event,
            Self::Terminate => "terminate",
        }
    }
}

#[derive(Deserialize)]
struct Name {
    event: String,
}

#[derive(Deserialize)]
struct Named {
    oid: String,
}

/// Turns a malformed job into the failure of its object, if it names one.
fn refuse(event: &'static str, line: &[u8], why: &str) -> Result<Event, String> {
    let message = format!("{event}: {why}");
    match fields::<Named>(line) {
        Ok(Named { oid }) => Ok(Event::Refused { event, oid, failure: Failure::new(UNPROCESSABLE, message) }),
        Err(_) => Err(message),
    }
}

/// The fields of `T` in a line of JSON, or a short reason with the column, as all is on one line.
fn fields<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        match text.rsplit_once(" at line 1 column ") {
            Some((what, column)) => format!("{} (column {column})", quote(what)),
            None => quote(&text),
        }
    })
}

/// The beginning of a text, for an error that quotes it.
fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn size<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(input)?;
    match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(D::Error::custom(format_args!("size {size}: expected at most {}", i64::MAX))),
    }
}

fn path<'de, D: Deserializer<'de>>(input: D) -> Result<PathBuf, D::Error> {
    let path = String::deserialize(input)?;
    if path.is_empty() || path.contains('\0') {
        return Err(D::Error::custom(format_args!("path {:?}: expected the path of a file", quote(&path))));
    }
    Ok(path.into())
}

impl fmt::Debug for Init {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Init")
            .field("operation", &self.operation)
            .field("remote", &without_secrets(&self.remote))
            .field("concurrent", &self.concurrent)
            .field("concurrent_transfers", &self.concurrent_transfers)
            .finish()
    }
}
