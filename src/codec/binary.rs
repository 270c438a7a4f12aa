//! An adaptive binary range coder for side information: frequency tables and row levels.
//!
//! A small tensor has a few hundred bytes of weights, so its tables must be cheaper than any fixed
//! layout. The method is the carry-propagating coder of LZMA (Igor Pavlov, "LZMA specification"),
//! without its constant first byte and without the zeros at its end.

const PROBABILITY_BITS: u32 = 12;
const ADAPTATION: u32 = 4;
const RENORMALISE_BELOW: u32 = 1 << 24;

/// The learnt probability that a bit is zero.
#[derive(Clone, Copy)]
pub(super) struct Bit(u16);

impl Bit {
    pub const EVEN: Bit = Bit(1 << (PROBABILITY_BITS - 1));

    fn learn(&mut self, bit: bool) {
        if bit {
            self.0 -= self.0 >> ADAPTATION;
        } else {
            self.0 += ((1 << PROBABILITY_BITS) - self.0) >> ADAPTATION;
        }
    }
}

/// A coder of bits in either direction, so that a layout is written down once.
///
/// `code` returns the bit: the one given when encoding, the one read when decoding.
pub(super) trait BitCoder {
    fn code(&mut self, model: &mut Bit, bit: bool) -> bool;
}

pub(super) struct BinaryEncoder {
    out: Vec<u8>,
    low: u64,
    range: u32,
    cache: u8,
    pending: usize,
}

impl BinaryEncoder {
    pub fn new() -> Self {
        Self { out: Vec::new(), low: 0, range: u32::MAX, cache: 0, pending: 0 }
    }

    fn shift_low(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            self.out.push(self.cache.wrapping_add(carry));
            for _ in 0..self.pending {
                self.out.push(0xffu8.wrapping_add(carry));
            }
            self.pending = 0;
            self.cache = (self.low >> 24) as u8;
        } else {
            self.pending += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The stream; the decoder reads zeros behind its end.
    pub fn finish(mut self) -> Vec<u8> {
        let top = self.low + u64::from(self.range) - 1;
        let roundest = (0..32).rev().map(|bits| top >> bits << bits).find(|&value| value >= self.low);
        self.low = roundest.unwrap_or(top);
        for _ in 0..5 {
            self.shift_low();
        }
        // The first byte out is the initial cache, which no carry can reach: always zero.
        self.out.remove(0);
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl BitCoder for BinaryEncoder {
    fn code(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.0);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        while self.range < RENORMALISE_BELOW {
            self.range <<= 8;
            self.shift_low();
        }
        bit
    }
}

pub(super) struct BinaryDecoder<'a> {
    rest: std::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
}

impl<'a> BinaryDecoder<'a> {
    pub fn new(stream: &'a [u8]) -> Self {
        let mut decoder = Self { rest: stream.iter(), range: u32::MAX, code: 0 };
        for _ in 0..4 {
            decoder.shift_in();
        }
        decoder
    }

    fn shift_in(&mut self) {
        self.code = self.code << 8 | u32::from(self.rest.next().copied().unwrap_or(0));
    }
}

impl BitCoder for BinaryDecoder<'_> {
    fn code(&mut self, model: &mut Bit, _: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.0);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        while self.range < RENORMALISE_BELOW {
            self.range <<= 8;
            self.shift_in();
        }
        bit
    }
}

/// Codes the `bits` low bits of `value`, high ones first, each given those before it.
pub(super) fn code_number<C: BitCoder>(coder: &mut C, models: &mut [Bit], bits: u32, value: u32) -> u32 {
    let mut node = 1usize;
    for shift in (0..bits).rev() {
        let model = &mut models[node];
        node = node << 1 | usize::from(coder.code(model, value >> shift & 1 == 1));
    }
    node as u32 - (1 << bits)
}

/// What is known of small signed numbers around zero.
#[derive(Clone)]
pub(super) struct SignedModel {
    zero: Bit,
    negative: Bit,
    longer: [Bit; 12],
}

impl SignedModel {
    pub fn new() -> Self {
        Self { zero: Bit::EVEN, negative: Bit::EVEN, longer: [Bit::EVEN; 12] }
    }

    /// Codes `value`, whose magnitude is at most `max`.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C, value: i32, max: u32) -> i32 {
        if !coder.code(&mut self.zero, value != 0) {
            return 0;
        }
        let negative = coder.code(&mut self.negative, value < 0);
        let mut magnitude = 1;
        while magnitude < max {
            let model = &mut self.longer[(magnitude as usize - 1).min(11)];
            if !coder.code(model, value.unsigned_abs() > magnitude) {
                break;
            }
            magnitude += 1;
        }
        if negative { -(magnitude as i32) } else { magnitude as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Tables are read through this coder: a lost carry would lose the tensor.
        #[test]
        fn numbers_come_back(values in prop::collection::vec((-40i32..=40, 0u32..64), 0..400)) {
            let mut encoder = BinaryEncoder::new();
            let (mut signed, mut tree) = (SignedModel::new(), [Bit::EVEN; 64]);
            for &(value, number) in &values {
                signed.code(&mut encoder, value, 40);
                code_number(&mut encoder, &mut tree, 6, number);
            }
            let stream = encoder.finish();
            let mut decoder = BinaryDecoder::new(&stream);
            let (mut signed, mut tree) = (SignedModel::new(), [Bit::EVEN; 64]);
            for &(value, number) in &values {
                prop_assert_eq!(signed.code(&mut decoder, 0, 40), value);
                prop_assert_eq!(code_number(&mut decoder, &mut tree, 6, 0), number);
            }
        }
    }
}
