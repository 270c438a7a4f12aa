//! Sampled differences by scale, and which neighbouring scales should share a table.
//!
//! Neighbours are merged as long as one table for both costs less than two, tables included.

use std::collections::BTreeMap;
use std::ops::Range;

use super::lanes::MAX_TABLES;
use super::symbol::{ESCAPE, symbol};

/// Mean magnitude of a high part, from which on low bits are taken off.
const TARGET_MEAN: f64 = 12.0;
/// What a symbol of a table costs, about, in bits.
const SYMBOL_BITS: f64 = 6.0;
/// What a table costs before its first symbol, in bits.
const TABLE_BITS: f64 = 24.0;

/// Differences of each scale: every one stands for `step` of them, of `width_bits` each.
pub(super) struct Samples {
    width_bits: u32,
    step: usize,
    scales: Vec<Scale>,
}

#[derive(Clone, Default)]
struct Scale {
    samples: Vec<i64>,
    magnitude: f64,
    /// How often each symbol comes, by the shift of the high part.
    counts: BTreeMap<u32, Box<[u32; 256]>>,
}

/// Neighbouring scales that share a table.
#[derive(Clone)]
pub(super) struct Run {
    pub scales: Range<usize>,
    pub shift: u32,
    /// What their differences and the table take, about.
    pub bits: f64,
    /// The table alone.
    pub table_bits: f64,
}

impl Samples {
    pub fn new(width_bits: u32, step: usize, scales: usize) -> Self {
        Self { width_bits, step, scales: vec![Scale::default(); scales] }
    }

    #[inline(always)]
    pub fn add(&mut self, scale: usize, difference: i64) {
        let scale = &mut self.scales[scale];
        scale.samples.push(difference);
        scale.magnitude += difference.unsigned_abs() as f64;
    }

    /// Each scale in a run of its own.
    pub fn apart(&mut self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for scale in 0..self.scales.len() {
            // Scales without samples belong to the run before them.
            match runs.last_mut() {
                Some(last) if self.scales[scale].samples.is_empty() => last.scales.end = scale + 1,
                _ => runs.push(self.priced(scale..scale + 1)),
            }
        }
        runs
    }

    /// All scales in runs, merged from these while that saves bits or there are too many.
    pub fn merged(mut self, mut runs: Vec<Run>) -> Vec<Run> {
        let mut joins: Vec<Run> = (1..runs.len()).map(|at| self.joined(&runs, at - 1)).collect();
        while runs.len() > 1 {
            let saving = |at: usize| runs[at].bits + runs[at + 1].bits - joins[at].bits;
            let best = (0..joins.len()).max_by(|a, b| saving(*a).total_cmp(&saving(*b)));
            let Some(best) = best.filter(|best| runs.len() > MAX_TABLES || saving(*best) >= 0.0) else {
                break;
            };
            runs[best] = joins.remove(best);
            runs.remove(best + 1);
            if best < joins.len() {
                joins[best] = self.joined(&runs, best);
            }
            if best > 0 {
                joins[best - 1] = self.joined(&runs, best - 1);
            }
        }
        runs
    }

    fn joined(&mut self, runs: &[Run], at: usize) -> Run {
        self.priced(runs[at].scales.start..runs[at + 1].scales.end)
    }

    /// The best shift for these scales, and the bits they then take with their table.
    fn priced(&mut self, scales: Range<usize>) -> Run {
        let inside = &self.scales[scales.clone()];
        let count: usize = inside.iter().map(|scale| scale.samples.len()).sum();
        if count == 0 {
            return Run { scales, shift: 0, bits: 0.0, table_bits: 0.0 };
        }
        let mean = inside.iter().map(|scale| scale.magnitude).sum::<f64>() / count as f64;
        let octaves = (mean / TARGET_MEAN).log2().ceil().clamp(0.0, 48.0) as u32;
        // A few outliers can pull the mean far off: smaller shifts are tried as well.
        let shifts = octaves.saturating_sub(2)..=octaves;
        let priced = shifts.map(|shift| (shift, self.bits(scales.clone(), shift)));
        let best = priced.rev().min_by(|a, b| a.1.0.total_cmp(&b.1.0));
        let (shift, (bits, table_bits)) = best.expect("because there is at least one shift");
        Run { scales, shift, bits, table_bits }
    }

    /// Of these scales with one table and this shift, the table included; and of the table alone.
    fn bits(&mut self, scales: Range<usize>, shift: u32) -> (f64, f64) {
        let mut counts = [0u32; 256];
        for scale in self.scales[scales].iter_mut().filter(|scale| !scale.samples.is_empty()) {
            counts.iter_mut().zip(scale.counts(shift)).for_each(|(sum, count)| *sum += count);
        }
        let total = f64::from(counts.iter().sum::<u32>());
        let present = counts.iter().filter(|count| **count > 0).map(|&count| f64::from(count));
        let entropy = total * total.log2() - present.clone().map(|count| count * count.log2()).sum::<f64>();
        let escapes = f64::from(counts[usize::from(ESCAPE)]) * f64::from(self.width_bits);
        let table = TABLE_BITS + SYMBOL_BITS * present.count() as f64;
        (self.step as f64 * (entropy + escapes + total * f64::from(shift)) + table, table)
    }
}

impl Scale {
    fn counts(&mut self, shift: u32) -> &[u32; 256] {
        self.counts.entry(shift).or_insert_with(|| {
            let mut counts = Box::new([0; 256]);
            self.samples.iter().for_each(|sample| counts[usize::from(symbol((sample >> shift) as u64))] += 1);
            counts
        })
    }
}
