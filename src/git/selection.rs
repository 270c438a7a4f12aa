//! A commit that has certain large files and no other, for git-lfs to fetch exactly these.
//!
//! git-lfs fetches what a commit has; it takes no list of oids. A commit of the user's may have thousands of files,
//! and paths that can't be told in its patterns. This commit stands in a bare repository made for it: the user's gets
//! no object.

use std::path::Path;

use gix::objs::tree::{Entry, EntryKind};

use super::history::HistoryError;
use super::pointer::Pointer;

/// Writes a commit with these files into the repository at `git_dir`; its id as hexadecimal.
pub fn write(git_dir: &Path, pointers: &[Pointer]) -> Result<String, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let mut entries = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let blob = repo.write_blob(pointer.to_string()).map_err(|error| failed(error.to_string()))?;
        let filename = pointer.oid.to_string().into();
        entries.push(Entry { mode: EntryKind::Blob.into(), filename, oid: blob.detach() });
    }
    entries.sort();
    entries.dedup();
    let tree = repo.write_object(gix::objs::Tree { entries }).map_err(|error| failed(error.to_string()))?;
    let nobody = gix::actor::Signature {
        name: "git sparse".into(),
        email: "".into(),
        time: gix::date::Time::new(0, 0),
    };
    let commit = gix::objs::Commit {
        tree: tree.detach(),
        parents: Default::default(),
        author: nobody.clone(),
        committer: nobody,
        encoding: None,
        message: "files to fetch".into(),
        extra_headers: Vec::new(),
    };
    let commit = repo.write_object(commit).map_err(|error| failed(error.to_string()))?;
    Ok(commit.to_string())
}
