//! What a log of outcomes says of a prompt: how likely one model's answer is no worse than another's.
//!
//! The nearest prompts of the log vote, each with its similarity as its weight, on top of what the
//! prompt's shape says, which counts as a fixed number of votes (`PRIOR_VOTES`). Near the log the
//! neighbours decide; far from it, where similarities are small, the shape does. Neighbours vote on the
//! *difference* of two models' outcomes: that a question is hard says nothing of whom to ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::difficulty::Difficulty;
use super::features::Features;
use super::neighbours::Neighbours;
use super::outcome::Outcome;
use crate::statistics::distribution::incomplete_beta;

/// Neighbours that vote.
const MOST_NEIGHBOURS: usize = 300;
/// What the shape of a prompt counts for, in neighbours that are equal to it.
const PRIOR_VOTES: f64 = 10.0;
/// Outcomes of a pair of models below which there is no evidence.
pub const LEAST_OUTCOMES: usize = 20;
/// Neighbours whose mean similarity is the coverage.
const NEAREST: usize = 10;
/// The coverage below which an estimate rests on the shape of the prompt more than on the log.
pub const FAR: f64 = 0.12;
/// The chance that the truth lies above the lower bound.
pub const BOUND: f64 = 0.9;

/// A log of outcomes, ready to be asked.
#[derive(Debug, Clone)]
pub struct Evidence {
    neighbours: Neighbours,
    /// By the names of a model and of its reference.
    pairs: BTreeMap<(String, String), Pair>,
}

/// All outcomes that two models share.
#[derive(Debug, Clone)]
struct Pair {
    votes: Vec<Vote>,
    difficulty: Difficulty,
}

#[derive(Debug, Clone, Copy)]
struct Vote {
    prompt: u32,
    /// The reference's score less the model's.
    difference: f32,
    no_worse: bool,
}

/// What is known of a model's answer to one prompt, against the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// How likely it is no worse.
    pub no_worse: f64,
    /// What that is at least, with a confidence of `BOUND`.
    pub low: f64,
    /// By how much the reference's score is higher, on average.
    pub difference: f64,
    /// Mean similarity of the ten nearest prompts, from 0 to 1.
    pub coverage: f64,
    /// Votes of the neighbours: the sum of their similarities.
    pub votes: f64,
    /// Outcomes of this pair in the log.
    pub outcomes: u64,
    pub basis: Basis,
}

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Prompts of the log that are like this one.
    Neighbours,
    /// The shape of the prompt: the log has none like it.
    Shape,
}

/// How near each prompt of the log lies to one.
#[derive(Debug, Clone)]
pub struct Near(Vec<f32>);

impl Evidence {
    /// The evidence of a log, for pairs of a model and its reference.
    pub fn of(log: &[Outcome], pairs: &[(String, String)]) -> Evidence {
        let prompts: Vec<&Features> = log.iter().map(|outcome| &outcome.features).collect();
        let pairs = pairs.iter().filter_map(|pair| Some((pair.clone(), Pair::of(log, pair)?))).collect();
        Evidence { neighbours: Neighbours::of(&prompts), pairs }
    }

    /// How near the log is to a prompt; the part of an estimate that all models share.
    pub fn near(&self, prompt: &Features) -> Near {
        Near(self.neighbours.similarities(prompt))
    }

    /// What the log says of a model against its reference; none where it has too few outcomes of both.
    pub fn estimate(&self, prompt: &Features, near: &Near, model: &str, reference: &str) -> Option<Estimate> {
        let pair = self.pairs.get(&(model.to_owned(), reference.to_owned()))?;
        Some(pair.estimate(prompt, near))
    }
}

impl Pair {
    fn of(log: &[Outcome], (model, reference): &(String, String)) -> Option<Pair> {
        let mut votes = Vec::new();
        for (prompt, outcome) in log.iter().enumerate() {
            if let Some((model, reference)) = outcome.scores.get(model).zip(outcome.scores.get(reference)) {
                let difference = reference - model;
                votes.push(Vote { prompt: prompt as u32, difference, no_worse: difference <= 0.0 });
            }
        }
        if votes.len() < LEAST_OUTCOMES {
            return None;
        }
        let prompts: Vec<_> = votes
            .iter()
            .map(|vote| (&log[vote.prompt as usize].features, f64::from(vote.difference), vote.no_worse))
            .collect();
        let difficulty = Difficulty::fit(&prompts)?;
        Some(Pair { votes, difficulty })
    }

    fn estimate(&self, prompt: &Features, near: &Near) -> Estimate {
        let mut nearest: Vec<(f32, Vote)> = Vec::with_capacity(self.votes.len());
        nearest.extend(self.votes.iter().map(|vote| (near.0[vote.prompt as usize], *vote)));
        nearest.retain(|(similarity, _)| *similarity > 0.0);
        let order = |a: &(f32, Vote), b: &(f32, Vote)| b.0.total_cmp(&a.0).then(a.1.prompt.cmp(&b.1.prompt));
        if nearest.len() > MOST_NEIGHBOURS {
            nearest.select_nth_unstable_by(MOST_NEIGHBOURS, order);
            nearest.truncate(MOST_NEIGHBOURS);
        }
        // Sums of floating point depend on their order.
        nearest.sort_unstable_by(order);
        let sum = |of: &dyn Fn(&Vote) -> f64| -> f64 {
            nearest.iter().fold(0.0, |sum, (similarity, vote)| sum + f64::from(*similarity) * of(vote))
        };
        let votes = sum(&|_| 1.0);
        let smoothed = |prior: f64, voted: f64| (PRIOR_VOTES * prior + voted) / (PRIOR_VOTES + votes);
        let coverage =
            nearest.iter().take(NEAREST).fold(0.0, |sum, (similarity, _)| sum + f64::from(*similarity))
                / NEAREST as f64;
        let prior = self.difficulty.no_worse(prompt, coverage);
        let no_worse = smoothed(prior, sum(&|vote| f64::from(u8::from(vote.no_worse))));
        let prior = self.difficulty.difference(prompt, coverage);
        let difference = smoothed(prior, sum(&|vote| f64::from(vote.difference)));
        Estimate {
            no_worse,
            low: lower_bound(no_worse, PRIOR_VOTES + votes),
            difference,
            coverage,
            votes,
            outcomes: self.votes.len() as u64,
            basis: if coverage < FAR { Basis::Shape } else { Basis::Neighbours },
        }
    }
}

/// What a share is at least, with a confidence of `BOUND`, after so many votes: a quantile of Beta.
pub fn lower_bound(share: f64, votes: f64) -> f64 {
    // A vote for each side, or a share of 1 would be certain after a single one.
    let (yes, no) = (share * votes + 1.0, (1.0 - share) * votes + 1.0);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..30 {
        let middle = (low + high) / 2.0;
        if incomplete_beta(yes, no, middle) < 1.0 - BOUND {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(prompt: &str, weak: f32, strong: f32) -> Outcome {
        let scores = BTreeMap::from([("weak".to_owned(), weak), ("strong".to_owned(), strong)]);
        Outcome { features: Features::of(prompt), scores, confidences: BTreeMap::new() }
    }

    /// Fields where the weak model is as good, and where it is not: the prompt must matter.
    #[test]
    fn neighbours_tell_where_the_weak_model_will_do() {
        let mut log = Vec::new();
        for at in 0..100 {
            log.push(outcome(&format!("translate the sentence number {at} into french"), 1.0, 1.0));
            log.push(outcome(&format!("prove the theorem number {at} about groups"), 0.0, 1.0));
        }
        let pair = ("weak".to_owned(), "strong".to_owned());
        let evidence = Evidence::of(&log, std::slice::from_ref(&pair));
        let ask = |prompt: &str| {
            let features = Features::of(prompt);
            evidence.estimate(&features, &evidence.near(&features), "weak", "strong").expect("evidence")
        };
        let (easy, hard) =
            (ask("translate the sentence above into french"), ask("prove the theorem of Sylow about groups"));
        assert!(easy.low > 0.8 && hard.no_worse < 0.2, "{easy:?} {hard:?}");
        assert_eq!([easy.basis, hard.basis], [Basis::Neighbours; 2]);
        let far = ask("zygote");
        assert!(far.basis == Basis::Shape && far.low < 0.85 && far.votes == 0.0, "{far:?}");
        let features = Features::of("x");
        assert!(evidence.estimate(&features, &evidence.near(&features), "strong", "weak").is_none());
        assert!(Evidence::of(&log[..10], &[pair]).pairs.is_empty());
    }

    /// A bound that is too high certifies models that fail: values of Beta's quantiles with a closed form.
    #[test]
    fn bounds_are_quantiles() {
        // Beta(1, 1) and, of ten votes for, Beta(11, 1).
        assert!((lower_bound(0.5, 0.0) - 0.1).abs() < 1e-6);
        assert!((lower_bound(1.0, 10.0) - 0.1f64.powf(1.0 / 11.0)).abs() < 1e-6);
        assert!(lower_bound(0.9, 1000.0) > 0.88 && lower_bound(0.9, 1000.0) < 0.9);
    }
}
