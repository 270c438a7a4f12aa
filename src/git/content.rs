//! The files of one revision as git itself has them: content, or the pointer to it.

use std::io;
use std::path::Path;

use super::history::HistoryError;

const MAX_TREE_DEPTH: usize = 64;

/// Why the files of a revision can't be visited.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{0}")]
    Repository(#[from] HistoryError),
    #[error("{0}")]
    Visitor(#[from] io::Error),
}

/// Visits each file at `below` in a revision's tree, or below it; an empty `below` is the whole tree. Paths
/// are given from the top. Links and submodules are passed over.
pub fn visit(
    git_dir: &Path,
    revision: &str,
    below: &str,
    visitor: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), ContentError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let unknown = |error: String| failed(format!("{revision:?}: {error}"));
    let id = repo.rev_parse_single(revision).map_err(|error| unknown(error.to_string()))?;
    let tree = id.object().map_err(|error| unknown(error.to_string()))?.peel_to_tree();
    let tree = tree.map_err(|error| unknown(error.to_string()))?;
    Walk { repo: &repo, below, failed: &failed, visitor }.tree(tree.id, "", 0)
}

struct Walk<'a> {
    repo: &'a gix::Repository,
    below: &'a str,
    failed: &'a dyn Fn(String) -> HistoryError,
    visitor: &'a mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
}

impl Walk<'_> {
    fn tree(&mut self, id: gix::ObjectId, prefix: &str, depth: usize) -> Result<(), ContentError> {
        if depth > MAX_TREE_DEPTH {
            return Ok(());
        }
        let tree = self.repo.find_tree(id).map_err(|error| (self.failed)(error.to_string()))?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| (self.failed)(error.to_string()))?;
            let path = format!("{prefix}{}", entry.filename());
            let id = entry.oid().to_owned();
            if entry.mode().is_tree() && self.leads_to(&path) {
                self.tree(id, &format!("{path}/"), depth + 1)?;
            } else if entry.mode().is_blob() && self.is_wanted(&path) {
                let blob = self.repo.find_blob(id).map_err(|error| (self.failed)(error.to_string()))?;
                (self.visitor)(&path, &blob.data)?;
            }
        }
        Ok(())
    }

    /// Whether wanted files may lie below a folder.
    fn leads_to(&self, folder: &str) -> bool {
        self.is_wanted(folder) || is_below(self.below, folder)
    }

    fn is_wanted(&self, path: &str) -> bool {
        self.below.is_empty() || path == self.below || is_below(path, self.below)
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
