//! What the shape of a prompt alone says of two models: the estimate that is left far from the log.
//!
//! Where the log has prompts of the same field: a line over length, digits, signs and the like, held back
//! so strongly that each of them counts by how it goes with the outcome on its own. In a field that the
//! log does not have, what was learnt of another one misleads; there only the length counts, by a slope
//! that is no matter of the log. A rising curve, fitted to the log, turns both into a probability.

use super::features::{self, Features, SHAPES};
use crate::statistics::isotonic::Isotonic;

/// The weight of "all coefficients are zero", in prompts for each prompt of the log.
const HELD_BACK: f64 = 1.5;
/// By how much the difference of two models grows with each deviation of the prompt's length, in fields
/// that are not known: long prompts are harder, nearly everywhere (`benches/route.rs` measures it).
const LENGTH_SLOPE: f64 = 0.05;
/// The coverage up to which a field is not known, and the one from which on it is.
const UNKNOWN: f64 = 0.08;
const KNOWN: f64 = 0.16;
/// Deviations beyond which a shape counts no more: one strange prompt must not move the line.
const MOST_DEVIATIONS: f64 = 3.0;

/// A fitted line and its curve.
#[derive(Debug, Clone)]
pub struct Difficulty {
    line: Line,
    curve: Isotonic,
}

impl Difficulty {
    /// Fits prompts, by how much the reference's answer was better, and whether the other's was no worse.
    /// None of no prompt.
    pub fn fit(prompts: &[(&Features, f64, bool)]) -> Option<Difficulty> {
        let count = prompts.len() as f64;
        let mean_of = |of: &dyn Fn(&Features) -> f64| prompts.iter().map(|it| of(it.0)).sum::<f64>() / count;
        let mean = std::array::from_fn(|at| mean_of(&|prompt| f64::from(prompt.shape[at])));
        let deviation = std::array::from_fn(|at: usize| {
            let square = mean_of(&|prompt| (f64::from(prompt.shape[at]) - mean[at]).powi(2));
            square.sqrt().max(1e-6)
        });
        let level = prompts.iter().map(|it| it.1).sum::<f64>() / count;
        let mut equations = [[0.0; SHAPES + 1]; SHAPES];
        for (prompt, difference, _) in prompts {
            let shape = standard(prompt, &mean, &deviation);
            for (row, equation) in equations.iter_mut().enumerate() {
                for column in 0..SHAPES {
                    equation[column] += shape[row] * shape[column];
                }
                equation[SHAPES] += shape[row] * (difference - level);
            }
        }
        for (row, equation) in equations.iter_mut().enumerate() {
            equation[row] += HELD_BACK * count;
        }
        let line = Line { mean, deviation, slope: solved(equations), level };
        let points =
            prompts.iter().map(|(prompt, _, no_worse)| (-line.at(prompt), f64::from(u8::from(*no_worse))));
        let curve = Isotonic::fit(points.collect())?;
        Some(Difficulty { line, curve })
    }

    /// By how much the reference's answer is better on average, where the log covers the prompt so well.
    pub fn difference(&self, prompt: &Features, coverage: f64) -> f64 {
        let known = ((coverage - UNKNOWN) / (KNOWN - UNKNOWN)).clamp(0.0, 1.0);
        known * self.line.at(prompt) + (1.0 - known) * self.line.by_length(prompt)
    }

    /// How likely the other's answer is no worse.
    pub fn no_worse(&self, prompt: &Features, coverage: f64) -> f64 {
        self.curve.at(-self.difference(prompt, coverage))
    }
}

#[derive(Debug, Clone)]
struct Line {
    mean: [f64; SHAPES],
    deviation: [f64; SHAPES],
    slope: [f64; SHAPES],
    level: f64,
}

impl Line {
    fn at(&self, prompt: &Features) -> f64 {
        let shape = standard(prompt, &self.mean, &self.deviation);
        self.level + self.slope.iter().zip(&shape).map(|(slope, shape)| slope * shape).sum::<f64>()
    }

    fn by_length(&self, prompt: &Features) -> f64 {
        self.level + LENGTH_SLOPE * standard(prompt, &self.mean, &self.deviation)[features::LENGTH]
    }
}

fn standard(prompt: &Features, mean: &[f64; SHAPES], deviation: &[f64; SHAPES]) -> [f64; SHAPES] {
    std::array::from_fn(|at| {
        let deviations = (f64::from(prompt.shape[at]) - mean[at]) / deviation[at];
        deviations.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    })
}

/// Gauss and Jordan; what was added to the diagonal makes every pivot positive.
fn solved(mut rows: [[f64; SHAPES + 1]; SHAPES]) -> [f64; SHAPES] {
    for pivot in 0..SHAPES {
        let chosen = rows[pivot];
        for (at, row) in rows.iter_mut().enumerate() {
            if at != pivot {
                let factor = row[pivot] / chosen[pivot];
                row.iter_mut().zip(&chosen).for_each(|(value, above)| *value -= factor * above);
            }
        }
    }
    std::array::from_fn(|at| rows[at][SHAPES] / rows[at][at])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far from the log only this is left: where long prompts need the better model, it must say so, and
    /// its probabilities must be those of the log.
    #[test]
    fn what_shape_goes_with_is_learnt() {
        let prompts: Vec<Features> = (1..200).map(|words| Features::of(&"word ".repeat(words))).collect();
        let log: Vec<_> = prompts
            .iter()
            .enumerate()
            .map(|(at, prompt)| (prompt, if at > 100 { 1.0 } else { 0.0 }, at <= 100))
            .collect();
        let fitted = Difficulty::fit(&log).expect("prompts");
        let (short, long) = (&prompts[20], &prompts[180]);
        assert!(fitted.difference(short, 1.0) + 0.2 < fitted.difference(long, 1.0));
        assert!(fitted.no_worse(short, 1.0) > 0.9 && fitted.no_worse(long, 1.0) < 0.1);
        // In an unknown field, length alone counts, and for less.
        let strange = Features::of(&"x = 1; ".repeat(20));
        assert!(
            fitted.difference(&strange, 0.0) < fitted.difference(&Features::of(&"x = 1; ".repeat(200)), 0.0)
        );
        assert!(fitted.difference(long, 0.0) < fitted.difference(long, 1.0));
        assert!(Difficulty::fit(&[]).is_none());
    }
}
