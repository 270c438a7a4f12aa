//! The table that a user names: `REV:PATH`, a path on disk, or a SHA-256.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::cli::repo::Repo;
use crate::cli::watch;
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::daemon::place::Place;
use crate::daemon::{reach, reading, words};
use crate::dataset::{CompareError, File, Table, TableError};
use crate::format::{OpenFile, Source};
use crate::git::Pointer;
use crate::git::command::{Git, GitError};
use crate::git::content::{self, ContentError};
use crate::git::pointer::{MAX_POINTER_BYTES, object_path};
use crate::id::Oid;

/// Opens what `spec` names.
pub fn open(spec: &str) -> Result<Table, Failure> {
    if Path::new(spec).exists() {
        return open_path(Path::new(spec), spec);
    }
    if let Ok(oid) = spec.parse::<Oid>() {
        return table(stored(oid)?, spec);
    }
    let Some((revision, path)) = spec.split_once(':') else {
        return Err(Failure::new(Kind::NotFound, format!("{spec}: no such file"))
            .fix("name a file on disk, REV:PATH in a repository, or a SHA-256"));
    };
    let repo = Repo::here()?;
    let revision = if revision.is_empty() { "HEAD" } else { revision };
    let path = repo.in_tree(path)?;
    match open_at(&repo, revision, &path)? {
        Some(table) => Ok(table),
        None => Err(Failure::new(Kind::NotFound, format!("{revision}:{path}: no such file"))
            .fix(format!("look: git ls-tree -r --name-only {revision}"))),
    }
}

/// Opens the table at a path of a revision; none where it has no such file.
pub fn open_at(repo: &Repo, revision: &str, path: &str) -> Result<Option<Table>, Failure> {
    let commit = repo.commit(revision)?;
    let found = blob(repo, &commit, path)?.map(|bytes| content(&repo.git, bytes)).transpose()?;
    found.map(|file| table(file, path)).transpose()
}

/// Opens a file on disk, or what it points to.
pub fn open_path(path: &Path, name: &str) -> Result<Table, Failure> {
    table(file(path)?, name)
}

/// The bytes of a file on disk, or of the file that it points to.
pub fn file(path: &Path) -> Result<File, Failure> {
    let failed = |error: std::io::Error| words::file(path, &error);
    let file = OpenFile::open(path).map_err(failed)?;
    if file.len() >= MAX_POINTER_BYTES as u64 {
        return Ok(Arc::new(file));
    }
    let mut text = vec![0; file.len() as usize];
    file.read_at(&mut text, 0).map_err(failed)?;
    match Pointer::parse(&text) {
        None => Ok(Arc::new(file)),
        Some(pointer) => behind(&Git::at("."), pointer),
    }
}

/// What a blob of git holds, or the file that it points to.
pub fn content(git: &Git, blob: Vec<u8>) -> Result<File, Failure> {
    match Pointer::parse(&blob) {
        Some(pointer) => behind(git, pointer),
        None => Ok(Arc::new(blob)),
    }
}

/// A blob of a commit.
pub fn blob(repo: &Repo, commit: &str, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let mut found = None;
    let visited = content::visit(&repo.git_dir, commit, path, &mut |at, bytes| {
        if at == path {
            found = Some(bytes.to_vec());
        }
        Ok(())
    });
    match visited {
        Ok(()) => Ok(found),
        Err(ContentError::Repository(error)) => Err(Failure::new(Kind::NotFound, error.to_string())),
        Err(ContentError::Visitor(error)) => Err(Failure::new(Kind::Fatal, format!("{path}: {error}"))),
    }
}

/// The file of a pointer, fetched from the remote's store where it is not here.
pub fn behind(git: &Git, pointer: Pointer) -> Result<File, Failure> {
    match here(git, pointer) {
        Err(failure) if failure.kind == Kind::NotFound => fetch(git, pointer)?.ok_or(failure),
        found => found,
    }
}

/// The file of a pointer: git-lfs' own copy, or read from the store.
pub fn here(git: &Git, pointer: Pointer) -> Result<File, Failure> {
    match kept(git, pointer) {
        Some(kept) => Ok(kept),
        None => stored(pointer.oid),
    }
}

fn kept(git: &Git, pointer: Pointer) -> Option<File> {
    let place = object_path(&git.lfs_dir().ok()?.join("objects"), pointer.oid);
    let file = OpenFile::open(&place).ok().filter(|file| file.len() == pointer.size)?;
    Some(Arc::new(file))
}

/// Has git-lfs fetch a file into its cache; none where the remote has no store of ours.
fn fetch(git: &Git, pointer: Pointer) -> Result<Option<File>, Failure> {
    let remotes = git.run(&["remote"]).unwrap_or_default();
    let Some(remote) = remotes.lines().next() else { return Ok(None) };
    let Ok(remote) = reach::find(git, remote, false) else { return Ok(None) };
    let failed = |error: GitError| Failure::new(Kind::Fatal, error.to_string());
    let (lfs, repo) = (git.lfs_dir().map_err(failed)?, git.common_dir().map_err(failed)?);
    let (into, place) = (lfs.join("tmp"), object_path(&lfs.join("objects"), pointer.oid));
    let wrong = |error: std::io::Error| words::file(&place, &error);
    fs::create_dir_all(&into).map_err(wrong)?;
    fs::create_dir_all(place.parent().expect("because it lies below objects")).map_err(wrong)?;
    let request = Request::Download { oid: pointer.oid, into, repo: Some(repo), remote };
    let Reply::Downloaded { path } = watch::call(&request)? else { return Err(crate::cli::unexpected()) };
    fs::rename(&path, &place).map_err(wrong)?;
    Ok(kept(git, pointer))
}

fn stored(oid: Oid) -> Result<File, Failure> {
    let client = Client::connect(&Place::from_environment()?)?;
    Ok(Arc::new(reading::open(client, oid)?))
}

/// Opens bytes as a table of that name.
pub fn table(file: File, name: &str) -> Result<Table, Failure> {
    Table::open(file, name).map_err(|error| unreadable(&error))
}

/// A table that can't be read, with what to do.
pub fn unreadable(error: &TableError) -> Failure {
    let message = error.to_string();
    match error {
        TableError::Read { error, .. } => match error.get_ref().and_then(|e| e.downcast_ref::<Failure>()) {
            Some(failure) => failure.clone(),
            // No system said so: it is what is in the file, such as the end of a stream that does not come.
            None if error.raw_os_error().is_none() => damaged(message),
            None => words::with_io_fix(Failure::new(Kind::Fatal, message), error.kind()),
        },
        TableError::NotATable(_) => Failure::new(Kind::Usage, message)
            .fix("text is told by its name: .csv, .tsv, .jsonl, also .gz or .zst; models: git sparse show"),
        TableError::Malformed { .. } => damaged(message),
        TableError::NoColumn { .. } => {
            Failure::new(Kind::Usage, message).fix("see git sparse dataset show --schema")
        }
        TableError::Ambiguous { .. } => {
            Failure::new(Kind::Usage, message).fix("give its columns names of their own")
        }
    }
}

fn damaged(message: String) -> Failure {
    Failure::new(Kind::Corrupt, message)
        .fix("the file is kept as it is; write the table anew with the program that made it")
}

/// Tables that can't be compared, with what to do.
pub fn failed(error: &CompareError) -> Failure {
    match error {
        CompareError::Table(error) => unreadable(error),
        CompareError::NotAKey { .. } => Failure::new(Kind::Usage, error.to_string())
            .fix("name more columns, --key a,b, or compare without a key"),
        CompareError::Cancelled(_) => Failure::new(Kind::Interrupted, "interrupted"),
        CompareError::Values { .. } | CompareError::TooMany { .. } => {
            Failure::new(Kind::Fatal, error.to_string())
        }
    }
}
