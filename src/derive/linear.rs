//! Weighted sums of tensors: model soups, averages, task arithmetic.
//!
//! What people write as `0.3 * a + 0.7 * b` comes out differently in the last place by what it was
//! written in, so the ways that are in use have names here. Sources: PyTorch's documentation of `lerp` and
//! `add`, and mergekit's description of its `linear` method; checked against both (`tests/data/merges/make.py`).

use super::Unfit;
use super::floats::Float;

/// Elements that are computed together.
const CHUNK: usize = 4096;

/// A weighted sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Type of what comes out.
    pub to: Float,
    /// The sources; one at least.
    pub terms: Vec<Term>,
    pub arithmetic: Arithmetic,
}

/// One source of a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    pub from: Float,
    /// All of a sum's are 1 together.
    pub weight: f64,
}

/// How a sum is computed. *Native* is with each operation rounded to the type, as a tensor library does with
/// tensors of that type; all else is in f32, and rounded to the type once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Arithmetic {
    /// `w₀x₀ + w₁x₁ + …`
    Single = 0,
    /// `w₀x₀ + w₁x₁ + …`, native.
    Native = 1,
    /// Weights and products native, their sum in f32, divided by the sum of the weights; mergekit's `linear`
    /// before 0.1.
    Stacked = 2,
    /// `x₀ + w₁(x₁ − x₀) + …`, native: task arithmetic.
    Steps = 3,
    /// The same, where weights are native and each is multiplied and added at once: `torch.add` with `alpha`.
    FusedSteps = 4,
    /// The same, where weights are native and the steps are summed before they are added: mergekit's
    /// `task_arithmetic`.
    StackedSteps = 5,
    /// `torch.lerp` of two: from the nearer end, fused.
    Lerp = 6,
    /// `w₀x₀ + w₁x₁ + …` in f64.
    Double = 7,
    /// `w₀x₀ + w₁x₁ + …`, each product fused with its addition, divided by the sum of the weights: mergekit's
    /// `linear` since 0.1.
    Fused = 8,
    /// `(x₀ + x₁ + …) / n`, where all weights are equal.
    Mean = 9,
    /// The same, native.
    NativeMean = 10,
}

impl Arithmetic {
    pub const ALL: [Arithmetic; 11] = [
        Arithmetic::Single,
        Arithmetic::Native,
        Arithmetic::Stacked,
        Arithmetic::Steps,
        Arithmetic::FusedSteps,
        Arithmetic::StackedSteps,
        Arithmetic::Lerp,
        Arithmetic::Double,
        Arithmetic::Fused,
        Arithmetic::Mean,
        Arithmetic::NativeMean,
    ];
}

impl Linear {
    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let elements = len / self.to.width();
        let fit = |(source, term): (&&[u8], &Term)| source.len() == elements * term.from.width();
        let is_pair = self.terms.len() == 2 || self.arithmetic != Arithmetic::Lerp;
        let fits = self.terms.len() == sources.len() && sources.iter().zip(&self.terms).all(fit) && is_pair;
        if !fits || self.terms.is_empty() || elements * self.to.width() != len {
            return Err(Unfit);
        }
        let mut out = vec![0; len];
        for (index, out) in out.chunks_mut(CHUNK * self.to.width()).enumerate() {
            let values = |(source, term): (&&[u8], &Term)| {
                let width = term.from.width();
                let start = index * CHUNK * width;
                term.from.values(&source[start..source.len().min(start + CHUNK * width)])
            };
            let values: Vec<_> = sources.iter().zip(&self.terms).map(values).collect();
            self.to.write(&self.sum(&values), out);
        }
        Ok(out)
    }

    /// The sum of as many values of each source, before it is rounded for the last time.
    pub fn sum(&self, values: &[Vec<f32>]) -> Vec<f32> {
        let weights: Vec<f32> = self.terms.iter().map(|term| term.weight as f32).collect();
        let round = |value| self.to.round(value);
        let exact = |value| value;
        match self.arithmetic {
            Arithmetic::Single => weighted(&weights, values, exact),
            Arithmetic::Native => weighted(&weights, values, round),
            Arithmetic::Stacked => self.stacked(&weights, values),
            Arithmetic::Steps => self.steps(&weights, values, |weight, step, sum| sum + round(weight * step)),
            Arithmetic::FusedSteps => {
                self.steps(&weights, values, |weight, step, sum| round(weight).mul_add(step, sum))
            }
            Arithmetic::StackedSteps => self.stacked_steps(&weights, values),
            Arithmetic::Lerp => lerp(weights[1], &values[0], &values[1]),
            Arithmetic::Double => self.double(values),
            Arithmetic::Fused => fused(&weights, values),
            Arithmetic::Mean => mean(values, exact),
            Arithmetic::NativeMean => mean(values, round),
        }
    }

    fn stacked(&self, weights: &[f32], values: &[Vec<f32>]) -> Vec<f32> {
        let round = |value| self.to.round(value);
        // Nobody writes a third where all count the same.
        let is_equal = weights.iter().all(|weight| *weight == weights[0]);
        let weights: Vec<f32> =
            weights.iter().map(|weight| if is_equal { 1.0 } else { round(*weight) }).collect();
        let all = round(weights.iter().sum());
        let mut sums = vec![0.0; values[0].len()];
        for (weight, values) in weights.iter().zip(values) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += round(weight * value));
        }
        sums.iter_mut().for_each(|sum| *sum = round(*sum) / all);
        sums
    }

    fn steps(&self, weights: &[f32], values: &[Vec<f32>], add: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let mut sums = values[0].clone();
        for (weight, values_here) in weights.iter().zip(values).skip(1) {
            for ((sum, value), first) in sums.iter_mut().zip(values_here).zip(&values[0]) {
                *sum = self.to.round(add(*weight, self.to.round(value - first), *sum));
            }
        }
        sums
    }

    fn stacked_steps(&self, weights: &[f32], values: &[Vec<f32>]) -> Vec<f32> {
        let round = |value| self.to.round(value);
        let mut sums = vec![0.0; values[0].len()];
        for (weight, values_here) in weights.iter().zip(values).skip(1) {
            for ((sum, value), first) in sums.iter_mut().zip(values_here).zip(&values[0]) {
                *sum += round(round(*weight) * round(value - first));
            }
        }
        sums.iter_mut().zip(&values[0]).for_each(|(sum, first)| *sum = first + round(*sum));
        sums
    }

    fn double(&self, values: &[Vec<f32>]) -> Vec<f32> {
        let sum = |at: usize| {
            let terms = self.terms.iter().zip(values);
            terms.fold(0.0, |sum, (term, values)| sum + term.weight * f64::from(values[at])) as f32
        };
        (0..values[0].len()).map(sum).collect()
    }
}

fn weighted(weights: &[f32], values: &[Vec<f32>], round: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut sums: Vec<f32> = values[0].iter().map(|value| round(weights[0] * value)).collect();
    for (weight, values) in weights.iter().zip(values).skip(1) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = round(*sum + round(weight * value)));
    }
    sums
}

fn fused(weights: &[f32], values: &[Vec<f32>]) -> Vec<f32> {
    let all: f32 = weights.iter().sum();
    let mut sums = vec![0.0; values[0].len()];
    for (weight, values) in weights.iter().zip(values) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = value.mul_add(*weight, *sum));
    }
    sums.iter_mut().for_each(|sum| *sum /= all);
    sums
}

fn mean(values: &[Vec<f32>], round: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut sums = values[0].clone();
    for values in &values[1..] {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = round(*sum + value));
    }
    sums.iter_mut().for_each(|sum| *sum /= values.len() as f32);
    sums
}

fn lerp(weight: f32, from: &[f32], to: &[f32]) -> Vec<f32> {
    let pairs = from.iter().zip(to);
    match weight.abs() < 0.5 {
        true => pairs.map(|(from, to)| weight.mul_add(to - from, *from)).collect(),
        false => pairs.map(|(from, to)| (weight - 1.0).mul_add(to - from, *to)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(arithmetic: Arithmetic, weights: &[f64], values: &[f32]) -> f32 {
        let terms = weights.iter().map(|weight| Term { from: Float::F32, weight: *weight }).collect();
        let rule = Linear { to: Float::F32, terms, arithmetic };
        let sources: Vec<_> = values.iter().map(|value| value.to_le_bytes()).collect();
        let sources: Vec<_> = sources.iter().map(|source| source.as_slice()).collect();
        f32::from_le_bytes(rule.apply(&sources, 4).unwrap().try_into().unwrap())
    }

    /// All ways mean one sum; they differ in the last place only.
    #[test]
    fn all_ways_mean_one_sum() {
        for arithmetic in Arithmetic::ALL {
            let halves = sum(arithmetic, &[0.5, 0.5], &[1.5, -0.25]);
            assert!((halves - 0.625).abs() < 1e-6, "{arithmetic:?}: {halves}");
            let three = [Arithmetic::Lerp, Arithmetic::Mean, Arithmetic::NativeMean];
            if !three.contains(&arithmetic) {
                let three = sum(arithmetic, &[0.2, 0.5, 0.3], &[1.0, 2.0, -3.0]);
                assert!((three - 0.3).abs() < 1e-6, "{arithmetic:?}: {three}");
            }
        }
    }

    /// Rules come from packs that may lie.
    #[test]
    fn sources_that_do_not_fit_are_refused() {
        let term = Term { from: Float::Bf16, weight: 0.5 };
        let rule = |terms: usize, arithmetic| Linear { to: Float::F32, terms: vec![term; terms], arithmetic };
        let two = rule(2, Arithmetic::Single);
        assert!(two.apply(&[&[0; 4], &[0; 4]], 8).is_ok());
        assert!(two.apply(&[&[0; 4], &[0; 2]], 8).is_err());
        assert!(two.apply(&[&[0; 4]], 8).is_err());
        assert!(two.apply(&[&[0; 4], &[0; 4]], 7).is_err());
        assert!(rule(0, Arithmetic::Single).apply(&[], 0).is_err());
        assert!(rule(3, Arithmetic::Lerp).apply(&[&[0u8; 4][..]; 3], 8).is_err());
    }
}
