//! A string of bytes whose order says nothing: kept raw, as one value, or by how often each comes.
//!
//! Planes of numbers and bitmaps are coded with it. The first byte is the method, with the lane bits
//! of rANS above it.

use super::DecodeError;
use super::binary::{BinaryDecoder, BinaryEncoder};
use super::lanes::{self, BATCH, Each, GROUP, Lanes, Task};
use super::payload::{Reader, put_stream};
use super::rans::{self, Slots};
use super::table::{self, Frequencies, TableModels};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const RANS: u8 = 2;
const METHOD_MASK: u8 = 0x0f;
const LANE_BITS_SHIFT: u32 = 4;

/// Appends `bytes` by the method that takes least.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let counts = counts(bytes);
    if let Some(&first) = bytes.first()
        && counts[usize::from(first)] as usize == bytes.len()
    {
        out.extend_from_slice(&[CONSTANT, first]);
        return;
    }
    let start = out.len();
    if may_shrink(&counts, bytes.len()) {
        encode_rans(bytes, &counts, out);
        if out.len() - start <= bytes.len() {
            return;
        }
        out.truncate(start);
    }
    out.push(RAW);
    out.extend_from_slice(bytes);
}

fn encode_rans(bytes: &[u8], counts: &[u32; 256], out: &mut Vec<u8>) {
    let (mut levels, frequencies) = table::best(counts);
    let mut side = BinaryEncoder::new();
    levels.code(&mut side, &mut TableModels::new());
    let lane_bits = rans::lane_bits(bytes.len());
    out.push(RANS | (lane_bits as u8) << LANE_BITS_SHIFT);
    put_stream(out, &side.finish());
    lanes::run(Pushing { bytes, frequencies, lane_bits, out });
}

/// Bytes to encode with one table.
struct Pushing<'a> {
    bytes: &'a [u8],
    frequencies: Frequencies,
    lane_bits: u32,
    out: &'a mut Vec<u8>,
}

impl Task for Pushing<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        rans::encode(lanes, self.bytes, &[self.frequencies], self.lane_bits, self.out);
    }
}

/// The next `len` bytes.
pub(super) fn decode(reader: &mut Reader, len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; len];
    lanes::run(Filling { source: Source::open(reader, len)?, out: &mut out })?;
    Ok(out)
}

/// A string that is read a batch of groups at a time.
pub(super) enum Source<'a> {
    Raw(&'a [u8]),
    Constant(u8),
    Rans { slots: Slots, symbols: Box<rans::Decoder<'a>> },
}

impl<'a> Source<'a> {
    /// The next string of the payload, `len` bytes long when decoded.
    pub fn open(reader: &mut Reader<'a>, len: usize) -> Result<Self, DecodeError> {
        let method = reader.byte("method")?;
        match method & METHOD_MASK {
            RAW if method == RAW => Ok(Source::Raw(reader.take(len, "raw bytes")?)),
            CONSTANT if method == CONSTANT => Ok(Source::Constant(reader.byte("constant")?)),
            RANS => {
                let lane_bits = u32::from(method >> LANE_BITS_SHIFT);
                let side = reader.stream("frequency table")?;
                let frequencies = table::read(&mut BinaryDecoder::new(side), &mut TableModels::new())?;
                let symbols = Box::new(rans::Decoder::new(reader, lane_bits)?);
                Ok(Source::Rans { slots: Slots::new(&[frequencies]), symbols })
            }
            _ => Err(DecodeError::Invalid { what: "method" }),
        }
    }

    /// Reads the next `len` bytes, at most all of `bytes`; what lies behind them there says nothing.
    #[inline(always)]
    pub fn next<L: Lanes>(
        &mut self,
        lanes: L,
        len: usize,
        bytes: &mut [Each<u8>; BATCH],
    ) -> Result<(), DecodeError> {
        match self {
            Source::Raw(rest) => {
                let (own, behind) = rest.split_at(len.min(rest.len()));
                for (to, from) in bytes.iter_mut().zip(own.chunks(GROUP)) {
                    to[..from.len()].copy_from_slice(from);
                }
                *rest = behind;
            }
            Source::Constant(byte) => *bytes = [Each::of(*byte); BATCH],
            Source::Rans { slots, symbols } => {
                let (whole, rest) = bytes.split_at_mut(len / GROUP);
                symbols.groups(lanes, slots, &[Each::of(0); BATCH][..whole.len()], whole)?;
                if let Some(part) = rest.first_mut() {
                    symbols.part(slots, &Each::of(0), part, len % GROUP)?;
                }
            }
        }
        Ok(())
    }

    /// All must have been read.
    pub fn end(self) -> Result<(), DecodeError> {
        match self {
            Source::Rans { symbols, .. } => (*symbols).end(),
            Source::Raw(_) | Source::Constant(_) => Ok(()),
        }
    }
}

/// A string to read from beginning to end.
struct Filling<'a> {
    source: Source<'a>,
    out: &'a mut [u8],
}

impl Task for Filling<'_> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        let mut bytes = [Each::of(0); BATCH];
        for batch in self.out.chunks_mut(BATCH * GROUP) {
            self.source.next(lanes, batch.len(), &mut bytes)?;
            for (to, from) in batch.chunks_mut(GROUP).zip(&bytes) {
                to.copy_from_slice(&from[..to.len()]);
            }
        }
        self.source.end()
    }
}

/// How often each byte comes.
fn counts(bytes: &[u8]) -> [u32; 256] {
    // Four tables, because increments of one counter wait for each other.
    let mut tables = [[0u32; 256]; 4];
    let mut quads = bytes.chunks_exact(4);
    for quad in &mut quads {
        for (table, &byte) in tables.iter_mut().zip(quad) {
            table[usize::from(byte)] += 1;
        }
    }
    quads.remainder().iter().for_each(|&byte| tables[0][usize::from(byte)] += 1);
    std::array::from_fn(|byte| tables.iter().map(|table| table[byte]).sum())
}

/// Whether the entropy of the counts leaves anything to gain: most mantissas are noise.
fn may_shrink(counts: &[u32; 256], len: usize) -> bool {
    let total = len as f64;
    let present = counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count));
    let bits: f64 = present.map(|count| count * (total / count).log2()).sum();
    bits / 8.0 < total * 0.997
}
