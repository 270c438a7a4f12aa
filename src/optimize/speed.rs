//! How fast a model is, and whether the machine was quiet enough for that to mean anything.
//!
//! Candidate and baseline take turns (A B B A A B B A …), so that what warms up or slows down meets both alike. A
//! round in which the processor worked for others shows in three ways: less processor time than wall time, a
//! baseline that drifts, and a load above the threads that measured.

use serde::{Deserialize, Serialize};

use super::report::{Estimate, Quantiles, Speed};
use crate::statistics::quantiles::quantile;
use crate::statistics::{Interval, sum};

/// Fewer samples of a token's time say nothing about its tail.
pub const LEAST_SAMPLES: usize = 100;
/// Processor time over wall time, below which something else ran.
const LEAST_BUSY: f64 = 0.8;
/// How far a median may move from the first half of the rounds to the second.
const MOST_DRIFT: f64 = 0.05;
/// Threads of others at work, in the median round.
const MOST_FOREIGN_LOAD: f64 = 0.75;
/// An estimate is no measurement: only what is estimated at so many times the limit is left out.
const ESTIMATE_MARGIN: f64 = 4.0;

/// One measurement: a prompt is read, then tokens are written one after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub prompt_tokens: u32,
    pub first_token_ms: f64,
    /// Of each token after the first.
    pub token_ms: Vec<f64>,
    pub wall_ms: f64,
    /// Of all threads together.
    pub processor_ms: f64,
    /// Times that the system took the processor away.
    pub preempted: u64,
    /// Threads of others at work or waiting for a processor when it began; `None` where nobody tells.
    pub load: Option<f64>,
}

/// Who measures in a round of so many, where `true` is the candidate: A B B A A B B A …
pub fn takes_turn(round: usize) -> bool {
    matches!(round % 4, 1 | 2)
}

/// The candidate's figures; `None` where nothing was measured.
pub fn speed(candidate: &[Round], baseline: &[Round], threads: u32, confidence: f64) -> Option<Speed> {
    let times = |of: &dyn Fn(&Round) -> Vec<f64>| {
        let mut times: Vec<f64> = candidate.iter().flat_map(of).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    };
    let first = times(&|round| vec![round.first_token_ms]);
    let tokens = times(&|round| round.token_ms.clone());
    let read = sum(candidate.iter().map(|round| f64::from(round.prompt_tokens)));
    Some(Speed {
        first_token_ms: quantiles(&first, confidence)?,
        token_ms: quantiles(&tokens, confidence)?,
        prefill_tps: 1e3 * read / sum(first.iter().copied()),
        decode_tps: 1e3 * tokens.len() as f64 / sum(tokens.iter().copied()),
        samples: tokens.len() as u64,
        unreliable: unreliable(candidate, baseline, threads),
    })
}

fn quantiles(sorted: &[f64], confidence: f64) -> Option<Quantiles> {
    let at = |share| quantile(sorted, share, confidence);
    Some(Quantiles { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
}

/// Why the figures are no ground for a verdict.
fn unreliable(candidate: &[Round], baseline: &[Round], threads: u32) -> Option<String> {
    let samples: usize = candidate.iter().map(|round| round.token_ms.len()).sum();
    if samples < LEAST_SAMPLES {
        return Some(format!("{samples} samples, at least {LEAST_SAMPLES} are needed"));
    }
    let all = || candidate.iter().chain(baseline);
    let wall = sum(all().map(|round| round.wall_ms)) * f64::from(threads);
    let busy = sum(all().map(|round| round.processor_ms)) / wall;
    if busy < LEAST_BUSY {
        let taken: u64 = all().map(|round| round.preempted).sum();
        return Some(format!(
            "the machine was busy: {:.0} % of the time went to others, {taken} preemptions",
            100.0 * (1.0 - busy)
        ));
    }
    let mut loads: Vec<f64> = all().filter_map(|round| round.load).collect();
    loads.sort_unstable_by(f64::total_cmp);
    if let Some(load) = loads.get(loads.len() / 2).filter(|load| **load > MOST_FOREIGN_LOAD) {
        return Some(format!("the machine was busy: {load:.0} threads of others at work"));
    }
    for (rounds, who) in [(baseline, "the source"), (candidate, "the candidate")] {
        if let Some(drift) = drift(rounds).filter(|drift| drift.abs() > MOST_DRIFT) {
            return Some(format!(
                "the machine changed: {who} got {:+.0} % from one half to the other",
                100.0 * drift
            ));
        }
    }
    None
}

/// By how much the median time of a token grew from the first half of the rounds to the second, as a share.
fn drift(rounds: &[Round]) -> Option<f64> {
    let median = |rounds: &[Round]| {
        let mut times: Vec<f64> = rounds.iter().flat_map(|round| round.token_ms.iter().copied()).collect();
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let (first, second) = rounds.split_at(rounds.len() / 2);
    Some(median(second)? / median(first)? - 1.0)
}

/// About how long a token takes, in ms: writing one reads all weights once, and memory is the bound.
///
/// `baseline_ms` is what the source takes with its `baseline_bytes` of tensors.
pub fn estimate(bytes: u64, baseline_bytes: u64, baseline_ms: f64) -> Option<f64> {
    (baseline_bytes > 0).then(|| baseline_ms * bytes as f64 / baseline_bytes as f64)
}

/// Another machine, by what it can do for each that this one can.
#[derive(Debug, Clone, PartialEq)]
pub struct Elsewhere {
    /// In the price file.
    pub name: String,
    /// Of bytes read from memory a second: what bounds the writing of tokens.
    pub memory: f64,
    /// Of arithmetic: what bounds the reading of a prompt.
    pub arithmetic: f64,
}

impl Elsewhere {
    /// What the figures of this machine come to on that one.
    pub fn estimate(&self, here: &Speed) -> Estimate {
        Estimate {
            machine: self.name.clone(),
            first_token_ms: here.first_token_ms.p50.value / self.arithmetic,
            token_ms: here.token_ms.p50.value / self.memory,
            prefill_tps: here.prefill_tps * self.arithmetic,
            decode_tps: here.decode_tps * self.memory,
        }
    }
}

/// Whether others were at work in a round, so that its times say little of the machine.
pub fn is_busy(round: &Round, threads: u32) -> bool {
    let busy = round.processor_ms / (round.wall_ms * f64::from(threads));
    busy < LEAST_BUSY || round.load.is_some_and(|load| load > MOST_FOREIGN_LOAD)
}

/// Whether an estimate is so far beyond a limit that measuring would be a waste.
pub fn is_hopeless(estimate_ms: f64, limit_ms: f64) -> bool {
    estimate_ms > ESTIMATE_MARGIN * limit_ms
}

/// Tokens a second for a time of a token, with the bounds changed over.
pub fn rate(token_ms: Interval) -> Interval {
    let rate = |ms: f64| if ms > 0.0 { 1e3 / ms } else { f64::INFINITY };
    Interval { value: rate(token_ms.value), low: rate(token_ms.high), high: rate(token_ms.low) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(token_ms: f64, busy: f64) -> Round {
        let wall_ms = 50.0 + 20.0 * token_ms;
        Round {
            prompt_tokens: 100,
            first_token_ms: 50.0,
            token_ms: (0..20).map(|at| token_ms + 0.01 * f64::from(at)).collect(),
            wall_ms,
            processor_ms: busy * wall_ms,
            preempted: 3,
            load: None,
        }
    }

    fn rounds(count: usize, token_ms: f64) -> Vec<Round> {
        vec![round(token_ms, 0.99); count]
    }

    #[track_caller]
    fn why(candidate: &[Round], baseline: &[Round]) -> Option<String> {
        speed(candidate, baseline, 1, 0.95).unwrap().unreliable
    }

    /// Figures of a quiet machine are what was measured, no more and no less.
    #[test]
    fn quiet_rounds_give_figures() {
        let found = speed(&rounds(10, 5.0), &rounds(10, 8.0), 1, 0.95).unwrap();
        assert_eq!((found.samples, &found.unreliable), (200, &None));
        assert!((found.prefill_tps - 2000.0).abs() < 1e-9);
        assert!((found.decode_tps - 1e3 / 5.095).abs() < 1e-6);
        let p50 = found.token_ms.p50;
        assert!(p50.low <= p50.value && p50.value <= p50.high && p50.high < 5.2, "{p50:?}");
        assert!(found.token_ms.p99.high.is_infinite());
        assert_eq!(speed(&[], &rounds(1, 1.0), 1, 0.95), None);
    }

    /// A busy machine once gave a p99 of 2147 ms and minutes later 8 ms: such figures must say what they are.
    #[test]
    fn a_busy_machine_is_noticed() {
        let quiet = rounds(10, 5.0);
        assert!(why(&quiet[..4], &quiet).unwrap().contains("80 samples"));
        let starved = vec![round(5.0, 0.6); 10];
        assert!(
            why(&starved, &starved).unwrap().contains("40 % of the time"),
            "{:?}",
            why(&starved, &starved)
        );
        let slower = [rounds(5, 8.0), rounds(5, 9.0)].concat();
        assert!(why(&quiet, &slower).unwrap().contains("the source got +12 %"), "{:?}", why(&quiet, &slower));
        let loaded = vec![Round { load: Some(4.2), ..round(5.0, 0.99) }; 10];
        assert!(why(&loaded, &loaded).unwrap().contains("4 threads of others"));
        assert_eq!(why(&quiet, &quiet), None);
    }

    /// Both meet each kind of moment equally often.
    #[test]
    fn turns_are_even() {
        let turns: Vec<bool> = (0..8).map(takes_turn).collect();
        assert_eq!(turns, [false, true, true, false, false, true, true, false]);
    }

    /// Another machine's figures follow from what both can do: worked out by hand.
    #[test]
    fn figures_elsewhere_are_by_what_bounds_them() {
        let elsewhere = Elsewhere { name: "big".into(), memory: 2.0, arithmetic: 4.0 };
        let found = elsewhere.estimate(&speed(&rounds(10, 5.0), &rounds(10, 8.0), 1, 0.95).unwrap());
        assert!((found.first_token_ms - 12.5).abs() < 1e-9 && (found.prefill_tps - 8000.0).abs() < 1e-6);
        assert!((found.decode_tps - 2e3 / 5.095).abs() < 1e-6 && found.token_ms < 2.6, "{found:?}");
    }

    /// The estimate orders and leaves out what is hopeless; it never lets anything pass.
    #[test]
    fn the_estimate_is_proportional_and_cautious() {
        assert_eq!(estimate(100, 200, 10.0), Some(5.0));
        assert_eq!(estimate(100, 0, 10.0), None);
        assert!(is_hopeless(41.0, 10.0) && !is_hopeless(39.0, 10.0));
        assert!(
            is_busy(&round(5.0, 0.7), 1) && !is_busy(&round(5.0, 0.9), 1) && is_busy(&round(5.0, 0.9), 2)
        );
        assert!(is_busy(&Round { load: Some(2.0), ..round(5.0, 0.9) }, 1));
        let rate = rate(Interval { value: 10.0, low: 5.0, high: f64::INFINITY });
        assert_eq!((rate.value, rate.low, rate.high), (100.0, 0.0, 200.0));
    }
}
