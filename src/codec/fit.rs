//! Which tables serve the differences of one object best, and whether its rows help to choose.

use super::context::{Contexts, LEVELS, Rows, ScaleMap, Scales, row_parts};
use super::deltas::Deltas;
use super::lanes::{GROUP, Lanes};
use super::order::Word;
use super::samples::Samples;

/// Shorter rows would make their levels cost more than they save.
pub(super) const MIN_ROW_LEN: usize = 16;
/// Differences that are looked at to find the tables.
const SAMPLE: usize = 1 << 16;
/// Steps of a weight that count no more than this for its row.
const WILD: f32 = (1u64 << 40) as f32;

/// What chooses between the tables of one object, and the shift of each.
pub(super) struct Plan<W> {
    pub contexts: Contexts<W>,
    pub scales: Scales,
    pub shifts: Vec<u32>,
}

impl<W: Word> Plan<W> {
    /// The cheaper of a plan that knows rows and one that does not.
    #[inline(always)]
    pub fn fit<L: Lanes>(deltas: &Deltas<'_, W, L>, row_len: usize) -> Self {
        let (plain, plain_bits) = Self::new(deltas, None);
        let Some(rows) = row_levels(deltas, row_len) else { return plain };
        let own_bits = row_bits(&rows);
        let (with_rows, bits) = Self::new(deltas, Some(rows));
        if bits + own_bits < plain_bits { with_rows } else { plain }
    }

    /// The levels of rows, if they help.
    pub fn rows(&self) -> Option<&Rows> {
        self.contexts.rows()
    }

    /// A plan and the bits that all differences and tables will take, about.
    #[inline(always)]
    fn new<L: Lanes>(deltas: &Deltas<'_, W, L>, rows: Option<Rows>) -> (Self, f64) {
        let step = (deltas.coded_groups() * GROUP).div_ceil(SAMPLE).max(1);
        let mut samples = Samples::new(W::BITS, step);
        let contexts = Contexts::new(deltas.order(), deltas.top(), rows);
        let map = ScaleMap::scales();
        deltas.each_coded(step, |group| {
            let scales = contexts.map(deltas.lanes(), &map, group.number, &group.base);
            for (difference, scale) in group.differences[..group.len].iter().zip(scales) {
                samples.add(usize::from(scale), difference.to_i64());
            }
        });
        let runs = samples.merged();
        let starts = runs[1..].iter().map(|run| run.scales.start as u8).collect();
        let bits = runs.iter().map(|run| run.bits).sum();
        let shifts = runs.iter().map(|run| run.shift).collect();
        (Self { contexts, scales: Scales { top: deltas.top(), starts }, shifts }, bits)
    }
}

/// Half octaves that each row moved less than the one that moved most; none when rows don't apply.
#[inline(always)]
fn row_levels<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, row_len: usize) -> Option<Rows> {
    if row_len < MIN_ROW_LEN || deltas.count() / 2 < row_len {
        return None;
    }
    let contexts = Contexts::new(deltas.order(), deltas.top(), None);
    let mut moved = vec![0f32; deltas.count().div_ceil(row_len)];
    deltas.each_coded(1, |group| {
        let mut steps = [0f32; GROUP];
        let buckets = contexts.buckets(&group.base);
        for ((step, difference), bucket) in steps.iter_mut().zip(group.differences).zip(buckets) {
            // In units of the last place at the top exponent: times 2^-bucket.
            let unit = f32::from_bits((127 - u32::from(bucket)) << 23);
            // Saturated, so that a few wild weights don't speak for their row.
            *step = difference.magnitude().min(WILD) * unit;
        }
        for (row, weights) in row_parts(group.number, row_len) {
            if weights.len() == GROUP {
                moved[row] += sum(steps);
            } else if let Some(moved) = moved.get_mut(row) {
                *moved += steps[weights].iter().sum::<f32>();
            }
        }
    });
    let most = moved.iter().copied().fold(0.0, f32::max);
    let level = |moved: f32| match moved > 0.0 {
        true => (2.0 * (most / moved).log2()).round().clamp(0.0, LEVELS as f32 - 1.0) as u8,
        false => LEVELS as u8 - 1,
    };
    Some(Rows { row_len, levels: moved.into_iter().map(level).collect() })
}

/// The sum, by halves: in an order that is the same for registers of any width.
#[inline(always)]
fn sum(mut numbers: [f32; GROUP]) -> f32 {
    let mut half = GROUP / 2;
    while half > 0 {
        for at in 0..half {
            numbers[at] += numbers[at + half];
        }
        half /= 2;
    }
    numbers[0]
}

/// What the levels of rows cost, about, in bits.
fn row_bits(rows: &Rows) -> f64 {
    let mut counts = [0u32; LEVELS];
    rows.levels.iter().for_each(|&level| counts[usize::from(level)] += 1);
    let total = rows.levels.len() as f64;
    let present = counts.iter().filter(|count| **count > 0);
    present.map(|&count| f64::from(count) * (total / f64::from(count)).log2()).sum::<f64>() + 48.0
}
