//! From which files of the store, and by which rule, a new one was made: merged models, merged adapters,
//! conversions and quantisations.
//!
//! Nothing is believed: a rule is looked for in samples, tried on a few tensors, and in the end every object is
//! computed and compared. What differs is stored as what the rule leaves over, and size decides.

mod adapted;
mod converted;
mod four_bit;
mod merged;
mod names;
mod reordered;
mod scaled;

use std::collections::{HashMap, HashSet};

pub use converted::{Pairs, Reads, may_be_converted};

use crate::chain::MAX_LINKS;
use crate::codec::{self, Effort, Encoded};
use crate::derive::{Float, Rule};
use crate::format::{Dtype, Segment};
use crate::id::{ObjectId, Oid};
use crate::pack::Bases;
use crate::recipe::{Layout, Parent, Reason, Recipe};
use crate::store::{Store, StoreError};

/// Bytes of a tensor on which rules are tried, and tensors on which one is.
const TRIAL_BYTES: usize = 32 << 10;
const MOST_TRIALS: usize = 3;
/// What follows by a rule may stand on objects that lie less deep than this.
const DEEPEST_SOURCE: u8 = 16;
/// And on so many objects in all: half of what a chain may have, since elsewhere they may lie deeper.
const MOST_BELOW: usize = MAX_LINKS / 2;
/// A rule that gets more of what changed wrong than this is none.
const MOST_WRONG: f64 = 0.5;

/// What is known of a file that may have been made from others.
pub struct Child<'a> {
    /// Where it is known before the file was read.
    pub oid: Option<Oid>,
    pub layout: Option<&'a Layout>,
    pub sketch: &'a [f32],
    pub segments: &'a [Segment],
    /// The bytes of a segment, from its start on, as many as asked for.
    pub read: &'a dyn Fn(&Segment, usize) -> Option<Vec<u8>>,
}

/// How a file was made.
#[derive(Debug)]
pub struct Origin {
    /// Why, and the files, with the weight of each; the base first. None where it is the base with its rows elsewhere.
    pub made_of: Option<(Reason, Vec<Parent>)>,
    attempts: HashMap<(String, u32), Attempt>,
}

/// How a slice of a tensor may follow from objects of the store.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub rule: Rule,
    pub sources: Vec<ObjectId>,
}

/// An object as its rule gives it.
#[derive(Debug, Clone)]
pub struct Derived {
    pub encoded: Encoded,
    pub bases: Bases,
    /// Of the deepest of them.
    pub depth: u8,
    /// The rule leaves nothing over.
    pub is_exact: bool,
}

impl Attempt {
    /// Encodes numbers by the rule, if it gives them, or nearly.
    pub fn encode(
        &self,
        store: &Store,
        bytes: &[u8],
        dtype: Dtype,
        row_len: u64,
        effort: Effort,
    ) -> Option<Derived> {
        let depth = self.depth(store)?;
        let sources = self.sources.iter().map(|source| store.get_base(source).ok());
        let sources: Vec<_> = sources.collect::<Option<_>>()?;
        let sources: Vec<&[u8]> = sources.iter().map(|source| &***source).collect();
        let derived = self.rule.apply(&sources, bytes.len()).ok()?;
        self.rule.is_portable(&derived).then_some(())?;
        let encoded = codec::derived::encode(bytes, dtype, row_len, &self.rule, &derived, effort)?;
        let bases = Bases::of(self.sources.iter().copied())?;
        Some(Derived { encoded, bases, depth, is_exact: derived == bytes })
    }
}

impl Attempt {
    /// The depth of the deepest source; none where the chains below them all are too deep, or together too long.
    fn depth(&self, store: &Store) -> Option<u8> {
        let (mut deepest, mut below) = (0, HashSet::new());
        for source in &self.sources {
            let chain = store.chain(source).ok()?;
            deepest = deepest.max(chain.top().record.depth);
            below.extend(chain.links().iter().map(|link| link.record.object));
        }
        (deepest < DEEPEST_SOURCE && below.len() <= MOST_BELOW).then_some(deepest)
    }
}

impl Origin {
    /// How this segment may follow.
    pub fn of(&self, segment: &Segment) -> Option<&Attempt> {
        self.named(&segment.name, segment.slice)
    }

    /// How this slice of this tensor may follow.
    pub fn named(&self, tensor: &str, slice: u32) -> Option<&Attempt> {
        self.attempts.get(&(tensor.to_owned(), slice))
    }
}

/// Looks for the origin of a file. `base` is the file that it would be compared with otherwise.
pub fn find(store: &Store, child: &Child<'_>, base: Option<&Recipe>) -> Result<Option<Origin>, StoreError> {
    if let Some(found) = converted::find(store, child)? {
        return Ok(Some(found));
    }
    let Some(base) = base.filter(|base| Some(base.oid) != child.oid) else { return Ok(None) };
    if let Some(found) = adapted::find(store, child, base)? {
        return Ok(Some(found));
    }
    if let Some(found) = merged::find(store, child)? {
        return Ok(Some(found));
    }
    Ok(reordered::find(store, child, base))
}

/// The slices of a recipe, by tensor and number.
fn slices(recipe: &Recipe) -> HashMap<(&str, u32), (ObjectId, Option<Float>)> {
    let slice = |part: &crate::recipe::Part| {
        let tensor = recipe.tensor_of(part)?;
        Some(((tensor.name.as_str(), part.slice), (part.object, Float::of(tensor.dtype))))
    };
    recipe.parts.iter().filter_map(slice).collect()
}

/// The share of the numbers that are not as in `base` which a rule gets wrong; none where too few changed to tell.
fn share_wrong(derived: &[u8], bytes: &[u8], base: &[u8], float: Float) -> Option<f64> {
    let unequal = match float.width() {
        2 => unequal::<2>,
        _ => unequal::<4>,
    };
    let changed = unequal(bytes, base);
    (changed > 0).then(|| unequal(derived, bytes) as f64 / changed as f64)
}

fn unequal<const N: usize>(one: &[u8], other: &[u8]) -> usize {
    one.as_chunks::<N>().0.iter().zip(other.as_chunks::<N>().0).filter(|(one, other)| one != other).count()
}
