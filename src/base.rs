//! Which file in the store a new one is compared against.
//!
//! The pool: earlier revisions of the same path, the parents that the model declares, and files with
//! the same tensors. Sampled weights decide between those that can be compared; the order of the
//! pool decides the rest.

use std::collections::HashSet;

use crate::id::Oid;
use crate::minhash::{Asked, Candidate, Sampled};
use crate::recipe::{self, ADAPTERS, Layout, Reason, Recipe};
use crate::sketch;
use crate::store::{Store, StoreError};

const MOST_EARLIER: usize = 8;
const MOST_DECLARED: usize = 4;
/// Sketches that are compared.
const MOST_LIKE: usize = 1 << 16;
/// Files with the same content whose recipes are read.
const MOST_CONTENT: usize = 64;

/// What is known of a new file's parents from outside the store, nearest first.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    pub earlier: Vec<Oid>,
    pub declared: Vec<Oid>,
    /// Files that stood at other paths before, the newest first: they decide between those that are as near.
    pub elsewhere: Vec<Oid>,
}

/// The file to compare against.
#[derive(Debug)]
pub struct Choice {
    pub recipe: Recipe,
    pub reason: Reason,
    /// Relative distance of the sampled weights; infinite when they could not be compared.
    pub distance: f32,
}

/// Chooses the base of a file with this layout and sketch, or none.
pub fn choose(
    store: &Store,
    oid: Oid,
    layout: Option<&Layout>,
    sketch: &[f32],
    hints: &Hints,
) -> Result<Option<Choice>, StoreError> {
    let mut best: Option<Choice> = None;
    let mut seen = HashSet::from([oid]);
    // Whether there was a recipe to look at.
    let mut offer = |candidate: Oid, reason: Reason| {
        // A candidate whose recipe is missing or damaged is no candidate: fsck tells of it, not we.
        let Some(recipe) = seen.insert(candidate).then(|| store.recipe(&candidate).ok()).flatten().flatten()
        else {
            return false;
        };
        let same_layout = layout.is_some() && recipe.layout.as_ref() == layout;
        let distance = if same_layout { sketch::distance(sketch, &recipe.sketch) } else { f32::INFINITY };
        let is_stranger = reason == Reason::Likeness && distance > sketch::STRANGERS;
        if !is_stranger && best.as_ref().is_none_or(|best| distance < best.distance) {
            best = Some(Choice { recipe, reason, distance });
        }
        true
    };
    for (candidate, reason) in named(store, hints) {
        offer(candidate, reason);
    }
    // The first that is still there is the nearest.
    let alike = layout.map(|layout| alike(store, layout, sketch)).unwrap_or_default();
    alike.into_iter().any(|candidate| offer(candidate.oid, Reason::Likeness));
    Ok(best)
}

/// What a new file holds, as far as others are found by it.
#[derive(Debug)]
pub struct Content {
    /// Where the index lists files with such content.
    pub kind: Layout,
    /// Bytes of the file.
    pub size: u64,
    pub of: Sampled,
}

/// Chooses the bases of a table or a text: the files of the store that have most of what it holds, wherever they stood;
/// none, or what is said to be its parent, where nothing has.
pub fn choose_by_content(
    store: &Store,
    oid: Oid,
    content: &Content,
    hints: &Hints,
) -> Result<Vec<Choice>, StoreError> {
    let asked = Asked::about(&content.of, content.size);
    let has_content = |recipe: &Recipe| recipe::content_of(recipe.format) == Some(content.kind);
    let read = |oid: &Oid| store.recipe(oid).ok().flatten();
    let mut seen = HashSet::from([oid]);
    let named = named(store, hints).into_iter().filter(|(oid, _)| seen.insert(*oid));
    let named = named.filter_map(|(oid, reason)| Some((read(&oid)?, reason)));
    let mut pool: Vec<(Recipe, Reason)> = named.collect();
    let first = pool.first().map(|(recipe, reason)| (recipe.clone(), *reason));

    let mut alike: Vec<(f64, Oid)> = Vec::new();
    for (oid, kept) in known(store, &content.kind).into_iter().filter(|(oid, _)| !seen.contains(oid)) {
        alike.extend(asked.in_common(&kept).map(|count| (count as f64 / kept.len() as f64, oid)));
    }
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Some may be gone.
    let found = alike.iter().filter_map(|(_, oid)| read(oid)).take(MOST_CONTENT);
    let mut found: Vec<Recipe> = found.collect();
    let place = |oid: &Oid| hints.elsewhere.iter().position(|other| other == oid).unwrap_or(usize::MAX);
    found.sort_by_cached_key(|recipe| place(&recipe.oid));
    pool.extend(found.into_iter().map(|recipe| (recipe, Reason::Likeness)));

    let candidate = |(recipe, reason): (Recipe, Reason)| {
        let (size, kept) = (recipe.size, recipe.sketch.clone());
        has_content(&recipe).then_some(Candidate { file: (recipe, reason), size, kept })
    };
    let chosen = asked.choose(pool.into_iter().filter_map(candidate).collect());
    let choice = |(recipe, reason)| Choice { recipe, reason, distance: f32::INFINITY };
    let mut chosen: Vec<Choice> = chosen.into_iter().map(|(file, _)| choice(file)).collect();
    if let Some(first) = first.filter(|(first, _)| chosen.iter().all(|choice| choice.recipe.oid != first.oid))
    {
        // Of one that an older program stored nobody knows what it holds; what the other ones lack may be like it.
        let at = if first.0.sketch.is_empty() { 0 } else { chosen.len() };
        chosen.insert(at, choice(first));
    }
    Ok(chosen)
}

/// What is said to be a parent.
fn named(store: &Store, hints: &Hints) -> Vec<(Oid, Reason)> {
    let earlier = hints.earlier.iter().filter(|oid| store.has(oid).unwrap_or(false)).take(MOST_EARLIER);
    let declared = hints.declared.iter().filter(|oid| store.has(oid).unwrap_or(false)).take(MOST_DECLARED);
    let earlier = earlier.map(|oid| (*oid, Reason::History));
    earlier.chain(declared.map(|oid| (*oid, Reason::Declared))).collect()
}

/// A file of the same layout.
#[derive(Debug)]
pub struct Alike {
    pub oid: Oid,
    pub sketch: Vec<f32>,
    /// Relative distance of the sampled weights.
    pub distance: f32,
}

/// The files of this layout, the nearest first, by the sketches that the index keeps: no recipe is read for those that
/// lie farther.
pub fn alike(store: &Store, layout: &Layout, sketch: &[f32]) -> Vec<Alike> {
    let mut near: Vec<Alike> = known(store, layout)
        .into_iter()
        .map(|(oid, theirs)| Alike { oid, distance: sketch::distance(sketch, &theirs), sketch: theirs })
        .collect();
    near.retain(|alike| alike.distance <= sketch::STRANGERS);
    near.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    near
}

/// The adapters that the store has, or had.
pub fn adapters(store: &Store) -> Vec<Oid> {
    known(store, &ADAPTERS).into_iter().map(|(oid, _)| oid).collect()
}

fn known(store: &Store, layout: &Layout) -> Vec<(Oid, Vec<f32>)> {
    if !store.index().knows_sketches() {
        learn_sketches(store);
    }
    store.index().sketches(layout, MOST_LIKE)
}

/// Reads all recipes once, after the index was lost.
fn learn_sketches(store: &Store) {
    let Ok(oids) = store.oids() else { return };
    oids.iter().filter_map(|oid| store.recipe(oid).ok().flatten()).for_each(|recipe| store.remember(&recipe));
    store.index().set_knows_sketches();
}
