//! Numbers as differences to a base, in units of the last place.
//!
//! Each difference is taken between ordered integers (see `order`), given a table by its context
//! (see `context`), and cut into a high part, which is coded with rANS, and low bits, which are
//! noise and stored as they are. A high part that has no symbol is an escape and stored whole.
//! Groups of 64 weights that did not change can be left out: they cost a bit, and a copy.
//!
//! Payload (docs/format.md, "Payloads"): dtypes, flags, top exponent, grid, row length; side
//! information in one stream; the bitmap of changed groups; escapes; rANS; low bits; odd bytes.

use std::borrow::Cow;

use crate::format::Dtype;

use super::binary::{BinaryDecoder, BinaryEncoder, Bit, code_number};
use super::bits::{BitReader, BitWriter, MAX_WIDTH};
use super::context::{Contexts, Rows, Scales};
use super::fit::{self, Model};
use super::order::{Order, Word, converted};
use super::payload::{Reader, put_count, put_stream};
use super::rans::{self, GROUP, MAX_LANE_BITS, MAX_TABLES, Slots};
use super::table::{Frequencies, TableModels, read as read_table};
use super::{Base, DecodeError, bytes};

/// Symbols are high parts plus this.
pub(super) const CENTRE: i64 = 128;
/// The symbol of a high part that has none; its own value, −128, is never used.
pub(super) const ESCAPE: u8 = 0;

const LANE_BITS_MASK: u8 = 0x07;
/// A bitmap says which groups changed; the others are left out.
const SKIPS_GROUPS: u8 = 0x08;
const HAS_ROWS: u8 = 0x10;
const HAS_GRID: u8 = 0x20;
const KNOWN_FLAGS: u8 = LANE_BITS_MASK | SKIPS_GROUPS | HAS_ROWS | HAS_GRID;
/// log2 of the shifts that a table can have.
const SHIFT_BITS: u32 = 6;

/// Encodes `target` against `base`, or `None` when they are not as many numbers of related types.
pub(super) fn encode(target: &[u8], dtype: Dtype, row_len: u64, base: Base<'_>) -> Option<Vec<u8>> {
    if base.bytes.len() / base.dtype.width() != target.len() / dtype.width() {
        return None;
    }
    let row_len = usize::try_from(row_len).ok()?;
    let converted = converted(base.bytes, base.dtype, dtype)?;
    let head = [dtype as u8 | (base.dtype as u8) << 4];
    Some(match dtype.width() {
        1 => encode_words::<u8>(&head, target, dtype, row_len, &converted),
        2 => encode_words::<u16>(&head, target, dtype, row_len, &converted),
        4 => encode_words::<u32>(&head, target, dtype, row_len, &converted),
        _ => encode_words::<u64>(&head, target, dtype, row_len, &converted),
    })
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtypes = reader.byte("dtypes")?;
    let dtype = |tag| Dtype::from_tag(tag).ok_or(DecodeError::Invalid { what: "dtype" });
    let (dtype, base_dtype) = (dtype(dtypes & 15)?, dtype(dtypes >> 4)?);
    let (found, expected) = (base.len() / base_dtype.width(), decoded_len / dtype.width());
    if found != expected {
        return Err(DecodeError::Length { what: "elements of the base", expected, found });
    }
    let base = converted(base, base_dtype, dtype).ok_or(DecodeError::Invalid { what: "pair of dtypes" })?;
    match dtype.width() {
        1 => decode_words::<u8>(reader, dtype, &base, decoded_len),
        2 => decode_words::<u16>(reader, dtype, &base, decoded_len),
        4 => decode_words::<u32>(reader, dtype, &base, decoded_len),
        _ => decode_words::<u64>(reader, dtype, &base, decoded_len),
    }
}

fn encode_words<W: Word>(head: &[u8], target: &[u8], dtype: Dtype, row_len: usize, base: &[u8]) -> Vec<u8> {
    let width = dtype.width();
    let (target, tail) = target.split_at(target.len() / width * width);
    let grid_bits = grid_bits::<W>(target, dtype);
    let order = Order::<W>::new(dtype, grid_bits);
    let base = snapped(&base[..target.len()], &order, grid_bits);
    let deltas = fit::Deltas::new(&order, target, &base);
    let model = Model::fit(&deltas, row_len);

    let lane_bits = rans::lane_bits(deltas.changed_groups() * GROUP);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut out = head.to_vec();
    out.push(
        lane_bits as u8
            | flag(deltas.skips_groups(), SKIPS_GROUPS)
            | flag(model.rows.is_some(), HAS_ROWS)
            | flag(grid_bits > 0, HAS_GRID),
    );
    put_count(&mut out, model.scales.top as usize);
    if grid_bits > 0 {
        out.push(grid_bits as u8);
    }
    if let Some(rows) = &model.rows {
        put_count(&mut out, rows.row_len);
    }
    put_stream(&mut out, &encode_side(&model));
    if deltas.skips_groups() {
        bytes::encode(&deltas.bitmap(), &mut out);
    }
    let streams = Streams::new(&deltas, &model);
    put_count(&mut out, streams.escapes.len() / width);
    out.extend_from_slice(&streams.escapes);
    rans::encode(&streams.symbols, &model.frequencies, lane_bits, &mut out);
    out.extend_from_slice(&streams.low_bits.finish());
    out.extend_from_slice(tail);
    out
}

fn decode_words<W: Word>(
    mut reader: Reader,
    dtype: Dtype,
    base: &[u8],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let width = dtype.width();
    let elements = decoded_len / width;
    let flags = reader.byte("flags")?;
    let lane_bits = u32::from(flags & LANE_BITS_MASK);
    if flags & !KNOWN_FLAGS != 0 || lane_bits > MAX_LANE_BITS {
        return Err(DecodeError::Invalid { what: "flags" });
    }
    let top = reader.count("top exponent")? as u32;
    let grid_bits = if flags & HAS_GRID != 0 { u32::from(reader.byte("grid")?) } else { 0 };
    if grid_bits >= W::BITS {
        return Err(DecodeError::Invalid { what: "grid" });
    }
    let rows = (flags & HAS_ROWS != 0).then(|| read_row_len(&mut reader, elements)).transpose()?;
    let side = decode_side(reader.stream("side information")?, top, rows)?;
    let groups = elements.div_ceil(GROUP);
    let bitmap =
        (flags & SKIPS_GROUPS != 0).then(|| bytes::decode(&mut reader, groups.div_ceil(8))).transpose()?;
    let escapes = reader.count("escape count")?;
    let escapes = reader.take(escapes.saturating_mul(width), "escapes")?;
    let symbols = rans::Decoder::new(&mut reader, lane_bits)?;
    let tail_len = decoded_len - elements * width;
    let low_len = reader.remaining().checked_sub(tail_len).ok_or(DecodeError::Truncated {
        what: "odd bytes",
        expected: tail_len,
        found: reader.remaining(),
    })?;
    let low_bits = BitReader::new(reader.take(low_len, "low bits")?);

    let order = Order::<W>::new(dtype, grid_bits);
    let base = snapped(&base[..elements * width], &order, grid_bits);
    let mut out = vec![0; decoded_len];
    let (whole, tail) = out.split_at_mut(elements * width);
    let mut decoder = GroupDecoder {
        order,
        contexts: Contexts::new(&side.scales, side.rows.as_ref()),
        slots: Slots::new(&side.frequencies),
        shifts: side.shifts,
        shifted: side.shifts.iter().any(|&shift| shift > 0),
        symbols,
        escapes: escapes.chunks_exact(width),
        low_bits,
    };
    let pairs = base.chunks(GROUP * width).zip(whole.chunks_mut(GROUP * width));
    for (group, (base, out)) in pairs.enumerate() {
        let changed = bitmap.as_ref().is_none_or(|bitmap| bitmap[group / 8] >> (group % 8) & 1 == 1);
        if changed {
            decoder.group(group, base, out)?;
        } else if grid_bits > 0 {
            decoder.copy(base, out);
        } else {
            out.copy_from_slice(base);
        }
    }
    tail.copy_from_slice(reader.take(tail_len, "odd bytes")?);
    decoder.end()?;
    Ok(out)
}

/// Low bits that are zero in all numbers: 16 in an f32 tensor that was bf16.
fn grid_bits<W: Word>(target: &[u8], dtype: Dtype) -> u32 {
    let ones = target.chunks_exact(dtype.width()).fold(0, |ones, element| ones | W::load(element).to_u64());
    let most = match dtype {
        Dtype::F64 => 52,
        Dtype::F32 => 23,
        Dtype::F16 => 10,
        Dtype::Bf16 => 7,
        _ => 0,
    };
    ones.trailing_zeros().min(most)
}

/// The base rounded to what the target can hold; this is how the target would have been rounded.
fn snapped<'a, W: Word>(base: &'a [u8], order: &Order<W>, grid_bits: u32) -> Cow<'a, [u8]> {
    if grid_bits == 0 {
        return Cow::Borrowed(base);
    }
    let mut out = base.to_vec();
    for element in out.chunks_exact_mut(W::BITS as usize / 8) {
        order.snap(W::load(element)).store(element);
    }
    Cow::Owned(out)
}

/// The tables and rows, as `decode_side` reads them.
struct Side {
    scales: Scales,
    frequencies: Vec<Frequencies>,
    shifts: [u32; MAX_TABLES],
    rows: Option<Rows>,
}

fn encode_side(model: &Model) -> Vec<u8> {
    let mut coder = BinaryEncoder::new();
    let mut models = (TableModels::new(), [Bit::EVEN; 1 << SHIFT_BITS]);
    model.scales.clone().code(&mut coder).expect("because the model has no more tables than may be");
    for (levels, &shift) in model.levels.iter().zip(&model.shifts) {
        code_number(&mut coder, &mut models.1, SHIFT_BITS, shift);
        levels.clone().code(&mut coder, &mut models.0);
    }
    if let Some(rows) = &model.rows {
        rows.clone().code(&mut coder);
    }
    coder.finish()
}

fn decode_side(stream: &[u8], top: u32, mut rows: Option<Rows>) -> Result<Side, DecodeError> {
    let mut coder = BinaryDecoder::new(stream);
    let mut models = (TableModels::new(), [Bit::EVEN; 1 << SHIFT_BITS]);
    let mut scales = Scales::apart(top);
    let tables = scales.code(&mut coder)?;
    let mut shifts = [0; MAX_TABLES];
    let mut frequencies = Vec::with_capacity(tables);
    for shift in &mut shifts[..tables] {
        *shift = code_number(&mut coder, &mut models.1, SHIFT_BITS, 0);
        if *shift > MAX_WIDTH {
            return Err(DecodeError::Invalid { what: "shift" });
        }
        frequencies.push(read_table(&mut coder, &mut models.0)?);
    }
    if let Some(rows) = &mut rows {
        rows.code(&mut coder);
    }
    Ok(Side { scales, frequencies, shifts, rows })
}

fn read_row_len(reader: &mut Reader, elements: usize) -> Result<Rows, DecodeError> {
    let row_len = reader.count("row length")?;
    // A row is at least a few weights, so that levels take a fraction of the memory of the result.
    if row_len < fit::MIN_ROW_LEN {
        return Err(DecodeError::Invalid { what: "row length" });
    }
    Ok(Rows { row_len, levels: vec![0; elements.div_ceil(row_len)] })
}

/// What the differences are cut into.
struct Streams {
    symbols: Vec<u16>,
    low_bits: BitWriter,
    escapes: Vec<u8>,
}

impl Streams {
    fn new<W: Word>(deltas: &fit::Deltas<W>, model: &Model) -> Self {
        let mut streams = Self {
            symbols: Vec::with_capacity(deltas.changed_groups() * GROUP),
            low_bits: BitWriter::default(),
            escapes: Vec::new(),
        };
        let contexts = Contexts::new(&model.scales, model.rows.as_ref());
        let shifted = model.shifts.iter().any(|&shift| shift > 0);
        let mut shifts = [0; MAX_TABLES];
        shifts[..model.shifts.len()].copy_from_slice(&model.shifts);
        // A symbol that no table has, for what the sample behind the tables did not meet.
        let known: Vec<[bool; 256]> = model.frequencies.iter().map(|table| table.0.map(|f| f > 0)).collect();
        let mut tables = [0; GROUP];
        deltas.each_changed(1, |group, base, differences| {
            contexts.fill(group, deltas.order(), base, &mut tables);
            for (&difference, &table) in differences.iter().zip(&tables) {
                let shift = shifts[usize::from(table) % MAX_TABLES];
                let high = difference.sar(shift);
                let symbol = high.to_i64().wrapping_add(CENTRE);
                let symbol = if (1..256).contains(&symbol) { symbol as u8 } else { ESCAPE };
                let symbol = if known[usize::from(table)][usize::from(symbol)] { symbol } else { ESCAPE };
                streams.symbols.push(rans::tagged(table, symbol));
                if symbol == ESCAPE {
                    streams.escapes.extend_from_slice(&high.to_u64().to_le_bytes()[..W::BITS as usize / 8]);
                }
                if shifted {
                    streams.low_bits.put(difference.to_u64() & ((1 << shift) - 1), shift);
                }
            }
        });
        streams
    }
}

/// The streams of one payload while its groups are read.
struct GroupDecoder<'a, W> {
    order: Order<W>,
    contexts: Contexts<'a>,
    slots: Slots,
    shifts: [u32; MAX_TABLES],
    /// Whether any table leaves low bits to their stream.
    shifted: bool,
    symbols: rans::Decoder<'a>,
    escapes: std::slice::ChunksExact<'a, u8>,
    low_bits: BitReader<'a>,
}

impl<W: Word> GroupDecoder<'_, W> {
    fn group(&mut self, group: usize, base: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        let width = W::BITS as usize / 8;
        let len = out.len() / width;
        let mut weights = [W::default(); GROUP];
        for (weight, element) in weights.iter_mut().zip(base.chunks_exact(width)) {
            *weight = W::load(element);
        }
        let (mut tables, mut symbols) = ([0; GROUP], [0; GROUP]);
        self.contexts.fill(group, &self.order, &weights, &mut tables);
        if len == GROUP {
            self.symbols.group(&self.slots, &tables, &mut symbols)?;
        } else {
            self.symbols.part(&self.slots, &tables, &mut symbols, len)?;
        }
        let mut differences = [W::default(); GROUP];
        for (difference, &symbol) in differences.iter_mut().zip(&symbols) {
            *difference = W::from_u64((i64::from(symbol) - CENTRE) as u64);
        }
        self.escapes(&symbols[..len], &mut differences)?;
        if self.shifted {
            for (difference, &table) in differences[..len].iter_mut().zip(&tables) {
                let shift = self.shifts[usize::from(table) % MAX_TABLES];
                if shift > 0 {
                    let low = self.low_bits.take(shift);
                    *difference = W::from_u64(difference.to_u64() << shift | low);
                }
            }
        }
        for ((element, &weight), &difference) in out.chunks_exact_mut(width).zip(&weights).zip(&differences) {
            self.order.apply(difference, weight).store(element);
        }
        Ok(())
    }

    fn escapes(&mut self, symbols: &[u8], differences: &mut [W; GROUP]) -> Result<(), DecodeError> {
        if !symbols.contains(&ESCAPE) {
            return Ok(());
        }
        for (difference, _) in differences.iter_mut().zip(symbols).filter(|(_, symbol)| **symbol == ESCAPE) {
            let missing = DecodeError::Truncated { what: "escapes", expected: 1, found: 0 };
            *difference = W::load(self.escapes.next().ok_or(missing)?);
        }
        Ok(())
    }

    /// Weights that did not change, where the base had to be rounded.
    fn copy(&self, base: &[u8], out: &mut [u8]) {
        let width = W::BITS as usize / 8;
        for (element, base) in out.chunks_exact_mut(width).zip(base.chunks_exact(width)) {
            self.order.apply(W::default(), W::load(base)).store(element);
        }
    }

    fn end(mut self) -> Result<(), DecodeError> {
        self.symbols.end()?;
        self.low_bits.end()?;
        match self.escapes.next() {
            None => Ok(()),
            Some(_) => Err(DecodeError::Invalid { what: "escapes that nothing refers to" }),
        }
    }
}
