//! Quantiles of a sample, and between what those of the population lie.
//!
//! The interval is made of two values of the sample itself, by the binomial distribution (David and Nagaraja,
//! Order Statistics, 2003, 7.1): it holds for any continuous distribution, so also for latencies, whose tails nobody
//! knows. A p99 of 100 samples has no upper bound at 95 %: the interval says so, and a verdict needs more samples.

use super::distribution::binomial;
use super::{Interval, rank};

/// The quantile of a share, such as 0.99, of a sample that is sorted.
///
/// Each bound holds with (1 + confidence) / 2. A bound that the sample is too small for is infinite; 0 is the least, as of a time.
/// `None` of an empty sample.
pub fn quantile(sorted: &[f64], share: f64, confidence: f64) -> Option<Interval> {
    let value = *sorted.get(rank(share, sorted.len()))?;
    let miss = (1.0 - confidence) / 2.0;
    let len = sorted.len() as u64;
    // P(the k-th smallest value > quantile) = P(fewer than k samples lie below it) = binomial(k - 1).
    let lower = greatest(len, |k| binomial(k - 1, len, share) <= miss);
    let upper = greatest(len, |k| 1.0 - binomial(k - 1, len, share) > miss) + 1;
    Some(Interval {
        value,
        low: if lower == 0 { 0.0 } else { sorted[lower as usize - 1] },
        high: sorted.get(upper as usize - 1).copied().unwrap_or(f64::INFINITY),
    })
}

/// The greatest number from 1 to `most` that `holds`, where it holds up to some number; 0 where it never does.
fn greatest(most: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    fn numbers(len: usize) -> Vec<f64> {
        (1..=len).map(|number| number as f64).collect()
    }

    /// The ranks of the tables (Hahn and Meeker 1991): the median of 10 lies between the 2nd and the 9th at 95 %.
    #[test]
    fn the_bounds_are_those_of_the_tables() {
        let median = quantile(&numbers(10), 0.5, 0.95).unwrap();
        assert_eq!((median.low, median.high), (2.0, 9.0));
        let median = quantile(&numbers(100), 0.5, 0.95).unwrap();
        assert_eq!((median.low, median.high), (40.0, 61.0));
        assert_eq!(quantile(&[], 0.5, 0.95), None);
    }

    /// With 30 samples a p99 is their maximum, and nothing says how large it may be: no bound must be made up.
    #[test]
    fn a_tail_that_was_not_seen_has_no_bound() {
        for (len, is_bounded) in [(30, false), (100, false), (300, false), (400, true), (500, true)] {
            let tail = quantile(&numbers(len), 0.99, 0.95).unwrap();
            assert_eq!(tail.high.is_finite(), is_bounded, "{len} samples: {tail:?}");
        }
        let first = quantile(&[5.0], 0.5, 0.95).unwrap();
        assert_eq!((first.low, first.value, first.high), (0.0, 5.0, f64::INFINITY));
    }

    /// The interval holds as often as it says, of a skewed distribution, too.
    #[test]
    fn the_interval_holds_as_often_as_it_says() {
        let mut random = Random::new(5);
        let truth = -(0.05f64.ln());
        let held = (0..1000).filter(|_| {
            let mut sample: Vec<f64> = (0..200).map(|_| -(1.0 - random.unit()).ln()).collect();
            sample.sort_unstable_by(f64::total_cmp);
            let found = quantile(&sample, 0.95, 0.9).unwrap();
            found.low <= truth && truth <= found.high
        });
        let held = held.count();
        assert!((890..=960).contains(&held), "held {held} times of 1000");
    }
}
