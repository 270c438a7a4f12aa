//! Which file in the store a new one is compared against.
//!
//! The pool: earlier revisions of the same path, the parents that the model declares, and files with
//! the same tensors. Sampled weights decide between those that can be compared; the order of the
//! pool decides the rest.

use std::collections::HashSet;

use crate::id::Oid;
use crate::recipe::{Layout, Reason, Recipe};
use crate::sketch;
use crate::store::{Store, StoreError};

const MOST_EARLIER: usize = 8;
const MOST_DECLARED: usize = 4;
const MOST_LIKE: usize = 512;

/// What is known of a new file's parents from outside the store, nearest first.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    pub earlier: Vec<Oid>,
    pub declared: Vec<Oid>,
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
    for (candidate, reason) in pool(store, layout, hints) {
        if !seen.insert(candidate) {
            continue;
        }
        // A candidate whose recipe is missing or damaged is no candidate: fsck tells of it, not we.
        let Ok(Some(recipe)) = store.recipe(&candidate) else { continue };
        let same_layout = layout.is_some() && recipe.layout.as_ref() == layout;
        let distance = if same_layout { sketch::distance(sketch, &recipe.sketch) } else { f32::INFINITY };
        if reason == Reason::Likeness && distance > sketch::STRANGERS {
            continue;
        }
        if best.as_ref().is_none_or(|best| distance < best.distance) {
            best = Some(Choice { recipe, reason, distance });
        }
    }
    Ok(best)
}

fn pool(store: &Store, layout: Option<&Layout>, hints: &Hints) -> Vec<(Oid, Reason)> {
    let like = layout.map(|layout| store.index().files_with_layout(layout, MOST_LIKE)).unwrap_or_default();
    let earlier = hints.earlier.iter().filter(|oid| store.has(oid).unwrap_or(false)).take(MOST_EARLIER);
    let declared = hints.declared.iter().filter(|oid| store.has(oid).unwrap_or(false)).take(MOST_DECLARED);
    let mut pool: Vec<_> = earlier.map(|oid| (*oid, Reason::History)).collect();
    pool.extend(declared.map(|oid| (*oid, Reason::Declared)));
    pool.extend(like.into_iter().map(|oid| (oid, Reason::Likeness)));
    pool
}
