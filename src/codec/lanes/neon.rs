//! 64-bit Arm: four lanes in a register, eight of them at a time.

use std::arch::aarch64::*;

use super::routes::{ABREAST, TAKEN};
use super::{Each, FREQUENCY_BITS, GROUP, LOWEST, Lanes, Portable, Push, Rounds, Slots, WINDOW_BYTES};

/// What every 64-bit Arm that this is compiled for has.
#[derive(Clone, Copy)]
pub(super) struct Neon;

const SLOT_MASK: u32 = (1 << FREQUENCY_BITS) - 1;
/// The bit of each lane in a set.
const BITS: [u16; ABREAST] = [1, 2, 4, 8, 16, 32, 64, 128];

impl Lanes for Neon {
    const MOVES_BITS: bool = false;
    const CUTS: bool = false;

    #[inline(always)]
    fn cut(self, window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32) {
        Portable.cut(window, first, widths)
    }

    #[inline(always)]
    fn deposit(self, bits: u64, mask: u64) -> u64 {
        Portable.deposit(bits, mask)
    }

    #[inline(always)]
    fn extract(self, bits: u64, mask: u64) -> u64 {
        Portable.extract(bits, mask)
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
        // SAFETY: NEON is among the features that this file is compiled with.
        unsafe { self::look_up(table, indices) }
    }

    #[inline(always)]
    fn look_up_wide(self, table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
        // SAFETY: NEON is among the features that this file is compiled with.
        unsafe { self::look_up_wide(table, indices) }
    }

    #[inline(always)]
    fn rounds(self, rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
        if rounds.mask < ABREAST - 1 {
            return Portable.rounds(rounds, symbols);
        }
        // SAFETY: NEON is among the features that this file is compiled with.
        unsafe { self::rounds(rounds, symbols) }
    }

    /// By plain code: it multiplies 64-bit numbers, which NEON can't.
    #[inline(always)]
    fn push(self, push: Push<'_>, words: &mut [u16; GROUP]) -> usize {
        Portable.push(push, words)
    }

    #[inline(always)]
    fn fetch(self, _bytes: &[u8]) {}
}

#[target_feature(enable = "neon")]
#[inline]
fn look_up(table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
    let table = loaded_bytes(table);
    let mut found = Each::of(0);
    for (found, indices) in found.as_chunks_mut().0.iter_mut().zip(indices.as_chunks().0) {
        *found = stored_bytes(vqtbl1q_u8(table, loaded_bytes(indices)));
    }
    found
}

#[target_feature(enable = "neon")]
#[inline]
fn look_up_wide(table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
    let quarter = |at: usize| loaded_bytes(&table.as_chunks().0[at]);
    let lower = uint8x16x4_t(quarter(0), quarter(1), quarter(2), quarter(3));
    let upper = uint8x16x4_t(quarter(4), quarter(5), quarter(6), quarter(7));
    let mut found = Each::of(0);
    for (found, indices) in found.as_chunks_mut().0.iter_mut().zip(indices.as_chunks().0) {
        let indices = loaded_bytes(indices);
        // Zero for an index that is not in the lower half; what is not in the upper one stays.
        let own = vqtbl4q_u8(lower, indices);
        *found = stored_bytes(vqtbx4q_u8(own, upper, vsubq_u8(indices, vdupq_n_u8(64))));
    }
    found
}

#[target_feature(enable = "neon")]
#[inline]
fn rounds(rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
    match rounds.mask {
        63 => abreast::<8>(rounds, symbols),
        31 => abreast::<4>(rounds, symbols),
        15 => abreast::<2>(rounds, symbols),
        _ => abreast::<1>(rounds, symbols),
    }
}

/// Rounds of `8 · N` lanes.
#[target_feature(enable = "neon")]
#[inline]
fn abreast<const N: usize>(rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
    let states: &mut [[u32; ABREAST]; N] =
        rounds.states.as_chunks_mut().0.first_chunk_mut().expect("because there are 64");
    let mut read = 0;
    for (symbols, tables) in symbols.iter_mut().zip(rounds.tables) {
        let words = rounds.words[2 * read..].first_chunk().expect("because each symbol has a word");
        read += group(states, rounds.slots, tables, words, symbols);
    }
    read
}

/// Takes the symbols of a group off the states; returns how many words these took in.
#[target_feature(enable = "neon")]
#[inline]
fn group<const N: usize>(
    states: &mut [[u32; ABREAST]; N],
    all_slots: &Slots,
    tables: &Each<u8>,
    words: &[u8; 2 * GROUP],
    symbols: &mut Each<u8>,
) -> usize {
    let mut read = 0;
    let symbols = symbols.as_chunks_mut::<ABREAST>().0.as_chunks_mut::<N>().0;
    let tables = tables.as_chunks::<ABREAST>().0.as_chunks::<N>().0;
    for (symbols, tables) in symbols.iter_mut().zip(tables) {
        let mut indices = [[0; ABREAST]; N];
        for ((indices, state), tables) in indices.iter_mut().zip(&*states).zip(tables) {
            *indices = self::indices(state, tables);
        }
        for ((symbols, state), indices) in symbols.iter_mut().zip(&mut *states).zip(&indices) {
            let slots = indices.map(|index| all_slots[usize::from(index)]);
            // Every step before this one read eight words at most; saying so spares a check.
            let at = 2 * read.min(GROUP - ABREAST);
            let words = words[at..].first_chunk().expect("because 64 words are there");
            let (next, own, due) = pop(state, &slots, words);
            (*state, *symbols) = (next, own);
            read += due;
        }
    }
    read
}

/// Where the slots of eight states are.
#[target_feature(enable = "neon")]
#[inline]
fn indices(states: &[u32; ABREAST], tables: &[u8; ABREAST]) -> [u16; ABREAST] {
    let [first, second] = loaded(states);
    let low = vcombine_u16(vmovn_u32(first), vmovn_u32(second));
    // Above the lowest bits of the states, which stay.
    stored_halves(vsliq_n_u16::<{ FREQUENCY_BITS as i32 }>(low, widened(tables)))
}

/// Takes one symbol off eight states, given their slots: the new states, the symbols, and how many took
/// a word.
#[target_feature(enable = "neon")]
#[inline]
fn pop(
    states: &[u32; ABREAST],
    slots: &[u32; ABREAST],
    words: &[u8; 2 * ABREAST],
) -> ([u32; ABREAST], [u8; ABREAST], usize) {
    let ([first, second], [first_slots, second_slots]) = (loaded(states), loaded(slots));
    let (first, second) = (popped(first, first_slots), popped(second, second_slots));

    let lowest = vdupq_n_u32(LOWEST);
    let (first_low, second_low) = (vcltq_u32(first, lowest), vcltq_u32(second, lowest));
    let low = vcombine_u16(vmovn_u32(first_low), vmovn_u32(second_low));
    let due = usize::from(vaddvq_u16(vandq_u16(low, loaded_halves(&BITS)))) & 0xff;
    let words = vqtbl1q_u8(loaded_bytes(words), loaded_bytes(&TAKEN[due]));
    let words = vreinterpretq_u16_u8(words);
    let first_filled = vaddw_u16(vshlq_n_u32::<16>(first), vget_low_u16(words));
    let second_filled = vaddw_u16(vshlq_n_u32::<16>(second), vget_high_u16(words));

    let next = [vbslq_u32(first_low, first_filled, first), vbslq_u32(second_low, second_filled, second)];
    let symbols = vcombine_u16(vmovn_u32(first_slots), vmovn_u32(second_slots));
    (stored(next), stored_eight(vmovn_u16(symbols)), due.count_ones() as usize)
}

/// Four states without the symbols that their slots say, before they take words.
#[target_feature(enable = "neon")]
#[inline]
fn popped(states: uint32x4_t, slots: uint32x4_t) -> uint32x4_t {
    let frequency = vsraq_n_u32::<20>(vdupq_n_u32(1), slots);
    let offset = vandq_u32(vshrq_n_u32::<8>(slots), vdupq_n_u32(SLOT_MASK));
    vmlaq_u32(offset, frequency, vshrq_n_u32::<{ FREQUENCY_BITS as i32 }>(states))
}

#[target_feature(enable = "neon")]
#[inline]
fn loaded(numbers: &[u32; ABREAST]) -> [uint32x4_t; 2] {
    // SAFETY: loads of 16 bytes from halves of an array of 32; they do not ask for alignment.
    unsafe { [vld1q_u32(numbers.as_ptr()), vld1q_u32(numbers[4..].as_ptr())] }
}

#[target_feature(enable = "neon")]
#[inline]
fn stored(registers: [uint32x4_t; 2]) -> [u32; ABREAST] {
    let mut numbers = [0; ABREAST];
    // SAFETY: stores of 16 bytes into halves of an array of 32; they do not ask for alignment.
    unsafe {
        vst1q_u32(numbers.as_mut_ptr(), registers[0]);
        vst1q_u32(numbers[4..].as_mut_ptr(), registers[1]);
    }
    numbers
}

#[target_feature(enable = "neon")]
#[inline]
fn loaded_bytes(bytes: &[u8; 2 * ABREAST]) -> uint8x16_t {
    // SAFETY: a load of 16 bytes from an array of 16; it does not ask for alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[target_feature(enable = "neon")]
#[inline]
fn stored_bytes(register: uint8x16_t) -> [u8; 2 * ABREAST] {
    let mut bytes = [0; 2 * ABREAST];
    // SAFETY: a store of 16 bytes into an array of 16; it does not ask for alignment.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), register) };
    bytes
}

#[target_feature(enable = "neon")]
#[inline]
fn loaded_halves(numbers: &[u16; ABREAST]) -> uint16x8_t {
    // SAFETY: a load of 16 bytes from an array of 16; it does not ask for alignment.
    unsafe { vld1q_u16(numbers.as_ptr()) }
}

#[target_feature(enable = "neon")]
#[inline]
fn stored_halves(register: uint16x8_t) -> [u16; ABREAST] {
    let mut numbers = [0; ABREAST];
    // SAFETY: a store of 16 bytes into an array of 16; it does not ask for alignment.
    unsafe { vst1q_u16(numbers.as_mut_ptr(), register) };
    numbers
}

#[target_feature(enable = "neon")]
#[inline]
fn stored_eight(register: uint8x8_t) -> [u8; ABREAST] {
    let mut bytes = [0; ABREAST];
    // SAFETY: a store of 8 bytes into an array of 8; it does not ask for alignment.
    unsafe { vst1_u8(bytes.as_mut_ptr(), register) };
    bytes
}

/// Eight bytes as eight integers of twice the width.
#[target_feature(enable = "neon")]
#[inline]
fn widened(bytes: &[u8; ABREAST]) -> uint16x8_t {
    // SAFETY: a load of 8 bytes from an array of 8; it does not ask for alignment.
    vmovl_u8(unsafe { vld1_u8(bytes.as_ptr()) })
}
