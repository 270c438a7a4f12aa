//! The git-lfs custom transfer protocol, and nothing else.
//!
//! git-lfs starts an agent and speaks with it in lines of JSON; [`serve`] is that conversation and a
//! [`Transfer`] does the work. The crate knows nothing of stores, so that the protocol can be tested
//! against recorded exchanges alone. `docs/protocol.md` tells what is said and why.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::ops::ControlFlow;
use std::path::PathBuf;

mod oid;
mod throttle;

mod action;
mod answer;

mod event;

mod serve;

pub use action::Action;
pub use answer::Failure;
pub use event::{Download, Init, Operation, Upload};
pub use oid::{Oid, ParseOidError};
pub use serve::{MAX_LINE_BYTES, ServeError, serve};

/// Moves one object at a time between git-lfs and wherever the bytes live.
///
/// `serve` calls `begin` once, then `upload` or `download` for each object, whichever `begin` announced.
/// A [`Failure`] of one object is told to git-lfs and the next object follows.
pub trait Transfer {
    /// Prepares for the jobs to come: finds the store, asks for credentials.
    ///
    /// Up to eight agents begin one after another, so this should be quick; it is also the last moment at
    /// which a missing store or a refused login can be reported once rather than for every object.
    fn begin(&mut self, init: &Init) -> Result<(), Failure>;

    /// Stores the file at `job.path`. What returns `Ok` must be durable: git-lfs does not ask again.
    fn upload(&mut self, job: &Upload, progress: &mut Progress<'_>) -> Result<(), Failure>;

    /// Writes the object to a file of its own and returns the path; git-lfs then checks the hash and *moves*
    /// the file to `.git/lfs/objects`, so it must lie on the same file system and be UTF-8.
    fn download(&mut self, job: &Download, progress: &mut Progress<'_>) -> Result<PathBuf, Failure>;
}

/// Takes the bytes of the object done so far, as often as the transfer likes.
///
/// `Break` means that git-lfs is gone: stop as soon as it is safe, nobody will hear the result.
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;
