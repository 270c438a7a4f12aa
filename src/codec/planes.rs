//! Numbers without a base: each byte of an element in a plane of its own.
//!
//! The exponents of weights are few and far from equally likely, their mantissas are noise. Floats of
//! more than one byte are rotated left by one bit, so that the exponent of an 8-bit-exponent type fills the top byte
//! and the sign joins the mantissa. A bf16 tensor comes to two thirds; an f32 tensor that was bf16
//! has two planes of zeros, which cost two bytes each.
//!
//! Payload: dtype (one byte), the planes from the lowest byte on (see `bytes`), the odd bytes
//! behind the last whole element.

use std::marker::PhantomData;

use crate::format::Dtype;

use super::DecodeError;
use super::bytes::{self, Source};
use super::lanes::{self, BATCH, Each, GROUP, Lanes, Task};
use super::order::{Word, is_float};
use super::payload::Reader;

const SAMPLE_BYTES: usize = 64 << 10;

/// Encodes numbers of `dtype`.
pub(super) fn encode(numbers: &[u8], dtype: Dtype) -> Vec<u8> {
    let (whole, tail) = numbers.split_at(numbers.len() / dtype.width() * dtype.width());
    let rotate = is_rotated(dtype);
    let planes = match dtype.width() {
        1 => lanes::run(Split::<u8>(whole, rotate, PhantomData)),
        2 => lanes::run(Split::<u16>(whole, rotate, PhantomData)),
        4 => lanes::run(Split::<u32>(whole, rotate, PhantomData)),
        _ => lanes::run(Split::<u64>(whole, rotate, PhantomData)),
    };
    let mut out = Vec::with_capacity(numbers.len() / 2);
    out.push(dtype as u8);
    planes.iter().for_each(|plane| bytes::encode(plane, &mut out));
    out.extend_from_slice(tail);
    out
}

/// Floats are; those of one byte have one plane, whatever the order of its bits.
fn is_rotated(dtype: Dtype) -> bool {
    is_float(dtype) && dtype.width() > 1
}

/// About what `encode` would take, from a sample.
pub(super) fn estimate(numbers: &[u8], dtype: Dtype) -> f64 {
    let sample = sample(numbers);
    let share = numbers.len() as f64 / sample.len().max(1) as f64;
    share * encode(sample, dtype).len() as f64
}

/// The middle of an array; aligned to the widest type.
pub(super) fn sample(numbers: &[u8]) -> &[u8] {
    let start = numbers.len().saturating_sub(SAMPLE_BYTES) / 2 / 8 * 8;
    &numbers[start..(start + SAMPLE_BYTES).min(numbers.len())]
}

/// Numbers to split into planes, and whether to rotate them before.
struct Split<'a, W>(&'a [u8], bool, PhantomData<W>);

impl<W: Word> Task for Split<'_, W> {
    type Output = Vec<Vec<u8>>;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Vec<Vec<u8>> {
        let Self(numbers, rotate, _) = self;
        let width = W::BITS as usize / 8;
        let mut planes = vec![Vec::with_capacity(numbers.len() / width); width];
        for group in numbers.chunks(GROUP * width) {
            let mut words = W::load_group(group);
            if rotate {
                words.iter_mut().for_each(|word| *word = word.shl(1).or(word.shr(W::BITS - 1)));
            }
            for (shift, plane) in (0..W::BITS).step_by(8).zip(&mut planes) {
                let mut bytes = Each::of(0);
                bytes.iter_mut().zip(&words).for_each(|(byte, word)| *byte = word.shr(shift).low_byte());
                plane.extend_from_slice(&bytes[..group.len() / width]);
            }
        }
        planes
    }
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtype = Dtype::from_tag(reader.byte("dtype")?).ok_or(DecodeError::Invalid { what: "dtype" })?;
    let (width, rotated) = (dtype.width(), is_rotated(dtype));
    let elements = decoded_len / width;
    let planes = (0..width).map(|_| Source::open(&mut reader, elements)).collect::<Result<Vec<_>, _>>()?;
    let tail = reader.take(decoded_len - elements * width, "odd bytes")?;
    reader.end()?;
    let mut out = Vec::with_capacity(decoded_len);
    match width {
        1 => lanes::run(Join::<u8>(planes, rotated, elements, &mut out, PhantomData))?,
        2 => lanes::run(Join::<u16>(planes, rotated, elements, &mut out, PhantomData))?,
        4 => lanes::run(Join::<u32>(planes, rotated, elements, &mut out, PhantomData))?,
        _ => lanes::run(Join::<u64>(planes, rotated, elements, &mut out, PhantomData))?,
    }
    out.extend_from_slice(tail);
    Ok(out)
}

/// Planes to join, whether they were rotated before, how many numbers they are, and where these go.
struct Join<'a, W>(Vec<Source<'a>>, bool, usize, &'a mut Vec<u8>, PhantomData<W>);

impl<W: Word> Task for Join<'_, W> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Result<(), DecodeError> {
        let Self(mut planes, rotated, elements, out, _) = self;
        let mut bytes = [[Each::of(0); BATCH]; size_of::<u64>()];
        for start in (0..elements).step_by(BATCH * GROUP) {
            let len = (BATCH * GROUP).min(elements - start);
            for (bytes, plane) in bytes.iter_mut().zip(&mut planes) {
                plane.next(lanes, len, bytes)?;
            }
            for (number, start) in (0..len).step_by(GROUP).enumerate() {
                let mut words = Each::of(W::default());
                for (shift, bytes) in (0..W::BITS).step_by(8).zip(&bytes) {
                    for (word, &byte) in words.iter_mut().zip(&bytes[number]) {
                        *word = word.or(W::from_u64(u64::from(byte)).shl(shift));
                    }
                }
                if rotated {
                    words.iter_mut().for_each(|word| *word = word.shr(1).or(word.shl(W::BITS - 1)));
                }
                W::append_group(&words, GROUP.min(len - start), out);
            }
        }
        planes.into_iter().try_for_each(Source::end)
    }
}
