//! Where a store's files lie: named immutable files, and nothing about what is in them.
//!
//! Every implementation passes one contract suite (`tests/backend.rs`). Faults are injected at
//! this seam, so nothing above it touches a disk.

pub mod bucket;
mod local;
mod memory;
pub mod probe;
mod writeback;

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use bucket::Bucket;
pub use local::{Local, Privacy};
pub use memory::Memory;

use crate::id::{LockId, Oid, PackId};

/// Name of a file in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Name {
    /// `config`: the format version.
    Config,
    /// `packs/ab/<id>`.
    Pack(PackId),
    /// `recipes/ab/<oid>`.
    Recipe(Oid),
    /// `trash/<epoch>/<id>`: a pack that gc took away at `epoch` (seconds since 1970).
    Trash(u64, PackId),
    /// `bad/<id>`: a damaged pack that fsck set aside.
    Bad(PackId),
    /// `locks/<id>`: what somebody holds against others.
    Lock(LockId),
    /// `tmp/probe-<number>`: made and deleted by `probe`, to see what a place can do.
    Probe(u64),
    /// `trash/<epoch>-<run>/<id>`: a pack that a gc of a remote took away.
    Removed(Run, PackId),
    /// `trash/<epoch>-<run>/<oid>.recipe`: a file that a gc of a remote forgot.
    Forgotten(Run, Oid),
    /// `clock`: an empty file, written anew by whoever has to know what time it is there.
    Clock,
}

/// Nobody writes one file of a store that others share for so long: what is older in `tmp/` was left by a dead process.
pub const STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One gc of a remote. Two of them, at the same second or not, share no name in the trash, so what one of
/// them decided about a name there is never true of a file that another put under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// When it began, in seconds since 1970, by the clock of the remote.
    pub epoch: u64,
    /// Drawn at random.
    pub id: u32,
}

/// A group of names that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Packs,
    Recipes,
    Trash,
    Bad,
    Locks,
    Probes,
}

/// What to do when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Names are content: what is there is the same. A file of another length is a torn write and is replaced.
    Keep,
    /// The present file is known to be damaged.
    Replace,
    /// The name is whoever's was first: `ErrorKind::AlreadyExists` for all others, of many at once.
    Refuse,
}

/// A file that has no name yet; dropped unpublished, it leaves nothing behind.
pub trait Staged: Write + Send + Sync {
    /// Makes the bytes durable under `name`: when this returns `Ok`, a power cut can't take them.
    ///
    /// A place that is far has then also proven that what it keeps is what was written.
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()>;
}

/// The end of a file, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub bytes: Vec<u8>,
    /// Of the whole file.
    pub len: u64,
}

/// Storage of named immutable files.
///
/// Errors carry the name and place of the file. A read of a missing file is `ErrorKind::NotFound`.
pub trait Backend: Send + Sync {
    /// Begins a file that `Staged::publish` will name.
    fn create(&self) -> io::Result<Box<dyn Staged + '_>>;
    /// The same, for a file whose name is known: where that is wanted first, its bytes travel while they are
    /// written. No other name may be published then.
    fn create_as(&self, _name: Name) -> io::Result<Box<dyn Staged + '_>> {
        self.create()
    }
    /// The bytes `range` of a file; a range beyond its end is `ErrorKind::UnexpectedEof`.
    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>>;
    /// Length in bytes, or `None` when there is no such file.
    fn len(&self, name: Name) -> io::Result<Option<u64>>;
    /// When a file was written, by the clock of the place where it lies, or `None` when there is no such file.
    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>>;
    /// All names of an area, in no particular order. Files that are none of ours are passed over.
    fn list(&self, area: Area) -> io::Result<Vec<Name>>;
    /// The end of a file, `most` bytes of it at most, and its length; `None` when there is no such file.
    fn tail(&self, name: Name, most: u64) -> io::Result<Option<Tail>> {
        let Some(len) = self.len(name)? else { return Ok(None) };
        match self.read(name, len.saturating_sub(most)..len) {
            // Between both calls a gc took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(Tail { bytes: bytes?, len })),
        }
    }
    /// Gives a file another name, durably. A file of that name is replaced.
    fn rename(&self, from: Name, to: Name) -> io::Result<()>;
    /// Removes a file; it is no error when it is gone already.
    fn delete(&self, name: Name) -> io::Result<()>;
    /// Removes what a dead process left half-written: files that are older than `age`. Returns how many.
    fn sweep(&self, _age: Duration) -> io::Result<usize> {
        Ok(0)
    }
    /// Where this is, for messages.
    fn place(&self) -> String;

    /// Whether a file that is renamed stays as old as it was. Where a rename is a copy it is written anew.
    fn renames_keep_age(&self) -> bool {
        true
    }

    /// Whether each call is a request that travels, to a server that may do less than it should.
    fn is_far(&self) -> bool {
        false
    }

    /// The file with this name, where others on this machine can reach it.
    fn file(&self, _name: Name) -> Option<PathBuf> {
        None
    }

    /// Whether `link` may do it with this file, as far as its owner and its file system tell.
    fn may_link(&self, _file: &Path) -> bool {
        false
    }

    /// Gives a file of another store a name here, durably and without a copy; false where that can't be.
    fn link(&self, _file: &Path, _name: Name) -> io::Result<bool> {
        Ok(false)
    }
}

impl Name {
    /// The pack that lies in the trash under this name.
    pub fn pack_in_trash(&self) -> Option<PackId> {
        match self {
            Name::Trash(_, pack) | Name::Removed(_, pack) => Some(*pack),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Config => write!(out, "config"),
            Name::Pack(id) => write!(out, "packs/{:.2}/{id}", id),
            Name::Recipe(oid) => write!(out, "recipes/{:.2}/{oid}", oid),
            Name::Trash(epoch, id) => write!(out, "trash/{epoch}/{id}"),
            Name::Bad(id) => write!(out, "bad/{id}"),
            Name::Lock(id) => write!(out, "locks/{id}"),
            Name::Removed(run, id) => write!(out, "trash/{run}/{id}"),
            Name::Forgotten(run, oid) => write!(out, "trash/{run}/{oid}.recipe"),
            Name::Clock => write!(out, "clock"),
            Name::Probe(number) => write!(out, "tmp/probe-{number:016x}"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{:08x}", self.epoch, self.id)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Name, ParseNameError> {
        text.parse()
    }
}

/// A path that is not the name of a store's file.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the name of a file in a store")]
pub struct ParseNameError(String);

impl FromStr for Name {
    type Err = ParseNameError;

    /// Accepts exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Name, ParseNameError> {
        let bad = || ParseNameError(text.chars().take(120).collect());
        let name = match text.split('/').collect::<Vec<_>>()[..] {
            ["config"] => Name::Config,
            ["packs", _, id] => Name::Pack(id.parse().map_err(|_| bad())?),
            ["recipes", _, oid] => Name::Recipe(oid.parse().map_err(|_| bad())?),
            ["clock"] => Name::Clock,
            ["trash", run, id] if run.contains('-') => in_trash(run, id).ok_or_else(bad)?,
            ["trash", epoch, id] => {
                Name::Trash(epoch.parse().map_err(|_| bad())?, id.parse().map_err(|_| bad())?)
            }
            ["bad", id] => Name::Bad(id.parse().map_err(|_| bad())?),
            ["locks", id] => Name::Lock(id.parse().map_err(|_| bad())?),
            ["tmp", probe] => {
                let number = probe.strip_prefix("probe-").ok_or_else(bad)?;
                Name::Probe(u64::from_str_radix(number, 16).map_err(|_| bad())?)
            }
            _ => return Err(bad()),
        };
        if name.to_string() != text {
            return Err(bad());
        }
        Ok(name)
    }
}

/// What a gc of a remote put into the trash.
fn in_trash(run: &str, id: &str) -> Option<Name> {
    let (epoch, number) = run.split_once('-')?;
    let run = Run { epoch: epoch.parse().ok()?, id: u32::from_str_radix(number, 16).ok()? };
    Some(match id.strip_suffix(".recipe") {
        Some(oid) => Name::Forgotten(run, oid.parse().ok()?),
        None => Name::Removed(run, id.parse().ok()?),
    })
}

/// What time it is where the store lies.
///
/// Clocks of machines differ, so the age of a file is told by the one clock that dates them all.
pub fn clock(backend: &dyn Backend) -> io::Result<SystemTime> {
    backend.create()?.publish(Name::Clock, Taken::Replace)?;
    let lost = || io::Error::other(format!("{}: a file that was just written is not there", backend.place()));
    backend.modified(Name::Clock)?.ok_or_else(lost)
}

impl Area {
    /// The folder all names of this area lie under.
    pub const fn folder(self) -> &'static str {
        match self {
            Area::Packs => "packs",
            Area::Recipes => "recipes",
            Area::Trash => "trash",
            Area::Bad => "bad",
            Area::Locks => "locks",
            Area::Probes => "tmp",
        }
    }
}
