//! The low bits of differences: noise, of which each table leaves as many to a stream of their own.

use super::bits::{BitReader, BitWriter, MAX_WIDTH};
use super::lanes::{Each, GROUP, Lanes, MAX_CUT_WIDTH, MAX_TABLES};
use super::order::Word;

/// How many low bits the differences of each table have.
pub(super) struct Shifts {
    by_table: [u8; MAX_TABLES],
    /// Ones where the low bits of each table are, a byte of them at a time.
    masks: [[u8; MAX_TABLES]; 8],
    widest: u32,
    /// Not zero for the tables of which eight numbers can have more low bits than one load gives.
    wide: [u8; MAX_TABLES],
}

impl Shifts {
    /// Of tables that are no more than can be; each shift is at most `MAX_WIDTH`.
    pub fn new(shifts: &[u32]) -> Self {
        let mut by_table = [0; MAX_TABLES];
        by_table.iter_mut().zip(shifts).for_each(|(to, &shift)| *to = shift.min(MAX_WIDTH) as u8);
        let mask = |shift: u8| ((1u64 << shift) - 1).to_le_bytes();
        let masks = std::array::from_fn(|byte| by_table.map(|shift| mask(shift)[byte]));
        let widest = by_table.iter().copied().max().map_or(0, u32::from);
        let wide = by_table.map(|shift| u8::from(u32::from(shift) > MAX_WIDTH / 8));
        Self { by_table, masks, widest, wide }
    }

    /// Takes the low bits off the first `len` differences and leaves the high parts.
    #[inline(always)]
    pub fn split<W: Word, L: Lanes>(
        &self,
        lanes: L,
        tables: &Each<u8>,
        len: usize,
        bits: &mut BitWriter,
        differences: &mut Each<W>,
    ) {
        if self.widest == 0 {
            return;
        }
        bits.make_room();
        let shifts = lanes.look_up(&self.by_table, tables);
        if !L::MOVES_BITS {
            for lane in lanes_with_any(&shifts, len) {
                let shift = u32::from(shifts[lane]);
                bits.put(differences[lane].to_u64() & ((1 << shift) - 1), shift);
                differences[lane] = differences[lane].sar(shift);
            }
            return;
        }
        match self.widest_bytes(lanes, tables) {
            1 => self.pack::<u8, W, L>(lanes, tables, len, bits, differences),
            2 => self.pack::<u16, W, L>(lanes, tables, len, bits, differences),
            3..=4 => self.pack::<u32, W, L>(lanes, tables, len, bits, differences),
            _ => self.pack::<u64, W, L>(lanes, tables, len, bits, differences),
        }
        for (difference, shift) in differences.iter_mut().zip(shifts) {
            *difference = difference.sar(u32::from(shift));
        }
    }

    /// Puts the low bits back behind the first `len` high parts.
    #[inline(always)]
    pub fn join<W: Word, L: Lanes>(
        &self,
        lanes: L,
        tables: &Each<u8>,
        len: usize,
        bits: &mut BitReader<'_>,
        highs: &mut Each<W>,
    ) {
        if self.widest == 0 {
            return;
        }
        if !L::MOVES_BITS {
            let shifts = lanes.look_up(&self.by_table, tables);
            for lane in lanes_with_any(&shifts, len) {
                let shift = u32::from(shifts[lane]);
                highs[lane] = W::from_u64(highs[lane].to_u64() << shift | bits.take(shift));
            }
            return;
        }
        if L::CUTS
            && self.widest <= MAX_CUT_WIDTH
            && let Some((window, first)) = bits.window()
        {
            let mut widths = lanes.look_up(&self.by_table, tables);
            widths[len..].fill(0);
            let (low, read) = lanes.cut(window, first, &widths);
            bits.skip(read);
            for ((high, width), low) in highs.iter_mut().zip(widths).zip(low) {
                *high = high.shl(u32::from(width)).or(W::from_u64(u64::from(low)));
            }
            return;
        }
        match self.widest_bytes(lanes, tables) {
            1 => self.unpack::<u8, W, L>(lanes, tables, len, bits, highs),
            2 => self.unpack::<u16, W, L>(lanes, tables, len, bits, highs),
            3..=4 => self.unpack::<u32, W, L>(lanes, tables, len, bits, highs),
            _ => self.unpack::<u64, W, L>(lanes, tables, len, bits, highs),
        }
    }

    /// Bytes that numbers with these tables must have of which 64 bits hold no more low bits than one load
    /// gives. Wide ones are rare, so most groups do without them.
    #[inline(always)]
    fn widest_bytes<L: Lanes>(&self, lanes: L, tables: &Each<u8>) -> u32 {
        let widest = self.widest.div_ceil(MAX_WIDTH / 8);
        if widest == 1 {
            return 1;
        }
        // Looks at all, which is faster than to stop at the first.
        let wide = lanes.look_up(&self.wide, tables).iter().fold(0, |any, wide| any | wide);
        if wide == 0 { 1 } else { widest }
    }

    /// Appends the low bits of as many differences at once as there are `U`s in 64 bits.
    #[inline(always)]
    fn pack<U: Word, W: Word, L: Lanes>(
        &self,
        lanes: L,
        tables: &Each<u8>,
        len: usize,
        bits: &mut BitWriter,
        differences: &Each<W>,
    ) {
        let masks = self.masks::<U, L>(lanes, tables, len);
        let low = differences.map(
            #[inline(always)]
            |difference| U::from_u64(difference.to_u64()),
        );
        for at in 0..U::WORDS {
            let mask = U::packed(&masks, at);
            bits.put(lanes.extract(U::packed(&low, at), mask), mask.count_ones());
        }
    }

    /// Reads the low bits of as many differences at once as there are `U`s in 64 bits.
    #[inline(always)]
    fn unpack<U: Word, W: Word, L: Lanes>(
        &self,
        lanes: L,
        tables: &Each<u8>,
        len: usize,
        bits: &mut BitReader<'_>,
        highs: &mut Each<W>,
    ) {
        let masks = self.masks::<U, L>(lanes, tables, len);
        let mut low = Each::of(U::default());
        for at in 0..U::WORDS {
            let mask = U::packed(&masks, at);
            U::unpack(lanes.deposit(bits.peek(), mask), at, &mut low);
            bits.skip(mask.count_ones());
        }
        for ((high, mask), low) in highs.iter_mut().zip(masks).zip(low) {
            let factor = W::from_u64(mask.to_u64()).plus(W::from_u64(1));
            *high = high.times(factor).or(W::from_u64(low.to_u64()));
        }
    }

    /// Ones where the low bits of the first `len` differences are.
    #[inline(always)]
    fn masks<U: Word, L: Lanes>(&self, lanes: L, tables: &Each<u8>, len: usize) -> Each<U> {
        let mut masks = Each::of(U::default());
        for (shift, table) in (0..U::BITS).step_by(8).zip(&self.masks) {
            for (mask, byte) in masks.iter_mut().zip(lanes.look_up(table, tables)) {
                *mask = mask.or(U::from_u64(u64::from(byte)).shl(shift));
            }
        }
        if len < GROUP {
            masks[len..].fill(U::default());
        }
        masks
    }
}

/// Those of the first `len` lanes that have low bits.
#[inline(always)]
fn lanes_with_any(shifts: &Each<u8>, len: usize) -> impl Iterator<Item = usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut lanes = 0u64;
    for (eight, shifts) in shifts.as_chunks().0.iter().enumerate() {
        // Sets the top bit of the bytes that are not zero; shifts are below 128, so nothing carries.
        let set = (u64::from_le_bytes(*shifts) + EACH * 0x7f) >> 7 & EACH;
        // Moves bit 0 of byte `i` to bit `i` of the top byte.
        lanes |= (set.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * eight);
    }
    lanes &= u64::MAX >> (GROUP - len);
    std::iter::from_fn(
        #[inline(always)]
        move || {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes.wrapping_sub(1);
            (lane < GROUP).then_some(lane)
        },
    )
}
