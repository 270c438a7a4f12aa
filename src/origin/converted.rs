//! A file that was converted or quantised from a model that the store has: in GGUF, in INT8, in FP8 or in four bits.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::four_bit;
use super::names::{before, has_heads};
use super::scaled::{self, Numbers, Way};
use super::{Attempt, Child, Origin};
use crate::derive::{Converted, Float, FourBit, Grid, Kind, Rule};
use crate::format::{Dtype, Segment};
use crate::id::{ObjectId, Oid};
use crate::recipe::{Parent, Part, Reason};
use crate::store::{Store, StoreError};

/// Files of the store that are looked at.
const MOST_FILES: usize = 4096;
/// Files whose tensors are tried.
const MOST_TRIED: usize = 64;
/// Matrices by which models are told apart that all seem to fit.
const MOST_COMPARED: usize = 8;
/// Rows of an attention head, at most.
const MOST_HEAD_ROWS: usize = 512;
/// A recipe that is made of other files must have this share of the tensors, by number.
const LEAST_SHARED: f64 = 0.02;

/// A rule that gets more bytes wrong than this share gave a relative, and not the file.
const MOST_WRONG_BYTES: f64 = 0.05;

/// Looks for the model that a file was converted or quantised from; of a quantised one at least for a relative of it.
pub(super) fn find(store: &Store, child: &Child<'_>) -> Result<Option<Origin>, StoreError> {
    if !may_be_converted(child.segments) {
        return Ok(None);
    }
    let source = |object: &ObjectId, len: usize| {
        let bytes = store.get_base(object).ok()?;
        bytes.get(..len).map(<[u8]>::to_vec)
    };
    let reads = Reads { child: child.read, source: &source };
    let mut near: Vec<(Oid, Pairs<ObjectId>)> = Vec::new();
    let mut nearest: Option<(f64, Oid, Pairs<ObjectId>)> = None;
    for (oid, pairs) in candidates(store, child)? {
        match pairs.share_wrong(child.segments, &reads, 1) {
            Some(..=MOST_WRONG_BYTES) => near.push((oid, pairs)),
            Some(wrong) if nearest.as_ref().is_none_or(|(least, ..)| wrong < *least) => {
                nearest = Some((wrong, oid, pairs));
            }
            _ => {}
        }
    }
    if near.len() > 1 {
        // Relatives round to nearly the same, and where one was not trained to the very same.
        let wrong =
            |pairs: &Pairs<_>| pairs.share_wrong(child.segments, &reads, MOST_COMPARED).unwrap_or(1.0);
        near.sort_by_cached_key(|(_, pairs)| (wrong(pairs) * 1e9) as u64);
    }
    // Several files together may be one model; of two models that both fit the first is taken.
    let mut covered: HashSet<String> = HashSet::new();
    near.retain(|(_, pairs)| {
        let fresh: Vec<_> =
            pairs.names().filter(|name| !covered.contains(*name)).map(str::to_owned).collect();
        let is_needed = !fresh.is_empty();
        covered.extend(fresh);
        is_needed
    });
    let mut proven = near;
    if proven.is_empty() {
        proven.extend(nearest.map(|(_, oid, pairs)| (oid, pairs)));
    }
    if proven.is_empty() {
        return Ok(None);
    }
    let mut attempts = HashMap::new();
    for (_, pairs) in proven.iter().rev() {
        let rules = pairs.rules(child.segments, &reads);
        let attempt = |(rule, sources)| Attempt { rule, sources };
        attempts.extend(rules.into_iter().map(|(slice, found)| (slice, attempt(found))));
    }
    let parents = proven.iter().map(|(oid, _)| Parent { oid: *oid, weight: 1.0 }).collect();
    Ok(Some(Origin { made_of: Some((Reason::Conversion, parents)), attempts }))
}

/// Whether a file has tensors that a converter may have written.
pub fn may_be_converted(segments: &[Segment]) -> bool {
    let is_gguf = |segment: &Segment| segment.slice == 0 && before(&segment.name).len() > 1;
    let is_quantised = |segment: &Segment| match segment.dtype {
        Dtype::U8 => !kinds(segment).is_empty() || four_bit::may_be(segment),
        dtype => Grid::of(dtype).is_some(),
    };
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
    /// By the name in the file.
    by_name: BTreeMap<String, Weights<H>>,
}

/// A tensor of the model.
struct Weights<H> {
    from: Float,
    shape: Vec<u64>,
    slices: Vec<H>,
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
        let may_follow = |segment: &&Segment| {
            Grid::of(segment.dtype).is_some() || !kinds(segment).is_empty() || four_bit::may_be(segment)
        };
        for segment in segments.iter().filter(|segment| segment.slice == 0).filter(may_follow) {
            let mut names = before(&segment.name);
            names.extend(scaled::before(&segment.name));
            let fits = |name: &String| {
                // What has its name and its type is no conversion, but a relative's own.
                let is_other = |from: Float| *name != segment.name || Float::of(segment.dtype) != Some(from);
                tensors.get(name.as_str()).filter(|(from, shape, _)| {
                    let has_shape = *shape == segment.shape || four_bit::may_be_of(segment, shape);
                    has_shape && is_other(*from)
                })
            };
            if let Some((from, shape, slices)) = names.iter().find_map(fits) {
                let weights = Weights { from: *from, shape: shape.to_vec(), slices: slices.clone() };
                by_name.insert(segment.name.clone(), weights);
            }
        }
        Pairs { by_name }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// How much of the first rows of a matrix is wrong, on average of the smallest and of others, `most` in all: of those
    /// that were quantised first, if some were. None where nothing gives the smallest.
    pub fn share_wrong(&self, segments: &[Segment], reads: &Reads<'_, H>, most: usize) -> Option<f64> {
        let is_matrix = |segment: &&Segment| {
            segment.slice == 0 && segment.shape.len() > 1 && self.by_name.contains_key(&segment.name)
        };
        let mut matrices: Vec<&Segment> = segments.iter().filter(is_matrix).collect();
        matrices.sort_by_key(|segment| {
            (Float::of(segment.dtype).is_some(), segment.range.end - segment.range.start)
        });
        let picked = matrices.iter().step_by(matrices.len().div_ceil(most.max(1)).max(1));
        let wrong: Vec<Option<f64>> =
            picked.map(|segment| self.way(segment, segments, reads).map(|(wrong, _)| wrong)).collect();
        wrong.first().copied().flatten()?;
        Some(wrong.iter().map(|wrong| wrong.unwrap_or(1.0)).sum::<f64>() / wrong.len() as f64)
    }

    /// How a tensor was made, and the share of its first rows that is wrong so.
    fn way(&self, segment: &Segment, segments: &[Segment], reads: &Reads<'_, H>) -> Option<(f64, Made)> {
        let Weights { from, slices, .. } = &self.by_name[&segment.name];
        if four_bit::may_be(segment) {
            let rule = four_bit::rule(*from, segment, segments, reads)?;
            let wrong = four_bit::share_wrong(&rule, segment, slices.first()?, reads)?;
            return Some((wrong, Made::FourBit(rule)));
        }
        if Grid::of(segment.dtype).is_none() {
            let (wrong, rule) = self.trial(segment, reads)?;
            return Some((wrong, Made::Converted(rule)));
        }
        let (wrong, way) = Numbers::of(segment, segments, reads)?.best(*from, slices.first()?, reads)?;
        Some((wrong, Made::Scaled(way)))
    }

    /// The rule that gives the first two rows of a tensor, but for a few bytes, and their share.
    fn trial(&self, segment: &Segment, reads: &Reads<'_, H>) -> Option<(f64, Converted)> {
        let Weights { from, slices, .. } = &self.by_name[&segment.name];
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
            // A build that fuses operations gives other bytes here and there.
            let wrong = |number: usize, bytes: &[u8]| {
                let row = source.get(number * row_bytes..(number + 1) * row_bytes)?;
                let out = Rule::Converted(rule).apply(&[row], packed).ok()?;
                Some(share_wrong(&out, bytes)).filter(|wrong| *wrong <= MOST_WRONG_BYTES)
            };
            let (first, second) = bytes.split_at_checked(packed)?;
            let Some(of_first) = wrong(0, first) else { continue };
            if second.is_empty() {
                return Some((of_first, rule));
            }
            if let Some(of_second) = wrong(1, second) {
                return Some(((of_first + of_second) / 2.0, rule));
            }
            let mut halves = (2..rows).filter(|_| has_heads);
            let half = halves.find_map(|number| Some((wrong(number, second)?, number)));
            if let Some((of_second, half)) = half {
                return Some(((of_first + of_second) / 2.0, Converted { head: 2 * half as u32, ..rule }));
            }
        }
        None
    }

    /// How each slice may follow: what holds for one tensor is taken to hold for all that play its part.
    pub fn rules(
        &self,
        segments: &[Segment],
        reads: &Reads<'_, H>,
    ) -> HashMap<(String, u32), (Rule, Vec<H>)> {
        let mut by_part: HashMap<(String, Dtype, u64, u64), Option<Made>> = HashMap::new();
        let mut rules = HashMap::new();
        for tensor in segments.chunk_by(|a, b| !a.name.is_empty() && a.name == b.name) {
            let first = &tensor[0];
            let Some(Weights { from, shape, slices }) = self.by_name.get(&first.name) else { continue };
            let row_len = first.shape.last().copied().unwrap_or(1);
            let part: String = first.name.chars().filter(|c| !c.is_ascii_digit()).collect();
            let key = (part, first.dtype, first.row_len, row_len);
            let way = || self.way(first, segments, reads).map(|(_, made)| made);
            let Some(made) = *by_part.entry(key).or_insert_with(way) else { continue };
            let numbers = match made {
                Made::Converted(_) | Made::FourBit(_) => None,
                Made::Scaled(_) => Numbers::of(first, segments, reads),
            };
            let mut row = 0;
            for (at, segment) in tensor.iter().enumerate() {
                let rows = (segment.range.end - segment.range.start)
                    .checked_div(segment.row_len.saturating_mul(segment.dtype.width() as u64))
                    .unwrap_or(0);
                let same_place = || slices.get(at).map(|slice| vec![slice.clone()]);
                let rule = || match made {
                    Made::Converted(rule) => {
                        Some((Rule::Converted(Converted { from: *from, ..rule }), same_place()?))
                    }
                    Made::Scaled(way) => {
                        let rule = numbers.as_ref()?.rule(way, *from, row, rows)?;
                        Some((Rule::Scaled(rule), same_place()?))
                    }
                    Made::FourBit(rule) => {
                        let (places, skip) = four_bit::sources(shape, row, rows)?;
                        let rule = FourBit { from: *from, skip, ..rule };
                        Some((Rule::FourBit(rule), slices.get(places)?.to_vec()))
                    }
                };
                if let Some(rule) = rule() {
                    rules.insert((segment.name.clone(), segment.slice), rule);
                }
                row += rows;
            }
        }
        rules
    }
}

/// How the tensors that play one part were made.
#[derive(Clone, Copy)]
enum Made {
    Converted(Converted),
    Scaled(Way),
    FourBit(FourBit),
}

/// The share of bytes that are others than those that a rule gives.
pub(super) fn share_wrong(derived: &[u8], bytes: &[u8]) -> f64 {
    let wrong = derived.iter().zip(bytes).filter(|(derived, byte)| derived != byte).count();
    wrong as f64 / bytes.len().max(1) as f64
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
