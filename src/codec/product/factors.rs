//! Two thin factors in small integers, and how they are written.
//!
//! Each row of the left factor has a power of two as its unit, and so has each term of the right one. The
//! numbers of a vector are symbols of rANS; vectors whose numbers are about as large share a table.

use super::super::DecodeError;
use super::super::binary::{BinaryDecoder, BinaryEncoder, Bit, code_number};
use super::super::lanes::{self, Each, GROUP, Lanes, MAX_TABLES, Task};
use super::super::payload::{Reader, put_count, put_stream};
use super::super::rans::{self, Slots};
use super::super::table::{self, Frequencies, TableModels};

/// Terms at most: decoding takes as many products a weight.
pub(super) const MAX_RANK: usize = 32;
/// Integers lie within this from zero.
pub(super) const LARGEST: i32 = 127;
/// What stands for zero.
const CENTRE: u8 = 128;
/// Exponents of rows lie in as many octaves; the first table is theirs.
pub(super) const ROW_EXPONENTS: u32 = 32;
/// Exponents lie within this from zero, and so do their sums: no product overflows.
const MAX_EXPONENT: i32 = 100;
/// Classes of vectors by how large their numbers are: half octaves.
const SIZES: usize = MAX_TABLES - 1;
const SIZE_BITS: u32 = 4;
/// log2 of the values that an exponent can have.
const EXPONENT_BITS: u32 = 8;

/// `left · right`, row by row and term by term, each in its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Factors {
    pub rank: usize,
    /// Columns, a multiple of `GROUP`.
    pub row_len: usize,
    /// log2 of the unit of the rows whose own exponent is 0.
    pub exponent: i32,
    /// How many octaves the unit of each row lies above that.
    pub row_exponents: Vec<u8>,
    /// log2 of the unit of each term of the right factor.
    pub term_exponents: Vec<i32>,
    /// Term after term, a number for each row.
    pub left: Vec<i8>,
    /// Term after term, a number for each column.
    pub right: Vec<i8>,
}

impl Factors {
    fn rows(&self) -> usize {
        self.row_exponents.len()
    }

    /// Row after row of the left factor, and term after term of the right one.
    pub fn values(&self) -> (Vec<f32>, Vec<f32>) {
        let mut left = vec![0f32; self.rows() * self.rank];
        for (term, column) in self.left.chunks_exact(self.rows().max(1)).enumerate() {
            for (row, (&number, &exponent)) in column.iter().zip(&self.row_exponents).enumerate() {
                left[row * self.rank + term] = f32::from(number) * power(self.exponent + i32::from(exponent));
            }
        }
        let terms = self.right.chunks_exact(self.row_len.max(1)).zip(&self.term_exponents);
        let right =
            terms.flat_map(|(term, &exponent)| term.iter().map(move |&it| f32::from(it) * power(exponent)));
        (left, right.collect())
    }

    /// The vectors: the rows' exponents, the terms of the left factor, those of the right one.
    fn symbols(&self) -> Vec<u8> {
        let numbers =
            self.left.iter().chain(&self.right).map(|number| number.wrapping_add(CENTRE as i8) as u8);
        self.row_exponents.iter().copied().chain(numbers).collect()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        let vectors = self.left.chunks(self.rows().max(1)).chain(self.right.chunks(self.row_len.max(1)));
        let sizes: Vec<usize> = vectors.map(size).collect();
        let mut table_of = [0u8; SIZES];
        let mut tables = 1;
        for (size, table) in table_of.iter_mut().enumerate() {
            if sizes.contains(&size) {
                (*table, tables) = (tables, tables + 1);
            }
        }
        let symbols = self.symbols();
        let spans = spans(self.rows(), self.row_len, self.rank);
        let tables_of_vectors = std::iter::once(0).chain(sizes.iter().map(|size| table_of[*size]));
        let mut tagged = Vec::with_capacity(symbols.len());
        let mut counts = vec![[0u32; 256]; usize::from(tables)];
        let mut rest = symbols.as_slice();
        for (len, table) in spans.zip(tables_of_vectors.clone()) {
            let (own, behind) = rest.split_at(len);
            own.iter().for_each(|symbol| counts[usize::from(table)][usize::from(*symbol)] += 1);
            tagged.extend(own.iter().map(|symbol| rans::tagged(table, *symbol)));
            rest = behind;
        }
        let best: Vec<_> = counts.iter().map(table::best).collect();

        put_count(out, self.rank);
        put_count(out, self.row_len);
        let mut coder = BinaryEncoder::new();
        let (mut levels_models, mut models) = (TableModels::new(), Models::new());
        models.exponent(&mut coder, self.exponent);
        for exponent in &self.term_exponents {
            models.exponent(&mut coder, *exponent);
        }
        code_number(&mut coder, &mut models.sizes, SIZE_BITS, u32::from(tables - 1));
        for table in tables_of_vectors.skip(1) {
            code_number(&mut coder, &mut models.tables, SIZE_BITS, table.into());
        }
        best.iter().for_each(|(levels, _)| levels.clone().code(&mut coder, &mut levels_models));
        put_stream(out, &coder.finish());
        let lane_bits = rans::lane_bits(tagged.len());
        out.push(lane_bits as u8);
        let frequencies: Vec<_> = best.into_iter().map(|(_, frequencies)| frequencies).collect();
        lanes::run(Pushing { tagged: &tagged, frequencies: &frequencies, lane_bits, out });
    }

    /// Reads the factors of a matrix of so many numbers.
    pub fn read(reader: &mut Reader<'_>, elements: usize) -> Result<Factors, DecodeError> {
        let (rank, row_len) = (reader.count("rank")?, reader.count("columns")?);
        let rows = elements.checked_div(row_len).unwrap_or(0);
        if rank > MAX_RANK.min(rows).min(row_len)
            || rows * row_len != elements
            || !row_len.is_multiple_of(GROUP)
        {
            return Err(DecodeError::Invalid { what: "rank or columns" });
        }
        let side = reader.stream("side information of the factors")?;
        let mut coder = BinaryDecoder::new(side);
        let (mut levels_models, mut models) = (TableModels::new(), Models::new());
        let exponent = models.exponent(&mut coder, 0);
        let term_exponents: Vec<i32> = (0..rank).map(|_| models.exponent(&mut coder, 0)).collect();
        let tables = 1 + code_number(&mut coder, &mut models.sizes, SIZE_BITS, 0) as usize;
        let vectors: Vec<u8> = std::iter::once(0)
            .chain((0..2 * rank).map(|_| code_number(&mut coder, &mut models.tables, SIZE_BITS, 0) as u8))
            .collect();
        let frequencies: Result<Vec<_>, _> =
            (0..tables).map(|_| table::read(&mut coder, &mut levels_models)).collect();
        let (rows_largest, terms_largest) =
            (exponent + ROW_EXPONENTS as i32, term_exponents.iter().copied().max().unwrap_or(0));
        if rows_largest.max(terms_largest).max(rows_largest + terms_largest) > MAX_EXPONENT
            || vectors.iter().any(|table| usize::from(*table) >= tables)
        {
            return Err(DecodeError::Invalid { what: "exponents or tables of the factors" });
        }
        let lane_bits = u32::from(reader.byte("lane bits")?);
        let tables: Vec<u8> = spans(rows, row_len, rank)
            .zip(vectors)
            .flat_map(|(len, table)| std::iter::repeat_n(table, len))
            .collect();
        let mut symbols = vec![0u8; tables.len()];
        let decoder = rans::Decoder::new(reader, lane_bits)?;
        lanes::run(Popping {
            decoder,
            slots: Slots::new(&frequencies?),
            tables: &tables,
            symbols: &mut symbols,
        })?;
        let (row_exponents, numbers) = symbols.split_at(rows);
        if row_exponents.iter().any(|exponent| u32::from(*exponent) >= ROW_EXPONENTS) {
            return Err(DecodeError::Invalid { what: "exponents of rows" });
        }
        let numbers: Vec<i8> = numbers.iter().map(|symbol| symbol.wrapping_sub(CENTRE) as i8).collect();
        let (left, right) = numbers.split_at(rows * rank);
        Ok(Factors {
            rank,
            row_len,
            exponent,
            row_exponents: row_exponents.to_vec(),
            term_exponents,
            left: left.to_vec(),
            right: right.to_vec(),
        })
    }
}

/// How many symbols each vector has.
fn spans(rows: usize, row_len: usize, rank: usize) -> impl Iterator<Item = usize> {
    std::iter::repeat_n(rows, 1 + rank).chain(std::iter::repeat_n(row_len, rank))
}

/// The class of a vector.
fn size(vector: &[i8]) -> usize {
    let sum: u32 = vector.iter().map(|number| u32::from(number.unsigned_abs())).sum();
    let mean = f64::from(sum) / vector.len().max(1) as f64;
    (2.0 * mean.max(0.25).log2() + 4.0).round().clamp(0.0, SIZES as f64 - 1.0) as usize
}

/// 2 to this.
pub(super) fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// What is known of the numbers in the side information.
struct Models {
    exponents: [Bit; 1 << EXPONENT_BITS],
    sizes: [Bit; 1 << SIZE_BITS],
    tables: [Bit; 1 << SIZE_BITS],
}

impl Models {
    fn new() -> Self {
        Self {
            exponents: [Bit::EVEN; 1 << EXPONENT_BITS],
            sizes: [Bit::EVEN; 1 << SIZE_BITS],
            tables: [Bit::EVEN; 1 << SIZE_BITS],
        }
    }

    /// Codes an exponent from −128 to 127; decoding ignores `value`.
    fn exponent<C: super::super::binary::BitCoder>(&mut self, coder: &mut C, value: i32) -> i32 {
        let coded = code_number(coder, &mut self.exponents, EXPONENT_BITS, (value + 128) as u32 & 0xff);
        (coded as i32 - 128).max(-MAX_EXPONENT)
    }
}

struct Pushing<'a> {
    tagged: &'a [u16],
    frequencies: &'a [Frequencies],
    lane_bits: u32,
    out: &'a mut Vec<u8>,
}

impl Task for Pushing<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        rans::encode(lanes, self.tagged, self.frequencies, self.lane_bits, self.out);
    }
}

struct Popping<'a> {
    decoder: rans::Decoder<'a>,
    slots: Slots,
    tables: &'a [u8],
    symbols: &'a mut [u8],
}

impl Task for Popping<'_> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        for (tables, symbols) in self.tables.chunks(GROUP).zip(self.symbols.chunks_mut(GROUP)) {
            let (mut own, mut found) = (Each::of(0), [Each::of(0)]);
            own[..tables.len()].copy_from_slice(tables);
            match tables.len() {
                GROUP => self.decoder.groups(lanes, &self.slots, &[own], &mut found)?,
                len => self.decoder.part(&self.slots, &own, &mut found[0], len)?,
            }
            symbols.copy_from_slice(&found[0][..symbols.len()]);
        }
        self.decoder.end()
    }
}
