//! Has the perplexity grown by no more than a limit? A test that may be looked at after every window and stops as
//! soon as it is decided.
//!
//! A test for a fixed number of windows that is repeated until it says something is wrong far more often than it
//! promises. This one is *anytime-valid*: for the limit, and for each side, there is a wealth that a gambler has
//! who bets against "the growth is exactly the limit", and by Ville's inequality that wealth ever reaches 1/α with a
//! probability of at most α, however long one looks and whyever one stops. The bet is the t-test's with a mixture over effects on one
//! side (Lai 1976; Wang and Ramdas 2025, "Anytime-valid t-tests and confidence sequences for Gaussian means with
//! unknown variance", arXiv 2310.03722): exact where block sums are normal, so the unknown variance costs what it must
//! while there are few of them; elsewhere it holds asymptotically, by the same argument as Waudby-Smith, Arbour, Sinha,
//! Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences", arXiv 2103.06476.
//!
//! **Dependence.** A block is 32 scored tokens or so of a window. Blocks of one window are alike, so they weigh less than independent ones: all
//! evidence is divided by the design effect (Kish 1965), the variance of windows over what their blocks would give
//! if they were independent. While there are few windows, that is mostly a cautious constant.

use super::distribution::student;
use super::{Interval, sum};
use serde::{Deserialize, Serialize};

/// Scored tokens of a block, about.
const BLOCK_TOKENS: usize = 32;
/// Blocks' effects, as multiples of their deviation, are expected to be about 1 / sqrt of this.
const PRIOR: f64 = 4.0;
/// The design effect before any window was seen, and how many windows that counts for.
const DESIGN_BEFORE: f64 = 2.0;
const DESIGN_WINDOWS: f64 = 4.0;
/// With one window, nothing is known of how windows differ.
const LEAST_WINDOWS: usize = 2;

/// What the evidence says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Fail,
    /// The evidence does not decide.
    Undecided,
}

/// Falls of ln p (as in [`super::paired::Paired`]), window by window, and what they say so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequential {
    blocks: Vec<Block>,
    windows: usize,
    tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    window: usize,
    tokens: f64,
    sum: f64,
}

impl Sequential {
    /// One more window: by how much ln p fell at each of its scored tokens. Windows must come in random order.
    pub fn add(&mut self, falls: &[f64]) {
        let count = falls.len().div_ceil(BLOCK_TOKENS);
        for at in 0..count {
            let block = &falls[at * falls.len() / count..(at + 1) * falls.len() / count];
            let (tokens, sum) = (block.len() as f64, sum(block.iter().copied()));
            self.blocks.push(Block { window: self.windows, tokens, sum });
        }
        self.tokens += falls.len();
        self.windows += usize::from(count > 0);
    }

    pub fn scored_tokens(&self) -> u64 {
        self.tokens as u64
    }

    pub fn windows(&self) -> usize {
        self.windows
    }

    /// Whether ln perplexity grew by at most `limit`. For a growth above it, `Pass` ever comes out with a probability of at
    /// most 1 - `confidence`, and the same of `Fail` for one below.
    pub fn verdict(&self, limit: f64, confidence: f64) -> Verdict {
        let enough = -(1.0 - confidence).ln();
        match self.mean() {
            Some(mean) if self.ln_wealth(limit) >= enough => {
                if mean <= limit {
                    Verdict::Pass
                } else {
                    Verdict::Fail
                }
            }
            _ => Verdict::Undecided,
        }
    }

    /// The limits that are not decided: those below `low` fail, those above `high` pass. Each bound holds with
    /// the confidence, at whatever point one stopped.
    pub fn interval(&self, confidence: f64) -> Interval {
        let Some(mean) = self.mean() else {
            return Interval { value: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
        };
        let enough = -(1.0 - confidence).ln();
        let low = self.bound(mean, -1.0, enough);
        let high = self.bound(mean, 1.0, enough);
        Interval { value: mean, low, high }
    }

    /// The mean of all falls.
    fn mean(&self) -> Option<f64> {
        (self.tokens > 0).then(|| sum(self.blocks.iter().map(|block| block.sum)) / self.tokens as f64)
    }

    /// ln of the wealth of who bet against `limit`, on the side on which the mean lies.
    fn ln_wealth(&self, limit: f64) -> f64 {
        if self.windows < LEAST_WINDOWS {
            return 0.0;
        }
        let residual = |block: &Block| block.sum - block.tokens * limit;
        let total = sum(self.blocks.iter().map(residual)).abs();
        let squares = sum(self.blocks.iter().map(|block| residual(block).powi(2)));
        if squares == 0.0 {
            return 0.0;
        }
        let design = self.design_effect();
        let count = self.blocks.len() as f64 / design;
        // Design effects cancel in the ratio of the squared total to the squares, but for this one.
        let explained = total * total / design / ((count + PRIOR) * squares);
        let root = (PRIOR / (count + PRIOR)).ln() / 2.0;
        let t = total / design * (count / ((count + PRIOR) * (1.0 - explained) * squares / design)).sqrt();
        root - count / 2.0 * (-explained).ln_1p() + (2.0 * student(t, count)).ln()
    }

    /// The variance of windows over that of independent blocks; at least 1.
    fn design_effect(&self) -> f64 {
        let Some(mean) = self.mean() else { return DESIGN_BEFORE };
        let mut windows = vec![0.0; self.windows];
        let mut blocks = 0.0;
        for block in &self.blocks {
            let residual = block.sum - block.tokens * mean;
            windows[block.window] += residual;
            blocks += residual * residual;
        }
        if self.windows < LEAST_WINDOWS || blocks == 0.0 {
            return DESIGN_BEFORE;
        }
        let unbiased = |squares: f64, count: usize| squares * count as f64 / (count - 1) as f64;
        let between = unbiased(windows.iter().map(|residual| residual * residual).sum(), self.windows);
        let found = between / unbiased(blocks, self.blocks.len());
        let seen = (self.windows - 1) as f64;
        ((DESIGN_WINDOWS * DESIGN_BEFORE + seen * found) / (DESIGN_WINDOWS + seen)).max(1.0)
    }

    /// The nearest limit on one side of the mean that is decided.
    fn bound(&self, mean: f64, side: f64, enough: f64) -> f64 {
        let mut step = 1e-6;
        while self.ln_wealth(mean + side * step) < enough {
            step *= 2.0;
            if step > 1e3 {
                return side * f64::INFINITY;
            }
        }
        let (mut near, mut far) = (0.0, step);
        for _ in 0..60 {
            let middle = (near + far) / 2.0;
            if self.ln_wealth(mean + side * middle) < enough { near = middle } else { far = middle }
        }
        mean + side * far
    }
}
