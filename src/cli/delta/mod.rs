//! `git sparse delta`: a fine-tune as a portable artifact, made and used without a repository.

mod adapter;
mod compress;
mod estimate;
mod info;
mod logits;
mod reconstruct;
mod validate;
mod verify;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use compress::{Compress, compress};
pub use estimate::{Estimate, estimate};
pub use reconstruct::{Reconstruct, reconstruct};

use super::model;
use crate::artifact::{Artifact, BaseChanged, ManifestError, OpenError, RebuildError};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::ingest::IngestError;
use crate::pack::PackError;
use crate::reconstruct::ReconstructError;
use crate::store::StoreError;

/// A fine-tune as a small artifact that gives back every byte to whoever has the base
#[derive(Debug, Args)]
pub struct Delta {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Compress(Compress),
    Reconstruct(Reconstruct),
    CompressAdapter(adapter::CompressAdapter),
    ExtractAdapter(adapter::ExtractAdapter),
    Estimate(Estimate),
    Info(info::Info),
    Verify(verify::Verify),
    Validate(validate::Validate),
}

impl Delta {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.verb {
            Verb::Validate(args) => return args.run(),
            Verb::Compress(args) => args.run(),
            Verb::Reconstruct(args) => args.run(),
            Verb::CompressAdapter(args) => args.run(),
            Verb::ExtractAdapter(args) => args.run(),
            Verb::Estimate(args) => args.run(),
            Verb::Info(args) => args.run(),
            Verb::Verify(args) => args.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// What is compressed, in the words of whoever does: the same is done with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Model,
    DataSet,
}

impl Subject {
    /// The one that is made of the base.
    fn derived(self) -> &'static str {
        match self {
            Subject::Model => "fine-tune",
            Subject::DataSet => "derived data set",
        }
    }

    /// The same at the beginning of a line, as wide as the others there.
    fn label(self) -> &'static str {
        match self {
            Subject::Model => "fine-tune",
            Subject::DataSet => "derived  ",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Subject::Model => "models",
            Subject::DataSet => "data sets",
        }
    }

    /// The verb that it is done with.
    fn verb(self) -> &'static str {
        match self {
            Subject::Model => "delta",
            Subject::DataSet => "dataset",
        }
    }
}

/// Reads an artifact's manifest.
fn open(dir: &Path) -> Result<Artifact, Failure> {
    Artifact::open(dir).map_err(|error| {
        let message = error.to_string();
        match error {
            OpenError::Manifest(ManifestError::Missing(_)) => {
                Failure::new(Kind::NotFound, message).fix("name the directory that compress made")
            }
            OpenError::Manifest(ManifestError::Io { error, .. }) => system(message, &error),
            OpenError::Manifest(ManifestError::Version(_)) => Failure::new(Kind::Fatal, message),
            _ => damaged(message),
        }
    })
}

fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; nothing was left behind")
}

/// Why an artifact can't be used, with what to do.
fn unusable(artifact: &Artifact, error: &OpenError) -> Failure {
    let message = error.to_string();
    match error {
        OpenError::Cancelled(_) => interrupted(),
        OpenError::OtherBase(_) => Failure::new(Kind::Refused, message).fix(how_to_get_base(artifact)),
        OpenError::Read { error, .. } => system(message, error),
        OpenError::Manifest(_)
        | OpenError::Store(_)
        | OpenError::Pack(_)
        | OpenError::NoRecipe { .. }
        | OpenError::Size { .. }
        | OpenError::Part { .. }
        | OpenError::Hole { .. }
        | OpenError::Tensor { .. }
        | OpenError::Total { .. } => damaged(message),
    }
}

fn system(message: String, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::StorageFull {
        return Failure::new(Kind::Fatal, message)
            .fix("make room, or name a directory on another disk with -o");
    }
    words::with_io_fix(Failure::new(Kind::Fatal, message), error.kind())
}

/// A base that somebody writes to is no damage of an artifact, or of a disk.
fn of_changed_base(message: &str, error: &StoreError) -> Option<Failure> {
    let StoreError::Pack(PackError::Io { error, .. }) = error else { return None };
    error.get_ref()?.is::<BaseChanged>().then(|| changed(message.to_owned()))
}

fn changed(message: String) -> Failure {
    Failure::new(Kind::Refused, message)
        .fix("nothing was written; wait until nobody writes to it, then try again")
}

fn damaged(message: String) -> Failure {
    Failure::new(Kind::Corrupt, format!("the artifact is damaged: {message}"))
        .fix("copy it again from where it came, or compress it anew")
}

/// The base that an artifact needs, and where it may be had.
fn how_to_get_base(artifact: &Artifact) -> String {
    let base = &artifact.manifest.base;
    let hashes = base.files.iter().max_by_key(|file| file.size);
    let hash = hashes.map(|file| format!(" ({} has SHA-256 {})", file.path, file.sha256)).unwrap_or_default();
    let name = base.portable();
    match base.revision {
        Some(_) if base.name.contains(':') => format!("name {name} in its repository{hash}"),
        Some(_) => format!("name {name}, and it is fetched{hash}"),
        None => format!("it needs what was called {name}{hash}"),
    }
}

/// Why a fine-tune did not come back, with what to do.
fn not_rebuilt(artifact: &Artifact, error: &RebuildError) -> Failure {
    let message = error.to_string();
    if error.is_cancelled() {
        return interrupted();
    }
    match error {
        RebuildError::Open(error) => unusable(artifact, error),
        RebuildError::Write { error, .. } => system(message, error),
        RebuildError::Reconstruct { error, .. } => match &**error {
            ReconstructError::Write(error) => system(message, error),
            ReconstructError::Store(error) => {
                of_changed_base(&message, error).unwrap_or_else(|| damaged(message))
            }
            _ => damaged(message),
        },
        RebuildError::NoRoom { .. } => {
            Failure::new(Kind::Refused, message).fix("make room, or name a directory on another disk with -o")
        }
    }
}

/// Why a file could not be stored in an artifact.
fn not_stored(message: String, error: &IngestError) -> Failure {
    let changed = match error {
        IngestError::Store(error) | IngestError::ReadBack(ReconstructError::Store(error)) => {
            of_changed_base(&message, error)
        }
        _ => None,
    };
    if let Some(failure) = changed {
        return failure;
    }
    match error {
        IngestError::Read(error) | IngestError::Store(StoreError::Io(error)) => system(message, error),
        IngestError::Cancelled(_) => interrupted(),
        IngestError::NotFinite(_) => Failure::new(Kind::Refused, message).fix("compress it without --lossy"),
        _ => Failure::new(Kind::Fatal, message).fix("nothing was written; check the disk, then try again"),
    }
}
