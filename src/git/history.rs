//! Every version of every large file that a repository's refs reach, newest first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use super::pointer::{self, Pointer};
use crate::id::Oid;

/// Commits that are looked at: enough for any base search, bounded for monster repositories.
const MAX_COMMITS: usize = 5_000;
/// Tree entries that are looked at in all.
const MAX_ENTRIES: usize = 2_000_000;
const MAX_TREE_DEPTH: usize = 64;
/// Files at other paths that are told of: many more than are ever compared.
const MAX_ELSEWHERE: usize = 1 << 10;

/// The pointers of a repository, by path.
#[derive(Debug, Default, Clone)]
pub struct History {
    paths: BTreeMap<String, Vec<Version>>,
}

/// One state of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub pointer: Pointer,
    /// The newest commit that has it, as hexadecimal.
    pub commit: String,
    /// When that was committed, in seconds since 1970.
    pub time: i64,
    /// First line of the commit's message.
    pub subject: String,
}

/// What a repository's refs point to: while it stays the same, so does the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tips(Vec<gix::ObjectId>);

/// Why a repository can't be read.
#[derive(Debug, thiserror::Error)]
#[error("repository {repo}: {why}")]
pub struct HistoryError {
    pub repo: String,
    pub why: String,
}

impl History {
    /// Reads the pointers that commits reachable from any ref of the repository at `git_dir` have.
    pub fn read(git_dir: &Path) -> Result<History, HistoryError> {
        let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
        let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
        History::walk(&repo, tips(&repo)).map_err(failed)
    }

    /// What `read` would start from now.
    pub fn tips(git_dir: &Path) -> Result<Tips, HistoryError> {
        let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
        gix::open(git_dir).map(|repo| Tips(tips(&repo))).map_err(|error| failed(error.to_string()))
    }

    /// The same, for what one revision reaches.
    pub fn read_from(git_dir: &Path, revision: &str) -> Result<History, HistoryError> {
        let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
        let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
        let unknown = |error: String| failed(format!("{revision:?} is no revision: {error}"));
        let id = repo.rev_parse_single(revision).map_err(|error| unknown(error.to_string()))?.detach();
        History::walk(&repo, vec![id]).map_err(failed)
    }

    fn walk(repo: &gix::Repository, tips: Vec<gix::ObjectId>) -> Result<History, String> {
        let mut trees = Trees { repo, seen: HashMap::new(), entries: 0 };
        let mut history = History::default();
        for id in children_first(repo, tips)? {
            let Ok(commit) = repo.find_commit(id) else { continue };
            let Ok(tree) = commit.tree_id() else { continue };
            let files = trees.pointers(tree.detach(), 0);
            let time = commit.time().map(|time| time.seconds).unwrap_or_default();
            let subject = commit.message().map(|m| m.summary().to_string()).unwrap_or_default();
            for (path, pointer) in files.iter() {
                let version =
                    Version { pointer: *pointer, commit: id.to_string(), time, subject: subject.clone() };
                history.push(path, version);
            }
        }
        Ok(history)
    }

    /// Commits come newest first: of equal neighbours the older commit is the one that made the state.
    fn push(&mut self, path: &str, version: Version) {
        let versions = self.paths.entry(path.to_owned()).or_default();
        match versions.last_mut() {
            Some(last) if last.pointer == version.pointer => *last = version,
            _ => versions.push(version),
        }
    }

    /// All paths with their versions, newest first.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &[Version])> {
        self.paths.iter().map(|(path, versions)| (path.as_str(), versions.as_slice()))
    }

    /// Versions of one path, newest first.
    pub fn versions(&self, path: &str) -> &[Version] {
        self.paths.get(path).map_or(&[], Vec::as_slice)
    }

    /// Where a file stands: its paths, with the version that it is there.
    pub fn places(&self, oid: Oid) -> impl Iterator<Item = (&str, &Version)> {
        let of = move |version: &&Version| version.pointer.oid == oid;
        self.paths.iter().filter_map(move |(path, versions)| Some((path.as_str(), versions.iter().find(of)?)))
    }

    /// Files that stood at a path of `oid` before it did, nearest first.
    pub fn earlier(&self, oid: Oid) -> Vec<Oid> {
        let mut seen = HashSet::from([oid]);
        let mut found = Vec::new();
        for versions in self.paths.values() {
            let before = versions.iter().skip_while(|version| version.pointer.oid != oid).skip(1);
            found.extend(before.map(|version| version.pointer.oid).filter(|oid| seen.insert(*oid)));
        }
        found
    }

    /// Files that stood only at other paths when `oid` came, or before, the newest first, and no more than
    /// [`MAX_ELSEWHERE`] of them.
    pub fn elsewhere(&self, oid: Oid) -> Vec<Oid> {
        let Some(came) = self.places(oid).map(|(_, version)| version.time).min() else { return Vec::new() };
        let others = self.paths.values().filter(|versions| versions.iter().all(|v| v.pointer.oid != oid));
        let mut before: Vec<(i64, Oid)> = others
            .flat_map(|versions| versions.iter().filter(move |version| version.time <= came))
            .map(|version| (version.time, version.pointer.oid))
            .collect();
        before.sort_by_key(|(time, oid)| (std::cmp::Reverse(*time), *oid));
        let mut seen = HashSet::new();
        before.retain(|(_, oid)| seen.insert(*oid));
        before.truncate(MAX_ELSEWHERE);
        before.into_iter().map(|(_, oid)| oid).collect()
    }

    /// The pointers of all files in one commit's tree.
    pub fn files_at(git_dir: &Path, revision: &str) -> Result<Vec<(String, Pointer)>, HistoryError> {
        let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
        let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
        let unknown = |error: String| failed(format!("{revision:?} is no revision: {error}"));
        let id = repo.rev_parse_single(revision).map_err(|error| unknown(error.to_string()))?;
        let tree = id.object().map_err(|e| unknown(e.to_string()))?.peel_to_tree();
        let tree = tree.map_err(|error| unknown(error.to_string()))?.id;
        let mut trees = Trees { repo: &repo, seen: HashMap::new(), entries: 0 };
        Ok(trees.pointers(tree, 0).to_vec())
    }
}

/// Commits newest first, and never a parent before its child, whatever the clocks said.
fn children_first(repo: &gix::Repository, tips: Vec<gix::ObjectId>) -> Result<Vec<gix::ObjectId>, String> {
    let order = gix::revision::walk::Sorting::ByCommitTime(Default::default());
    let walk = repo.rev_walk(tips).sorting(order).all().map_err(|error| error.to_string())?;
    let mut commits = Vec::new();
    let mut children: HashMap<gix::ObjectId, usize> = HashMap::new();
    for info in walk.take(MAX_COMMITS) {
        // A shallow clone ends somewhere: what was read so far is what there is.
        let Ok(info) = info else { break };
        let parents: Vec<_> = info.parent_ids().map(|parent| parent.detach()).collect();
        parents.iter().for_each(|parent| *children.entry(*parent).or_default() += 1);
        commits.push((info.id, parents));
    }
    // The rank in the walk decides among commits whose children are all out.
    let rank: HashMap<_, _> = commits.iter().enumerate().map(|(rank, (id, _))| (*id, rank)).collect();
    let free = |id: &gix::ObjectId| children.get(id).is_none_or(|count| *count == 0);
    let mut ready: BTreeSet<usize> =
        commits.iter().filter(|(id, _)| free(id)).map(|(id, _)| rank[id]).collect();
    let mut ordered = Vec::with_capacity(commits.len());
    while let Some(next) = ready.pop_first() {
        let (id, parents) = &commits[next];
        ordered.push(*id);
        for parent in parents {
            let left = children.get_mut(parent).expect("because its child counted it");
            *left -= 1;
            ready.extend(rank.get(parent).filter(|_| *left == 0));
        }
    }
    Ok(ordered)
}

/// HEAD, and every ref.
pub(super) fn tips(repo: &gix::Repository) -> Vec<gix::ObjectId> {
    let mut tips: Vec<_> = repo.head_id().map(|id| id.detach()).into_iter().collect();
    if let Ok(references) = repo.references()
        && let Ok(all) = references.all()
    {
        let ids = all.filter_map(|reference| Some(reference.ok()?.peel_to_id().ok()?.detach()));
        tips.extend(ids.filter(|id| repo.find_commit(*id).is_ok()));
    }
    tips.sort();
    tips.dedup();
    tips
}

/// Pointers of trees; each tree is read once, however many commits have it.
struct Trees<'a> {
    repo: &'a gix::Repository,
    seen: HashMap<gix::ObjectId, Files>,
    entries: usize,
}

type Files = Rc<Vec<(String, Pointer)>>;

impl Trees<'_> {
    fn pointers(&mut self, tree: gix::ObjectId, depth: usize) -> Files {
        if let Some(known) = self.seen.get(&tree) {
            return known.clone();
        }
        let files = Rc::new(self.read(tree, depth).unwrap_or_default());
        self.seen.insert(tree, files.clone());
        files
    }

    fn read(&mut self, tree: gix::ObjectId, depth: usize) -> Option<Vec<(String, Pointer)>> {
        let repo = self.repo;
        let tree = repo.find_tree(tree).ok()?;
        let mut files = Vec::new();
        for entry in tree.iter() {
            let entry = entry.ok()?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                break;
            }
            let name = entry.filename().to_string();
            let id = entry.oid().to_owned();
            if entry.mode().is_tree() && depth < MAX_TREE_DEPTH {
                let below = self.pointers(id, depth + 1);
                files.extend(below.iter().map(|(path, pointer)| (format!("{name}/{path}"), *pointer)));
            } else if entry.mode().is_blob()
                && let Ok(Some(pointer)) = pointer::read(repo, id)
            {
                files.push((name, pointer));
            }
        }
        Some(files)
    }
}
