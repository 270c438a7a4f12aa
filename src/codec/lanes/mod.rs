//! The widest instructions of this machine, for what is done to 64 weights at a time.
//!
//! A `Task` is compiled once for each kind of machine, and the best kind is chosen when it runs. Most
//! of it the compiler vectorises by itself; what it can't, the rounds of rANS, is written by hand as
//! the methods of `Lanes`. All kinds give the same bytes.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod each;
#[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
mod neon;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod routes;

use std::cell::Cell;

pub(super) use each::Each;
pub(super) use portable::Portable;

/// Weights are coded in groups of this many; the most lanes that rANS can have.
pub(super) const GROUP: usize = 64;
/// log2 of `GROUP`.
pub(super) const MAX_LANE_BITS: u32 = 6;
/// Tables that one stream can use.
pub(super) const MAX_TABLES: usize = 16;
/// Frequencies of a table add up to 2 to this.
pub(super) const FREQUENCY_BITS: u32 = 12;
/// States of rANS are at least this between two symbols.
pub(super) const LOWEST: u32 = 1 << 16;

/// For each table and each slot: frequency − 1 (12 bits), slot − start (12 bits), symbol (8 bits).
pub(super) type Slots = [u32; MAX_TABLES << FREQUENCY_BITS];

/// Rounds of rANS: a symbol for each lane of each group.
pub(super) struct Rounds<'a> {
    pub states: &'a mut Each<u32>,
    /// Lanes − 1: symbol `i` belongs to state `i & mask`.
    pub mask: usize,
    pub slots: &'a Slots,
    /// The table of each symbol.
    pub tables: &'a [Each<u8>],
    /// The next words, two bytes each, little-endian; at least a word for each symbol.
    pub words: &'a [u8],
}

/// What encoding one symbol needs.
#[derive(Clone, Copy, Default)]
pub(super) struct Step {
    /// ceil(2^44 / frequency): with it, dividing is multiplying, exact for every state that fits.
    pub reciprocal: u64,
    /// The largest state that stays below 2^32.
    pub limit: u32,
    /// Frequency (16 bits), start (16 bits).
    pub range: u32,
}

/// Widest field that `Lanes::cut` takes: four of them, wherever they begin, are in one load.
pub(super) const MAX_CUT_WIDTH: u32 = 14;
/// Bytes in which the fields of a group are, wherever in the first byte they begin; loads may go beyond them.
pub(super) const WINDOW_BYTES: usize = 2 * GROUP;
const _: () = assert!(WINDOW_BYTES * 8 >= 7 + GROUP * MAX_CUT_WIDTH as usize + 64);

const RECIPROCAL_BITS: u32 = 32 + FREQUENCY_BITS;

impl Step {
    /// For a symbol whose frequency is 1 to 4096, behind others whose frequencies add up to `start`.
    pub fn new(start: u32, frequency: u32) -> Self {
        Self {
            reciprocal: (1u64 << RECIPROCAL_BITS).div_ceil(u64::from(frequency)),
            limit: ((u64::from(frequency) << (32 - FREQUENCY_BITS)) - 1) as u32,
            range: frequency | start << 16,
        }
    }

    /// Pushes the symbol on a state: the low half of what the state was, and whether it gave that.
    #[inline(always)]
    pub fn push(&self, state: &mut u32) -> (u16, bool) {
        let (half, full) = (*state as u16, *state > self.limit);
        let left = *state >> (u32::from(full) << 4);
        let quotient = (u64::from(left).wrapping_mul(self.reciprocal) >> RECIPROCAL_BITS) as u32;
        let (frequency, start) = (self.range & 0xffff, self.range >> 16);
        let gap = (1u32 << FREQUENCY_BITS).wrapping_sub(frequency);
        *state = left.wrapping_add(start).wrapping_add(quotient.wrapping_mul(gap));
        (half, full)
    }
}

/// For each table and each symbol.
pub(super) type Steps = [Step; MAX_TABLES * 256];

/// The reverse of a round: a symbol for each lane of a group.
pub(super) struct Push<'a> {
    pub states: &'a mut Each<u32>,
    /// Lanes − 1: symbol `i` belongs to state `i & mask`.
    pub mask: usize,
    pub steps: &'a Steps,
    /// Tagged with their tables: 256 · table + symbol.
    pub symbols: &'a Each<u16>,
}

/// What a kind of machine does in its own way.
pub(super) trait Lanes: Copy {
    /// Whether `deposit` and `extract` are an instruction each; elsewhere bits go one field at a time.
    const MOVES_BITS: bool;

    /// Whether `cut` is faster than `deposit`.
    const CUTS: bool;

    /// The fields of these widths, each at most `MAX_CUT_WIDTH`, that follow each other in a window from this bit
    /// of its first byte on, and how many bits they are.
    fn cut(self, window: &[u8; WINDOW_BYTES], first: u32, widths: &Each<u8>) -> (Each<u16>, u32);

    /// Moves bits, from the lowest on, to where the mask is set.
    fn deposit(self, bits: u64, mask: u64) -> u64;

    /// Moves the bits where the mask is set together, to the lowest ones.
    fn extract(self, bits: u64, mask: u64) -> u64;

    /// What a table of 16 has at each index; these are below 16.
    fn look_up(self, table: &[u8; 16], indices: &Each<u8>) -> Each<u8>;

    /// Takes a symbol off the state of each lane, group by group; returns how many words the states took in.
    fn rounds(self, rounds: Rounds<'_>, symbols: &mut [Each<u8>]) -> usize;

    /// Pushes a symbol on the state of each lane; returns how many words the states gave. These are
    /// the last of `words`, in the order in which a round takes them; what is before them says nothing.
    fn push(self, push: Push<'_>, words: &mut [u16; GROUP]) -> usize;

    /// The same for a table of 128, with indices below 128.
    fn look_up_wide(self, table: &[u8; 128], indices: &Each<u8>) -> Each<u8>;

    /// Says that these bytes, of a group at most, are wanted soon.
    fn fetch(self, bytes: &[u8]);
}

/// Groups that are decoded together: each step is a loop of its own, over what fits in the nearest cache.
pub(super) const BATCH: usize = 16;

/// Groups between the one that is worked on and the one that is fetched: the latency of memory.
pub(super) const FETCH_AHEAD: usize = 8;

/// Work that is worth compiling for each kind of machine.
pub(super) trait Task {
    type Output;
    /// `#[inline(always)]`, as is all that it calls in its loops, or it stays portable.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// A kind of machine, the widest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Plain loops.
    Portable,
    Neon,
    Avx2,
    /// With its instructions on bytes, as since Ice Lake and Zen 4.
    Avx512,
}

thread_local! {
    /// The widest kind that this thread may use.
    static WIDEST: Cell<Kind> = const { Cell::new(Kind::Avx512) };
}

/// What comes of the work on each kind of machine that this one can be taken for: for tests and measurements.
/// Only what this thread encodes and decodes itself is done so.
pub fn on_each_kind<R>(work: impl Fn() -> R) -> Vec<(Kind, R)> {
    let on = |kind| {
        WIDEST.set(kind);
        let done = work();
        WIDEST.set(Kind::Avx512);
        (kind, done)
    };
    [Kind::Avx512, Kind::Avx2, Kind::Neon, Kind::Portable].into_iter().filter(is_there).map(on).collect()
}

fn is_there(kind: &Kind) -> bool {
    match kind {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => avx512::Avx512::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => avx2::Avx2::detect().is_some(),
        #[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
        Kind::Neon => true,
        Kind::Portable => true,
        _ => false,
    }
}

/// Runs a task on the widest instructions there are.
pub(super) fn run<T: Task>(task: T) -> T::Output {
    let may = |kind: Kind| WIDEST.get() >= kind;
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(avx512) = avx512::Avx512::detect().filter(|_| may(Kind::Avx512)) {
            return avx512.run(task);
        }
        if let Some(avx2) = avx2::Avx2::detect().filter(|_| may(Kind::Avx2)) {
            return avx2.run(task);
        }
    }
    #[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
    if may(Kind::Neon) {
        return task.run(neon::Neon);
    }
    task.run(Portable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A store is written on one machine and read on another.
        #[test]
        fn all_kinds_of_machines_agree(
            seed in prop::collection::vec(any::<u32>(), GROUP),
            lane_bits in 0..=MAX_LANE_BITS,
            words: [u8; 32],
            groups in 1..=3usize,
        ) {
            let mut slots = vec![0u32; MAX_TABLES << FREQUENCY_BITS];
            slots.iter_mut().zip(0u32..).for_each(|(slot, at)| *slot = at.wrapping_mul(0x9e37_79b9) ^ seed[at as usize % GROUP]);
            let slots: Box<Slots> = slots.try_into().unwrap();
            let tables = Each(std::array::from_fn(|lane| (seed[lane] >> 7) as u8 % MAX_TABLES as u8));
            let tables: Vec<Each<u8>> = (0..groups as u8).map(|group| tables.map(|table| (table + group) % MAX_TABLES as u8)).collect();
            let words: Vec<u8> = (0..2 * GROUP * groups).map(|at| words[at % 32].wrapping_add(at as u8)).collect();
            let mask = (1 << lane_bits) - 1;

            struct Once<'a> {
                states: Each<u32>,
                mask: usize,
                slots: &'a Slots,
                tables: &'a [Each<u8>],
                words: &'a [u8],
                steps: &'a Steps,
                symbols: &'a Each<u16>,
            }
            impl Task for Once<'_> {
                type Output =
                    ([Each<u32>; 2], Vec<Each<u8>>, usize, Vec<u16>, [u64; 2], [Each<u8>; 2], (Each<u16>, u32));
                #[inline(always)]
                fn run<L: Lanes>(self, lanes: L) -> Self::Output {
                    let Once { states, mask, slots, tables, words, steps, symbols } = self;
                    let (mut popped, mut pushed) = (states, states.map(|state| state.max(LOWEST)));
                    let mut found = vec![Each::of(0); tables.len()];
                    let read = lanes.rounds(Rounds { states: &mut popped, mask, slots, tables, words }, &mut found);
                    let mut given = Each::of(0);
                    let count = lanes.push(Push { states: &mut pushed, mask, steps, symbols }, &mut given);
                    let (bits, mask) = (u64::from(states[0]) << 32 | u64::from(states[1]), steps[7].reciprocal);
                    let moved = [lanes.deposit(bits, mask), lanes.extract(bits, mask)];
                    let indices = found[0].map(|byte| byte % 16);
                    let wide = found[0].map(|byte| byte % 128);
                    let looked_up = [
                        lanes.look_up(words.first_chunk().unwrap(), &indices),
                        lanes.look_up_wide(words.first_chunk().unwrap(), &wide),
                    ];
                    let window = std::array::from_fn(|at| words[at % words.len()]);
                    let widths = found[0].map(|byte| byte % (MAX_CUT_WIDTH as u8 + 1));
                    let cut = lanes.cut(&window, states[2] % 8, &widths);
                    ([popped, pushed], found, read, given[GROUP - count..].to_vec(), moved, looked_up, cut)
                }
            }
            let frequency = |at: usize| 1 + seed[at % GROUP].wrapping_mul(at as u32 | 1) % (1 << (at % 13));
            let steps: Vec<Step> = (0..MAX_TABLES * 256).map(|at| Step::new(at as u32 % 100, frequency(at))).collect();
            let steps: Box<Steps> = steps.try_into().unwrap_or_else(|_| unreachable!());
            let symbols = Each(std::array::from_fn(|lane| (seed[lane] >> 3) as u16 % (MAX_TABLES as u16 * 256)));
            let once = || Once {
                states: Each(std::array::from_fn(|lane| seed[lane])), mask, slots: &slots, tables: &tables, words: &words,
                steps: &steps, symbols: &symbols,
            };
            let portable = once().run(Portable);
            for (kind, done) in on_each_kind(|| run(once())) {
                prop_assert_eq!(&done, &portable, "{:?}", kind);
            }
        }
    }

    /// The reciprocal is exact for every frequency at the borders of every quotient.
    #[test]
    fn division_by_multiplication_is_exact() {
        for frequency in 1..=1u32 << FREQUENCY_BITS {
            let step = Step::new(0, frequency);
            for quotient in [1u64, 2, 3, 1000, (1 << 19) + 1, (1 << 20) - 1, 1 << 20] {
                let state = quotient * u64::from(frequency) - 1;
                let found = state.checked_mul(step.reciprocal).unwrap() >> RECIPROCAL_BITS;
                assert_eq!(found, quotient - 1, "{state} / {frequency}");
            }
        }
    }
}
