//! The repositories of a hub, and their stores.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::config::Stores;
use super::learning::{Learning, Tell};
use super::remembered::Remembered;
use crate::backend::{Area, Backend, Local, Name, Privacy, STALE};
use crate::daemon::place::boot_id;
use crate::daemon::shelf::Recent;
use crate::id::Oid;
use crate::index::Index;
use crate::store::{Store, freshen_recipe};
use crate::sync::FRESH;

/// Stores that are kept open; each has an index of its own.
const OPEN: usize = 16;
const MAX_SEGMENTS: usize = 4;
const MAX_SEGMENT_BYTES: usize = 100;
/// Files of one repository whose sizes are added up for whoever looks.
const MOST_FILES: usize = 10_000;

/// `org/model`: up to four plain segments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

/// A text that names no repository.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no name of a repository: expected up to {MAX_SEGMENTS} parts of letters, digits, '.', '_' and '-'"
)]
pub struct ParseNameError(String);

impl FromStr for RepoName {
    type Err = ParseNameError;

    /// Takes `org/model` and `org/model.git` for the same.
    fn from_str(text: &str) -> Result<RepoName, ParseNameError> {
        let name = text.strip_suffix(".git").unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_segment = |segment: &str| {
            (1..=MAX_SEGMENT_BYTES).contains(&segment.len())
                && segment.bytes().all(is_plain)
                && !segment.starts_with(['.', '-'])
                && !segment.ends_with(".git")
                && !segment.ends_with(".lock")
        };
        let segments = name.split('/').count();
        match segments <= MAX_SEGMENTS && name.split('/').all(is_segment) {
            true => Ok(RepoName(name.into())),
            false => Err(ParseNameError(text.chars().take(200).collect())),
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl RepoName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A repository that is open.
pub struct Repo {
    /// None where only large files are served.
    pub git_dir: Option<PathBuf>,
    pub store: Arc<Store>,
    /// Whether the index knows all that the store has.
    pub learning: Learning,
}

impl Repo {
    /// Makes a file's recipe young again if it is not: a push relies on it, and a gc would forget it where no ref names
    /// it yet. One that can't be written stays as it is. Whether it was written anew.
    pub fn freshen(&self, oid: &Oid) -> bool {
        let name = Name::Recipe(*oid);
        let written = self.store.backend().modified(name).ok().flatten();
        let is_old = written.is_some_and(|written| written.elapsed().is_ok_and(|age| age > FRESH));
        is_old && freshen_recipe(self.store.backend(), name, *oid).unwrap_or(false)
    }

    /// A single repository, wherever it lies, with an index that lives as long as it is open.
    pub fn alone(git_dir: PathBuf) -> Repo {
        let store = Arc::new(Store::with(beside(&git_dir), Index::in_memory(), Box::<Recent>::default()));
        Repo { git_dir: Some(git_dir), store, learning: Learning::done() }
    }
}

/// The storage of a store in its repository.
fn beside(git_dir: &Path) -> Box<dyn Backend> {
    Box::new(Local::new(git_dir.join("sparse"), Privacy::Shared))
}

/// The large files of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of the store's packs.
    pub stored: u64,
    pub files: usize,
    /// Bytes of the files; none where there are too many to ask each.
    pub logical: Option<u64>,
}

/// Whether nobody but the list of open repositories has one, nor the store that it may share with what it was before.
fn is_unused(repo: &Arc<Repo>) -> bool {
    Arc::strong_count(repo) == 1 && Arc::strong_count(&repo.store) == 1
}

/// All repositories below a directory.
pub struct Repos {
    root: PathBuf,
    stores: Option<Stores>,
    indexes: PathBuf,
    open: Mutex<LruCache<RepoName, Arc<Repo>>>,
    shelf: Arc<Recent>,
    tell: Tell,
}

impl Repos {
    /// The repositories below `root`, with their stores in them or where `stores` says; indexes are kept below `cache`.
    /// What takes long is told.
    pub fn new(root: &Path, stores: Option<Stores>, cache: &Path, tell: Tell) -> Repos {
        Repos {
            root: root.to_owned(),
            stores,
            indexes: cache.join("indexes"),
            open: Mutex::new(LruCache::unbounded()),
            shelf: Arc::default(),
            tell,
        }
    }

    /// The repository of this name, if there is one. May read disks: not for the runtime's threads.
    ///
    /// Where stores lie elsewhere, every name has one, which may be empty: who may use it is the gate's affair.
    pub fn find(&self, name: &RepoName) -> Option<Arc<Repo>> {
        let git_dir = self.git_dir(name);
        let backend = match (&git_dir, &self.stores) {
            (_, Some(stores)) => Remembered::over(stores(name)),
            (Some(git_dir), None) => beside(git_dir),
            (None, None) => return None,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = open.get(name).cloned() {
            if repo.git_dir == git_dir {
                return Some(repo);
            }
            // Made by its first push since it was opened. Its index is open and must not be opened again.
            let repo = Arc::new(Repo { git_dir, store: repo.store.clone(), learning: repo.learning.clone() });
            open.put(name.clone(), repo.clone());
            return Some(repo);
        }
        // Who still uses one keeps it here, for the same reason.
        while open.len() >= OPEN
            && let Some(unused) = open.iter().rev().find(|(_, repo)| is_unused(repo))
        {
            let unused = unused.0.clone();
            open.pop(&unused);
        }
        // What a server that died left half-written is in nobody's way.
        let _ = backend.sweep(STALE);
        let place = blake3::hash(backend.place().as_bytes()).to_hex();
        let index = Index::open(&self.indexes.join(&place.as_str()[..32]), &boot_id());
        let store = Arc::new(Store::with(backend, index, Box::new(self.shelf.clone())));
        let (teacher, learning) = Learning::begin();
        let repo = Arc::new(Repo { git_dir, store, learning });
        teacher.teach(repo.clone(), name.to_string(), self.tell.clone());
        open.put(name.clone(), repo.clone());
        Some(repo)
    }

    /// The names of the repositories that lie below the root, in order; no more than `most`, of as many directories. May
    /// read disks.
    pub fn names(&self, most: usize) -> Vec<RepoName> {
        let (mut names, mut looked) = (Vec::new(), 0);
        let mut next = vec![(self.root.clone(), String::new(), 0)];
        while let Some((dir, prefix, depth)) = next.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                looked += 1;
                if looked > most * MAX_SEGMENTS || names.len() == most {
                    names.sort();
                    return names;
                }
                let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                    continue;
                };
                let Ok(repo) = name.parse::<RepoName>() else { continue };
                if self.git_dir(&repo).is_some() {
                    names.push(repo);
                } else if depth + 1 < MAX_SEGMENTS && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push((entry.path(), format!("{name}/"), depth + 1));
                }
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// What a repository's large files are, and what they take; none where asking would take long.
    pub fn figures(&self, name: &RepoName) -> Option<Figures> {
        let git_dir = self.git_dir(name)?;
        let backend = self.stores.as_ref().map_or_else(|| beside(&git_dir), |stores| stores(name));
        if backend.is_far() {
            return None;
        }
        let bytes = |name: &Name| backend.len(*name).ok().flatten().unwrap_or(0);
        let stored = backend.list(Area::Packs).ok()?.iter().map(bytes).sum();
        let recipes = backend.list(Area::Recipes).ok()?;
        let is_all = recipes.len() <= MOST_FILES;
        let store = Store::over(backend, Index::in_memory());
        let size =
            |name: &Name| if let Name::Recipe(oid) = name { store.size(oid).ok().flatten() } else { None };
        let logical = recipes.iter().take(MOST_FILES).filter_map(size).sum();
        Some(Figures { stored, files: recipes.len(), logical: is_all.then_some(logical) })
    }

    /// Makes an empty bare repository; it is no error if there is one.
    pub fn create(&self, name: &RepoName) -> io::Result<()> {
        if self.git_dir(name).is_some() {
            return Ok(());
        }
        let path = self.root.join(format!("{name}.git"));
        fs::create_dir_all(&path)?;
        let done = Command::new("git")
            .args(["init", "--quiet", "--bare", "--initial-branch=main"])
            .arg(&path)
            .output()?;
        match done.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned())),
        }
    }

    /// Where the repository lies: `<name>.git`, or `<name>` if that is a bare one.
    fn git_dir(&self, name: &RepoName) -> Option<PathBuf> {
        let candidates = [self.root.join(format!("{name}.git")), self.root.join(name.as_str())];
        let is_bare = |dir: &PathBuf| dir.join("objects").is_dir() && dir.join("HEAD").is_file();
        candidates.into_iter().find(is_bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names come from URLs and become paths: none may lead out of the hub's directory, or to files of git.
    #[test]
    fn only_plain_names_are_repositories() {
        for good in ["model", "org/model", "org/model.git", "a/b/c/d", "org/v1.2_x-y"] {
            assert!(good.parse::<RepoName>().is_ok(), "{good} was refused");
        }
        let long = "x".repeat(101);
        for bad in [
            "",
            "/",
            "a//b",
            "..",
            "a/..",
            "a/../b",
            ".git",
            "a/.hidden",
            "-x",
            "a b",
            "a%2e",
            "a/b/c/d/e",
            "a.git/b",
            "a.lock",
            "é",
            "a\0",
            "a\\b",
            &long,
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad:?} passed");
        }
        assert_eq!("org/model.git".parse::<RepoName>().unwrap(), "org/model".parse().unwrap());
    }
}
