//! x86-64 with AVX-512 and its instructions on bytes: sixteen lanes in a register.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::{Each, FREQUENCY_BITS, GROUP, LOWEST, Lanes, Push, Rounds, Slots, Task, WINDOW_BYTES};

/// Proof that this machine has AVX-512 as processors have it since Ice Lake and Zen 4, and AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx512(Avx2);

/// Lanes in a register.
const ABREAST: usize = 16;
/// Fields that fit a register, two bytes each.
const HALF: usize = 2 * ABREAST;
const SLOT_MASK: i32 = (1 << FREQUENCY_BITS) - 1;
/// Where a slot can be: the tables' numbers, and the lowest bits of a state.
const INDEX_MASK: i32 = 0xffff;
const _: () = assert!(size_of::<Slots>() == 4 * (INDEX_MASK as usize + 1));

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2");
        Avx2::detect().filter(|_| there).map(Self)
    }

    pub fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `self` proves that the machine has what `compiled` is compiled for.
        unsafe { compiled(task, self) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn compiled<T: Task>(task: T, lanes: Avx512) -> T::Output {
    task.run(lanes)
}

impl Lanes for Avx512 {
    const MOVES_BITS: bool = true;
    const CUTS: bool = true;

    #[inline(always)]
    fn cut(self, window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32) {
        // SAFETY: `self` proves that the machine has what `cut` is compiled for.
        unsafe { self::cut(window, first, widths) }
    }

    #[inline(always)]
    fn deposit(self, bits: u64, mask: u64) -> u64 {
        self.0.deposit(bits, mask)
    }

    #[inline(always)]
    fn extract(self, bits: u64, mask: u64) -> u64 {
        self.0.extract(bits, mask)
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
            return self.0.rounds(rounds, symbols);
        }
        // SAFETY: `self` proves that the machine has what `rounds` is compiled for.
        unsafe { self::rounds(rounds, symbols) }
    }

    /// As AVX2 does: twice as many lanes at a time are no faster.
    #[inline(always)]
    fn push(self, push: Push<'_>, words: &mut [u16; GROUP]) -> usize {
        self.0.push(push, words)
    }

    #[inline(always)]
    fn fetch(self, bytes: &[u8]) {
        self.0.fetch(bytes);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn cut(window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32) {
    let mut fields = Each::of(0);
    let mut begin = _mm512_set1_epi64(i64::from(first));
    let [lower, upper] = [0, 1].map(|half| loaded_bytes(&window.as_chunks().0[half]));
    // The lowest byte of each eight, eight times.
    let each = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0808_0808_0808_0808, 0));
    for (fields, widths) in fields.as_chunks_mut().0.iter_mut().zip(widths.as_chunks().0) {
        let (fields, widths): (&mut [u16; HALF], &[u8; HALF]) = (fields, widths);
        // SAFETY: a load of 32 bytes from an array of 32; it does not ask for alignment.
        let widths = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(widths.as_ptr().cast()) });
        // Four fields to eight bytes: where each begins within the four, and each four in the window.
        let two = _mm512_add_epi16(widths, _mm512_slli_epi64::<16>(widths));
        let ends = _mm512_add_epi16(two, _mm512_slli_epi64::<32>(two));
        let within = _mm512_sub_epi16(ends, widths);
        let lens = _mm512_srli_epi64::<48>(ends);
        let zero = _mm512_setzero_si512();
        let mut sums = _mm512_add_epi64(lens, _mm512_alignr_epi64::<7>(lens, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<6>(sums, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<4>(sums, zero));
        let starts = _mm512_add_epi64(begin, _mm512_sub_epi64(sums, lens));
        begin = _mm512_add_epi64(begin, _mm512_permutexvar_epi64(_mm512_set1_epi64(7), sums));

        // By a shuffle of the whole window: an instruction that gathers takes longer.
        let bytes = _mm512_shuffle_epi8(_mm512_srli_epi64::<3>(starts), each);
        let bytes = _mm512_add_epi8(bytes, _mm512_set1_epi64(0x0706_0504_0302_0100));
        let words = _mm512_permutex2var_epi8(lower, bytes, upper);
        let words = _mm512_srlv_epi64(words, _mm512_and_si512(starts, _mm512_set1_epi64(7)));
        // Each byte of a field by the bit that it begins at.
        let second = _mm512_slli_epi16::<8>(_mm512_add_epi16(within, _mm512_set1_epi16(8)));
        let found = _mm512_multishift_epi64_epi8(_mm512_or_si512(within, second), words);
        let ones = _mm512_sub_epi16(_mm512_sllv_epi16(_mm512_set1_epi16(1), widths), _mm512_set1_epi16(1));
        // SAFETY: a store of 64 bytes into an array of 64; it does not ask for alignment.
        unsafe { _mm512_storeu_si512(fields.as_mut_ptr().cast(), _mm512_and_si512(found, ones)) };
    }
    (fields, _mm512_cvtsi512_si32(begin) as u32 - first)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn look_up(table: &[u8; 16], indices: &Each<u8>) -> Each<u8> {
    // SAFETY: a load of 16 bytes from an array of 16; it does not ask for alignment.
    let table = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
    stored_bytes(_mm512_shuffle_epi8(table, loaded_bytes(indices)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn look_up_wide(table: &[u8; 128], indices: &Each<u8>) -> Each<u8> {
    let half = |at: usize| loaded_bytes(&table.as_chunks().0[at]);
    stored_bytes(_mm512_permutex2var_epi8(half(0), loaded_bytes(indices), half(1)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")]
#[inline]
fn rounds(rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
    match rounds.mask {
        63 => abreast::<4>(rounds, symbols),
        31 => abreast::<2>(rounds, symbols),
        _ => abreast::<1>(rounds, symbols),
    }
}

/// Rounds of `16 · N` lanes, whose states stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")]
#[inline]
fn abreast<const N: usize>(rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize {
    let home: &mut [[u32; ABREAST]; N] =
        rounds.states.as_chunks_mut().0.first_chunk_mut().expect("because there are 64");
    let mut states = [_mm512_setzero_si512(); N];
    states.iter_mut().zip(&*home).for_each(|(state, home)| *state = loaded(home));
    let mut read = 0;
    for (symbols, tables) in symbols.iter_mut().zip(rounds.tables) {
        let words = rounds.words[2 * read..].first_chunk().expect("because each symbol has a word");
        read += group(&mut states, rounds.slots, tables, words, symbols);
    }
    home.iter_mut().zip(states).for_each(|(home, state)| *home = stored(state));
    read
}

/// Takes the symbols of a group off the states; returns how many words these took in.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")]
#[inline]
fn group<const N: usize>(
    states: &mut [__m512i; N],
    all_slots: &Slots,
    tables: &Each<u8>,
    words: &[u8; 2 * GROUP],
    symbols: &mut Each<u8>,
) -> usize {
    let mut read = 0;
    let symbols = symbols.as_chunks_mut::<ABREAST>().0.as_chunks_mut::<N>().0;
    let tables = tables.as_chunks::<ABREAST>().0.as_chunks::<N>().0;
    for (symbols, tables) in symbols.iter_mut().zip(tables) {
        let mut slots = [_mm512_setzero_si512(); N];
        for ((slots, &state), tables) in slots.iter_mut().zip(&*states).zip(tables) {
            *slots = gathered(all_slots, indices(state, tables));
        }
        for ((symbols, state), slots) in symbols.iter_mut().zip(&mut *states).zip(slots) {
            // SAFETY: a store of 16 bytes into an array of 16; it does not ask for alignment.
            unsafe { _mm_storeu_si128(symbols.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(slots)) };
            // Every step before this one read sixteen words at most; saying so spares a check.
            let at = 2 * read.min(GROUP - ABREAST);
            let words = words[at..].first_chunk().expect("because 64 words are there");
            let due;
            (*state, due) = pop(*state, slots, words);
            read += due;
        }
    }
    read
}

/// Where the slots of sixteen states are.
#[target_feature(enable = "avx512f")]
#[inline]
fn indices(state: __m512i, tables: &[u8; ABREAST]) -> __m512i {
    // SAFETY: a load of 16 bytes from an array of 16; it does not ask for alignment.
    let tables = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(tables.as_ptr().cast()) });
    let tables = _mm512_slli_epi32::<FREQUENCY_BITS>(tables);
    _mm512_or_si512(tables, _mm512_and_si512(state, _mm512_set1_epi32(SLOT_MASK)))
}

/// The slots at sixteen places, of which only the lowest bits count.
#[target_feature(enable = "avx512f")]
#[inline]
fn gathered(slots: &Slots, indices: __m512i) -> __m512i {
    let indices = _mm512_and_si512(indices, _mm512_set1_epi32(INDEX_MASK));
    // SAFETY: the mask keeps each index below the number of slots, four bytes each.
    unsafe { _mm512_i32gather_epi32::<4>(indices, slots.as_ptr().cast()) }
}

/// Takes one symbol off sixteen states, given their slots: the new states, and how many took a word.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt")]
#[inline]
fn pop(state: __m512i, slot: __m512i, words: &[u8; 2 * ABREAST]) -> (__m512i, usize) {
    let frequency = _mm512_add_epi32(_mm512_srli_epi32::<20>(slot), _mm512_set1_epi32(1));
    let offset = _mm512_and_si512(_mm512_srli_epi32::<8>(slot), _mm512_set1_epi32(SLOT_MASK));
    let rest = _mm512_srli_epi32::<FREQUENCY_BITS>(state);
    let next = _mm512_add_epi32(_mm512_mullo_epi32(frequency, rest), offset);

    let due = _mm512_cmplt_epu32_mask(next, _mm512_set1_epi32(LOWEST as i32));
    // SAFETY: a load of 32 bytes from an array of 32; it does not ask for alignment.
    let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let words = _mm512_cvtepu16_epi32(_mm256_maskz_expand_epi16(due, words));
    let filled = _mm512_or_si512(_mm512_slli_epi32::<16>(next), words);
    (_mm512_mask_mov_epi32(next, due, filled), due.count_ones() as usize)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn loaded(numbers: &[u32; ABREAST]) -> __m512i {
    // SAFETY: a load of 64 bytes from an array of 64; it does not ask for alignment.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn stored(register: __m512i) -> [u32; ABREAST] {
    let mut numbers = [0; ABREAST];
    // SAFETY: a store of 64 bytes into an array of 64; it does not ask for alignment.
    unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), register) };
    numbers
}

#[target_feature(enable = "avx512f")]
#[inline]
fn loaded_bytes(bytes: &[u8; GROUP]) -> __m512i {
    // SAFETY: a load of 64 bytes from an array of 64; it does not ask for alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn stored_bytes(register: __m512i) -> Each<u8> {
    let mut bytes = Each::of(0);
    // SAFETY: a store of 64 bytes into an array of 64; it does not ask for alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), register) };
    bytes
}
