//! What measurements say and what they don't: intervals, and tests that may stop as soon as they are decided.
//!
//! Everything here takes numbers and gives numbers. Where chance is needed, its seed is an argument.

pub mod distribution;
pub mod isotonic;
pub mod paired;
pub mod perplexity;
pub mod quantiles;
mod random;
pub mod sequential;

use serde::{Deserialize, Deserializer, Serialize};

pub use random::Random;

/// A value, and between what it lies. In JSON, a bound that is infinite is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub value: f64,
    #[serde(deserialize_with = "or_below_all")]
    pub low: f64,
    #[serde(deserialize_with = "or_above_all")]
    pub high: f64,
}

fn or_below_all<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

fn or_above_all<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl Interval {
    /// All three through a function that grows.
    pub fn map(self, grows: impl Fn(f64) -> f64) -> Interval {
        Interval { value: grows(self.value), low: grows(self.low), high: grows(self.high) }
    }
}

/// A sum whose error does not grow with the count (Neumaier 1974).
pub fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

/// A growth of ln perplexity as a growth of the perplexity in percent.
pub fn percent(ln_ratio: f64) -> f64 {
    100.0 * ln_ratio.exp_m1()
}

/// The reverse of [`percent`]; of what is more than -100 %.
pub fn ln_ratio(percent: f64) -> f64 {
    (percent / 100.0).ln_1p()
}

/// The place among `len` sorted values below which a share of them lies.
fn rank(share: f64, len: usize) -> usize {
    ((share * len as f64).floor() as usize).min(len.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Perplexities of a million tokens must not depend on the order in which they were added.
    #[test]
    fn sums_keep_what_is_small_beside_what_is_large() {
        assert_eq!(sum([1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum([1.0, 1e16, -1e16]), 1.0);
        assert_eq!(sum([]), 0.0);
        let tenth = vec![0.1; 1_000_000];
        assert!((sum(tenth) - 100_000.0).abs() < 1e-9);
    }

    /// Reports with an open bound must be read back, though JSON has no infinity.
    #[test]
    fn open_bounds_come_back_from_json() {
        for (low, high) in [(f64::NEG_INFINITY, f64::INFINITY), (0.5, f64::INFINITY), (0.5, 1.5)] {
            let interval = Interval { value: 1.0, low, high };
            let text = serde_json::to_string(&interval).unwrap();
            assert_eq!(serde_json::from_str::<Interval>(&text).unwrap(), interval, "{text}");
        }
    }

    /// Limits are given in percent and tested as logarithms: both ways lead back.
    #[test]
    fn percent_and_logarithm_are_each_others_reverse() {
        assert!((percent(ln_ratio(2.0)) - 2.0).abs() < 1e-12);
        assert!((ln_ratio(100.0) - 2f64.ln()).abs() < 1e-15);
        assert!((percent(0.5f64.ln()) + 50.0).abs() < 1e-12);
    }
}
