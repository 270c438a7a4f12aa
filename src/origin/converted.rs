//! A GGUF file that was converted or quantised from a model that the store has.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::names::{before, has_heads};
use super::{Attempt, Child, Origin};
use crate::derive::{Converted, Float, Kind, Rule};
use crate::format::{Dtype, Segment};
use crate::id::{ObjectId, Oid};
use crate::recipe::{Parent, Part, Reason};
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
    if !may_be_converted(child.segments) {
        return Ok(None);
    }
    let source = |object: &ObjectId, len: usize| {
        let bytes = store.get_base(object).ok()?;
        bytes.get(..len).map(<[u8]>::to_vec)
    };
    let reads = Reads { child: child.read, source: &source };
    let mut proven: Vec<(Oid, Pairs<ObjectId>)> = Vec::new();
    let mut covered = HashSet::new();
    for (oid, pairs) in candidates(store, child)? {
        // Several files together may be one model; of two models that both fit the first is taken.
        let fresh = pairs.names().filter(|name| !covered.contains(*name)).count();
        if fresh == 0 || !pairs.proves(child.segments, &reads) {
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
        let rules = pairs.rules(child.segments, &reads);
        let attempt = |(rule, source)| Attempt { rule: Rule::Converted(rule), sources: vec![source] };
        attempts.extend(rules.into_iter().map(|(slice, found)| (slice, attempt(found))));
    }
    let parents = proven.iter().map(|(oid, _)| Parent { oid: *oid, weight: 1.0 }).collect();
    Ok(Some(Origin { made_of: Some((Reason::Conversion, parents)), attempts }))
}

/// Whether a file has tensors that a converter may have written.
pub fn may_be_converted(segments: &[Segment]) -> bool {
    let is_gguf = |segment: &Segment| segment.slice == 0 && before(&segment.name).len() > 1;
    let is_quantised = |segment: &Segment| segment.dtype == Dtype::U8 && !kinds(segment).is_empty();
    segments.iter().any(|segment| is_gguf(segment) || is_quantised(segment))
}

/// The files that have tensors of these names and shapes, those with the most first.
fn candidates(store: &Store, child: &Child<'_>) -> Result<Vec<(Oid, Pairs<ObjectId>)>, StoreError> {
    let mut found = Vec::new();
    for oid in store.oids()?.into_iter().filter(|oid| Some(*oid) != child.oid).take(MOST_FILES) {
        let Some(recipe) = store.recipe(&oid).ok().flatten() else { continue };
        let slice = |part: &Part| {
            let tensor = recipe.tensor_of(part)?;
            Some((tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice(), part.object))
        };
        let pairs = Pairs::of(child.segments, recipe.parts.iter().filter_map(slice));
        if pairs.by_name.len() as f64 > LEAST_SHARED * recipe.tensors.len() as f64 {
            found.push((oid, pairs));
        }
    }
    found.sort_by_key(|(oid, pairs)| (usize::MAX - pairs.by_name.len(), *oid));
    found.truncate(MOST_TRIED);
    Ok(found)
}

/// The tensors of a model from which those of a file may have been made. `H` says where a slice lies.
pub struct Pairs<H> {
    /// By the name in the file: type, and the slices.
    by_name: BTreeMap<String, (Float, Vec<H>)>,
}

/// How the first bytes of a segment, and those of a slice of the model, are read.
pub struct Reads<'a, H> {
    pub child: &'a dyn Fn(&Segment, usize) -> Option<Vec<u8>>,
    pub source: &'a dyn Fn(&H, usize) -> Option<Vec<u8>>,
}

impl<H: Clone> Pairs<H> {
    /// Of a file that is cut so, and a model with these slices: name, type and shape of the tensor, and the place.
    pub fn of<'a>(
        segments: &[Segment],
        slices: impl Iterator<Item = (&'a str, Dtype, &'a [u64], H)>,
    ) -> Pairs<H> {
        let mut tensors: HashMap<&str, (Float, &[u64], Vec<H>)> = HashMap::new();
        for (name, dtype, shape, place) in slices {
            if let Some(float) = Float::of(dtype) {
                tensors.entry(name).or_insert((float, shape, Vec::new())).2.push(place);
            }
        }
        let mut by_name = BTreeMap::new();
        for segment in segments.iter().filter(|segment| segment.slice == 0 && !kinds(segment).is_empty()) {
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

    /// Whether the first rows of the smallest matrix come out.
    pub fn proves(&self, segments: &[Segment], reads: &Reads<'_, H>) -> bool {
        let matrices = segments.iter().filter(|segment| {
            segment.slice == 0 && segment.shape.len() > 1 && self.by_name.contains_key(&segment.name)
        });
        let smallest = matrices.min_by_key(|segment| segment.range.end - segment.range.start);
        smallest.is_some_and(|segment| self.trial(segment, reads).is_some())
    }

    /// The rule that gives the first two rows of a tensor, but for a few bytes.
    fn trial(&self, segment: &Segment, reads: &Reads<'_, H>) -> Option<Converted> {
        let (from, slices) = &self.by_name[&segment.name];
        let row_len = *segment.shape.last()?;
        let row_bytes = usize::try_from(row_len).ok()?.checked_mul(from.width())?;
        let elements = segment.shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len))?;
        let has_heads = has_heads(&segment.name);
        let read = if has_heads { MOST_HEAD_ROWS / 2 } else { 2 };
        let rows = usize::try_from(elements.checked_div(row_len)?).ok()?.min(read);
        let source = (reads.source)(slices.first()?, rows.checked_mul(row_bytes)?)?;
        for kind in kinds(segment) {
            let rule = Converted { from: *from, to: kind, row_len, head: 0 };
            let packed = row_len as usize / kind.block() * kind.packed();
            let bytes = (reads.child)(segment, packed * rows.min(2))?;
            let gives = |number: usize, bytes: &[u8]| {
                let row = source.get(number * row_bytes..(number + 1) * row_bytes);
                let out = row.and_then(|row| Rule::Converted(rule).apply(&[row], packed).ok());
                out.is_some_and(|out| is_close(&out, bytes))
            };
            let (first, second) = bytes.split_at_checked(packed)?;
            if !gives(0, first) {
                continue;
            }
            if second.is_empty() || gives(1, second) {
                return Some(rule);
            }
            if let Some(half) = (2..rows).find(|number| has_heads && gives(*number, second)) {
                return Some(Converted { head: 2 * half as u32, ..rule });
            }
        }
        None
    }

    /// How each slice may follow: what holds for one tensor is taken to hold for all that play its part.
    pub fn rules(
        &self,
        segments: &[Segment],
        reads: &Reads<'_, H>,
    ) -> HashMap<(String, u32), (Converted, H)> {
        let mut by_part: HashMap<(String, Dtype, u64, u64), Option<Converted>> = HashMap::new();
        let mut rules = HashMap::new();
        for segment in segments {
            let Some((from, slices)) = self.by_name.get(&segment.name) else { continue };
            let row_len = segment.shape.last().copied().unwrap_or(1);
            let part: String = segment.name.chars().filter(|c| !c.is_ascii_digit()).collect();
            let key = (part, segment.dtype, segment.row_len, row_len);
            let rule = *by_part.entry(key).or_insert_with(|| self.trial(segment, reads));
            if let Some((rule, source)) = rule.zip(slices.get(segment.slice as usize)) {
                let rule = Converted { from: *from, ..rule };
                rules.insert((segment.name.clone(), segment.slice), (rule, source.clone()));
            }
        }
        rules
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
        is_of
            && elements > 0
            && elements.is_multiple_of(block)
            && (elements / block).checked_mul(packed) == Some(bytes)
    };
    Kind::ALL.into_iter().filter(fits).collect()
}
