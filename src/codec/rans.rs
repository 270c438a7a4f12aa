//! Static range asymmetric numeral systems (rANS): symbols of known frequency in close to their entropy.
//!
//! Duda, "Asymmetric numeral systems" (arXiv:1311.2540), interleaved as in Giesen, "Interleaved
//! entropy coders" (arXiv:1402.3392). Symbol `i` belongs to lane `i mod lanes`, and all lanes read
//! one stream of 16-bit words in the order of the symbols, so that a decoder with vectors of any
//! width reads the same bytes: it takes as many words as it has lanes that ran low.

use super::DecodeError;
use super::payload::{Reader, put_count};
use super::table::{FREQUENCY_BITS, Frequencies};

/// Tables that one stream can use.
pub(super) const MAX_TABLES: usize = 16;
/// Symbols are decoded in groups of this many; the most lanes there can be.
pub(super) const GROUP: usize = 64;
/// log2 of `GROUP`.
pub(super) const MAX_LANE_BITS: u32 = 6;

const TOTAL: u32 = 1 << FREQUENCY_BITS;
/// States are at least this between two symbols, and exactly this before the first one encoded.
const LOWEST: u32 = 1 << 16;

/// How many lanes are worth their four bytes each, as a power of two.
///
/// Each step of a lane waits for the one before it: eight keep a scalar decoder busy, 64 are for
/// vectors, and a small tensor would rather be small.
pub(super) fn lane_bits(symbols: usize) -> u32 {
    match symbols {
        0..512 => 0,
        512..4096 => 2,
        4096..98_304 => 3,
        98_304..1_000_000 => 4,
        _ => MAX_LANE_BITS,
    }
}

/// A symbol of a table, as the encoder takes it.
#[inline]
pub(super) fn tagged(table: u8, symbol: u8) -> u16 {
    u16::from(table) << 8 | u16::from(symbol)
}

/// What encoding one symbol needs; the division by its frequency is a multiplication.
#[derive(Clone, Copy, Default)]
struct Step {
    /// ceil(2^44 / frequency): exact for every state below `frequency << 20`, and no product overflows.
    reciprocal: u64,
    /// The largest state that stays below 2^32.
    limit: u32,
    start: u16,
    complement: u16,
}

const RECIPROCAL_BITS: u32 = 44;

impl Step {
    fn new(start: u32, frequency: u32) -> Self {
        let limit = (u64::from(frequency) << (32 - FREQUENCY_BITS)) - 1;
        Self {
            reciprocal: (1u64 << RECIPROCAL_BITS).div_ceil(u64::from(frequency)),
            limit: limit as u32,
            start: start as u16,
            complement: (TOTAL - frequency) as u16,
        }
    }
}

/// Encodes `symbols` (see `tagged`), each of which must have a frequency in its table.
///
/// The stream is the count of words, the state of each lane, and the words.
pub(super) fn encode(symbols: &[u16], tables: &[Frequencies], lane_bits: u32, out: &mut Vec<u8>) {
    let steps = steps(tables);
    let mask = (1usize << lane_bits) - 1;
    let mut states = [LOWEST; GROUP];
    let mut words = vec![0u16; symbols.len()];
    let mut first = words.len();
    for group in symbols.chunks(GROUP).rev() {
        let mut emitted = [0u16; GROUP];
        let mut unused = GROUP;
        for (lane, &symbol) in group.iter().enumerate().rev() {
            let state = &mut states[lane & mask];
            let step = &steps[usize::from(symbol) & (MAX_TABLES * 256 - 1)];
            let slot = unused.wrapping_sub(1) & (GROUP - 1);
            emitted[slot] = *state as u16;
            let full = *state > step.limit;
            unused -= usize::from(full);
            let narrow = if full { *state >> 16 } else { *state };
            let quotient = (u64::from(narrow).wrapping_mul(step.reciprocal) >> RECIPROCAL_BITS) as u32;
            *state = narrow
                .wrapping_add(u32::from(step.start))
                .wrapping_add(quotient.wrapping_mul(u32::from(step.complement)));
        }
        let count = GROUP - unused;
        words[first - count..first].copy_from_slice(&emitted[unused..]);
        first -= count;
    }
    let words = &words[first..];
    put_count(out, words.len());
    out.reserve(4 * (mask + 1) + 2 * words.len());
    states[..=mask].iter().for_each(|state| out.extend_from_slice(&state.to_le_bytes()));
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn steps(tables: &[Frequencies]) -> Box<[Step; MAX_TABLES * 256]> {
    let mut steps = vec![Step::default(); MAX_TABLES * 256];
    for (table, steps) in tables.iter().zip(steps.chunks_exact_mut(256)) {
        for ((step, start), &frequency) in steps.iter_mut().zip(table.starts()).zip(&table.0) {
            if frequency > 0 {
                *step = Step::new(start, u32::from(frequency));
            }
        }
    }
    steps.try_into().unwrap_or_else(|_| unreachable!("because the length is the array's"))
}

/// For each table and each slot: frequency − 1 (12 bits), slot − start (12 bits), symbol (8 bits).
pub(super) struct Slots(Box<[u32; MAX_TABLES << FREQUENCY_BITS]>);

impl Slots {
    pub fn new(tables: &[Frequencies]) -> Self {
        // Zeroed pages are only touched where there is a table.
        let mut slots = vec![0u32; MAX_TABLES << FREQUENCY_BITS];
        for (table, slots) in tables.iter().zip(slots.chunks_exact_mut(TOTAL as usize)) {
            let mut rest = slots;
            for (symbol, &frequency) in table.0.iter().enumerate() {
                let (own, behind) = rest.split_at_mut(usize::from(frequency).min(rest.len()));
                for (offset, slot) in own.iter_mut().enumerate() {
                    *slot = (u32::from(frequency) - 1) << 20 | (offset as u32) << 8 | symbol as u32;
                }
                rest = behind;
            }
        }
        Self(slots.try_into().unwrap_or_else(|_| unreachable!("because the length is the array's")))
    }
}

/// The lanes and words of one stream while it is read.
pub(super) struct Decoder<'a> {
    states: [u32; GROUP],
    mask: usize,
    words: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(reader: &mut Reader<'a>, lane_bits: u32) -> Result<Self, DecodeError> {
        let words = reader.count("word count")?;
        let lanes = 1usize << lane_bits.min(MAX_LANE_BITS);
        let mut states = [LOWEST; GROUP];
        for (state, bytes) in states.iter_mut().zip(reader.take(4 * lanes, "lane states")?.chunks_exact(4)) {
            *state = u32::from_le_bytes(bytes.try_into().expect("because chunks have four bytes"));
        }
        let words = reader.take(words.saturating_mul(2), "words")?;
        Ok(Self { states, mask: lanes - 1, words })
    }

    /// Decodes one symbol for each of `tables`, whose numbers are below `MAX_TABLES`.
    #[inline]
    pub fn group(
        &mut self,
        slots: &Slots,
        tables: &[u8; GROUP],
        symbols: &mut [u8; GROUP],
    ) -> Result<(), DecodeError> {
        match self.words.first_chunk::<{ 2 * GROUP }>() {
            Some(window) if self.mask == GROUP - 1 => {
                let read = rounds::<GROUP>(&mut self.states, GROUP - 1, slots, tables, symbols, window);
                self.words = &self.words[2 * read..];
                Ok(())
            }
            _ => self.part(slots, tables, symbols, GROUP),
        }
    }

    /// Like `group` for the first `len` symbols only.
    pub fn part(
        &mut self,
        slots: &Slots,
        tables: &[u8; GROUP],
        symbols: &mut [u8; GROUP],
        len: usize,
    ) -> Result<(), DecodeError> {
        let mut padded = [0u8; 2 * GROUP];
        let window = self.words.first_chunk().unwrap_or_else(|| {
            padded[..self.words.len()].copy_from_slice(self.words);
            &padded
        });
        let read = if len == GROUP {
            rounds::<GROUP>(&mut self.states, self.mask, slots, tables, symbols, window)
        } else {
            let mut read = 0;
            for i in 0..len.min(GROUP) {
                read += usize::from(step(
                    &mut self.states[i & self.mask],
                    slots,
                    tables[i],
                    &mut symbols[i],
                    window,
                    read,
                ));
            }
            read
        };
        self.words = self.words.get(2 * read..).ok_or(DecodeError::Truncated {
            what: "words",
            expected: 2 * read,
            found: self.words.len(),
        })?;
        Ok(())
    }

    /// Every word must have been read, and every lane must be back where the encoder began.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.words.is_empty() && self.states.iter().all(|&state| state == LOWEST) {
            Ok(())
        } else {
            Err(DecodeError::Invalid { what: "end of the symbols" })
        }
    }
}

#[inline(always)]
fn rounds<const N: usize>(
    states: &mut [u32; GROUP],
    mask: usize,
    slots: &Slots,
    tables: &[u8; GROUP],
    symbols: &mut [u8; GROUP],
    window: &[u8; 2 * GROUP],
) -> usize {
    let mut read = 0;
    for i in 0..N {
        read += usize::from(step(
            &mut states[i & mask & (GROUP - 1)],
            slots,
            tables[i],
            &mut symbols[i],
            window,
            read,
        ));
    }
    read
}

/// Takes one symbol off a state, and a word when the state runs low; says whether it took one.
#[inline(always)]
fn step(
    state: &mut u32,
    slots: &Slots,
    table: u8,
    symbol: &mut u8,
    window: &[u8; 2 * GROUP],
    read: usize,
) -> bool {
    let index = ((usize::from(table) % MAX_TABLES) << FREQUENCY_BITS) | (*state & (TOTAL - 1)) as usize;
    let slot = slots.0[index];
    *symbol = slot as u8;
    let next =
        ((slot >> 20) + 1).wrapping_mul(*state >> FREQUENCY_BITS).wrapping_add(slot >> 8 & (TOTAL - 1));
    let at = 2 * (read % GROUP);
    let word = u32::from(u16::from_le_bytes([window[at], window[at + 1]]));
    let low = next < LOWEST;
    *state = if low { next << 16 | word } else { next };
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every codec stands on this: any symbols, any skew of the tables, any number of lanes.
        #[test]
        fn symbols_come_back(
            seed in prop::collection::vec((0u8..3, any::<u8>()), 0..700),
            narrow in 0u32..8,
            lane_bits in 0..=MAX_LANE_BITS,
        ) {
            let symbols: Vec<(u8, u8)> = seed.iter().map(|&(table, symbol)| (table, symbol >> narrow)).collect();
            let mut counts = [[0u32; 256]; 3];
            symbols.iter().for_each(|&(table, symbol)| counts[table as usize][symbol as usize] += 1);
            counts.iter_mut().for_each(|counts| if counts.iter().all(|&count| count == 0) { counts[7] = 1 });
            let tables: Vec<_> = counts.iter().map(|counts| super::super::table::Levels::fit(counts, 4).frequencies().unwrap()).collect();
            let tagged: Vec<u16> = symbols.iter().map(|&(table, symbol)| tagged(table, symbol)).collect();
            let mut out = Vec::new();
            encode(&tagged, &tables, lane_bits, &mut out);

            let mut reader = Reader::new(&out);
            let mut decoder = Decoder::new(&mut reader, lane_bits).unwrap();
            let slots = Slots::new(&tables);
            for group in symbols.chunks(GROUP) {
                let (mut numbers, mut found) = ([0u8; GROUP], [0u8; GROUP]);
                group.iter().zip(&mut numbers).for_each(|(symbol, number)| *number = symbol.0);
                if group.len() == GROUP {
                    decoder.group(&slots, &numbers, &mut found).unwrap();
                } else {
                    decoder.part(&slots, &numbers, &mut found, group.len()).unwrap();
                }
                group.iter().zip(&found).for_each(|(symbol, &found)| assert_eq!(symbol.1, found));
            }
            decoder.end().unwrap();
            reader.end().unwrap();
        }
    }

    /// The reciprocal is exact for every frequency at the borders of every quotient.
    #[test]
    fn division_by_multiplication_is_exact() {
        for frequency in 1..=TOTAL {
            let step = Step::new(0, frequency);
            for quotient in [1u64, 2, 3, 1000, (1 << 19) + 1, (1 << 20) - 1, 1 << 20] {
                let state = quotient * u64::from(frequency) - 1;
                let found = state.checked_mul(step.reciprocal).unwrap() >> RECIPROCAL_BITS;
                assert_eq!(found, quotient - 1, "{state} / {frequency}");
            }
        }
    }
}
