//! An adaptive range coder, and bits that are kept as they are.
//!
//! The coder is carry-less (Subbotin 1999); the model is quasi-static, as fpzip's: counts are collected
//! and become frequencies when a period is over, which doubles up to its most.

const TOTAL_BITS: u32 = 16;
const FIRST_PERIOD: u32 = 32;
const LONGEST_PERIOD: u32 = 1024;
/// Counts are halved where they would exceed this, so that old ones fade.
const MOST_COUNTED: u32 = 1 << 15;
/// A decoder begins its search for a symbol where the first symbol with these bits begins.
const SEARCH_BITS: u32 = 10;

/// What is known of the symbols so far.
pub struct Model {
    counts: Vec<u32>,
    /// Where each symbol's share of 1 << TOTAL_BITS begins; one entry more than there are symbols.
    starts: Vec<u32>,
    search: Vec<u8>,
    period: u32,
    left: u32,
}

impl Model {
    /// Of at most 255 symbols, all as likely.
    pub fn new(symbols: usize) -> Model {
        let (counts, starts) = (vec![1; symbols], vec![0; symbols + 1]);
        let mut model =
            Model { counts, starts, search: vec![0; 1 << SEARCH_BITS], period: FIRST_PERIOD, left: 0 };
        model.renew();
        model
    }

    fn saw(&mut self, symbol: usize) {
        self.counts[symbol] += 24;
        self.left -= 1;
        if self.left == 0 {
            self.renew();
            self.period = LONGEST_PERIOD.min(2 * self.period);
        }
    }

    fn renew(&mut self) {
        while self.counts.iter().sum::<u32>() > MOST_COUNTED {
            self.counts.iter_mut().for_each(|count| *count = (*count).div_ceil(2));
        }
        let total: u32 = self.counts.iter().sum();
        let mut sum = 0;
        for (start, count) in self.starts.iter_mut().zip(&self.counts) {
            *start = (sum << TOTAL_BITS) / total;
            sum += count;
        }
        self.starts[self.counts.len()] = 1 << TOTAL_BITS;
        let mut symbol = 0;
        for (slot, found) in self.search.iter_mut().enumerate() {
            while self.starts[symbol + 1] <= (slot as u32) << (TOTAL_BITS - SEARCH_BITS) {
                symbol += 1;
            }
            *found = symbol as u8;
        }
        self.left = self.period;
    }

    fn find(&self, value: u32) -> usize {
        let mut symbol = usize::from(self.search[(value >> (TOTAL_BITS - SEARCH_BITS)) as usize]);
        while self.starts[symbol + 1] <= value {
            symbol += 1;
        }
        symbol
    }
}

const BOTTOM: u64 = 1 << 40;

/// Writes symbols.
pub struct Encoder {
    low: u64,
    range: u64,
    out: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { low: 0, range: u64::MAX, out: Vec::new() }
    }
}

impl Encoder {
    pub fn put(&mut self, model: &mut Model, symbol: usize) {
        let (start, end) = (model.starts[symbol], model.starts[symbol + 1]);
        self.range >>= TOTAL_BITS;
        self.low = self.low.wrapping_add(u64::from(start) * self.range);
        self.range *= u64::from(end - start);
        while let Some(range) = narrowed(self.low, self.range) {
            self.out.push((self.low >> 56) as u8);
            (self.low, self.range) = (self.low << 8, range << 8);
        }
        model.saw(symbol);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend(self.low.to_be_bytes());
        self.out
    }
}

/// Reads symbols back.
pub struct Decoder<'a> {
    low: u64,
    range: u64,
    code: u64,
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        let (first, rest) = bytes.split_first_chunk().expect("because the encoder ends with 8 bytes");
        Decoder { low: 0, range: u64::MAX, code: u64::from_be_bytes(*first), bytes: rest.iter() }
    }

    pub fn get(&mut self, model: &mut Model) -> usize {
        self.range >>= TOTAL_BITS;
        let value = (self.code.wrapping_sub(self.low) / self.range) as u32;
        let symbol = model.find(value.min((1 << TOTAL_BITS) - 1));
        let (start, end) = (model.starts[symbol], model.starts[symbol + 1]);
        self.low = self.low.wrapping_add(u64::from(start) * self.range);
        self.range *= u64::from(end - start);
        while let Some(range) = narrowed(self.low, self.range) {
            self.code = self.code << 8 | u64::from(*self.bytes.next().unwrap_or(&0));
            (self.low, self.range) = (self.low << 8, range << 8);
        }
        model.saw(symbol);
        symbol
    }
}

/// The range before a byte leaves, if one is settled, or if the range is too small to wait for that.
fn narrowed(low: u64, range: u64) -> Option<u64> {
    if low ^ low.wrapping_add(range) < 1 << 56 {
        Some(range)
    } else if range < BOTTOM {
        Some(low.wrapping_neg() & (BOTTOM - 1))
    } else {
        None
    }
}

/// Writes bits, the lowest first.
#[derive(Default)]
pub struct BitWriter {
    bits: u64,
    filled: u32,
    out: Vec<u8>,
}

impl BitWriter {
    /// The `count` (below 32) lowest bits of `value`, which has no others.
    pub fn put(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << self.filled;
        self.filled += count;
        if self.filled >= 32 {
            self.out.extend((self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.filled -= 32;
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend(&self.bits.to_le_bytes()[..self.filled.div_ceil(8) as usize]);
        self.out
    }
}

/// Reads bits back.
pub struct BitReader<'a> {
    bits: u64,
    filled: u32,
    bytes: &'a [u8],
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bits: 0, filled: 0, bytes }
    }

    pub fn get(&mut self, count: u32) -> u32 {
        if self.filled < count {
            let take = self.bytes.len().min(4);
            let mut word = [0; 4];
            word[..take].copy_from_slice(&self.bytes[..take]);
            self.bytes = &self.bytes[take..];
            self.bits |= u64::from(u32::from_le_bytes(word)) << self.filled;
            self.filled += 32;
        }
        let value = self.bits as u32 & ((1 << count) - 1);
        self.bits >>= count;
        self.filled -= count;
        value
    }
}
