//! Whether weights in floating point lie on the grid of a quantised type: then the model was dequantised, and is
//! no full-precision baseline.
//!
//! In a block of such a type all weights are whole multiples of one step, counted from zero or from the least of them,
//! and there are few steps. Sixteen or thirty-two weights that were never quantised do that by chance about once in 10^12
//! blocks. Half precision moves a weight by at most a 2048th of itself, which is a small part of a step.

/// A type, as its blocks look after dequantisation.
struct Grid {
    name: &'static str,
    /// Weights that share a step.
    weights: usize,
    /// The most steps from the origin.
    steps: u32,
    is_from_least: bool,
}

/// Fewest steps first: each also lies on the finer grids.
const GRIDS: [Grid; 8] = [
    Grid { name: "Q2_K", weights: 16, steps: 3, is_from_least: true },
    Grid { name: "Q3_K", weights: 16, steps: 4, is_from_least: false },
    Grid { name: "Q4_0", weights: 32, steps: 8, is_from_least: false },
    Grid { name: "Q4_1", weights: 32, steps: 15, is_from_least: true },
    Grid { name: "Q5_0", weights: 32, steps: 16, is_from_least: false },
    Grid { name: "Q5_1", weights: 32, steps: 31, is_from_least: true },
    Grid { name: "Q6_K", weights: 16, steps: 32, is_from_least: false },
    Grid { name: "Q8_0", weights: 32, steps: 127, is_from_least: false },
];
/// How far from a whole number of steps a weight may lie, and what half precision adds for each step.
const OFF: f64 = 0.03;
const OFF_PER_STEP: f64 = 1.0 / 1024.0;
/// Fewer blocks show nothing.
const LEAST_BLOCKS: usize = 8;
/// Of the blocks, how many must lie on a grid: a scale that was stored as 0 or is tiny may hide one.
const SHARE: f64 = 0.97;

/// The type on whose grid the weights lie; `None` where they lie on none. Rows must begin at a multiple of 32 weights.
///
/// `Q4_1` also stands for `Q4_K`, and `Q5_1` for `Q5_K`: their blocks look the same.
pub fn grid_of(weights: &[f64]) -> Option<&'static str> {
    GRIDS.iter().find(|grid| grid.has(weights)).map(|grid| grid.name)
}

impl Grid {
    fn has(&self, weights: &[f64]) -> bool {
        let blocks =
            weights.chunks_exact(self.weights).filter(|block| block.iter().any(|weight| *weight != block[0]));
        let (mut all, mut on) = (0usize, 0usize);
        for block in blocks {
            all += 1;
            on += usize::from(self.has_block(block));
            // Models that were never quantised are most: they need not be read to their end.
            if all == LEAST_BLOCKS && on < LEAST_BLOCKS / 2 {
                return false;
            }
        }
        all >= LEAST_BLOCKS && on as f64 >= SHARE * all as f64
    }

    fn has_block(&self, block: &[f64]) -> bool {
        if !block.iter().all(|weight| weight.is_finite()) {
            return false;
        }
        let least = block.iter().copied().fold(f64::INFINITY, f64::min);
        let origin = if self.is_from_least { least } else { 0.0 };
        let far = block.iter().map(|weight| (weight - origin).abs()).fold(0.0, f64::max);
        let size = block.iter().map(|weight| weight.abs()).fold(0.0, f64::max);
        // Which multiple the farthest weight is, is not known: the widest step that fits is looked for.
        (1..=self.steps).any(|steps| {
            let step = far / f64::from(steps);
            let off = OFF + OFF_PER_STEP * size / step;
            off < 0.2
                && block.iter().all(|weight| {
                    let at = (weight - origin) / step;
                    (at - at.round()).abs() <= off
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{Random, sum};

    fn bell(random: &mut Random) -> f64 {
        0.05 * (sum((0..12).map(|_| random.unit())) - 6.0)
    }

    /// A weight as half precision holds it: 11 bits.
    fn half(value: f64) -> f64 {
        if value == 0.0 {
            return 0.0;
        }
        let unit = 2f64.powi(value.abs().log2().floor() as i32 - 10);
        (value / unit).round() * unit
    }

    fn blocks(seed: u64, quantise: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let mut random = Random::new(seed);
        let weights: Vec<f64> = (0..64 * 32).map(|_| bell(&mut random)).collect();
        weights.chunks(32).flat_map(quantise).map(half).collect()
    }

    fn symmetric(block: &[f64], steps: f64) -> Vec<f64> {
        let far = block.iter().map(|weight| weight.abs()).fold(0.0, f64::max);
        let step = half(far / steps);
        block.iter().map(|weight| (weight / step).round().clamp(-steps, steps) * step).collect()
    }

    fn from_least(block: &[f64], steps: f64) -> Vec<f64> {
        let least = block.iter().copied().fold(f64::INFINITY, f64::min);
        let most = block.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (least, step) = (half(least), half((most - least) / steps));
        block
            .iter()
            .map(|weight| ((weight - least) / step).round().clamp(0.0, steps) * step + least)
            .collect()
    }

    /// A dequantised source flatters what resembles it: "Q5 is worse than Q4" must come with its reason.
    #[test]
    fn dequantised_weights_are_recognised() {
        for seed in 0..5 {
            assert_eq!(grid_of(&blocks(seed, |block| symmetric(block, 8.0))), Some("Q4_0"));
            assert_eq!(grid_of(&blocks(seed, |block| from_least(block, 15.0))), Some("Q4_1"));
            assert_eq!(grid_of(&blocks(seed, |block| symmetric(block, 16.0))), Some("Q5_0"));
            assert_eq!(grid_of(&blocks(seed, |block| from_least(block, 31.0))), Some("Q5_1"));
            assert_eq!(grid_of(&blocks(seed, |block| symmetric(block, 127.0))), Some("Q8_0"));
        }
    }

    /// A model that was never quantised must not be called a copy.
    #[test]
    fn other_weights_lie_on_no_grid() {
        for seed in 0..5 {
            assert_eq!(grid_of(&blocks(seed, <[f64]>::to_vec)), None);
        }
        assert_eq!(grid_of(&[]), None);
        assert_eq!(grid_of(&vec![0.0; 4096]), None, "an empty tensor is no evidence");
        assert_eq!(grid_of(&vec![f64::NAN; 4096]), None);
    }
}
