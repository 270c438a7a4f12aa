//! x86-64 with AVX2: eight lanes in a register.

use std::arch::x86_64::*;

use super::routes::{ABREAST, GIVEN, TAKEN};
use super::{
    Each, FREQUENCY_BITS, GROUP, Lanes, Portable, Push, Rounds, Slots, Step, Steps, Task, WINDOW_BYTES,
};

/// Proof that this machine has AVX2 and the bit instructions that came with it.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

const SLOT_MASK: i32 = (1 << FREQUENCY_BITS) - 1;

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        there.then_some(Self(()))
    }

    pub fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `self` proves that the machine has what `compiled` is compiled for.
        unsafe { compiled(task, self) }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn compiled<T: Task>(task: T, lanes: Avx2) -> T::Output {
    task.run(lanes)
}

impl Lanes for Avx2 {
    const MOVES_BITS: bool = true;
    const CUTS: bool = false;

    #[inline(always)]
    fn cut(self, window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32) {
        Portable.cut(window, first, widths)
    }

    #[inline(always)]
    fn deposit(self, bits: u64, mask: u64) -> u64 {
        // SAFETY: `self` proves that the machine has this instruction.
        unsafe { _pdep_u64(bits, mask) }
    }

    #[inline(always)]
    fn extract(self, bits: u64, mask: u64) -> u64 {
        // SAFETY: `self` proves that the machine has this instruction.
        unsafe { _pext_u64(bits, mask) }
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
        // SAFETY: `self` proves that the machine has what `look_up` is compiled for.
        unsafe { self::look_up(table, indices) }
    }

    #[inline(always)]
    fn look_up_wide(self, table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
        // SAFETY: `self` proves that the machine has what `look_up_wide` is compiled for.
        unsafe { self::look_up_wide(table, indices) }
    }

    #[inline(always)]
    fn rounds(self, rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
        if rounds.mask < ABREAST - 1 {
            return Portable.rounds(rounds, symbols);
        }
        // SAFETY: `self` proves that the machine has what `rounds` is compiled for.
        unsafe { self::rounds(rounds, symbols) }
    }

    #[inline(always)]
    fn push(self, push: Push<'_>, words: &mut [u16; GROUP]) -> usize {
        if push.mask < ABREAST - 1 {
            return Portable.push(push, words);
        }
        // SAFETY: `self` proves that the machine has what `push` is compiled for.
        unsafe { self::push(push, words) }
    }

    #[inline(always)]
    fn fetch(self, bytes: &[u8]) {
        for line in bytes.chunks(64) {
            // SAFETY: the address is one of a slice, and a prefetch does not even ask for that.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn look_up(table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
    let table = _mm256_broadcastsi128_si256(loaded_half(table));
    let mut found = Each::of(0);
    for (found, indices) in found.as_chunks_mut().0.iter_mut().zip(indices.as_chunks().0) {
        *found = stored_bytes(_mm256_shuffle_epi8(table, loaded_bytes(indices)));
    }
    found
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn look_up_wide(table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
    let part = |at: usize| _mm256_broadcastsi128_si256(loaded_half(&table.as_chunks().0[at]));
    let parts: [__m256i; 8] = std::array::from_fn(part);
    let mut found = Each::of(0);
    for (found, indices) in found.as_chunks_mut().0.iter_mut().zip(indices.as_chunks().0) {
        let indices = loaded_bytes(indices);
        // What each sixteenth has at the four lowest bits, of which the bits above choose one.
        let own = |part: usize| _mm256_shuffle_epi8(parts[part], indices);
        let (bit_4, bit_5) = (_mm256_slli_epi16::<3>(indices), _mm256_slli_epi16::<2>(indices));
        let bit_6 = _mm256_slli_epi16::<1>(indices);
        let pair = |part: usize| _mm256_blendv_epi8(own(part), own(part + 1), bit_4);
        let lower = _mm256_blendv_epi8(pair(0), pair(2), bit_5);
        let upper = _mm256_blendv_epi8(pair(4), pair(6), bit_5);
        *found = stored_bytes(_mm256_blendv_epi8(lower, upper, bit_6));
    }
    found
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
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
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
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
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn group<const N: usize>(
    states: &mut [[u32; ABREAST]; N],
    all_slots: &Slots,
    tables: &Each<u8>,
    words: &[u8; 2 * GROUP],
    symbols: &mut Each<u8>,
) -> usize {
    let mut read = 0;
    let mut slots = [_mm256_setzero_si256(); GROUP / ABREAST];
    let tables = tables.as_chunks::<ABREAST>().0.as_chunks::<N>().0;
    for (slots, tables) in slots.as_chunks_mut::<N>().0.iter_mut().zip(tables) {
        // Through memory: to take numbers out of a register one by one takes twice as many instructions.
        let mut indices = [[0; ABREAST]; N];
        for ((indices, state), tables) in indices.iter_mut().zip(&*states).zip(tables) {
            *indices = stored(self::indices(loaded(state), tables));
        }
        for ((slots, state), indices) in slots.iter_mut().zip(&mut *states).zip(&indices) {
            // Eight loads are faster than the instruction that gathers.
            let eight = indices.map(|index| all_slots[usize::from(index as u16)]);
            // Every step before this one read eight words at most; saying so spares a check.
            let at = 2 * read.min(GROUP - ABREAST);
            let words = words[at..].first_chunk().expect("because 64 words are there");
            let (next, due) = pop(loaded(state), loaded(&eight), words);
            (*slots, *state) = (loaded(&eight), stored(next));
            read += due;
        }
    }
    let halves = symbols.as_chunks_mut().0;
    halves.iter_mut().zip(slots.as_chunks().0).for_each(|(half, slots)| *half = low_bytes(slots));
    read
}

/// Where the slots of eight states are.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn indices(state: __m256i, tables: &[u8; ABREAST]) -> __m256i {
    let tables = _mm256_slli_epi32::<{ FREQUENCY_BITS as i32 }>(widened(tables));
    _mm256_or_si256(tables, _mm256_and_si256(state, _mm256_set1_epi32(SLOT_MASK)))
}

/// Takes one symbol off eight states, given their slots: the new states, and how many took a word.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn pop(state: __m256i, slot: __m256i, words: &[u8; 2 * ABREAST]) -> (__m256i, usize) {
    let frequency = _mm256_add_epi32(_mm256_srli_epi32::<20>(slot), _mm256_set1_epi32(1));
    let offset = _mm256_and_si256(_mm256_srli_epi32::<8>(slot), _mm256_set1_epi32(SLOT_MASK));
    let rest = _mm256_srli_epi32::<{ FREQUENCY_BITS as i32 }>(state);
    let next = _mm256_add_epi32(_mm256_mullo_epi32(frequency, rest), offset);

    let low = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(next), _mm256_setzero_si256());
    let due = set_of(low);
    let words = _mm_shuffle_epi8(loaded_half(words), loaded_half(&TAKEN[due]));
    let filled = _mm256_or_si256(_mm256_slli_epi32::<16>(next), _mm256_cvtepu16_epi32(words));
    (_mm256_blendv_epi8(next, filled, low), due.count_ones() as usize)
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn push(push: Push<'_>, words: &mut [u16; GROUP]) -> usize {
    let states = push.states.as_chunks_mut::<ABREAST>().0;
    let symbols = push.symbols.as_chunks::<ABREAST>().0;
    let mut unused = GROUP;
    for (eight, symbols) in symbols.iter().enumerate().rev() {
        let states = &mut states[eight & (push.mask / ABREAST) & (GROUP / ABREAST - 1)];
        let (next, given, due) = push_eight(loaded(states), symbols, push.steps);
        *states = stored(next);
        // Every step before this one gave eight words at most.
        let room = words[..unused].last_chunk_mut().expect("because there is room for 64 words");
        *room = given;
        unused -= due;
    }
    GROUP - unused
}

/// Pushes one symbol on eight states: the new states, the words given, at the end, and their number.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn push_eight(state: __m256i, symbols: &[u16; ABREAST], steps: &Steps) -> (__m256i, [u16; ABREAST], usize) {
    let step = |symbol: u16| -> &Step { &steps[usize::from(symbol) % steps.len()] };
    let range = loaded(&symbols.map(|symbol| step(symbol).range));
    let (frequency, start) =
        (_mm256_and_si256(range, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(range));

    // A state that would grow beyond 32 bits gives its low half first.
    let fits = _mm256_cmpgt_epi32(frequency, _mm256_srli_epi32::<{ 32 - FREQUENCY_BITS as i32 }>(state));
    let due = 0xff & !set_of(fits);
    let halves = low_halves(_mm256_and_si256(state, _mm256_set1_epi32(0xffff)));
    let given = _mm_shuffle_epi8(halves, loaded_half(&GIVEN[due]));
    let state = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(state), state, fits);

    // The quotient is below 2^20, so in floats it is one off at most; the remainder tells.
    let high = _mm256_cvtepi32_ps(_mm256_srli_epi32::<16>(state));
    let low = _mm256_cvtepi32_ps(_mm256_and_si256(state, _mm256_set1_epi32(0xffff)));
    let whole = _mm256_add_ps(_mm256_mul_ps(high, _mm256_set1_ps(65536.0)), low);
    let quotient = _mm256_cvttps_epi32(_mm256_div_ps(whole, _mm256_cvtepi32_ps(frequency)));
    let remainder = _mm256_sub_epi32(state, _mm256_mullo_epi32(quotient, frequency));
    let below = _mm256_srai_epi32::<31>(remainder);
    let above = _mm256_cmpgt_epi32(_mm256_add_epi32(remainder, _mm256_set1_epi32(1)), frequency);
    let off = _mm256_sub_epi32(below, above);
    let quotient = _mm256_add_epi32(quotient, off);
    let remainder = _mm256_sub_epi32(remainder, _mm256_sign_epi32(frequency, off));

    let next = _mm256_add_epi32(_mm256_slli_epi32::<{ FREQUENCY_BITS as i32 }>(quotient), remainder);
    (_mm256_add_epi32(next, start), stored_half(given), due.count_ones() as usize)
}

#[target_feature(enable = "avx2")]
#[inline]
fn loaded(numbers: &[u32; ABREAST]) -> __m256i {
    // SAFETY: a load of 32 bytes from an array of 32; it does not ask for alignment.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn stored(register: __m256i) -> [u32; ABREAST] {
    let mut numbers = [0; ABREAST];
    // SAFETY: a store of 32 bytes into an array of 32; it does not ask for alignment.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), register) };
    numbers
}

#[target_feature(enable = "avx2")]
#[inline]
fn loaded_bytes(bytes: &[u8; 4 * ABREAST]) -> __m256i {
    // SAFETY: a load of 32 bytes from an array of 32; it does not ask for alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn stored_bytes(register: __m256i) -> [u8; 4 * ABREAST] {
    let mut bytes = [0; 4 * ABREAST];
    // SAFETY: a store of 32 bytes into an array of 32; it does not ask for alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), register) };
    bytes
}

#[target_feature(enable = "avx2")]
#[inline]
fn loaded_half(bytes: &[u8; 2 * ABREAST]) -> __m128i {
    // SAFETY: a load of 16 bytes from an array of 16; it does not ask for alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn stored_half(register: __m128i) -> [u16; ABREAST] {
    let mut words = [0; ABREAST];
    // SAFETY: a store of 16 bytes into an array of 16; it does not ask for alignment.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), register) };
    words
}

/// Eight bytes as eight integers.
#[target_feature(enable = "avx2")]
#[inline]
fn widened(bytes: &[u8; ABREAST]) -> __m256i {
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*bytes)))
}

/// Eight integers below 2^16 as half as wide ones.
#[target_feature(enable = "avx2")]
#[inline]
fn low_halves(integers: __m256i) -> __m128i {
    let packed = _mm256_packus_epi32(integers, integers);
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
}

/// The lanes whose top bit is set, a bit a lane.
#[target_feature(enable = "avx2")]
#[inline]
fn set_of(lanes: __m256i) -> usize {
    (_mm256_movemask_ps(_mm256_castsi256_ps(lanes)) & 0xff) as usize
}

/// The lowest bytes of 32 integers, in their order.
#[target_feature(enable = "avx2")]
#[inline]
fn low_bytes(from: &[__m256i; 4]) -> [u8; 4 * ABREAST] {
    let low = from.map(|eight| _mm256_and_si256(eight, _mm256_set1_epi32(0xff)));
    let packed =
        _mm256_packus_epi16(_mm256_packus_epi32(low[0], low[1]), _mm256_packus_epi32(low[2], low[3]));
    // Packing works within halves of a register: put the fours back in order.
    stored_bytes(_mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)))
}
