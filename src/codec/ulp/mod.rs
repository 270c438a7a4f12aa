//! Numbers as differences to a base, in units of the last place.
//!
//! Each difference is taken between ordered integers (see `order`), given a table by its context
//! (see `context`), and cut into a high part, which is coded with rANS, and low bits, which are
//! noise and stored as they are. A high part that has no symbol is an escape and stored whole.
//! Groups of 64 weights that did not change can be left out: they cost a bit, and a copy.
//!
//! Payload (docs/format.md, "Payloads"): dtypes, flags, top exponent, grid, row length; side
//! information in one stream; the bitmap of changed groups; escapes; rANS; low bits; odd bytes.

mod groups;

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::format::Dtype;

use super::binary::{BinaryDecoder, BinaryEncoder, Bit, code_number};
use super::bits::MAX_WIDTH;
use super::cells::{CellMap, SCALES, code_starts};
use super::context::{Columns, Rows, detail};
use super::deltas::Deltas;
use super::fit::{Choice, MIN_ROW_LEN, Plan};
use super::hint::{Hint, KindMap};
use super::lanes::{self, GROUP, Lanes, MAX_TABLES, Task};
use super::order::{Order, Word, converted};
use super::payload::{Reader, put_count, put_stream};
use super::previous::Previous;
use super::product::{self, Factors, Product, Search};
use super::table::{self, Frequencies, Levels, TableModels};
use super::{Base, Codec, DecodeError, Effort, Encoded, bytes, rans};

use groups::{Streams, Undo};

const LANE_BITS_MASK: u8 = 0x07;
/// A bitmap says which groups changed; the others are left out.
const SKIPS_GROUPS: u8 = 0x08;
const HAS_ROWS: u8 = 0x10;
const HAS_GRID: u8 = 0x20;
/// Each cell has its own table, not by rule.
const BY_CELL: u8 = 0x40;
/// Columns have levels, as rows have.
const HAS_COLUMNS: u8 = 0x80;
/// A base may have this many times as many numbers, or its target.
const MOST_RESIZED: u64 = 2;
/// log2 of the shifts that a table can have.
const SHIFT_BITS: u32 = 6;

/// Encodes `target` against `base`, or `None` when they are not about as many numbers of related types.
///
/// A base that is shorter is followed by zeros, of a longer one the end is left out: rows that were added to
/// an embedding, or taken away, stand at its end. The same holds for `previous`, what the base was made of;
/// it is used where that saves enough, unless a product (see `product`) is found, if it is looked for.
pub(super) fn encode(
    target: &[u8],
    dtype: Dtype,
    row_len: u64,
    base: Base<'_>,
    previous: Option<Base<'_>>,
    product: Option<Search>,
) -> Option<Encoded> {
    let ours = target.len() / dtype.width();
    let row_len = usize::try_from(row_len).ok()?;
    let base_dtype = base.dtype;
    let base = like_target(base.bytes, base.dtype, dtype, ours).ok()?;
    let previous_dtype = previous.map(|previous| previous.dtype);
    let previous = previous.and_then(|it| like_target(it.bytes, it.dtype, dtype, ours).ok());
    let previous = previous_dtype.zip(previous.as_deref());
    let encoding = Encoding { target, dtype, base_dtype, row_len, base: &base, previous, product };
    Some(match dtype.width() {
        1 => lanes::run(encoding.of::<u8>()),
        2 => lanes::run(encoding.of::<u16>()),
        4 => lanes::run(encoding.of::<u32>()),
        _ => lanes::run(encoding.of::<u64>()),
    })
}

/// What a payload was encoded with, beside the base.
#[derive(Clone, Copy)]
pub(super) enum Beside<'a> {
    Nothing,
    /// What the base was made of.
    Previous(&'a [u8]),
    /// Factors, in the payload.
    Product,
    Both(&'a [u8]),
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(
    payload: &[u8],
    base: &[u8],
    beside: Beside<'_>,
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let dtypes = reader.byte("dtypes")?;
    let (dtype, base_dtype) = (dtype_of(dtypes & 15)?, dtype_of(dtypes >> 4)?);
    let expected = decoded_len / dtype.width();
    let base = like_target(base, base_dtype, dtype, expected)?;
    let previous = match beside {
        Beside::Previous(bytes) | Beside::Both(bytes) => {
            let previous_dtype = dtype_of(reader.byte("dtype of the base's base")?)?;
            Some(like_target(bytes, previous_dtype, dtype, expected)?)
        }
        Beside::Nothing | Beside::Product => None,
    };
    let factors = match beside {
        Beside::Product | Beside::Both(_) => Some(Factors::read(&mut reader, expected)?),
        Beside::Nothing | Beside::Previous(_) => None,
    };
    let beside = Known { previous, factors };
    match dtype.width() {
        1 => decode_words::<u8>(reader, dtype, &base, &beside, decoded_len),
        2 => decode_words::<u16>(reader, dtype, &base, &beside, decoded_len),
        4 => decode_words::<u32>(reader, dtype, &base, &beside, decoded_len),
        _ => decode_words::<u64>(reader, dtype, &base, &beside, decoded_len),
    }
}

/// The same, read.
struct Known<'a> {
    previous: Option<Cow<'a, [u8]>>,
    factors: Option<Factors>,
}

fn dtype_of(tag: u8) -> Result<Dtype, DecodeError> {
    Dtype::from_tag(tag).ok_or(DecodeError::Invalid { what: "dtype" })
}

/// The numbers of a base as so many of the target's dtype.
fn like_target(base: &[u8], from: Dtype, to: Dtype, elements: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    let found = base.len() / from.width();
    if found != elements && !may_be_resized(found as u64, elements as u64) {
        return Err(DecodeError::Length { what: "elements of the base", expected: elements, found });
    }
    let base = converted(base, from, to).ok_or(DecodeError::Invalid { what: "pair of dtypes" })?;
    Ok(of_length(base, elements * to.width()))
}

/// Whether two tensors of so many numbers may be one, with rows added at its end.
pub fn may_be_resized(one: u64, other: u64) -> bool {
    let (fewer, more) = (one.min(other), one.max(other));
    fewer > 0 && more <= MOST_RESIZED.saturating_mul(fewer)
}

/// The first `len` bytes of a base, or all with zeros behind.
fn of_length(base: Cow<'_, [u8]>, len: usize) -> Cow<'_, [u8]> {
    match (base, len) {
        (base, len) if base.len() == len => base,
        (Cow::Borrowed(base), len) if base.len() > len => Cow::Borrowed(&base[..len]),
        (base, len) => {
            let mut base = base.into_owned();
            base.resize(len, 0);
            Cow::Owned(base)
        }
    }
}

/// Numbers, and the base as numbers of the same type.
#[derive(Clone, Copy)]
struct Encoding<'a> {
    target: &'a [u8],
    dtype: Dtype,
    base_dtype: Dtype,
    row_len: usize,
    base: &'a [u8],
    /// The same of what the base was made of, with what its dtype was.
    previous: Option<(Dtype, &'a [u8])>,
    product: Option<Search>,
}

/// The same, of elements as wide as `W`.
struct EncodingOf<'a, W>(Encoding<'a>, PhantomData<W>);

impl<'a> Encoding<'a> {
    fn of<W: Word>(self) -> EncodingOf<'a, W> {
        EncodingOf(self, PhantomData)
    }
}

impl<W: Word> Task for EncodingOf<'_, W> {
    type Output = Encoded;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Encoded {
        let Encoding { target, dtype, base_dtype, row_len, base, previous, product } = self.0;
        let width = dtype.width();
        let (target, tail) = target.split_at(target.len() / width * width);
        let grid_bits = grid_bits::<W>(target, dtype);
        let order = Order::<W>::new(dtype, grid_bits);
        let base = snapped(&base[..target.len()], &order, grid_bits);
        let mut deltas = Deltas::new(lanes, &order, target, &base);
        // Where most weights stayed as they were, there is little to expect.
        let may_agree = grid_bits == 0 && !deltas.skips_groups();
        // No closure: it would be compiled for any machine.
        let factors = match product {
            Some(search) if may_agree => product::fit::<W>(target, &base, dtype, row_len, search),
            _ => None,
        };
        // A push has the one or the other.
        let is_push = product.is_some_and(|search| search.effort == Effort::Push);
        let previous = previous.filter(|_| factors.is_none() || !is_push);
        let product = factors.as_ref().and_then(|factors| Product::new(factors, dtype));
        let snapped_previous =
            previous.map(|(dtype, bytes)| (dtype, snapped(&bytes[..target.len()], &order, grid_bits)));
        match (&product, &snapped_previous) {
            (Some(product), Some((_, bytes))) => {
                deltas.expect(Hint::Both(product, Previous::new(&order, bytes)));
            }
            (Some(product), None) => deltas.expect(Hint::Product(product)),
            (None, Some((_, bytes))) => deltas.expect(Hint::Previous(Previous::new(&order, bytes))),
            (None, None) => (),
        }
        let plan = Plan::fit(&deltas, row_len);
        let mut streams = Streams::cut(&deltas, &plan);
        streams.escape_rare::<W>();
        let tables: Vec<_> = streams.counts.iter().map(table::best).collect();

        let lane_bits = rans::lane_bits(streams.symbols.len());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let chain = snapped_previous.as_ref().filter(|_| plan.kinds.is_some()).map(|(dtype, _)| *dtype);
        let mut out = vec![dtype as u8 | (base_dtype as u8) << 4];
        out.extend(chain.map(|dtype| dtype as u8));
        if let Some(factors) = &factors {
            factors.put(&mut out);
        }
        out.push(
            lane_bits as u8
                | flag(deltas.skips_groups(), SKIPS_GROUPS)
                | flag(plan.detail().has_rows(), HAS_ROWS)
                | flag(plan.detail().has_columns(), HAS_COLUMNS)
                | flag(matches!(plan.choice, Choice::ByCell(_)), BY_CELL)
                | flag(grid_bits > 0, HAS_GRID),
        );
        put_count(&mut out, deltas.top() as usize);
        if grid_bits > 0 {
            out.push(grid_bits as u8);
        }
        if let Some(rows) = plan.contexts.rows() {
            put_count(&mut out, rows.row_len);
        }
        put_stream(&mut out, &encode_side(&plan, &tables));
        if deltas.skips_groups() {
            bytes::encode(&deltas.bitmap(), &mut out);
        }
        put_count(&mut out, streams.escapes.len() / width);
        out.extend_from_slice(&streams.escapes);
        let frequencies: Vec<_> = tables.into_iter().map(|(_, frequencies)| frequencies).collect();
        rans::encode(lanes, &streams.symbols, &frequencies, lane_bits, &mut out);
        out.extend_from_slice(&streams.low_bits.finish());
        out.extend_from_slice(tail);
        let codec = match (factors, chain) {
            (Some(_), Some(_)) => Codec::UlpProductChain,
            (Some(_), None) => Codec::UlpProduct,
            (None, Some(_)) => Codec::UlpChain,
            (None, None) => Codec::Ulp,
        };
        Encoded { codec, payload: out }
    }
}

fn decode_words<W: Word>(
    mut reader: Reader,
    dtype: Dtype,
    base: &[u8],
    beside: &Known<'_>,
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let width = dtype.width();
    let elements = decoded_len / width;
    let flags = reader.byte("flags")?;
    let lane_bits = u32::from(flags & LANE_BITS_MASK);
    // Columns are told apart within rows, and only cell by cell.
    let needs = |flag: u8, other: u8| flags & flag == 0 || flags & other == other;
    if !needs(HAS_COLUMNS, HAS_ROWS | BY_CELL) {
        return Err(DecodeError::Invalid { what: "flags" });
    }
    let top = reader.count("top exponent")? as u32;
    let grid_bits = if flags & HAS_GRID != 0 { u32::from(reader.byte("grid")?) } else { 0 };
    if grid_bits >= W::BITS {
        return Err(DecodeError::Invalid { what: "grid" });
    }
    let order = Order::<W>::new(dtype, grid_bits);
    let rows = (flags & HAS_ROWS != 0)
        .then(|| read_row_len(&mut reader, elements, flags & HAS_COLUMNS != 0))
        .transpose()?;
    let side = reader.stream("side information")?;
    let side = decode_side(
        side,
        top,
        rows,
        flags & BY_CELL != 0,
        beside.previous.is_some() || beside.factors.is_some(),
    )?;
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
    let low_bits = reader.take(low_len, "low bits")?;

    let base = snapped(&base[..elements * width], &order, grid_bits);
    let previous =
        beside.previous.as_ref().map(|bytes| snapped(&bytes[..elements * width], &order, grid_bits));
    let previous = previous.as_deref().map(|bytes| Previous::new(&order, bytes));
    let product = beside.factors.as_ref().map(|factors| {
        Product::new(factors, dtype)
            .ok_or(DecodeError::Invalid { what: "product beside a type without fractions" })
    });
    let product = product.transpose()?;
    let hint = match (&product, previous) {
        (Some(product), Some(previous)) => Some(Hint::Both(product, previous)),
        (Some(product), None) => Some(Hint::Product(product)),
        (None, previous) => previous.map(Hint::Previous),
    };
    let tail = reader.take(tail_len, "odd bytes")?;
    reader.end()?;
    let mut out = Vec::with_capacity(decoded_len);
    let bitmap = bitmap.as_deref();
    let base = &base;
    lanes::run(Undo { order, side, bitmap, symbols, escapes, low_bits, base, hint, out: &mut out })?;
    out.extend_from_slice(tail);
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
    top: u32,
    map: CellMap,
    kinds: Option<KindMap>,
    frequencies: Vec<Frequencies>,
    shifts: [u32; MAX_TABLES],
    rows: Option<Rows>,
}

fn encode_side<W: Word>(plan: &Plan<W>, tables: &[(Levels, Frequencies)]) -> Vec<u8> {
    let mut coder = BinaryEncoder::new();
    let mut models = (TableModels::new(), [Bit::EVEN; 1 << SHIFT_BITS]);
    match &plan.choice {
        Choice::ByScale(starts) => code_starts(&mut coder, SCALES, &mut starts.clone())
            .expect("because a plan has no more tables than may be"),
        Choice::ByCell(tables) => drop(plan.map.clone().code(&mut coder, plan.detail(), *tables)),
    }
    if let Some(kinds) = &plan.kinds {
        kinds.code(&mut coder).expect("because a plan has no more tables than may be");
    }
    for ((levels, _), &shift) in tables.iter().zip(&plan.shifts) {
        code_number(&mut coder, &mut models.1, SHIFT_BITS, shift);
        levels.clone().code(&mut coder, &mut models.0);
    }
    if let Some(rows) = plan.contexts.rows() {
        rows.clone().code(&mut coder);
    }
    coder.finish()
}

fn decode_side(
    stream: &[u8],
    top: u32,
    mut rows: Option<Rows>,
    by_cell: bool,
    by_kind: bool,
) -> Result<Side, DecodeError> {
    let mut coder = BinaryDecoder::new(stream);
    let mut models = (TableModels::new(), [Bit::EVEN; 1 << SHIFT_BITS]);
    let (map, tables) = if by_cell {
        let mut map = CellMap::by_scale(&[]);
        let tables = map.code(&mut coder, detail(rows.as_ref()), 1);
        (map, tables)
    } else {
        let mut starts = Vec::new();
        code_starts(&mut coder, SCALES, &mut starts)?;
        (CellMap::by_scale(&starts), starts.len() + 1)
    };
    let kinds = by_kind.then(|| KindMap::new(Vec::new()).code(&mut coder)).transpose()?;
    let tables = kinds.as_ref().map_or(tables, KindMap::tables);
    let mut shifts = [0; MAX_TABLES];
    let mut frequencies = Vec::with_capacity(tables);
    for shift in &mut shifts[..tables] {
        *shift = code_number(&mut coder, &mut models.1, SHIFT_BITS, 0);
        if *shift > MAX_WIDTH {
            return Err(DecodeError::Invalid { what: "shift" });
        }
        frequencies.push(table::read(&mut coder, &mut models.0)?);
    }
    if let Some(rows) = &mut rows {
        rows.code(&mut coder);
    }
    Ok(Side { top, map, kinds, frequencies, shifts, rows })
}

fn read_row_len(reader: &mut Reader, elements: usize, has_columns: bool) -> Result<Rows, DecodeError> {
    let row_len = reader.count("row length")?;
    // A row is at least a few weights, and one of them fits, so that levels take a fraction of the memory
    // of the result.
    if row_len < MIN_ROW_LEN || has_columns && row_len > elements {
        return Err(DecodeError::Invalid { what: "row length" });
    }
    let columns = has_columns.then(|| Columns::new(&vec![0; row_len]));
    Ok(Rows { row_len, levels: vec![0; elements.div_ceil(row_len)], columns })
}
