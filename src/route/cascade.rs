//! A cheap model first, and another where it was not sure: what that costs, and what it is worth.
//!
//! How sure a model was is the probability of the least likely token of its answer: length shifts it less than a sum, and
//! no run of certain tokens hides it, as in a mean (Gupta et al. 2024, arXiv 2404.10136; measured beside means and margins
//! in docs/benchmarks.md). A rising curve over the log turns that into probabilities that the answer will do (UCCI, arXiv
//! 2605.18796), and the threshold is the lowest that keeps the quality that was asked for. A prompt that is passed on has
//! paid for the first answer, too.

use serde::{Deserialize, Serialize};

use super::evidence::{LEAST_OUTCOMES, lower_bound};
use super::outcome::Outcome;
use crate::statistics::isotonic::Isotonic;

/// A confidence that no answer has.
const ABOVE_ALL: f64 = 2.0;

/// What confidences say of a model's answers against a reference's.
#[derive(Debug, Clone)]
pub struct Calibration {
    curve: Isotonic,
    /// Calibrated odds of the log's answers, ascending.
    odds: Vec<f64>,
    /// The confidences that they follow from, ascending as well.
    confidences: Vec<f64>,
}

/// Whom to ask first, and when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Answers that are less sure are passed on; 0 passes on none.
    pub confidence: f64,
    /// The share of the log that would have been passed on.
    pub passed_on: f64,
    /// How likely an answer is no worse than the reference's, at least and over all prompts.
    pub quality: f64,
}

impl Calibration {
    /// What a log says; none where it has too few answers of both with a confidence.
    pub fn of(log: &[Outcome], model: &str, reference: &str) -> Option<Calibration> {
        let point = |outcome: &Outcome| {
            let no_worse = outcome.scores.get(model)? >= outcome.scores.get(reference)?;
            Some((f64::from(*outcome.confidences.get(model)?), f64::from(u8::from(no_worse))))
        };
        Calibration::fit(log.iter().filter_map(point).collect())
    }

    /// The same of confidences and of what came of them, 1 for an answer that was no worse and 0 for one that was.
    pub fn fit(points: Vec<(f64, f64)>) -> Option<Calibration> {
        if points.len() < LEAST_OUTCOMES {
            return None;
        }
        let mut confidences: Vec<f64> = points.iter().map(|(confidence, _)| *confidence).collect();
        let curve = Isotonic::fit(points)?;
        confidences.sort_by(f64::total_cmp);
        let odds = confidences.iter().map(|confidence| curve.at(*confidence)).collect();
        Some(Calibration { curve, odds, confidences })
    }

    /// How likely an answer of this confidence is no worse.
    pub fn no_worse(&self, confidence: f64) -> f64 {
        self.curve.at(confidence)
    }

    /// The threshold that passes on the fewest prompts and still keeps `quality`, by its lower bound.
    /// An answer that is passed on is the reference's, and so no worse.
    pub fn threshold(&self, quality: f64) -> Threshold {
        let count = self.odds.len();
        let mut kept: f64 = self.odds.iter().sum();
        let mut passed_on = 0;
        loop {
            let share = (kept + passed_on as f64) / count as f64;
            let low = lower_bound(share.clamp(0.0, 1.0), count as f64);
            if low >= quality || passed_on == count {
                let confidence = match passed_on {
                    0 => 0.0,
                    all if all == count => ABOVE_ALL,
                    some => self.confidences[some],
                };
                return Threshold { confidence, passed_on: passed_on as f64 / count as f64, quality: low };
            }
            // All answers of one confidence go together.
            let confidence = self.confidences[passed_on];
            while passed_on < count && self.confidences[passed_on] == confidence {
                kept -= self.odds[passed_on];
                passed_on += 1;
            }
        }
    }
}

impl Threshold {
    /// Dollars for a request, on average: the first answer always, the reference's for those passed on.
    pub fn expected_usd(&self, first_usd: f64, reference_usd: f64) -> f64 {
        first_usd + self.passed_on * reference_usd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: usize) -> Vec<(f64, f64)> {
        // Right where the confidence is above one half, but for each tenth.
        (0..count)
            .map(|at| {
                let confidence = at as f64 / count as f64;
                (confidence, f64::from(u8::from((confidence > 0.5) != (at % 10 == 0))))
            })
            .collect()
    }

    /// The threshold decides what is paid twice: more quality passes on more, and what is kept is kept.
    #[test]
    fn more_quality_passes_on_more() {
        let calibration = Calibration::fit(log(1000)).expect("points");
        let [lax, strict, all] = [0.3, 0.9, 0.9999].map(|quality| calibration.threshold(quality));
        assert_eq!((lax.confidence, lax.passed_on), (0.0, 0.0));
        assert!(strict.passed_on > 0.35 && strict.passed_on < 0.55 && strict.quality >= 0.9, "{strict:?}");
        assert!((strict.confidence - strict.passed_on).abs() < 1e-9);
        assert_eq!(all.passed_on, 1.0);
        assert!(all.confidence > 1.0);
        assert!(calibration.no_worse(0.2) < 0.2 && calibration.no_worse(0.8) > 0.8);
        assert!((strict.expected_usd(1.0, 10.0) - (1.0 + 10.0 * strict.passed_on)).abs() < 1e-12);
        assert!(Calibration::fit(log(10)).is_none());
    }
}
