//! How far the weights of each cell moved, and what it is worth to tell cells apart.

use std::f64::consts::{FRAC_PI_4, LOG2_E};

use super::cells::{BUCKETS, CELLS, Detail, PLACES, by_level};
use super::context::{Contexts, Rows};
use super::deltas::{Deltas, Group};
use super::lanes::{GROUP, Lanes};
use super::order::Word;

/// Differences that are looked at.
const SAMPLE: usize = 1 << 17;
/// All of fewer differences, and of more one group in this many at most.
const SMALL: usize = 1 << 16;
const LEAST_STEP: usize = 4;
/// Scales that a cell can have, `STEPS` an octave of its mean magnitude.
pub(super) const MEASURED_SCALES: usize = 256;
const STEPS: f64 = 4.0;
/// The scale of a mean magnitude of 1.
const SCALE_OF_ONE: f64 = 40.0;
/// How many weights that moved say as much as what is expected without them.
const PRIOR: f64 = 8.0;
/// What one more cell costs, about, in bits: to say its table, and to have found it in a sample.
const CELL_BITS: f64 = 14.0;

/// The magnitudes of an object's differences, by place.
pub(super) struct Measured {
    places: Vec<Magnitudes>,
    /// Each difference stands for as many.
    step: usize,
}

#[derive(Clone, Copy, Default)]
struct Magnitudes {
    /// The sum of the magnitudes' square roots: a few wild weights don't speak for all.
    roots: f64,
    count: f64,
    /// Those that are not zero.
    moved: f64,
}

impl Measured {
    #[inline(always)]
    pub fn new<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, contexts: &Contexts<W>) -> Self {
        let count = deltas.coded_groups() * GROUP;
        let step = if count < SMALL { 1 } else { count.div_ceil(SAMPLE).max(LEAST_STEP) };
        let mut places = vec![Magnitudes::default(); PLACES];
        deltas.each_coded(step, |group: &Group<W>| {
            let own = contexts.places(group.number, &group.base);
            let magnitudes = group.differences.map(
                #[inline(always)]
                |difference| difference.magnitude().sqrt(),
            );
            for (&place, magnitude) in own.iter().zip(magnitudes).take(group.len) {
                let place = &mut places[usize::from(place) % PLACES];
                place.roots += f64::from(magnitude);
                place.count += 1.0;
                place.moved += f64::from(u8::from(magnitude > 0.0));
            }
        });
        Self { places, step }
    }

    /// The detail with which the differences and what tells of it take least.
    pub fn worth(&self, rows: Option<&Rows>) -> Detail {
        let mut details = vec![Detail::Buckets];
        details.extend(rows.map(|_| Detail::Rows));
        details.extend(rows.and_then(|rows| rows.columns.as_ref()).map(|_| Detail::RowsAndColumns));
        let cost = |detail: Detail| self.bits(detail) + rows.map_or(0.0, |rows| rows.cost_bits(detail));
        let least = details.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        least.expect("because buckets are always told apart")
    }

    /// What all differences take when each cell has a table of its own, about.
    fn bits(&self, detail: Detail) -> f64 {
        let cells = self.with(detail).into_iter().filter(|cell| cell.count > 0.0);
        cells.map(|cell| self.step as f64 * cell.count * laplace_bits(cell.mean()) + CELL_BITS).sum()
    }

    /// The scale of each cell that has differences: by these, and where they are few by what its bucket
    /// and levels let expect.
    pub fn scales(&self, detail: Detail) -> Vec<Option<u8>> {
        let cells = self.with(detail);
        let mut buckets = [(Magnitudes::default(), 0.0); BUCKETS];
        for (cell, own) in cells.iter().enumerate() {
            let (sum, weight) = &mut buckets[cell % BUCKETS];
            sum.add(own);
            *weight += own.count * by_level(cell);
        }
        let scale = |(cell, own): (usize, &Magnitudes)| {
            let (bucket, weight) = &buckets[cell % BUCKETS];
            let expected = bucket.mean() * by_level(cell) * bucket.count / weight;
            let scale = SCALE_OF_ONE + STEPS * own.log2_mean(expected);
            (own.count > 0.0).then_some(scale.round().clamp(0.0, MEASURED_SCALES as f64 - 1.0) as u8)
        };
        cells.iter().enumerate().map(scale).collect()
    }

    fn with(&self, detail: Detail) -> Vec<Magnitudes> {
        let mut cells = vec![Magnitudes::default(); CELLS];
        for (place, own) in self.places.iter().enumerate() {
            cells[detail.cell(place)].add(own);
        }
        cells
    }
}

impl Magnitudes {
    fn add(&mut self, other: &Self) {
        self.roots += other.roots;
        self.count += other.count;
        self.moved += other.moved;
    }

    /// The mean magnitude that a two-sided geometric distribution with these roots has, about: nearly all
    /// are 0 or 1 when it is small, and π/4 of it is the square of the mean root when it is large.
    fn mean(&self) -> f64 {
        let root = self.roots / self.count;
        root + root * root / FRAC_PI_4
    }

    /// log2 of the mean, drawn towards what is expected where few of them moved.
    fn log2_mean(&self, expected: f64) -> f64 {
        if self.moved == 0.0 {
            return expected.log2();
        }
        let own = self.mean().log2();
        (self.moved * own + PRIOR * expected.log2()) / (self.moved + PRIOR)
    }
}

/// The entropy of a whole number that lies at `mean` from zero in the mean, in bits, if its distribution is
/// a two-sided geometric one.
fn laplace_bits(mean: f64) -> f64 {
    if mean == 0.0 {
        return 0.0;
    }
    // Written so, nothing is lost to rounding, however small or large the mean.
    (mean.asinh() + mean * mean.recip().asinh()) * LOG2_E
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An infinite cost says nothing of what to tell apart: tensors of 64-bit numbers have means like these.
    #[test]
    fn entropies_are_finite_and_grow_with_the_mean() {
        let bits: Vec<f64> = (-40..63).map(|octave| laplace_bits(f64::exp2(f64::from(octave)))).collect();
        assert!(bits.iter().all(|bits| bits.is_finite() && *bits > 0.0), "{bits:?}");
        assert!(bits.is_sorted(), "{bits:?}");
        // Of the mean 1: zero has √2 − 1 of all.
        let entropy = |root: f64| (1.0 + root).log2() - (1.0 / (1.0 + root)).log2();
        assert!((laplace_bits(1.0) - entropy(2f64.sqrt())).abs() < 1e-12);
    }
}
