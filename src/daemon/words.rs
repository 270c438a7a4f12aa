//! Errors in words for people: what failed, and what to do about it.

use std::error::Error;
use std::io;
use std::path::Path;

use super::message::{Failure, Kind};
use crate::backend::bucket;
use crate::id::Oid;
use crate::ingest::IngestError;
use crate::locator::LocatorError;
use crate::pack::PackError;
use crate::peer::{LineError, PeerError};
use crate::reconstruct::ReconstructError;
use crate::store::StoreError;
use crate::sync::SyncError;

/// How a file of any revision comes into the store.
pub const FETCH: &str = "fetch it: git lfs pull, or for an earlier revision: git lfs fetch origin REVISION";

pub fn store(error: &StoreError) -> Failure {
    let failure = Failure::new(store_kind(error), error.to_string());
    match (error, io_error(error)) {
        (_, Some(source)) => with_io_fix(failure, source.kind()),
        (StoreError::Newer { .. }, _) => failure.fix("install a newer git-sparse"),
        (StoreError::Config { .. }, _) => {
            failure.fix("set GIT_SPARSE_DIR to a directory that is a store, or empty")
        }
        (StoreError::NoFile(_), _) => failure.fix(FETCH),
        _ => failure.fix("git sparse fsck --repair, in a repository whose remote has the file"),
    }
}

pub fn file(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let told = format!("{}: it is there already, and is not overwritten", path.display());
        return Failure::new(Kind::Refused, told).fix("name a new path");
    }
    with_io_fix(Failure::new(Kind::Fatal, format!("{}: {error}", path.display())), error.kind())
}

pub fn ingest(path: &Path, error: &IngestError) -> Failure {
    let message = format!("{}: {error}", path.display());
    match error {
        IngestError::Read(source) => with_io_fix(Failure::new(Kind::Fatal, message), source.kind()),
        IngestError::WrongOid { .. } => Failure::new(Kind::Corrupt, message)
            .fix("git-lfs' copy is damaged: git lfs fsck, then git add the file again"),
        IngestError::Store(inner) => Failure { message, ..store(inner) },
        IngestError::ReadBack(_) | IngestError::Unproven(_) => {
            Failure::new(Kind::Corrupt, message).fix("nothing was stored; check the disk, then push again")
        }
        IngestError::NotFinite(_) => Failure::new(Kind::Refused, message),
        IngestError::Cancelled(_) => Failure::new(Kind::Fatal, message),
    }
}

pub fn reconstruct(oid: Oid, error: &ReconstructError) -> Failure {
    let message = format!("file {oid}: {error}");
    match error {
        ReconstructError::Store(inner) => Failure { message, ..store(inner) },
        ReconstructError::Write(source) => with_io_fix(Failure::new(Kind::Fatal, message), source.kind()),
        ReconstructError::Length { .. } | ReconstructError::Hash(_) => {
            Failure::new(Kind::Corrupt, message).fix("repair the store: git sparse fsck --repair")
        }
        ReconstructError::Cancelled(_) => Failure::new(Kind::Fatal, message),
    }
}

/// A remote that is a server: whatever is done to its store is done there.
pub fn no_storage(name: &str) -> Failure {
    Failure::new(Kind::Refused, format!("{name} is a server, which takes care of its store itself"))
        .fix("ask whoever runs it to collect there")
}

pub fn sync(error: &SyncError) -> Failure {
    match error {
        SyncError::Here(inner) => store(inner),
        SyncError::There { error: inner, .. } => {
            let failure = Failure::new(Kind::Remote, error.to_string());
            match io_error(inner) {
                Some(error) => with_remote_fix(failure, error),
                None => failure.fix("push again from a clone that has the files: git lfs push --all REMOTE"),
            }
        }
        SyncError::NoFile { .. } => Failure::new(Kind::NotFound, error.to_string())
            .fix("push it from a clone that has it: git lfs push --all REMOTE"),
        SyncError::Hole { .. } => Failure::new(Kind::Corrupt, error.to_string())
            .fix("push it again from a clone that has it: git lfs push --all REMOTE"),
        SyncError::Unsettled { .. } => Failure::new(Kind::Remote, error.to_string()).fix(
            "somebody runs git sparse gc --remote there with a short --grace: push again when it is done",
        ),
        SyncError::Cancelled(_) => Failure::new(Kind::Fatal, error.to_string()),
    }
}

pub fn peer(error: &PeerError) -> Failure {
    let message = error.to_string();
    match error {
        PeerError::Here(inner) => store(inner),
        PeerError::Line(inner) => line(inner),
        PeerError::NoFile { .. } => Failure::new(Kind::NotFound, message)
            .fix("push it from a clone that has it: git lfs push --all REMOTE"),
        PeerError::Refused { status, .. } => of_status(*status, message),
        PeerError::Answer { .. } => Failure::new(Kind::Remote, message)
            .fix("try again; what came is kept, and only the rest is moved"),
        PeerError::Wrong { .. } => Failure::new(Kind::Remote, message)
            .fix("tell whoever runs the hub: git sparse fsck on its store says what is wrong"),
        PeerError::Cancelled(_) => Failure::new(Kind::Fatal, message),
    }
}

pub fn line(error: &LineError) -> Failure {
    let message = error.to_string();
    match error {
        LineError::Unreachable { why, .. } if why.contains("certificate") => {
            Failure::new(Kind::Remote, message).fix(
                "if you know that hub, trust whoever signed its certificate: git config http.sslCAInfo FILE",
            )
        }
        LineError::Unreachable { .. } => Failure::new(Kind::Remote, message)
            .fix("check the network and git remote -v; what came is kept, and only the rest is moved"),
        LineError::Status { status, .. } => of_status(*status, message),
        LineError::Certificates { .. } => {
            Failure::new(Kind::Usage, message).fix("name a PEM file: git config http.sslCAInfo FILE")
        }
        LineError::Cancelled(_) => Failure::new(Kind::Fatal, message),
    }
}

/// What a hub's status means to whoever pushes or fetches.
fn of_status(status: u16, message: String) -> Failure {
    match status {
        401 | 403 => {
            Failure::new(Kind::Refused, message).fix("ask whoever runs the hub for the right to do that")
        }
        404 => Failure::new(Kind::NotFound, message).fix("check the address: git remote -v"),
        507 => Failure::new(Kind::Remote, message).fix("nothing was lost; push again when the hub has room"),
        422 => Failure::new(Kind::Corrupt, message).fix("check this store: git sparse fsck; then push again"),
        _ => Failure::new(Kind::Remote, message).fix("try again; what was moved is kept"),
    }
}

/// Why a repository leads to no store.
pub fn locator(error: &LocatorError) -> Failure {
    let failure = |kind| Failure::new(kind, error.to_string());
    match error {
        LocatorError::Untrusted(text) => failure(Kind::Refused)
            .fix(format!("if you know that place and want to use it: git sparse trust {text}")),
        LocatorError::Unset => failure(Kind::Usage).fix("prepare the repository: git sparse init"),
        LocatorError::Malformed(_) | LocatorError::Unsupported(_) => {
            failure(Kind::Usage).fix("correct lfs.url in .lfsconfig: git sparse init --store sparse::origin")
        }
        LocatorError::NotLocal { .. } => failure(Kind::Usage)
            .fix("name a directory that you can reach, git config lfs.url sparse::file:///PATH; or, if the address is a hub's, no store: git config --unset lfs.url"),
        LocatorError::NoRemote(_) => {
            failure(Kind::NotFound).fix("git remote -v lists them, git remote add makes one")
        }
        LocatorError::NoRepository { .. } => {
            failure(Kind::NotFound).fix("is its path right? see git remote -v")
        }
    }
}

fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::Missing(_) | StoreError::NoFile(_) => Kind::NotFound,
        StoreError::Newer { .. } => Kind::Refused,
        StoreError::Io(_) => Kind::Fatal,
        _ => Kind::Corrupt,
    }
}

/// The I/O error inside, if that is what it was.
fn io_error(error: &StoreError) -> Option<&io::Error> {
    match error {
        StoreError::Io(source) | StoreError::Pack(PackError::Io { error: source, .. }) => Some(source),
        other => other.source().and_then(|source| source.downcast_ref::<io::Error>()),
    }
}

/// What to do about an error at a remote.
pub fn with_remote_fix(failure: Failure, error: &io::Error) -> Failure {
    match (bucket::fix_of(error), error.kind()) {
        (Some(fix), _) => failure.fix(fix),
        // What `backend::probe` says of a server that gives one name to many.
        (None, io::ErrorKind::Unsupported) => Failure { kind: Kind::Refused, ..failure }.fix(
            "use a server that honours If-None-Match, or a directory; git sparse remote check tries one",
        ),
        (None, kind) => with_io_fix(failure, kind),
    }
}

/// What to do about an error of the system.
pub fn with_io_fix(failure: Failure, kind: io::ErrorKind) -> Failure {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure
            .fix("free some space (git sparse gc, git sparse cache prune), then try again; nothing was lost"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            failure.fix("give yourself the right to do that, or name another directory, then try again")
        }
        io::ErrorKind::NotFound => failure.fix("check that the path exists"),
        _ => failure,
    }
}
