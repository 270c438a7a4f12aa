//! What is stored before a file, so that it finds what it is best compared with or computed from.
//!
//! A first push has many models at once, and in any order: git-lfs' cache has them all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::Hints;
use crate::format::{self, OpenFile};
use crate::git::{History, lineage, pointer};
use crate::id::Oid;
use crate::recipe::{self, Layout};
use crate::store::Store;

/// Most files that are stored on the way to one.
const MOST: usize = 256;

/// Files in the order in which they are to be stored.
pub(super) struct Before<'a> {
    store: &'a Store,
    repo: Option<&'a Path>,
    history: &'a History,
    seen: HashSet<Oid>,
    found: Vec<(Oid, PathBuf)>,
}

impl<'a> Before<'a> {
    /// The file that git-lfs keeps at `path`, last; before it those that lie beside it there and not in the store.
    pub fn of(
        oid: Oid,
        path: &Path,
        store: &'a Store,
        repo: Option<&'a Path>,
        history: &'a History,
    ) -> Vec<(Oid, PathBuf)> {
        let mut before = Before { store, repo, history, seen: HashSet::from([oid]), found: Vec::new() };
        before.add_those_before(oid, path);
        before.found.push((oid, path.to_owned()));
        before.found
    }

    fn add_those_before(&mut self, oid: Oid, path: &Path) {
        let Hints { earlier, declared, .. } = hints(self.repo, self.history, oid);
        let mut others: Vec<Oid> = earlier.into_iter().take(1).chain(declared).collect();
        let own = family(path);
        let is_sibling =
            |other: &Oid| own.is_some() && beside(path, *other).and_then(|at| family(&at)) == own;
        others.extend(lineage::siblings(self.history, oid).into_iter().filter(|other| {
            !self.seen.contains(other) && !self.store.has(other).unwrap_or(true) && is_sibling(other)
        }));
        others.extend(lineage::ingredients(self.history, oid));
        for other in others {
            let is_known = self.seen.contains(&other) || self.store.has(&other).unwrap_or(true);
            if is_known || self.seen.len() >= MOST {
                continue;
            }
            self.seen.insert(other);
            if let Some(place) = beside(path, other).filter(|place| place.is_file()) {
                self.add_those_before(other, &place);
                self.found.push((other, place));
            }
        }
    }
}

/// What files must have in common to be compared: the fingerprint of a model's architecture, from its header; that both
/// are tables, or both are text.
fn family(path: &Path) -> Option<Layout> {
    let cut = format::cut_by_length(&OpenFile::open(path).ok()?).ok()?;
    recipe::content_of(cut.format()).or_else(|| format::layout_of(cut.segments()))
}

/// What the repository tells of a file's parents.
pub(super) fn hints(repo: Option<&Path>, history: &History, oid: Oid) -> Hints {
    let declared = repo.and_then(|repo| lineage::declared(repo, history, oid).ok()).unwrap_or_default();
    Hints { earlier: history.earlier(oid), declared, elsewhere: history.elsewhere(oid) }
}

/// Where git-lfs keeps `other`, given where it keeps the file at `path`.
fn beside(path: &Path, other: Oid) -> Option<PathBuf> {
    let objects = path.parent()?.parent()?.parent()?;
    Some(pointer::object_path(objects, other))
}
