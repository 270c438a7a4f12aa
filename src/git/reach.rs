//! Every large file that commits reach, down to the first: what a gc of a remote has to keep.
//!
//! `history` may leave out what is too much; this must not. Whatever can't be read is an error, and whatever
//! looks like a pointer counts as one.

use std::collections::HashSet;
use std::path::Path;

use super::HistoryError;
use crate::id::Oid;

/// Larger blobs are no pointers. git-lfs' own limit is lower: more is kept, not less.
const MAX_BYTES: u64 = 4096;
/// What stands before a hash in a pointer.
const HASH: &[u8] = b"sha256:";
const DIGITS: usize = 64;

/// The files that the objects `tips` (commits, tags or whatever a ref may name, as hexadecimal) reach in the
/// repository at `git_dir`.
///
/// An error where the repository does not have all of their history.
pub fn oids(git_dir: &Path, tips: &[String]) -> Result<HashSet<Oid>, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    // A replacement would hide the history behind it.
    let options = gix::open::Options::default().config_overrides(["core.useReplaceRefs=false"]);
    let repo = gix::open_opts(git_dir, options).map_err(|error| failed(error.to_string()))?;
    if repo.is_shallow().map_err(|error| failed(error.to_string()))? {
        return Err(failed("it is shallow: its first commits are not here".into()));
    }
    let mut walk = Walk { repo: &repo, seen: HashSet::new(), found: HashSet::new() };
    let tips: Result<Vec<_>, _> = tips.iter().map(|tip| gix::ObjectId::from_hex(tip.as_bytes())).collect();
    walk.all(tips.map_err(|error| failed(error.to_string()))?).map_err(failed)?;
    Ok(walk.found)
}

/// Those of these objects that the repository does not have.
pub fn missing(git_dir: &Path, tips: &[String]) -> Result<Vec<String>, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let has = |tip: &&String| gix::ObjectId::from_hex(tip.as_bytes()).is_ok_and(|id| repo.has_object(id));
    Ok(tips.iter().filter(|tip| !has(tip)).cloned().collect())
}

struct Walk<'a> {
    repo: &'a gix::Repository,
    seen: HashSet<gix::ObjectId>,
    found: HashSet<Oid>,
}

impl Walk<'_> {
    /// Visits all that can be reached, each once.
    fn all(&mut self, tips: Vec<gix::ObjectId>) -> Result<(), String> {
        let mut next = tips;
        while let Some(id) = next.pop() {
            if self.seen.insert(id) {
                self.visit(id, &mut next)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, id: gix::ObjectId, next: &mut Vec<gix::ObjectId>) -> Result<(), String> {
        let wrong = |error: String| format!("object {id}: {error}");
        let header = self.repo.find_header(id).map_err(|error| wrong(error.to_string()))?;
        if header.kind() == gix::object::Kind::Blob && header.size() > MAX_BYTES {
            return Ok(());
        }
        let object = self.repo.find_object(id).map_err(|error| wrong(error.to_string()))?;
        match object.kind {
            gix::object::Kind::Blob => self.found.extend(hashes(&object.data)),
            gix::object::Kind::Tree => {
                for entry in object.into_tree().iter() {
                    let entry = entry.map_err(|error| wrong(error.to_string()))?;
                    // A submodule's commit is another repository's affair.
                    if !entry.mode().is_commit() {
                        next.push(entry.oid().to_owned());
                    }
                }
            }
            gix::object::Kind::Commit => {
                let commit = object.into_commit();
                let commit = commit.decode().map_err(|error| wrong(error.to_string()))?;
                next.push(commit.tree());
                next.extend(commit.parents());
            }
            gix::object::Kind::Tag => {
                let tag = object.into_tag();
                next.push(tag.target_id().map_err(|error| wrong(error.to_string()))?.detach());
            }
        }
        Ok(())
    }
}

/// All hashes in a blob that stand where a pointer has one.
fn hashes(blob: &[u8]) -> impl Iterator<Item = Oid> {
    let at = blob.windows(HASH.len()).enumerate().filter(|(_, bytes)| *bytes == HASH).map(|(at, _)| at);
    at.filter_map(|at| {
        let digits = blob.get(at + HASH.len()..at + HASH.len() + DIGITS)?;
        std::str::from_utf8(digits).ok()?.to_ascii_lowercase().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pointer that a stricter reader would not take still names a file that somebody can ask for.
    #[test]
    fn whatever_names_a_file_counts() {
        let (one, other) = (Oid::of(b"one"), Oid::of(b"other"));
        let odd = format!(
            "version https://hawser.github.com/spec/v1\r\next-0-x sha256:{one}\r\noid sha256:{other}"
        );
        let found: HashSet<Oid> = hashes(odd.as_bytes()).collect();
        assert_eq!(found, HashSet::from([one, other]));
        assert_eq!(hashes(format!("sha256:{}", &one.to_string()[1..]).as_bytes()).count(), 0);
    }
}
