//! A weighted sum of models that the store has: averages, soups, task arithmetic.
//!
//! The sketches of all models of one layout lie in the index, so pairs and triples are compared there; what
//! looks right is tried on tensors, in all the ways in which sums are computed.

use std::collections::HashMap;

use super::{Attempt, Child, MOST_TRIALS, MOST_WRONG, Origin, TRIAL_BYTES, share_wrong, slices};
use crate::base::{self, Alike};
use crate::derive::{Arithmetic, Float, Linear, Rule, Term};
use crate::format::Segment;
use crate::id::ObjectId;
use crate::recipe::{Parent, Reason, Recipe};
use crate::store::{Store, StoreError};

/// The nearest models of which two make a pair, and three or more a larger sum.
const MOST_IN_PAIRS: usize = 40;
const MOST_IN_SUMS: usize = 8;
/// Sampled weights that are compared.
const MOST_SAMPLES: usize = 512;
/// Sampled weights that must tell the models apart.
const LEAST_TELLING: usize = 6;
/// After so many a sum must be nearer than its heaviest model.
const ENOUGH_TO_GIVE_UP: usize = 16;
/// Sums that are tried on tensors.
const MOST_TRIED: usize = 6;
/// Weights of the other model in a pair, beside the twentieths.
const UNUSUAL: [f64; 8] = [1.0 / 3.0, 2.0 / 3.0, -0.5, -0.3, -0.2, 1.2, 1.3, 1.5];

/// Looks for models whose weighted sum the file is.
pub(super) fn find(store: &Store, child: &Child<'_>) -> Result<Option<Origin>, StoreError> {
    let Some((layout, float)) = child.layout.zip(main_float(child.segments)) else { return Ok(None) };
    let mut models = base::alike(store, layout, child.sketch);
    models.retain(|model| Some(model.oid) != child.oid && model.distance > 0.0);
    for sum in likely(child.sketch, float, &models) {
        let parents = sum.terms.iter().map(|(model, _)| store.recipe(&models[*model].oid).ok().flatten());
        let Some(parents) = parents.collect::<Option<Vec<Recipe>>>() else { continue };
        let weights: Vec<f64> = sum.terms.iter().map(|(_, weight)| *weight).collect();
        let sum = Sum { store, child, parents: &parents, weights: &weights };
        if let Some(found) = sum.fit() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The float that most of a file is in.
fn main_float(segments: &[Segment]) -> Option<Float> {
    let mut bytes: HashMap<u8, (u64, Float)> = HashMap::new();
    for segment in segments {
        if let Some(float) = Float::of(segment.dtype) {
            bytes.entry(segment.dtype as u8).or_insert((0, float)).0 +=
                segment.range.end - segment.range.start;
        }
    }
    bytes.into_values().max_by_key(|(bytes, _)| *bytes).map(|(_, float)| float)
}

/// A sum that the samples speak for.
struct Likely {
    /// Which model, and its weight.
    terms: Vec<(usize, f64)>,
    /// How much nearer its samples are than those of its heaviest model.
    right: f64,
}

/// The sums whose samples are nearest to those of the file, best first.
fn likely(sketch: &[f32], float: Float, models: &[Alike]) -> Vec<Likely> {
    let mut found: Vec<Likely> = Vec::new();
    let mut offer = |terms: Vec<(usize, f64)>| {
        if let Some(right) = share_right(sketch, float, models, &terms).filter(|right| *right > MOST_WRONG) {
            found.push(Likely { terms, right });
        }
    };
    let many = models.len().min(MOST_IN_PAIRS);
    let twentieths = (1..20).map(|part| f64::from(part) / 20.0);
    for (a, b) in (0..many).flat_map(|b| (0..b).map(move |a| (a, b))) {
        twentieths.clone().chain(UNUSUAL).for_each(|weight| offer(vec![(a, 1.0 - weight), (b, weight)]));
    }
    let few = models.len().min(MOST_IN_SUMS);
    let tenths = || (1..=10).map(|part| f64::from(part) / 10.0);
    let positive = || twentieths.clone().flat_map(|one| twentieths.clone().map(move |other| (one, other)));
    for c in 0..few {
        for (a, b) in (0..c).flat_map(|b| (0..b).map(move |a| (a, b))) {
            offer([a, b, c].map(|model| (model, 1.0 / 3.0)).to_vec());
            for d in 0..a {
                offer([a, b, c, d].map(|model| (model, 0.25)).to_vec());
            }
            for (one, other) in positive().filter(|(one, other)| one + other < 0.99) {
                offer(vec![(a, 1.0 - one - other), (b, one), (c, other)]);
            }
            for (base, x, y) in [(a, b, c), (b, a, c), (c, a, b)] {
                let steps = tenths().flat_map(|one| tenths().map(move |other| (one, other)));
                for (one, other) in steps.filter(|(one, other)| one + other > 0.99) {
                    offer(vec![(base, 1.0 - one - other), (x, one), (y, other)]);
                }
            }
        }
    }
    found.sort_by(|a, b| b.right.total_cmp(&a.right).then(a.terms.len().cmp(&b.terms.len())));
    found.truncate(MOST_TRIED);
    found
}

/// How much nearer the samples of a sum are to the file's than those of its heaviest model, from 0 to 1; none where
/// too few tell them apart.
fn share_right(sketch: &[f32], float: Float, models: &[Alike], terms: &[(usize, f64)]) -> Option<f64> {
    let main = terms[heaviest(terms.iter().map(|(_, weight)| *weight))].0;
    let (mut telling, mut near, mut far) = (0usize, 0f32, 0f32);
    for (at, ours) in sketch.iter().enumerate().take(MOST_SAMPLES) {
        let value = |model: usize| models[model].sketch.get(at).copied().unwrap_or(f32::NAN);
        let sum = terms.iter().map(|(model, weight)| f64::from(value(*model)) * weight).sum::<f64>() as f32;
        let off = |value: f32| (value - ours).abs() / ours.abs().max(f32::MIN_POSITIVE);
        let (from_sum, from_main) = (off(rounded(float, sum, *ours)), off(value(main)));
        if from_sum > 0.0 || from_main > 0.0 {
            telling += 1;
            near += from_sum;
            far += from_main;
        }
        if telling == ENOUGH_TO_GIVE_UP && near > far {
            return None;
        }
    }
    let right = 1.0 - f64::from(near / far);
    (telling >= LEAST_TELLING && right.is_finite()).then_some(right)
}

/// Which of some weights is the largest, with or without sign.
fn heaviest(weights: impl Iterator<Item = f64>) -> usize {
    weights
        .enumerate()
        .fold(
            (0, 0.0),
            |most: (usize, f64), (at, weight)| {
                if weight.abs() > most.1 { (at, weight.abs()) } else { most }
            },
        )
        .0
}

/// A value as the type has it; the file's own where f32 is off in the last places, by whatever way it came.
fn rounded(float: Float, value: f32, ours: f32) -> f32 {
    match float {
        Float::F32 if (value - ours).abs() <= 4.0 * f32::EPSILON * ours.abs() => ours,
        float => float.round(value),
    }
}

struct Sum<'a> {
    store: &'a Store,
    child: &'a Child<'a>,
    parents: &'a [Recipe],
    weights: &'a [f64],
}

impl Sum<'_> {
    fn fit(&self) -> Option<Origin> {
        let slices: Vec<_> = self.parents.iter().map(slices).collect();
        let sources = |segment: &Segment| {
            let slice = |slices: &HashMap<_, _>| {
                let (object, float): (ObjectId, Option<Float>) =
                    *slices.get(&(segment.name.as_str(), segment.slice))?;
                Some((object, float?))
            };
            Some((Float::of(segment.dtype)?, slices.iter().map(slice).collect::<Option<Vec<_>>>()?))
        };
        let mut small: Vec<&Segment> = self.child.segments.iter().collect();
        small.sort_by_key(|segment| (segment.range.end - segment.range.start).abs_diff(TRIAL_BYTES as u64));
        let summed = small.into_iter().filter_map(|segment| Some((segment, sources(segment)?)));
        let way = summed
            .take(MOST_TRIALS)
            .find_map(|(segment, (to, sources))| self.trial(segment, to, &sources))?;
        let mut attempts = HashMap::new();
        for segment in self.child.segments {
            if let Some((to, sources)) = sources(segment) {
                let rule = Rule::Linear(self.rule(to, &sources, &way));
                let sources = way.order.iter().map(|parent| sources[*parent].0).collect();
                attempts.insert((segment.name.clone(), segment.slice), Attempt { rule, sources });
            }
        }
        let parent =
            |parent: &usize| Parent { oid: self.parents[*parent].oid, weight: self.weights[*parent] };
        let parents = way.order.iter().map(parent).collect();
        Some(Origin { made_of: Some((Reason::Merge, parents)), attempts })
    }

    /// The way that gives the beginning of a tensor, if one does.
    fn trial(&self, segment: &Segment, to: Float, sources: &[(ObjectId, Float)]) -> Option<Way> {
        let elements =
            (TRIAL_BYTES / to.width()).min((segment.range.end - segment.range.start) as usize / to.width());
        let bytes = (self.child.read)(segment, elements * to.width())?;
        let values = |(object, from): &(ObjectId, Float)| {
            let bytes = self.store.get_base(object).ok()?;
            Some(from.values(bytes.get(..elements * from.width())?))
        };
        let values: Vec<Vec<f32>> = sources.iter().map(values).collect::<Option<_>>()?;
        let main = to.bytes(&values[heaviest(self.weights.iter().copied())]);
        let mut best: Option<(f64, Way)> = None;
        for order in orders(values.len()) {
            let ordered: Vec<Vec<f32>> = order.iter().map(|parent| values[*parent].clone()).collect();
            for arithmetic in Arithmetic::ALL {
                if arithmetic == Arithmetic::Lerp && order.len() != 2 {
                    continue;
                }
                let way = Way { order: order.clone(), arithmetic };
                let derived = to.bytes(&self.rule(to, sources, &way).sum(&ordered));
                let wrong = share_wrong(&derived, &bytes, &main, to)?;
                if wrong < MOST_WRONG && best.as_ref().is_none_or(|(least, _)| wrong < *least) {
                    best = Some((wrong, way));
                }
            }
        }
        best.map(|(_, way)| way)
    }

    fn rule(&self, to: Float, sources: &[(ObjectId, Float)], way: &Way) -> Linear {
        let term = |parent: &usize| Term { from: sources[*parent].1, weight: self.weights[*parent] };
        Linear { to, terms: way.order.iter().map(term).collect(), arithmetic: way.arithmetic }
    }
}

/// In which order and how a sum is computed.
struct Way {
    order: Vec<usize>,
    arithmetic: Arithmetic,
}

/// Each order of two or three; of more those that differ in what comes first.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let rotations = |items: Vec<usize>| {
        (0..items.len()).map(move |by| {
            let mut items = items.clone();
            items.rotate_left(by);
            items
        })
    };
    let forwards: Vec<usize> = (0..count).collect();
    let backwards = forwards.iter().rev().copied().collect();
    let mut orders: Vec<_> = rotations(forwards).chain(rotations(backwards)).collect();
    orders.sort();
    orders.dedup();
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Oid;

    fn model(seed: u32) -> Alike {
        let value = |at: u32, seed: u32| {
            let hash = blake3::hash(&[at.to_le_bytes(), seed.to_le_bytes()].concat());
            f32::from(hash.as_bytes()[0]) / 255.0 - 0.5
        };
        let sketch =
            (0..256).map(|at| Float::Bf16.round(value(at, u32::MAX) + value(at, seed) * 0.05)).collect();
        Alike { oid: Oid::of(&seed.to_le_bytes()), sketch, distance: 0.1 }
    }

    /// Among dozens of fine-tunes of one base, the samples must name those that a sum was made of.
    #[test]
    fn the_samples_name_the_terms() {
        let models: Vec<Alike> = (0..30).map(model).collect();
        for terms in [vec![(3, 0.7), (17, 0.3)], vec![(0, -0.5), (5, 0.8), (7, 0.7)]] {
            let sum = |at: usize| {
                terms
                    .iter()
                    .map(|(model, weight)| f64::from(models[*model as usize].sketch[at]) * weight)
                    .sum::<f64>()
            };
            let child: Vec<f32> = (0..256).map(|at| Float::Bf16.round(sum(at) as f32)).collect();
            let found = likely(&child, Float::Bf16, &models);
            let mut best = found.first().expect("a sum").terms.clone();
            best.sort_by_key(|(model, _)| *model);
            for ((found, weight), (model, truth)) in best.iter().zip(&terms) {
                assert_eq!(found, &(*model as usize));
                assert!((weight - truth).abs() < 1e-9);
            }
        }
        let stranger = model(99).sketch;
        assert!(likely(&stranger, Float::Bf16, &models).is_empty());
    }
}
