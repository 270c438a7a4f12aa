//! Weights that lie on the grid of a quantised type, though they are stored in a wider one: a model that was
//! dequantised looks like any other and gains nothing from a candidate of its own type.
//!
//! A block of a quantised type holds few evenly spaced values: a step times an integer, perhaps from an offset. So
//! a step is looked for that makes integers of all values of a block, as far as the rounding of the wider type lets
//! them be told. How likely that is by chance is worked out with it: a block where chance could do it proves
//! nothing, and nearly all others must lie on the grid.
//!
//! Source: the layouts of `ggml`'s block types, restated.

use super::ConvertError;
use super::checkpoint::{Checkpoint, Stored};
use crate::derive::Float;

/// A type of `ggml`'s that weights were dequantised from, as far as values tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    Q2K,
    Q3K,
    Q4_0,
    Q4_1,
    Q4K,
    Q5_0,
    Q5_1,
    Q5K,
    Q6K,
    Q8_0,
    /// At most 16 values in a block of 32, unevenly spaced, as of NF4 and IQ4_NL.
    Uneven,
}

impl Grid {
    /// From few values to many: a coarse grid often lies on a finer one too.
    const ALL: [Grid; 11] = [
        Grid::Q2K,
        Grid::Q3K,
        Grid::Q4_0,
        Grid::Q4_1,
        Grid::Q4K,
        Grid::Q5_0,
        Grid::Q5_1,
        Grid::Q5K,
        Grid::Q6K,
        Grid::Q8_0,
        Grid::Uneven,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Grid::Q2K => "Q2_K",
            Grid::Q3K => "Q3_K",
            Grid::Q4_0 => "Q4_0",
            Grid::Q4_1 => "Q4_1",
            Grid::Q4K => "Q4_K",
            Grid::Q5_0 => "Q5_0",
            Grid::Q5_1 => "Q5_1",
            Grid::Q5K => "Q5_K",
            Grid::Q6K => "Q6_K",
            Grid::Q8_0 => "Q8_0",
            Grid::Uneven => "a type of 4 bits with uneven steps",
        }
    }

    fn spacing(self) -> Spacing {
        match self {
            Grid::Q2K => Spacing::Offset { block: 16, steps: (1, 3) },
            Grid::Q3K => Spacing::Zero { block: 16, steps: (2, 4) },
            Grid::Q4_0 => Spacing::Zero { block: 32, steps: (4, 8) },
            Grid::Q4_1 => Spacing::Offset { block: 32, steps: (15, 15) },
            Grid::Q4K => Spacing::Offset { block: 32, steps: (4, 15) },
            Grid::Q5_0 => Spacing::Zero { block: 32, steps: (9, 16) },
            Grid::Q5_1 => Spacing::Offset { block: 32, steps: (31, 31) },
            Grid::Q5K => Spacing::Offset { block: 32, steps: (8, 31) },
            Grid::Q6K => Spacing::Zero { block: 16, steps: (8, 32) },
            Grid::Q8_0 => Spacing::Zero { block: 32, steps: (127, 127) },
            Grid::Uneven => Spacing::Uneven,
        }
    }
}

/// How the values of a block lie.
#[derive(Debug, Clone, Copy)]
enum Spacing {
    /// Multiples of a step, the largest in size so many steps from zero.
    Zero { block: usize, steps: (u32, u32) },
    /// Multiples of a step above the smallest, the largest so many steps above it.
    Offset { block: usize, steps: (u32, u32) },
    /// Few, anywhere.
    Uneven,
}

impl Spacing {
    fn block(self) -> usize {
        match self {
            Spacing::Zero { block, .. } | Spacing::Offset { block, .. } => block,
            Spacing::Uneven => 32,
        }
    }
}

/// What a block says of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    On,
    Off,
    /// Nothing: chance could have put it there.
    Open,
}

/// Values that a decision needs at least.
const MIN_BLOCKS: usize = 8;
/// Blocks that may lie elsewhere: a few are spoilt by rounding at their borders.
const MIN_SHARE: f64 = 0.98;
/// ln of the chance below which a block counts.
const CHANCE: f64 = -9.0;

/// The coarsest grid that rows of a tensor lie on; none for weights that were trained as they are.
///
/// `values` are whole rows of `row` elements, which were stored as `stored`. A few dozen blocks suffice.
pub fn grid_of(values: &[f32], row: usize, stored: Float) -> Option<Grid> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    Grid::ALL.into_iter().find(|grid| lies_on(*grid, values, row, stored))
}

fn lies_on(grid: Grid, values: &[f32], row: usize, stored: Float) -> bool {
    let spacing = grid.spacing();
    if row == 0 || !row.is_multiple_of(spacing.block()) {
        return false;
    }
    let (mut on, mut off) = (0, 0);
    for block in values.chunks_exact(spacing.block()) {
        match finding(spacing, block, stored) {
            Finding::On => on += 1,
            Finding::Off => off += 1,
            Finding::Open => {}
        }
        // Most tensors are on no grid: their first blocks say so.
        if off >= MIN_BLOCKS && on == 0 {
            return false;
        }
    }
    on >= MIN_BLOCKS && f64::from(on as u32) >= MIN_SHARE * f64::from((on + off) as u32)
}

fn finding(spacing: Spacing, block: &[f32], stored: Float) -> Finding {
    let low = block.iter().copied().fold(f32::INFINITY, f32::min);
    let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if low == high {
        return Finding::Open;
    }
    match spacing {
        Spacing::Uneven => few_values(block),
        Spacing::Zero { steps, .. } => {
            let extreme = if -low > high { low } else { high };
            any_step(steps, |count| fit(block, 0.0, f64::from(extreme) / f64::from(count), count, stored))
        }
        Spacing::Offset { steps, .. } => {
            let (low, span) = (f64::from(low), f64::from(high) - f64::from(low));
            any_step(steps, |count| fit(block, low, span / f64::from(count), count, stored))
        }
    }
}

/// Whether one of several steps fits beyond chance; the more are tried, the more likely chance is.
fn any_step((least, most): (u32, u32), fit: impl Fn(u32) -> Option<f64>) -> Finding {
    let tries = f64::from(most - least + 1).ln();
    let mut found = Finding::Off;
    for count in least..=most {
        match fit(count) {
            Some(chance) if chance + tries < CHANCE => return Finding::On,
            Some(_) => found = Finding::Open,
            None => {}
        }
    }
    found
}

/// Whether all values are integer steps from `start`, and ln of the chance of that; none where one is not.
fn fit(block: &[f32], start: f64, step: f64, count: u32, stored: Float) -> Option<f64> {
    let end = start + step * f64::from(count);
    let mut chance = 0.0;
    // Two of them, or one from zero, gave the grid and prove nothing.
    let mut given = if start == 0.0 { 1 } else { 2 };
    for &value in block {
        let place = (f64::from(value) - start) / step;
        let share = (place / f64::from(count)).clamp(-1.0, 1.0);
        // What rounding did to this value, and to those that the grid was laid through.
        let unsure = half_step(f64::from(value), stored)
            + (1.0 - share).min(1.0) * if start == 0.0 { 0.0 } else { half_step(start, stored) }
            + share.abs() * half_step(end, stored);
        let slack = 1.01 * unsure / step.abs() + 1e-5;
        if (place - place.round()).abs() > slack.min(0.5) || place.round().abs() > f64::from(count) {
            return None;
        }
        let is_given = place.abs() <= 1e-9 && start != 0.0 || (place.abs() - f64::from(count)).abs() <= 1e-9;
        match is_given && given > 0 {
            true => given -= 1,
            false => chance += (2.0 * slack).min(1.0).ln(),
        }
    }
    Some(chance)
}

/// Half the distance between neighbours of a type around a value; for f32, a few such, since a value there comes of
/// several operations.
fn half_step(value: f64, stored: Float) -> f64 {
    let exponent = |least: i32| (value.abs().log2().floor() as i32).max(least);
    match stored {
        Float::F32 => 4.0 * 2f64.powi(exponent(-126) - 24),
        Float::Bf16 => 2f64.powi(exponent(-126) - 8),
        Float::F16 => 2f64.powi(exponent(-14) - 11),
    }
}

/// Whether a block has at most half as many values as elements.
fn few_values(block: &[f32]) -> Finding {
    let mut bits: Vec<u32> = block.iter().map(|value| (value + 0.0).to_bits()).collect();
    bits.sort_unstable();
    bits.dedup();
    if bits.len() <= 16 { Finding::On } else { Finding::Off }
}

/// Elements of a tensor that are looked at, from its first rows, its middle and its last.
const SAMPLE: u64 = 32 << 10;

impl Checkpoint<'_> {
    /// The grid that most of the weights lie on, and so the type that they were dequantised from.
    ///
    /// # Errors
    /// What can't be read.
    pub fn grid(&self) -> Result<Option<Grid>, ConvertError> {
        let mut all = 0;
        let mut on = [0u64; Grid::ALL.len()];
        for stored in self.tensors.values().filter(|stored| stored.shape.len() == 2) {
            let Some(float) = Float::of(stored.dtype) else { continue };
            let elements: u64 = stored.shape.iter().product();
            all += elements;
            let values = self.sample(stored, float)?;
            if let Some(grid) = grid_of(&values, stored.shape[1] as usize, float) {
                on[grid as usize] += elements;
            }
        }
        let most = Grid::ALL.into_iter().max_by_key(|grid| on[*grid as usize]);
        Ok(most.filter(|grid| 2 * on[*grid as usize] > all))
    }

    /// Rows from three places of a tensor; of very long rows, how each begins.
    fn sample(&self, stored: &Stored, float: Float) -> Result<Vec<f32>, ConvertError> {
        let (rows, row) = (stored.shape[0], stored.shape[1]);
        let width = float.width() as u64;
        let count = (SAMPLE / 3 / row).clamp(1, rows);
        let mut values = Vec::new();
        for start in [0, (rows - count) / 2, rows - count] {
            let mut bytes = vec![0; ((count * row).min(SAMPLE) * width) as usize];
            self.read(&stored.file, &mut bytes, stored.range.start + start * row * width)?;
            values.extend(float.values(&bytes));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
