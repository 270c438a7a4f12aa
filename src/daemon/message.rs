//! What client and daemon say to each other: length-prefixed JSON.
//!
//! A request is answered by any number of `Progress` events and one `Done` or `Failed`.
//! docs/protocol.md, "Client ↔ daemon".

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::backend::bucket::{Address, Settings};
use crate::census::{FileCost, TensorCost, Total};
use crate::format::Format;
use crate::fsck;
use crate::gc;
use crate::id::Oid;
use crate::model::{TensorDiff, TensorSummary};
use crate::peer::HubPlace;
use crate::repack::Repacked;

/// Largest message either side accepts.
pub const MAX_MESSAGE_BYTES: u32 = 64 << 20;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// First on every connection; a daemon of another version retires.
    Hello {
        version: String,
    },
    Upload {
        oid: Oid,
        path: PathBuf,
        repo: Option<PathBuf>,
        remote: RemotePlace,
    },
    /// Stores a file here and nowhere else, as a recipe or delta of one of `parents` where that is smaller.
    Keep {
        oid: Oid,
        path: PathBuf,
        parents: Vec<Oid>,
    },
    Download {
        oid: Oid,
        into: PathBuf,
        repo: Option<PathBuf>,
        remote: RemotePlace,
    },
    /// What files cost.
    Files {
        oids: Vec<Oid>,
    },
    /// What the tensors of a file cost.
    Tensors {
        oid: Oid,
    },
    /// A line about each tensor, for git's textconv.
    Summary {
        oid: Oid,
    },
    /// Which tensors differ between two files.
    Diff {
        old: Oid,
        new: Oid,
    },
    /// Rebuild files and compare their hashes, without keeping them.
    Verify {
        oids: Vec<Oid>,
    },
    /// Write a file that the store holds to a new path.
    Rebuild {
        oid: Oid,
        path: PathBuf,
    },
    /// Some bytes of a file that the store holds: whole objects, from the one at `start` on, as many up to `end`
    /// as a message has room for. The answer has the file's size, where the bytes begin, and them in base64.
    Read {
        oid: Oid,
        start: u64,
        end: u64,
    },
    /// Which files a remote has.
    RemoteHas {
        oids: Vec<Oid>,
        remote: RemotePlace,
    },
    Fsck {
        depth: fsck::Depth,
        repair: bool,
        remote: Option<RemotePlace>,
    },
    Gc {
        dry_run: bool,
        grace_seconds: u64,
    },
    /// The same at a remote, to which others may push at any time.
    GcRemote {
        remote: RemotePlace,
        /// What can still be asked for; nobody knows where there is none.
        reached: Option<Reached>,
        /// Forget files that are not reached.
        forget: bool,
        dry_run: bool,
        grace_seconds: u64,
    },
    Repack,
    /// The whole store: every file it holds.
    Census,
    CacheList,
    CachePrune {
        all: bool,
    },
    CachePin {
        oid: Oid,
        pinned: bool,
    },
    Status,
    /// Finish running work, then exit.
    Stop,
}

/// A store elsewhere, resolved by the client, which knows the repository and its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemotePlace {
    Directory(PathBuf),
    /// With what the environment of the client says: the daemon was started in another.
    Bucket(Address, Settings),
    Hub(HubPlace),
}

impl RemotePlace {
    /// What it is called, without anything secret; two places of one name are one remote.
    pub fn name(&self) -> String {
        match self {
            RemotePlace::Directory(path) => path.display().to_string(),
            RemotePlace::Bucket(address, _) => address.to_string(),
            RemotePlace::Hub(place) => place.name(),
        }
    }
}

/// The history whose files stay at a remote: what these objects reach in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Its directory with objects and refs.
    pub repo: PathBuf,
    /// As hexadecimal.
    pub tips: Vec<String>,
}

/// What a daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Bytes of the file done since the last one.
    Progress(u64),
    Done(Reply),
    Failed(Failure),
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Hello { version: String },
    Uploaded { stored: u64, sent: u64 },
    Downloaded { path: PathBuf },
    Files { files: Vec<FileAnswer>, total: Total },
    Tensors { tensors: Vec<TensorCost> },
    Summary { format: Format, size: u64, tensors: Vec<TensorSummary> },
    Diff { tensors: Vec<TensorDiff> },
    Verified { files: Vec<Verdict> },
    Rebuilt,
    Read { size: u64, start: u64, bytes: String },
    RemoteHas { has: Vec<bool> },
    Fsck { report: fsck::Report },
    Gc { plan: gc::Plan },
    GcRemote { plan: gc::remote::Plan },
    Repacked { done: Repacked },
    Census { files: Vec<FileCost>, total: Total, damaged: Vec<Oid>, pack_bytes: u64 },
    Cache { files: Vec<CachedFile>, limit: u64 },
    Status(Status),
    Stopping,
}

/// A file that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAnswer {
    Stored(FileCost),
    Missing(Oid),
    Damaged { oid: Oid, why: String },
}

/// Whether a file came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub oid: Oid,
    /// What went wrong; none when the file is whole.
    pub failure: Option<Failure>,
}

/// A rebuilt file that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedFile {
    pub oid: Oid,
    pub size: u64,
    pub pinned: bool,
    /// Seconds since it was last used.
    pub idle_seconds: u64,
}

/// What a daemon says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub store: PathBuf,
    /// Requests being worked on.
    pub running: usize,
    pub uptime_seconds: u64,
    /// Objects in the index.
    pub objects: usize,
    /// What the index had to do when it was opened.
    pub notice: Option<String>,
}

/// Kinds of failure, as the exit code and the git-lfs error code need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Usage,
    NotFound,
    Remote,
    Corrupt,
    Refused,
    /// The user wanted it to end.
    Interrupted,
    Fatal,
}

/// Why a request failed, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), fix: None }
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fix = Some(fix.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.fix {
            Some(fix) => write!(out, "{}; {fix}", self.message),
            None => write!(out, "{}", self.message),
        }
    }
}

impl std::error::Error for Failure {}

/// Writes one message.
pub fn write<T: Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    out.write_all(&encode(message)?)?;
    out.flush()
}

/// Reads one message; `None` when the other side hung up between messages.
pub fn read<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match input.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        found => found?,
    }
    let mut body = vec![0; checked_len(len)?];
    input.read_exact(&mut body)?;
    decode(&body).map(Some)
}

/// The bytes of one message: 4 bytes of length, little-endian, then JSON.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let len = u32::try_from(body.len()).ok().filter(|len| *len <= MAX_MESSAGE_BYTES);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "message is too long"))?;
    Ok([&len.to_le_bytes(), body.as_slice()].concat())
}

/// Refuses a length before anything is allocated for it.
pub fn checked_len(len: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_le_bytes(len);
    match len <= MAX_MESSAGE_BYTES {
        true => Ok(len as usize),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("message of {len} bytes is too long")))
        }
    }
}

pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
