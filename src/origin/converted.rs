//! A GGUF file that was converted or quantised from a model that the store has.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::names::{before, has_heads};
use super::{Attempt, Child, Origin};
use crate::derive::{Converted, Float, Kind, Rule};
use crate::format::{Dtype, Segment};
use crate::id::{ObjectId, Oid};
use crate::recipe::{Parent, Reason, Recipe};
use crate::store::{Store, StoreError};

/// Files of the store that are looked at.
const MOST_FILES: usize = 4096;
/// Files whose tensors are tried.
const MOST_TRIED: usize = 64;
/// Rows of an attention head, at most.
const MOST_HEAD_ROWS: usize = 512;
/// A recipe that is made of other files must have this share of the tensors, by number.
const LEAST_SHARED: f64 = 0.02;

/// Looks for the model that a file in GGUF was made from.
pub(super) fn find(store: &Store, child: &Child<'_>) -> Result<Option<Origin>, StoreError> {
    let tensors: Vec<&Segment> = child.segments.iter().filter(|segment| segment.slice == 0).collect();
    let is_gguf = |segment: &&&Segment| before(&segment.name).len() > 1;
    let quantised = tensors.iter().filter(|segment| !kinds(segment).is_empty() && segment.dtype == Dtype::U8);
    if tensors.iter().filter(is_gguf).count() == 0 || quantised.count() == 0 && child.layout.is_none() {
        return Ok(None);
    }
    let mut proven: Vec<(Oid, Pairs)> = Vec::new();
    let mut covered = HashSet::new();
    for (oid, pairs) in candidates(store, child)? {
        // Several files together may be one model; of two models that both fit the first is taken.
        let fresh = pairs.names().filter(|name| !covered.contains(*name)).count();
        if fresh == 0 || !pairs.proves(store, child) {
            continue;
        }
        covered.extend(pairs.names().map(str::to_owned));
        proven.push((oid, pairs));
    }
    if proven.is_empty() {
        return Ok(None);
    }
    let mut attempts = HashMap::new();
    for (_, pairs) in proven.iter().rev() {
        attempts.extend(pairs.attempts(store, child));
    }
    let parents = proven.iter().map(|(oid, _)| Parent { oid: *oid, weight: 1.0 }).collect();
    Ok(Some(Origin { reason: Reason::Conversion, parents, attempts }))
}

/// The files that have tensors of these names and shapes, those with the most first.
fn candidates(store: &Store, child: &Child<'_>) -> Result<Vec<(Oid, Pairs)>, StoreError> {
    let mut found = Vec::new();
    for oid in store.oids()?.into_iter().filter(|oid| *oid != child.oid).take(MOST_FILES) {
        let Some(recipe) = store.recipe(&oid).ok().flatten() else { continue };
        let pairs = Pairs::of(child, &recipe);
        if pairs.by_name.len() as f64 > LEAST_SHARED * recipe.tensors.len() as f64 {
            found.push((oid, pairs));
        }
    }
    found.sort_by_key(|(oid, pairs)| (usize::MAX - pairs.by_name.len(), *oid));
    found.truncate(MOST_TRIED);
    Ok(found)
}

/// The tensors of a file from which those of the child may have been made.
struct Pairs {
    /// By the name in the child: type, and the objects of its slices.
    by_name: BTreeMap<String, (Float, Vec<ObjectId>)>,
}

impl Pairs {
    fn of(child: &Child<'_>, recipe: &Recipe) -> Pairs {
        let mut tensors: HashMap<&str, (Float, &[u64], Vec<ObjectId>)> = HashMap::new();
        for part in &recipe.parts {
            if let Some((tensor, index)) = recipe.tensor_of(part).zip(part.tensor)
                && let Some(float) = Float::of(tensor.dtype)
            {
                let tensor = &recipe.tensors[index as usize];
                let slices = &mut tensors.entry(&tensor.name).or_insert((float, &tensor.shape, Vec::new())).2;
                slices.push(part.object);
            }
        }
        let mut by_name = BTreeMap::new();
        for segment in
            child.segments.iter().filter(|segment| segment.slice == 0 && !kinds(segment).is_empty())
        {
            let names = before(&segment.name);
            let fits =
                |name: &String| tensors.get(name.as_str()).filter(|(_, shape, _)| *shape == segment.shape);
            if let Some((float, _, slices)) = names.iter().find_map(fits) {
                by_name.insert(segment.name.clone(), (*float, slices.clone()));
            }
        }
        Pairs { by_name }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether the first row of the smallest matrix comes out.
    fn proves(&self, store: &Store, child: &Child<'_>) -> bool {
        let matrices = child.segments.iter().filter(|segment| {
            segment.slice == 0 && segment.shape.len() > 1 && self.by_name.contains_key(&segment.name)
        });
        let smallest = matrices.min_by_key(|segment| segment.range.end - segment.range.start);
        smallest.is_some_and(|segment| self.trial(store, child, segment).is_some())
    }

    /// The rule that gives the first two rows of a tensor, but for a few bytes.
    fn trial(&self, store: &Store, child: &Child<'_>, segment: &Segment) -> Option<Converted> {
        let (from, slices) = &self.by_name[&segment.name];
        let source = store.get_base(slices.first()?).ok()?;
        let row_len = *segment.shape.last()?;
        let row_bytes = usize::try_from(row_len).ok()?.checked_mul(from.width())?;
        let row = |number: usize| source.get(number * row_bytes..(number + 1) * row_bytes);
        for kind in kinds(segment) {
            let rule = Converted { from: *from, to: kind, row_len, head: 0 };
            let packed = row_len as usize / kind.block() * kind.packed();
            let rows = (segment.range.end - segment.range.start) as usize / packed.max(1);
            let bytes = (child.read)(segment, packed * rows.min(2))?;
            let gives = |number: usize, bytes: &[u8]| {
                let out = row(number).and_then(|row| Rule::Converted(rule).apply(&[row], packed).ok());
                out.is_some_and(|out| is_close(&out, bytes))
            };
            let (first, second) = bytes.split_at_checked(packed)?;
            if !gives(0, first) {
                continue;
            }
            if second.is_empty() || gives(1, second) {
                return Some(rule);
            }
            if has_heads(&segment.name)
                && let Some(half) = (2..MOST_HEAD_ROWS / 2).find(|number| gives(*number, second))
            {
                return Some(Converted { head: 2 * half as u32, ..rule });
            }
        }
        None
    }

    /// How each slice may follow: what holds for one tensor is taken to hold for all that play its part.
    fn attempts(&self, store: &Store, child: &Child<'_>) -> HashMap<(String, u32), Attempt> {
        let mut rules: HashMap<(String, Dtype, u64, u64), Option<Converted>> = HashMap::new();
        let mut attempts = HashMap::new();
        for segment in child.segments {
            let Some((from, slices)) = self.by_name.get(&segment.name) else { continue };
            let row_len = segment.shape.last().copied().unwrap_or(1);
            let part: String = segment.name.chars().filter(|c| !c.is_ascii_digit()).collect();
            let key = (part, segment.dtype, segment.row_len, row_len);
            let rule = *rules.entry(key).or_insert_with(|| self.trial(store, child, segment));
            if let Some((rule, source)) = rule.zip(slices.get(segment.slice as usize)) {
                let rule = Rule::Converted(Converted { from: *from, ..rule });
                attempts
                    .insert((segment.name.clone(), segment.slice), Attempt { rule, sources: vec![*source] });
            }
        }
        attempts
    }
}

/// A build that fuses operations gives other bytes here and there.
fn is_close(derived: &[u8], bytes: &[u8]) -> bool {
    let wrong = derived.iter().zip(bytes).filter(|(derived, bytes)| derived != bytes).count();
    derived.len() == bytes.len() && wrong * 20 <= bytes.len()
}

/// The types that a tensor may be in, by how long its rows are.
fn kinds(segment: &Segment) -> Vec<Kind> {
    let Some(&elements) = segment.shape.last() else { return Vec::new() };
    let bytes = segment.row_len.saturating_mul(segment.dtype.width() as u64);
    let fits = |kind: &Kind| {
        let (block, packed) = (kind.block() as u64, kind.packed() as u64);
        let is_of = match kind {
            Kind::F32 => segment.dtype == Dtype::F32,
            Kind::F16 => segment.dtype == Dtype::F16,
            Kind::Bf16 => segment.dtype == Dtype::Bf16,
            _ => segment.dtype == Dtype::U8,
        };
        is_of && elements > 0 && elements.is_multiple_of(block) && elements / block * packed == bytes
    };
    Kind::ALL.into_iter().filter(fits).collect()
}
