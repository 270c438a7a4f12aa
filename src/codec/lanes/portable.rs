//! Any machine: plain loops, split so that the compiler can vectorise all but the look-ups.

use super::{Each, FREQUENCY_BITS, GROUP, LOWEST, Lanes, MAX_TABLES, Push, Rounds, Slots, WINDOW_BYTES};

/// What every machine can do.
#[derive(Clone, Copy)]
pub(in super::super) struct Portable;

const SLOT_MASK: u32 = (1 << FREQUENCY_BITS) - 1;

impl Lanes for Portable {
    const MOVES_BITS: bool = false;
    const CUTS: bool = false;

    #[inline(always)]
    fn cut(self, window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32) {
        let mut at = first as usize;
        let fields = widths.map(
            #[inline(always)]
            |width| {
                let bytes = window.get(at / 8..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
                let bits = u32::from_le_bytes(bytes) >> (at % 8);
                at += usize::from(width);
                bits as u16 & ((1u32 << width) - 1) as u16
            },
        );
        (fields, at as u32 - first)
    }

    #[inline(always)]
    fn deposit(self, bits: u64, mut mask: u64) -> u64 {
        let (mut out, mut at) = (0, 0);
        while mask != 0 {
            let lowest = mask & mask.wrapping_neg();
            out |= lowest * (bits >> at & 1);
            (mask, at) = (mask ^ lowest, at + 1);
        }
        out
    }

    #[inline(always)]
    fn extract(self, bits: u64, mut mask: u64) -> u64 {
        let (mut out, mut at) = (0, 0);
        while mask != 0 {
            let lowest = mask & mask.wrapping_neg();
            out |= u64::from(bits & lowest != 0) << at;
            (mask, at) = (mask ^ lowest, at + 1);
        }
        out
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
        indices.map(
            #[inline(always)]
            |index| table[usize::from(index % 16)],
        )
    }

    #[inline(always)]
    fn look_up_wide(self, table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
        indices.map(
            #[inline(always)]
            |index| table[usize::from(index % 128)],
        )
    }

    #[inline(always)]
    fn rounds(self, rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
        match rounds.mask {
            63 => abreast::<64>(rounds, symbols),
            31 => abreast::<32>(rounds, symbols),
            15 => abreast::<16>(rounds, symbols),
            7 => abreast::<8>(rounds, symbols),
            3 => abreast::<4>(rounds, symbols),
            1 => abreast::<2>(rounds, symbols),
            _ => abreast::<1>(rounds, symbols),
        }
    }

    #[inline(always)]
    fn push(self, push: Push<'_>, words: &mut [u16; GROUP]) -> usize {
        let mut unused = GROUP;
        for (lane, &symbol) in push.symbols.iter().enumerate().rev() {
            let state = &mut push.states[lane & push.mask & (GROUP - 1)];
            let (half, full) = push.steps[usize::from(symbol) % push.steps.len()].push(state);
            // Kept only when the state is full; no branch, for it is as random as the data.
            words[(unused - 1) % GROUP] = half;
            unused -= usize::from(full);
        }
        GROUP - unused
    }

    #[inline(always)]
    fn fetch(self, _bytes: &[u8]) {}
}

/// `N` lanes at a time, in steps that don't wait for each other.
#[inline(always)]
fn abreast<const N: usize>(rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
    let states: &mut [u32; N] = rounds.states.first_chunk_mut().expect("because there are 64");
    let mut read = 0;
    for (symbols, tables) in symbols.iter_mut().zip(rounds.tables) {
        let words = rounds.words[2 * read..].first_chunk().expect("because each symbol has a word");
        read += group(states, rounds.slots, tables, words, symbols);
    }
    read
}

#[inline(always)]
fn group<const N: usize>(
    states: &mut [u32; N],
    all_slots: &Slots,
    tables: &Each<u8>,
    words: &[u8; 2 * GROUP],
    symbols: &mut Each<u8>,
) -> usize {
    let mut read = 0;
    for (symbols, tables) in symbols.as_chunks_mut::<N>().0.iter_mut().zip(tables.as_chunks::<N>().0) {
        let mut slots = [0; N];
        for ((slot, &table), &state) in slots.iter_mut().zip(tables).zip(&*states) {
            let table = usize::from(table) % MAX_TABLES;
            *slot = all_slots[table << FREQUENCY_BITS | (state & SLOT_MASK) as usize];
        }
        for ((symbol, state), slot) in symbols.iter_mut().zip(&mut *states).zip(slots) {
            *symbol = slot as u8;
            let frequency = (slot >> 20) + 1;
            *state = frequency.wrapping_mul(*state >> FREQUENCY_BITS).wrapping_add(slot >> 8 & SLOT_MASK);
        }
        for state in &mut *states {
            let at = 2 * (read % GROUP);
            let word = u32::from(u16::from_le_bytes([words[at], words[at + 1]]));
            // Masks instead of a branch: whether a word is due is as random as the data.
            let low = *state < LOWEST;
            let due = u32::from(low).wrapping_neg();
            *state = (*state & !due) | ((*state << 16 | word) & due);
            read += usize::from(low);
        }
    }
    read
}
