//! Has the perplexity grown by no more than a limit? A test that may be looked at after every window and stops as
//! soon as it is decided.
//!
//! A test for a fixed number of windows that is repeated until it says something is wrong far more often than it
//! promises. This one is *anytime-valid*: for a limit, and for each side, there is a wealth that a gambler has
//! who bets against "the growth is exactly this", and by Ville's inequality that wealth ever reaches 1/α with a
//! probability of at most α, however long one looks and for whatever reason one stops. The bet is the t-test's, a
//! mixture over effects on one side (Lai 1976; Wang and Ramdas 2025, "Anytime-valid t-tests and confidence sequences
//! for Gaussian means with unknown variance", arXiv 2310.03722): exact where block sums are normal, so that an unknown
//! variance costs what it must while there are few of them; elsewhere it holds asymptotically, by the argument of
//! Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence
//! sequences", arXiv 2103.06476.
//!
//! **Population.** The windows of an evaluation are finitely many and drawn in random order, none twice. What is left
//! to draw must make up for what was drawn, so the bet at each window is on its difference from what "exactly this"
//! leads one to expect of it (Waudby-Smith and Ramdas 2020, "Confidence sequences for sampling without replacement",
//! arXiv 2006.04347). When all are drawn, nothing is left to bet on: the growth is known.
//!
//! **Dependence.** Evidence is counted in blocks of about 32 tokens. Those of one window are alike and weigh less
//! than independent ones would: all evidence is divided by the design effect (Kish 1965), the variance of windows over what
//! their blocks would give if they were independent. While there are few windows, that is mostly a cautious constant.

use super::distribution::student;
use super::{Interval, sum};
use serde::{Deserialize, Serialize};

/// Scored tokens of a block, about.
const BLOCK_TOKENS: usize = 32;
/// Blocks' effects, as multiples of their deviation, are expected to be about 1 / sqrt of this.
const PRIOR: f64 = 2.0;
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
#[derive(Debug, Clone, PartialEq)]
pub struct Sequential {
    /// Scored tokens of all windows of the evaluation, those included that were not drawn yet.
    population: f64,
    windows: Vec<Drawn>,
    blocks: Vec<Block>,
}

/// A window that was drawn, with what was drawn before it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Drawn {
    tokens: f64,
    sum: f64,
    tokens_before: f64,
    sum_before: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    window: usize,
    tokens: f64,
    sum: f64,
}

/// What the blocks say of one supposed growth.
struct Evidence {
    /// Of all residuals; positive where the growth is above what is supposed.
    total: f64,
    /// Of each window's residuals.
    windows: Vec<f64>,
    /// Of the squares of all blocks' residuals.
    squares: f64,
}

impl Sequential {
    /// An evaluation whose windows have so many scored tokens in all.
    pub fn new(population_tokens: u64) -> Sequential {
        Sequential { population: population_tokens as f64, windows: Vec::new(), blocks: Vec::new() }
    }

    /// One more window: by how much ln p fell at each of its scored tokens. Windows must come in random order.
    pub fn add(&mut self, falls: &[f64]) {
        let count = falls.len().div_ceil(BLOCK_TOKENS);
        for at in 0..count {
            let block = &falls[at * falls.len() / count..(at + 1) * falls.len() / count];
            let (tokens, sum) = (block.len() as f64, sum(block.iter().copied()));
            self.blocks.push(Block { window: self.windows.len(), tokens, sum });
        }
        if count > 0 {
            let (tokens_before, sum_before) = self.drawn();
            let (tokens, sum) = (falls.len() as f64, sum(falls.iter().copied()));
            self.windows.push(Drawn { tokens, sum, tokens_before, sum_before });
        }
    }

    pub fn scored_tokens(&self) -> u64 {
        self.drawn().0 as u64
    }

    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Whether ln perplexity grew by at most `limit`. If it grew by more, `Pass` ever comes out with a probability of
    /// at most 1 - `confidence`; the same of `Fail` if it grew by less.
    pub fn verdict(&self, limit: f64, confidence: f64) -> Verdict {
        let enough = -(1.0 - confidence).ln();
        let (tokens, sum) = self.drawn();
        if self.is_exhausted() {
            return if sum <= limit * tokens { Verdict::Pass } else { Verdict::Fail };
        }
        let evidence = self.evidence(limit);
        match self.ln_wealth(&evidence) {
            wealth if wealth < enough => Verdict::Undecided,
            _ if evidence.total <= 0.0 => Verdict::Pass,
            _ => Verdict::Fail,
        }
    }

    /// The limits that are not decided: those below `low` fail, those above `high` pass. Each bound holds with the
    /// confidence, at whatever point one stopped.
    pub fn interval(&self, confidence: f64) -> Interval {
        let (tokens, sum) = self.drawn();
        if tokens == 0.0 {
            return Interval { value: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        let value = sum / tokens;
        if self.is_exhausted() {
            return Interval { value, low: value, high: value };
        }
        let enough = -(1.0 - confidence).ln();
        let (low, high) = (self.bound(-1.0, enough), self.bound(1.0, enough));
        Interval { value, low: low.min(value), high: high.max(value) }
    }

    /// Tokens and sum of all windows so far.
    fn drawn(&self) -> (f64, f64) {
        let last = self.windows.last();
        last.map_or((0.0, 0.0), |last| (last.tokens_before + last.tokens, last.sum_before + last.sum))
    }

    fn is_exhausted(&self) -> bool {
        let (tokens, _) = self.drawn();
        tokens > 0.0 && tokens >= self.population
    }

    /// The fall of a token that is to be expected of a window, if the growth of the whole is this.
    fn expected(&self, window: &Drawn, growth: f64) -> f64 {
        let left = (self.population - window.tokens_before).max(window.tokens);
        (self.population * growth - window.sum_before) / left
    }

    fn evidence(&self, growth: f64) -> Evidence {
        let expected: Vec<f64> = self.windows.iter().map(|window| self.expected(window, growth)).collect();
        let mut windows = vec![0.0; self.windows.len()];
        let mut squares = 0.0;
        for block in &self.blocks {
            let residual = block.sum - block.tokens * expected[block.window];
            windows[block.window] += residual;
            squares += residual * residual;
        }
        Evidence { total: sum(windows.iter().copied()), windows, squares }
    }

    /// ln of the wealth of who bet against a growth, on the side that came out.
    fn ln_wealth(&self, evidence: &Evidence) -> f64 {
        if evidence.windows.len() < LEAST_WINDOWS || evidence.squares == 0.0 {
            return 0.0;
        }
        let design = self.design_effect();
        let count = self.blocks.len() as f64 / design;
        let (total, squares) = (evidence.total.abs() / design, evidence.squares / design);
        let explained = total * total / ((count + PRIOR) * squares);
        let t = total * (count / ((count + PRIOR) * squares * (1.0 - explained))).sqrt();
        (PRIOR / (count + PRIOR)).ln() / 2.0 - count / 2.0 * (-explained).ln_1p()
            + (2.0 * student(t, count)).ln()
    }

    /// The variance of windows over that of independent blocks; at least 1.
    fn design_effect(&self) -> f64 {
        let evidence = self.evidence(self.balanced());
        let count = self.windows.len();
        if count < LEAST_WINDOWS || evidence.squares == 0.0 {
            return DESIGN_BEFORE;
        }
        let unbiased = |squares: f64, count: usize| squares * count as f64 / (count - 1) as f64;
        let between = unbiased(sum(evidence.windows.iter().map(|residual| residual * residual)), count);
        let found = between / unbiased(evidence.squares, self.blocks.len());
        let seen = (count - 1) as f64;
        ((DESIGN_WINDOWS * DESIGN_BEFORE + seen * found) / (DESIGN_WINDOWS + seen)).max(1.0)
    }

    /// The growth against which the evidence is even.
    fn balanced(&self) -> f64 {
        let (mut above, mut below) = (0.0, 0.0);
        for window in &self.windows {
            let left = (self.population - window.tokens_before).max(window.tokens);
            above += window.sum + window.tokens * window.sum_before / left;
            below += window.tokens * self.population / left;
        }
        if below > 0.0 { above / below } else { 0.0 }
    }

    /// The nearest limit on one side that is decided.
    fn bound(&self, side: f64, enough: f64) -> f64 {
        let middle = self.balanced();
        let is_open = |step: f64| self.ln_wealth(&self.evidence(middle + side * step)) < enough;
        let mut far = 1e-6;
        while is_open(far) {
            far *= 2.0;
            if far > 1e3 {
                return side * f64::INFINITY;
            }
        }
        let mut near = 0.0;
        for _ in 0..60 {
            let half = (near + far) / 2.0;
            if is_open(half) { near = half } else { far = half }
        }
        middle + side * far
    }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    /// So large that windows are drawn as if with replacement.
    const ENDLESS: u64 = 1 << 50;

    fn bell(random: &mut Random) -> f64 {
        sum((0..12).map(|_| random.unit())) - 6.0
    }

    /// A window of 255 tokens around `mean`, with a level of its own: its sum varies `design` times as much as
    /// that of independent tokens.
    fn window(random: &mut Random, mean: f64, design: f64) -> Vec<f64> {
        let level = mean + ((design - 1.0) / 255.0).sqrt() * bell(random);
        (0..255).map(|_| level + bell(random)).collect()
    }

    fn run(seed: u64, population: u64, windows: usize, mean: f64) -> (Verdict, u64) {
        let mut random = Random::new(seed);
        let mut test = Sequential::new(population);
        for _ in 0..windows {
            test.add(&window(&mut random, mean, 2.25));
            let verdict = test.verdict(0.0, 0.95);
            if verdict != Verdict::Undecided {
                return (verdict, test.scored_tokens());
            }
        }
        (Verdict::Undecided, test.scored_tokens())
    }

    /// The promise: of what grew by exactly the limit, at most 5 % ever pass and at most 5 % ever fail, though one
    /// looks after each window. A t-test that is repeated so is wrong in more than a fifth of the cases.
    #[test]
    fn looking_often_is_not_wrong_more_often() {
        let verdicts: Vec<Verdict> = (0..300).map(|seed| run(seed, ENDLESS, 40, 0.0).0).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let (passed, failed) = (count(Verdict::Pass), count(Verdict::Fail));
        assert!(passed <= 24 && failed <= 24, "passed {passed}, failed {failed} of 300");
        assert!(passed + failed > 0, "a test that never says anything is no test");
    }

    /// What is clear must be clear soon, or the test saves nothing.
    #[test]
    fn what_is_far_from_the_limit_is_decided_soon() {
        for seed in 0..20 {
            let (verdict, tokens) = run(seed, ENDLESS, 40, -0.4);
            assert!(verdict == Verdict::Pass && tokens <= 5 * 255, "{verdict:?} after {tokens}");
            let (verdict, tokens) = run(seed, ENDLESS, 40, 0.4);
            assert!(verdict == Verdict::Fail && tokens <= 5 * 255, "{verdict:?} after {tokens}");
        }
    }

    /// One window says nothing of how windows differ, however clear it looks; a lossless copy is clear after two.
    #[test]
    fn one_window_decides_nothing() {
        let mut test = Sequential::new(ENDLESS);
        assert_eq!(test.verdict(0.01, 0.95), Verdict::Undecided);
        assert!(test.interval(0.95).high.is_infinite());
        test.add(&[5.0; 255]);
        assert_eq!(test.verdict(0.01, 0.95), Verdict::Undecided);
        let mut equal = Sequential::new(ENDLESS);
        equal.add(&[0.0; 255]);
        equal.add(&[0.0; 255]);
        equal.add(&[]);
        assert_eq!((equal.verdict(0.01, 0.95), equal.windows()), (Verdict::Pass, 2));
    }

    /// When every window was drawn there is no chance left: the verdict is that of the whole, in any order.
    #[test]
    fn all_windows_together_are_no_sample() {
        let mut random = Random::new(4);
        let windows: Vec<Vec<f64>> = (0..8).map(|_| window(&mut random, 0.0, 2.0)).collect();
        let mean = sum(windows.iter().flatten().copied()) / (8.0 * 255.0);
        for seed in 0..50 {
            let mut test = Sequential::new(8 * 255);
            for at in Random::new(seed).order(8) {
                test.add(&windows[at]);
            }
            assert_eq!(test.verdict(mean + 1e-9, 0.95), Verdict::Pass);
            assert_eq!(test.verdict(mean - 1e-9, 0.95), Verdict::Fail);
            let interval = test.interval(0.95);
            assert!((interval.low - mean).abs() < 1e-12 && (interval.high - mean).abs() < 1e-12);
        }
    }

    /// Near the end of a finite population little is left to chance, so it is decided with fewer windows.
    #[test]
    fn the_last_windows_of_a_population_are_worth_more() {
        let tokens = |population| (0..20).map(|seed| run(seed, population, 16, 0.08).1).sum::<u64>();
        assert!(tokens(16 * 255) < tokens(ENDLESS), "{} {}", tokens(16 * 255), tokens(ENDLESS));
    }

    /// Report and verdict must tell one story: limits outside of the interval are decided, those inside are not.
    #[test]
    fn the_interval_is_the_limits_that_are_not_decided() {
        for (seed, population) in [(1, ENDLESS), (2, 40 * 255), (3, 12 * 255)] {
            let mut random = Random::new(seed);
            let mut test = Sequential::new(population);
            for _ in 0..10 {
                test.add(&window(&mut random, 0.3, 2.0));
                let found = test.interval(0.9);
                if test.windows() < 2 {
                    continue;
                }
                assert!(found.low <= found.value && found.value <= found.high, "{found:?}");
                assert_eq!(test.verdict(found.high + 1e-6, 0.9), Verdict::Pass);
                assert_eq!(test.verdict(found.low - 1e-6, 0.9), Verdict::Fail);
                let inside = found.low + 0.9 * (found.high - found.low);
                assert_eq!(test.verdict(inside, 0.9), Verdict::Undecided);
            }
        }
    }
}
