//! Static range asymmetric numeral systems (rANS): symbols of known frequency in close to their entropy.
//!
//! Duda, "Asymmetric numeral systems" (arXiv:1311.2540), interleaved as in Giesen, "Interleaved
//! entropy coders" (arXiv:1402.3392). Symbol `i` belongs to lane `i mod lanes`, and all lanes read
//! one stream of 16-bit words in the order of the symbols, so that a decoder with vectors of any
//! width reads the same bytes: it takes as many words as it has lanes that ran low.

use super::DecodeError;
use super::lanes::{
    self, Each, FREQUENCY_BITS, GROUP, LOWEST, Lanes, MAX_LANE_BITS, MAX_TABLES, Push, Rounds, Step, Steps,
};
use super::payload::{Reader, put_count};
use super::table::Frequencies;

const TOTAL: u32 = 1 << FREQUENCY_BITS;

/// How many lanes are worth their four bytes each, as a power of two.
///
/// Each step of a lane waits for the one before it: eight keep a scalar decoder busy, 64 are for
/// vectors, and a small tensor would rather be small.
pub(super) fn lane_bits(symbols: usize) -> u32 {
    match symbols {
        0..512 => 0,
        512..4096 => 2,
        4096..98_304 => 3,
        98_304..262_144 => 5,
        _ => MAX_LANE_BITS,
    }
}

/// A symbol of a table, as the encoder takes it.
#[inline(always)]
pub(super) fn tagged(table: u8, symbol: u8) -> u16 {
    u16::from(table) << 8 | u16::from(symbol)
}

/// Encodes `symbols` (see `tagged`; bytes are symbols of the first table), each of which must have a
/// frequency in its table.
///
/// The stream is the count of words, the state of each lane, and the words.
#[inline(always)]
pub(super) fn encode<L: Lanes, S: Copy + Into<u16>>(
    lanes: L,
    symbols: &[S],
    tables: &[Frequencies],
    lane_bits: u32,
    out: &mut Vec<u8>,
) {
    let steps = steps(tables);
    let mask = (1usize << lane_bits) - 1;
    let mut states = Each::of(LOWEST);
    let mut words = vec![0u16; symbols.len()];
    let mut first = words.len();
    let (groups, rest) = symbols.as_chunks::<GROUP>();
    for (lane, &symbol) in rest.iter().enumerate().rev() {
        let (word, given) = steps[usize::from(symbol.into()) % steps.len()].push(&mut states[lane & mask]);
        words[first - 1] = word;
        first -= usize::from(given);
    }
    for group in groups.iter().rev() {
        let group = Each(group.map(Into::into));
        // Symbols that are left give a word each at most.
        let room = words[..first].last_chunk_mut().expect("because there is room for all symbols' words");
        first -=
            lanes.push(Push { states: &mut states, mask, steps: &steps, symbols: &group }, room).min(GROUP);
    }
    let words = &words[first..];
    put_count(out, words.len());
    out.reserve(4 * (mask + 1) + 2 * words.len());
    states[..=mask].iter().for_each(|state| out.extend_from_slice(&state.to_le_bytes()));
    let start = out.len();
    out.resize(start + 2 * words.len(), 0);
    out[start..].as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
}

fn steps(tables: &[Frequencies]) -> Box<Steps> {
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

/// The tables of one stream, as they are decoded.
pub(super) struct Slots(Box<lanes::Slots>);

impl Slots {
    pub fn new(tables: &[Frequencies]) -> Self {
        let mut slots = Vec::with_capacity(MAX_TABLES << FREQUENCY_BITS);
        for (table, start) in tables.iter().take(MAX_TABLES).zip((0..).step_by(TOTAL as usize)) {
            for (&frequency, symbol) in table.0.iter().zip(0..).filter(|(frequency, _)| **frequency > 0) {
                let frequency = u32::from(frequency);
                slots.extend((0..frequency).map(|offset| (frequency - 1) << 20 | offset << 8 | symbol));
            }
            // So many they are already, if the frequencies add up to what they must.
            slots.resize(start + TOTAL as usize, 0);
        }
        slots.resize(MAX_TABLES << FREQUENCY_BITS, 0);
        Self(slots.try_into().unwrap_or_else(|_| unreachable!("because the length is the array's")))
    }
}

/// The lanes and words of one stream while it is read.
pub(super) struct Decoder<'a> {
    states: Each<u32>,
    mask: usize,
    words: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(reader: &mut Reader<'a>, lane_bits: u32) -> Result<Self, DecodeError> {
        if lane_bits > MAX_LANE_BITS {
            return Err(DecodeError::Invalid { what: "lane bits" });
        }
        let words = reader.count("word count")?;
        let lanes = 1usize << lane_bits;
        let mut states = Each::of(LOWEST);
        for (state, bytes) in states.iter_mut().zip(reader.take(4 * lanes, "lane states")?.chunks_exact(4)) {
            *state = u32::from_le_bytes(bytes.try_into().expect("because chunks have four bytes"));
        }
        let words = reader.take(words.saturating_mul(2), "words")?;
        Ok(Self { states, mask: lanes - 1, words })
    }

    /// Decodes one symbol for each of `tables`, whose numbers are below `MAX_TABLES`.
    #[inline(always)]
    pub fn groups<L: Lanes>(
        &mut self,
        lanes: L,
        slots: &Slots,
        tables: &[Each<u8>],
        symbols: &mut [Each<u8>],
    ) -> Result<(), DecodeError> {
        let (mut tables, mut symbols) = (tables, symbols);
        while let Some(next) = tables.first() {
            // So many groups can't run out of words.
            let sure = tables.len().min(self.words.len() / (2 * GROUP));
            let (own, rest) = symbols.split_at_mut(sure.max(1));
            if sure == 0 {
                self.part(slots, next, &mut own[0], GROUP)?;
            } else {
                let (states, tables, words) = (&mut self.states, &tables[..sure], self.words);
                let read =
                    lanes.rounds(Rounds { states, mask: self.mask, slots: &slots.0, tables, words }, own);
                self.words = &words[2 * read.min(words.len() / 2)..];
            }
            (tables, symbols) = (&tables[sure.max(1)..], rest);
        }
        Ok(())
    }

    /// Like `groups` for the first `len` symbols only, one by one; words may be few.
    pub fn part(
        &mut self,
        slots: &Slots,
        tables: &Each<u8>,
        symbols: &mut Each<u8>,
        len: usize,
    ) -> Result<(), DecodeError> {
        for lane in 0..len.min(GROUP) {
            let state = &mut self.states[lane & self.mask];
            let table = usize::from(tables[lane]) % MAX_TABLES;
            let slot = slots.0[table << FREQUENCY_BITS | (*state & (TOTAL - 1)) as usize];
            symbols[lane] = slot as u8;
            *state = ((slot >> 20) + 1)
                .wrapping_mul(*state >> FREQUENCY_BITS)
                .wrapping_add(slot >> 8 & (TOTAL - 1));
            if *state < LOWEST {
                let (word, rest) = self.words.split_first_chunk().ok_or(DecodeError::Truncated {
                    what: "words",
                    expected: 2,
                    found: self.words.len(),
                })?;
                *state = *state << 16 | u32::from(u16::from_le_bytes(*word));
                self.words = rest;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::super::lanes::Portable;
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
            encode(Portable, &tagged, &tables, lane_bits, &mut out);

            let mut reader = Reader::new(&out);
            let mut decoder = Decoder::new(&mut reader, lane_bits).unwrap();
            let slots = Slots::new(&tables);
            for group in symbols.chunks(GROUP) {
                let (mut numbers, mut found) = (Each::of(0u8), Each::of(0u8));
                group.iter().zip(numbers.iter_mut()).for_each(|(symbol, number)| *number = symbol.0);
                if group.len() == GROUP {
                    decoder.groups(Portable, &slots, &[numbers], std::slice::from_mut(&mut found)).unwrap();
                } else {
                    decoder.part(&slots, &numbers, &mut found, group.len()).unwrap();
                }
                group.iter().zip(&found).for_each(|(symbol, &found)| assert_eq!(symbol.1, found));
            }
            decoder.end().unwrap();
            reader.end().unwrap();
        }
    }
}
