//! Frequency tables: how often each symbol comes, rounded so that saying it costs little.
//!
//! A table is written as *levels*: logarithms of frequencies in steps of 1/`grain` octave, each as
//! its distance from the level before it. Coarse steps cost some of the symbols' bits and
//! make the table itself much smaller; `best` weighs the one against the other.

use super::DecodeError;
use super::binary::{Bit, BitCoder, SignedModel, code_number};
use super::lanes::FREQUENCY_BITS;

/// Steps an octave can be divided into, by their number on disk.
pub(super) const GRAINS: [u32; 4] = [1, 2, 4, 8];

/// 2^(i/8) in 16-bit fixed point.
const EIGHTHS: [u64; 8] = [65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194];

/// Frequencies of the 256 symbols; they add up to 4096, and absent symbols have none.
#[derive(Clone)]
pub(super) struct Frequencies(pub [u16; 256]);

impl Frequencies {
    /// The sum of the frequencies before each symbol.
    pub fn starts(&self) -> impl Iterator<Item = u32> {
        self.0.iter().scan(0, |sum, &frequency| {
            let start = *sum;
            *sum += u32::from(frequency);
            Some(start)
        })
    }

    /// Bits that symbols with these counts take; each must have a frequency.
    pub fn cost_bits(&self, counts: &[u32; 256]) -> f64 {
        let costs = self.0.iter().zip(counts).filter(|(_, count)| **count > 0);
        costs
            .map(|(&frequency, &count)| {
                f64::from(count) * (f64::from(FREQUENCY_BITS) - f64::from(frequency).log2())
            })
            .sum()
    }
}

/// A table as it is written.
#[derive(Clone)]
pub(super) struct Levels {
    grain: u32,
    /// 0 where a symbol is absent, else 1 + `grain` · log2 of its relative frequency.
    levels: [u8; 256],
}

impl Levels {
    /// The levels that describe `counts` best; `grain` is one of `GRAINS`.
    pub fn fit(counts: &[u32; 256], grain: u32) -> Self {
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let one = f64::from(FREQUENCY_BITS) - (total.max(1) as f64).log2();
        let levels = counts.map(|count| match count {
            0 => 0,
            count => ((f64::from(count).log2() + one) * f64::from(grain)).round().max(0.0) as u8 + 1,
        });
        Self { grain, levels }
    }

    /// The same frequencies on every machine, or `None` when no symbol is present.
    pub fn frequencies(&self) -> Option<Frequencies> {
        let weights = self.levels.map(|level| self.weight(level));
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let frequencies = weights
            .map(|weight| if weight == 0 { 0 } else { ((weight << FREQUENCY_BITS) / total).max(1) as u16 });
        Some(Frequencies(balanced(frequencies)))
    }

    fn weight(&self, level: u8) -> u64 {
        let Some(steps) = u32::from(level).checked_sub(1) else { return 0 };
        let octaves = (steps / self.grain).min(FREQUENCY_BITS);
        EIGHTHS[(steps % self.grain * (8 / self.grain)) as usize] << octaves
    }

    /// Codes the table; decoding ignores what is in `self`.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C, models: &mut TableModels) {
        let number = GRAINS.iter().position(|&grain| grain == self.grain).unwrap_or(0);
        self.grain = GRAINS[code_number(coder, &mut models.grain, 2, number as u32) as usize];
        let first = self.levels.iter().position(|&level| level > 0).unwrap_or(0);
        let last = self.levels.iter().rposition(|&level| level > 0).unwrap_or(0);
        let first = code_number(coder, &mut models.first, 8, first as u32) as usize;
        let last = code_number(coder, &mut models.last, 8, last as u32) as usize;
        let top = (FREQUENCY_BITS * self.grain) as i32;
        let (mut before, mut slope, mut was_present) = (0i32, 0i32, 1usize);
        self.levels[..first].fill(0);
        for (index, level) in self.levels.iter_mut().enumerate().skip(first) {
            // The border symbols are present by definition.
            let present = if index == first || index == last {
                true
            } else if index > last {
                false
            } else {
                coder.code(&mut models.present[was_present], *level > 0)
            };
            was_present = usize::from(present);
            if !present {
                *level = 0;
                continue;
            }
            let expected = (before + slope / 2).clamp(0, top);
            let model = &mut models.change[usize::from(index == first)];
            let change = model.code(coder, i32::from(*level) - 1 - expected, top as u32);
            let found = (expected + change).clamp(0, top);
            slope = if index == first { 0 } else { found - before };
            before = found;
            *level = found as u8 + 1;
        }
    }
}

/// Makes frequencies that are nearly 4096 in sum exactly that, at the cost of the largest.
fn balanced(mut frequencies: [u16; 256]) -> [u16; 256] {
    loop {
        let sum: i32 = frequencies.iter().map(|&frequency| i32::from(frequency)).sum();
        let missing = (1 << FREQUENCY_BITS) - sum;
        if missing == 0 {
            return frequencies;
        }
        // At most 256 symbols add up to more than 4096 here, so the largest is at least 16.
        let largest = frequencies.iter_mut().max().expect("because there are 256");
        *largest = (i32::from(*largest) + missing.max(-i32::from(*largest) / 2)) as u16;
    }
}

/// What the tables of one payload have taught so far.
pub(super) struct TableModels {
    grain: [Bit; 4],
    first: [Bit; 256],
    last: [Bit; 256],
    present: [Bit; 2],
    change: [SignedModel; 2],
}

impl TableModels {
    pub fn new() -> Self {
        Self {
            grain: [Bit::EVEN; 4],
            first: [Bit::EVEN; 256],
            last: [Bit::EVEN; 256],
            present: [Bit::EVEN; 2],
            change: [SignedModel::new(), SignedModel::new()],
        }
    }
}

/// The table that costs least, itself included, for symbols with these counts.
pub(super) fn best(counts: &[u32; 256]) -> (Levels, Frequencies) {
    let symbols = counts.iter().filter(|count| **count > 0).count() as f64;
    let candidates = GRAINS.iter().filter_map(|&grain| {
        let levels = Levels::fit(counts, grain);
        let frequencies = levels.frequencies()?;
        let own = symbols * (1.6 + 0.9 * f64::from(grain).log2());
        Some((frequencies.cost_bits(counts) + own, levels, frequencies))
    });
    let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, levels, frequencies)| (levels, frequencies)).unwrap_or_else(|| {
        // Nothing to code: any table will do.
        let mut counts = [0; 256];
        counts[0] = 1;
        let levels = Levels::fit(&counts, 1);
        let frequencies = levels.frequencies().expect("because a symbol is present");
        (levels, frequencies)
    })
}

/// Reads a table.
pub(super) fn read<C: BitCoder>(coder: &mut C, models: &mut TableModels) -> Result<Frequencies, DecodeError> {
    let mut levels = Levels { grain: 1, levels: [0; 256] };
    levels.code(coder, models);
    levels.frequencies().ok_or(DecodeError::Invalid { what: "frequency table" })
}

#[cfg(test)]
mod tests {
    use super::super::binary::{BinaryDecoder, BinaryEncoder};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Encoder and decoder must agree on every frequency, and rANS needs their sum to be 4096.
        #[test]
        fn tables_come_back(counts in prop::collection::vec(prop_oneof![3 => Just(0u32), 2 => 1u32..9, 1 => any::<u32>()], 256), grain in 0usize..4) {
            let counts: [u32; 256] = counts.try_into().unwrap();
            prop_assume!(counts.iter().any(|&count| count > 0));
            let mut levels = Levels::fit(&counts, GRAINS[grain]);
            let expected = levels.frequencies().unwrap();
            let mut encoder = BinaryEncoder::new();
            levels.code(&mut encoder, &mut TableModels::new());
            let stream = encoder.finish();
            let found = read(&mut BinaryDecoder::new(&stream), &mut TableModels::new()).unwrap();
            prop_assert_eq!(found.0, expected.0);
            prop_assert_eq!(found.0.iter().map(|&f| u32::from(f)).sum::<u32>(), 1 << FREQUENCY_BITS);
            prop_assert!(counts.iter().zip(&found.0).all(|(&count, &f)| (count > 0) == (f > 0)));
        }
    }
}
