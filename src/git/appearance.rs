//! Every large file that any ref ever had, once, in the order in which they came.
//!
//! `History` helps to find bases, so it is bounded and forgives what it can't read. Whoever moves a repository must
//! have all of it: here nothing is left out, and what can't be read is an error. Trees that were seen are not walked
//! again, whatever their path: so memory is bounded by the number of trees, and time by what changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::history::{self, HistoryError};
use super::pointer::{self, Pointer};

/// git itself has no limit; nobody's folders are this deep, and a stack must not be.
const MAX_TREE_DEPTH: usize = 512;

/// A large file where it appeared first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appearance {
    pub pointer: Pointer,
    pub path: String,
    /// The commit that brought it, as hexadecimal.
    pub commit: String,
}

/// All large files that the refs of the repository at `git_dir` reach, or the objects `also` (as hexadecimal). Parents
/// come before children, so that an earlier version at the same path comes before a later one, whatever the clocks
/// said.
pub fn all(git_dir: &Path, also: &[String]) -> Result<Vec<Appearance>, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let mut tips = history::tips(&repo);
    tips.extend(also.iter().filter_map(|name| commit_of(&repo, name)));
    tips.sort();
    tips.dedup();
    let mut walk = Walk { repo: &repo, trees: HashSet::new(), oids: HashSet::new(), found: Vec::new() };
    for id in parents_first(&repo, tips).map_err(failed)? {
        walk.commit(id).map_err(failed)?;
    }
    Ok(walk.found)
}

/// Those of the objects `names` (as hexadecimal) that the repository does not have.
pub fn lacking(git_dir: &Path, names: &[String]) -> Result<Vec<String>, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let is_here =
        |name: &String| gix::ObjectId::from_hex(name.as_bytes()).is_ok_and(|id| repo.find_header(id).is_ok());
    Ok(names.iter().filter(|name| !is_here(name)).cloned().collect())
}

/// The commit that an object is, or that a tag leads to.
fn commit_of(repo: &gix::Repository, name: &str) -> Option<gix::ObjectId> {
    let id = gix::ObjectId::from_hex(name.as_bytes()).ok()?;
    Some(repo.find_object(id).ok()?.peel_to_commit().ok()?.id)
}

/// All commits that `tips` reach, no child before its parents; of those that may come next the oldest.
fn parents_first(repo: &gix::Repository, tips: Vec<gix::ObjectId>) -> Result<Vec<gix::ObjectId>, String> {
    let order = gix::revision::walk::Sorting::ByCommitTime(Default::default());
    let walk = repo.rev_walk(tips).sorting(order).all().map_err(|error| error.to_string())?;
    let mut commits = Vec::new();
    for info in walk {
        let info = info.map_err(|error| format!("a commit can't be read: {error}"))?;
        commits.push((info.id, info.parent_ids().map(|parent| parent.detach()).collect::<Vec<_>>()));
    }
    commits.reverse();
    let rank: HashMap<_, _> = commits.iter().enumerate().map(|(rank, (id, _))| (*id, rank)).collect();
    let mut children: HashMap<gix::ObjectId, Vec<usize>> = HashMap::new();
    let mut waits_for = vec![0_usize; commits.len()];
    for (child, (_, parents)) in commits.iter().enumerate() {
        for parent in parents.iter().filter(|parent| rank.contains_key(*parent)) {
            children.entry(*parent).or_default().push(child);
            waits_for[child] += 1;
        }
    }
    let mut ready: BTreeSet<usize> = (0..commits.len()).filter(|rank| waits_for[*rank] == 0).collect();
    let mut ordered = Vec::with_capacity(commits.len());
    while let Some(next) = ready.pop_first() {
        let (id, _) = &commits[next];
        ordered.push(*id);
        for child in children.remove(id).unwrap_or_default() {
            waits_for[child] -= 1;
            if waits_for[child] == 0 {
                ready.insert(child);
            }
        }
    }
    Ok(ordered)
}

struct Walk<'a> {
    repo: &'a gix::Repository,
    trees: HashSet<gix::ObjectId>,
    oids: HashSet<crate::id::Oid>,
    found: Vec<Appearance>,
}

impl Walk<'_> {
    fn commit(&mut self, id: gix::ObjectId) -> Result<(), String> {
        let unread = |error: String| format!("commit {id} can't be read: {error}");
        let commit = self.repo.find_commit(id).map_err(|error| unread(error.to_string()))?;
        let tree = commit.tree_id().map_err(|error| unread(error.to_string()))?.detach();
        self.tree(tree, "", 0, id)
    }

    fn tree(
        &mut self,
        id: gix::ObjectId,
        prefix: &str,
        depth: usize,
        commit: gix::ObjectId,
    ) -> Result<(), String> {
        if !self.trees.insert(id) {
            return Ok(());
        }
        let unread = |error: String| format!("commit {commit}, folder {prefix:?} can't be read: {error}");
        if depth > MAX_TREE_DEPTH {
            return Err(unread(format!("more than {MAX_TREE_DEPTH} folders in one another")));
        }
        let repo = self.repo;
        let tree = repo.find_tree(id).map_err(|error| unread(error.to_string()))?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| unread(error.to_string()))?;
            let path = format!("{prefix}{}", entry.filename());
            let (mode, id) = (entry.mode(), entry.oid().to_owned());
            if mode.is_tree() {
                self.tree(id, &format!("{path}/"), depth + 1, commit)?;
            } else if mode.is_blob()
                && let Some(pointer) =
                    pointer::read(repo, id).map_err(|why| format!("commit {commit}, {path}: {why}"))?
                && self.oids.insert(pointer.oid)
            {
                self.found.push(Appearance { pointer, path, commit: commit.to_string() });
            }
        }
        Ok(())
    }
}
