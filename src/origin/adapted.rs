//! A model with a LoRA adapter merged in, where the store has the adapter, too.
//!
//! The adapter's configuration lies in git and not in the store, so its scale is measured: the nearest of the
//! usual ones that gives the bytes.

use std::collections::HashMap;

use super::{Attempt, Child, MOST_TRIALS, MOST_WRONG, Origin, TRIAL_BYTES, share_wrong, slices};
use crate::adapter::{Part, part};
use crate::base;
use crate::derive::{Adapted, Float, Rule};
use crate::format::Segment;
use crate::id::ObjectId;
use crate::recipe::{Parent, Reason, Recipe};
use crate::store::{Store, StoreError};

const MOST_ADAPTERS: usize = 64;
/// Scales that are tried for one tensor.
const MOST_SCALES: usize = 12;
/// A scale this far from the measured one is none, as a factor.
const FAR: f64 = 1.3;

/// Looks for an adapter that makes `base`, or what that was made from, the file.
pub(super) fn find(store: &Store, child: &Child<'_>, base: &Recipe) -> Result<Option<Origin>, StoreError> {
    let adapters: Vec<Recipe> = base::adapters(store)
        .iter()
        .filter(|oid| Some(**oid) != child.oid)
        .filter_map(|oid| store.recipe(oid).ok().flatten())
        .take(MOST_ADAPTERS)
        .collect();
    if adapters.is_empty() {
        return Ok(None);
    }
    let below = base.base.and_then(|(oid, _)| store.recipe(&oid).ok().flatten());
    for base in [Some(base), below.as_ref()].into_iter().flatten() {
        for adapter in &adapters {
            let pair = Pair { store, child, base, adapter };
            if let Some(found) = pair.fit() {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

struct Pair<'a> {
    store: &'a Store,
    child: &'a Child<'a>,
    base: &'a Recipe,
    adapter: &'a Recipe,
}

/// The two factors of one module, each one object.
#[derive(Clone, Copy)]
struct Factors<'a> {
    a: Factor<'a>,
    b: Factor<'a>,
    embedding: bool,
}

#[derive(Clone, Copy)]
struct Factor<'a> {
    object: ObjectId,
    float: Float,
    shape: &'a [u64],
}

impl Factors<'_> {
    fn rank(&self) -> u64 {
        self.a.shape[0]
    }

    /// The ways in which the product may lie in a tensor of this shape.
    fn ways(&self, shape: &[u64]) -> Vec<bool> {
        let (outputs, inputs) = (self.b.shape[0], self.a.shape[1]);
        let plain = !self.embedding && shape == [outputs, inputs];
        let turned = shape == [inputs, outputs];
        [(false, plain), (true, turned)].into_iter().filter(|(_, fits)| *fits).map(|(way, _)| way).collect()
    }
}

impl Pair<'_> {
    fn fit(&self) -> Option<Origin> {
        let factors = factors(self.adapter);
        let bases = slices(self.base);
        let target = |segment: &Segment| {
            let factors = *factors.get(&segment.name)?;
            let (object, float) = *bases.get(&(segment.name.as_str(), segment.slice))?;
            let float = float.filter(|float| Float::of(segment.dtype) == Some(*float))?;
            (!factors.ways(&segment.shape).is_empty()).then_some((factors, object, float))
        };
        // Every rank has its scale; it is measured where that is cheapest.
        let mut first: Vec<&Segment> = self.child.segments.iter().filter(|s| s.slice == 0).collect();
        first.sort_by_key(|segment| segment.range.end - segment.range.start);
        let mut known: HashMap<(u64, bool), Option<Adapted>> = HashMap::new();
        let mut trials: HashMap<(u64, bool), usize> = HashMap::new();
        for segment in first {
            let Some((factors, object, float)) = target(segment) else { continue };
            let kind = (factors.rank(), factors.embedding);
            let (fitted, trials) = (known.entry(kind).or_default(), trials.entry(kind).or_default());
            if fitted.is_none() && *trials < MOST_TRIALS {
                *trials += 1;
                *fitted = self.trial(segment, factors, object, float);
            }
        }
        let scale = known.values().flatten().next()?.scale;
        let mut attempts = HashMap::new();
        let mut at = 0;
        for segment in self.child.segments {
            at = if segment.slice == 0 { 0 } else { at };
            let elements = (segment.range.end - segment.range.start) / segment.dtype.width() as u64;
            if let Some((factors, object, to)) = target(segment)
                && let Some(Some(rule)) = known.get(&(factors.rank(), factors.embedding))
            {
                let ways = factors.ways(&segment.shape);
                let transposed = if ways.contains(&rule.transposed) { rule.transposed } else { ways[0] };
                let rule = Adapted {
                    to,
                    a: factors.a.float,
                    b: factors.b.float,
                    rank: factors.rank() as u32,
                    transposed,
                    first: at,
                    ..*rule
                };
                let sources = vec![object, factors.a.object, factors.b.object];
                attempts.insert(
                    (segment.name.clone(), segment.slice),
                    Attempt { rule: Rule::Adapted(rule), sources },
                );
            }
            at += elements;
        }
        let parents = vec![
            Parent { oid: self.base.oid, weight: 1.0 },
            Parent { oid: self.adapter.oid, weight: f64::from(scale) },
        ];
        Some(Origin { made_of: Some((Reason::Adapter, parents)), attempts })
    }

    /// The rule that gives the beginning of a tensor, if one does.
    fn trial(&self, segment: &Segment, factors: Factors<'_>, object: ObjectId, to: Float) -> Option<Adapted> {
        let len = TRIAL_BYTES.min((segment.range.end - segment.range.start) as usize);
        let bytes = (self.child.read)(segment, len)?;
        let base = self.store.get_base(&object).ok()?;
        let base = base.get(..len)?;
        if bytes == base {
            return None;
        }
        let (a, b) =
            (self.store.get_base(&factors.a.object).ok()?, self.store.get_base(&factors.b.object).ok()?);
        let mut best: Option<(f64, Adapted)> = None;
        for transposed in factors.ways(&segment.shape) {
            let rule = Adapted {
                to,
                a: factors.a.float,
                b: factors.b.float,
                rank: u32::try_from(factors.rank()).ok()?,
                scale: 1.0,
                transposed,
                rounded: factors.embedding,
                first: 0,
            };
            let mut product = vec![0.0; len / to.width()];
            rule.product(&a, &b).ok()?.add_to(&mut product, 0);
            let measured = scale(&to.values(&bytes), &to.values(base), &product)?;
            for scale in near(measured, factors.rank()) {
                let rule = Adapted { scale, ..rule };
                let derived = Rule::Adapted(rule).apply(&[base, &a, &b], len).ok()?;
                let wrong = share_wrong(&derived, &bytes, base, to)?;
                if wrong < MOST_WRONG && best.is_none_or(|(least, _)| wrong < least) {
                    best = Some((wrong, rule));
                }
            }
        }
        best.map(|(_, rule)| rule)
    }
}

/// The factors of an adapter, by the name of the tensor that they change.
fn factors(adapter: &Recipe) -> HashMap<String, Factors<'_>> {
    let mut halves: HashMap<(String, bool), [Option<Factor<'_>>; 2]> = HashMap::new();
    for part_of_file in &adapter.parts {
        let Some(tensor) = adapter.tensor_of(part_of_file) else { continue };
        let (module, embedding, half) = match part(&tensor.name) {
            Ok(Part::A { module, embedding }) => (module, embedding, 0),
            Ok(Part::B { module, embedding }) => (module, embedding, 1),
            _ => continue,
        };
        let float = Float::of(tensor.dtype).filter(|_| tensor.shape.len() == 2);
        let Some(float) = float else { continue };
        let width = float.width() as u64;
        let bytes = tensor.shape.iter().try_fold(width, |bytes, len| bytes.checked_mul(*len));
        // A factor of several slices is larger than any that pays.
        if bytes == Some(u64::from(part_of_file.len)) {
            let factor = Factor { object: part_of_file.object, float, shape: &tensor.shape };
            halves.entry((module, embedding)).or_default()[half] = Some(factor);
        }
    }
    let whole = |((module, embedding), [a, b]): ((String, bool), [Option<_>; 2])| {
        let (a, b): (Factor<'_>, Factor<'_>) = a.zip(b)?;
        let multiplies = a.shape[0] == b.shape[1] && a.shape[0] > 0;
        multiplies.then(|| (format!("{module}.weight"), Factors { a, b, embedding }))
    };
    halves.into_iter().filter_map(whole).collect()
}

/// The factor by which the product makes the least squared difference to what changed.
fn scale(bytes: &[f32], base: &[f32], product: &[f32]) -> Option<f64> {
    let mut sums = (0.0, 0.0);
    for ((after, before), product) in bytes.iter().zip(base).zip(product) {
        let (step, product) = (f64::from(*after) - f64::from(*before), f64::from(*product));
        sums = (sums.0 + step * product, sums.1 + product * product);
    }
    let scale = sums.0 / sums.1;
    (scale.is_finite() && scale != 0.0).then_some(scale)
}

/// The usual scales near a measured one, nearest first: alpha by rank, or by its root.
fn near(measured: f64, rank: u64) -> Vec<f32> {
    let rank = rank as f64;
    let usual = (0..=12).map(|power| f64::from(1 << power));
    let usual = usual.chain([rank, 2.0 * rank, rank / 2.0]);
    let of = |divisor: f64| {
        let around = (measured * divisor).round();
        let around = (-4..=4).map(move |off| around + f64::from(off));
        usual.clone().chain(around).map(move |alpha| alpha / divisor)
    };
    let distance = |scale: &f64| (scale / measured).ln().abs();
    let mut scales: Vec<f64> =
        of(rank).chain(of(rank.sqrt())).filter(|scale| distance(scale) < FAR.ln()).collect();
    scales.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    scales.dedup();
    scales.truncate(MOST_SCALES);
    scales.into_iter().map(|scale| scale as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was measured is noisy; the true scale must be among the first that are tried.
    #[test]
    fn usual_scales_are_near() {
        for (measured, rank, truth) in [(1.93, 8, 2.0), (0.52, 16, 0.5), (11.1, 8, 32.0 / 8f64.sqrt())] {
            assert!(near(measured, rank).contains(&(truth as f32)), "{measured} {rank}");
        }
        assert!(near(-1.0, 8).iter().all(|scale| *scale < 0.0));
    }
}
