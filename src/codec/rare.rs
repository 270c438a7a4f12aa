//! Symbols that come so seldom that their place in a frequency table costs more than to escape them.
//!
//! No frequency is below one in 4096. Where nearly all differences are zero and the others far and wide,
//! hundreds of symbols that came once or twice would take a share of that size from the zeros.

use std::f64::consts::LOG2_E;

use super::lanes::FREQUENCY_BITS;
use super::symbol::ESCAPE;

/// What a symbol costs in a written table, about, in bits.
const WRITTEN_BITS: f64 = 4.0;

/// Moves the counts of such symbols to the escape, which is followed by `width_bits` bits; returns the bits
/// saved, about.
pub(super) fn escape(counts: &mut [u32; 256], width_bits: u32) -> f64 {
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    // What one slot takes from the symbols that have the others, in bits.
    let slot = total / f64::from(1 << FREQUENCY_BITS) * LOG2_E;
    let (mut moved, mut saved) = (0, 0.0);
    for (_, count) in counts.iter_mut().enumerate().filter(|(symbol, _)| *symbol != usize::from(ESCAPE)) {
        let gain = slot + WRITTEN_BITS - f64::from(*count) * (f64::from(width_bits) + LOG2_E);
        if *count > 0 && gain > 0.0 {
            moved += *count;
            saved += gain;
            *count = 0;
        }
    }
    let escapes = &mut counts[usize::from(ESCAPE)];
    // A table that had no escape has one now.
    if moved > 0 && *escapes == 0 {
        saved -= slot + WRITTEN_BITS;
    }
    *escapes += moved;
    saved
}
