//! Cells by those of another column in the same rows.
//!
//! What stood beside a value of the other column is mostly what stands beside it again: a code beside its name, a late
//! flight beside its delay. So a row has the rank of its value among those that came beside the other one's value, the
//! last one first; where that value did not come there yet, it is written. Ranks are streams by how often the last one
//! was right lately, so that a column that follows from the other one takes next to nothing.

use super::super::payload::{Reader, put_count};
use super::super::{Codec, DecodeError, Effort, Encoded};
use super::codes::{put_codes, take_codes};
use super::streams::{put_numbers, put_values, take_numbers, take_values};
use super::{MAX_BYTES, count_of, dtype_of, put_kind, take_kind};
use crate::format::Dtype;
use crate::table::{Cells, Dictionary, Items, Kind, MAX_ENTRIES, Values};

/// So many values are remembered beside each of the other column.
const REMEMBERED: usize = 8;
/// In place of a rank: none of them.
const OTHER: u8 = REMEMBERED as u8;
/// Streams of ranks.
const STREAMS: usize = 4;
/// Most symbols of the other column: what is remembered of them takes 36 bytes each.
const MAX_SYMBOLS: usize = 1 << 17;

const PLAIN: u8 = 0;
const CODED: u8 = 1;

/// The cells of a column row by row as numbers: levels below the largest, then different values as they come.
pub struct Symbols {
    rows: Vec<u32>,
    levels: u32,
    /// Levels and values together.
    count: usize,
}

impl Symbols {
    /// Of the cells of one column, the first ones first; none where cells repeat in a row, or too many differ.
    pub fn of(runs: &[&Cells]) -> Option<Symbols> {
        let first = runs.first()?;
        let levels = u32::from(first.max_definition);
        let mut rows = Vec::with_capacity(runs.iter().map(|cells| cells.entries).sum());
        let mut all = Dictionary::of(Values::none(first.physical));
        for cells in runs {
            let is_alike = cells.physical == first.physical && cells.max_definition == first.max_definition;
            (is_alike && cells.max_repetition == 0).then_some(())?;
            let mut number = |values: &Values| values.iter().map(|value| all.number(value)).collect();
            let numbers: Vec<u32> = match &cells.items {
                Items::Plain(values) => number(values),
                Items::Coded { codes, dictionary } => {
                    let numbers: Vec<u32> = number(dictionary);
                    codes.iter().map(|code| numbers[*code as usize]).collect()
                }
            };
            put_rows(&mut rows, cells, &numbers);
        }
        let count = levels as usize + all.values().len();
        (rows.len() <= MAX_ENTRIES && count <= MAX_SYMBOLS).then_some(Symbols { rows, levels, count })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many of these rows differ from all before.
    pub fn different(&self) -> usize {
        let mut is_known = vec![false; self.count];
        self.rows.iter().filter(|symbol| !std::mem::replace(&mut is_known[**symbol as usize], true)).count()
    }

    /// As many rows as told, from one on; fewer where there are no more.
    pub fn part(&self, first: usize, rows: usize) -> Symbols {
        let first = first.min(self.rows.len());
        let end = first.saturating_add(rows).min(self.rows.len());
        Symbols { rows: self.rows[first..end].to_vec(), ..*self }
    }

    /// About what these take alone.
    pub fn bytes_alone(&self) -> usize {
        let mut out = Vec::new();
        put_codes(&mut out, &self.rows, self.levels as usize, self.count, Effort::Push);
        out.len()
    }

    /// About what these take by how often each comes.
    pub fn bytes_by_counts(&self) -> usize {
        (entropy_bits(self.rows.iter().copied(), self.count) / 8.0) as usize
    }

    /// About what these take beside others of as many rows.
    pub fn bytes_beside(&self, other: &Symbols) -> usize {
        let mut ranks = [[0u32; REMEMBERED + 1]; STREAMS];
        let mut symbols = vec![0u32; self.count];
        let mut memory = Memory::of(other.count);
        for (symbol, other) in self.rows.iter().zip(&other.rows) {
            let (stream, rank) = memory.put(*other, *symbol);
            if let Some(stream) = stream {
                ranks[usize::from(stream)][usize::from(rank)] += 1;
            }
            symbols[*symbol as usize] += u32::from(rank == OTHER);
        }
        let bits = ranks.iter().map(|counts| bits_of(counts)).sum::<f64>() + bits_of(&symbols);
        (bits / 8.0) as usize
    }
}

/// What numbers below `count` take by how often each comes.
fn entropy_bits(numbers: impl Iterator<Item = u32>, count: usize) -> f64 {
    let mut counts = vec![0u32; count];
    numbers.for_each(|number| counts[number as usize] += 1);
    bits_of(&counts)
}

/// The same where each came so often.
fn bits_of(counts: &[u32]) -> f64 {
    let all = f64::from(counts.iter().sum::<u32>());
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) * (all / f64::from(*count)).log2())
        .sum()
}

/// Appends what each row has; `numbers` are those of the values.
fn put_rows(rows: &mut Vec<u32>, cells: &Cells, numbers: &[u32]) {
    let most = u32::from(cells.max_definition);
    if cells.definitions.is_empty() {
        rows.extend(numbers.iter().map(|number| most + number));
        return;
    }
    let mut next = numbers.iter();
    rows.extend(cells.definitions.iter().map(|level| match u32::from(*level) {
        level if level < most => level,
        _ => most + next.next().copied().unwrap_or(0),
    }));
}

/// What came beside each symbol of the other column.
struct Memory {
    /// One more than each symbol, the last one first; 0 where there is none.
    last: Vec<[u32; REMEMBERED]>,
    /// How often the last one was right lately, which is the number of a stream.
    trust: Vec<u8>,
}

impl Memory {
    fn of(symbols: usize) -> Memory {
        Memory { last: vec![[0; REMEMBERED]; symbols], trust: vec![0; symbols] }
    }

    /// Whether anything came beside it.
    fn knows(&self, other: u32) -> bool {
        self.last[other as usize][0] != 0
    }

    /// The rank of a symbol and its stream, which it has none where nothing came before; it is the last one then.
    #[inline(always)]
    fn put(&mut self, other: u32, symbol: u32) -> (Option<u8>, u8) {
        let trust = &mut self.trust[other as usize];
        let known = &mut self.last[other as usize];
        let stream = (known[0] != 0).then_some(*trust);
        let mut rank = 0;
        if known[0] != symbol + 1 {
            // Each takes the place of the one before it, up to where the symbol stood.
            let mut carried = symbol + 1;
            for place in known {
                carried = std::mem::replace(place, carried);
                if carried == symbol + 1 {
                    break;
                }
                rank += 1;
            }
        }
        *trust = trusted(*trust, rank);
        (stream, rank)
    }

    /// The symbol of that rank, which is the last one then; none where none has it.
    #[inline(always)]
    fn take(&mut self, other: u32, rank: u8) -> Option<u32> {
        let known = &mut self.last[other as usize];
        let symbol = known.get(usize::from(rank))?.checked_sub(1)?;
        self.remember(other, rank, symbol);
        Some(symbol)
    }

    /// Makes a symbol of that rank the last one.
    #[inline(always)]
    fn remember(&mut self, other: u32, rank: u8, symbol: u32) {
        let known = &mut self.last[other as usize];
        for place in (0..usize::from(rank).min(REMEMBERED - 1)).rev() {
            known[place + 1] = known[place];
        }
        known[0] = symbol + 1;
        let trust = &mut self.trust[other as usize];
        *trust = trusted(*trust, rank);
    }
}

/// How often the last one was right lately, after one of that rank.
fn trusted(trust: u8, rank: u8) -> u8 {
    if rank == 0 { (trust + 1).min(STREAMS as u8 - 1) } else { trust / 2 }
}

/// What is written of some symbols.
#[derive(Default)]
struct Written {
    ranks: [Vec<u8>; STREAMS],
    symbols: Vec<u32>,
}

impl Written {
    fn of(own: &[u32], other: &Symbols) -> Written {
        let mut written = Written::default();
        let mut memory = Memory::of(other.count);
        for (symbol, other) in own.iter().zip(&other.rows) {
            let (stream, rank) = memory.put(*other, *symbol);
            if let Some(stream) = stream {
                written.ranks[usize::from(stream)].push(rank);
            }
            if rank == OTHER {
                written.symbols.push(*symbol);
            }
        }
        written
    }

    /// What it was made of; none where it is of fewer rows, or of more.
    fn read(&self, other: &Symbols) -> Option<Vec<u32>> {
        let mut ranks = self.ranks.each_ref().map(|ranks| ranks.iter());
        let mut symbols = self.symbols.iter();
        let mut memory = Memory::of(other.count);
        let mut own = Vec::with_capacity(other.rows.len());
        for other in &other.rows {
            let rank = match memory.knows(*other) {
                true => *ranks[usize::from(memory.trust[*other as usize])].next()?,
                false => OTHER,
            };
            own.push(match rank {
                OTHER => {
                    let symbol = *symbols.next()?;
                    memory.remember(*other, OTHER, symbol);
                    symbol
                }
                rank => memory.take(*other, rank)?,
            });
        }
        let is_all = symbols.next().is_none() && ranks.iter_mut().all(|ranks| ranks.next().is_none());
        is_all.then_some(own)
    }
}

/// Encodes cells by those of another column, which has them from the row `first` of these `runs` on, one after the other;
/// none where that can't be, as where their dictionary has a value twice. The runs are the bases of the payload.
pub fn encode_beside(cells: &Cells, runs: &[&Cells], first: usize, effort: Effort) -> Option<Encoded> {
    let own = Symbols::of(&[cells])?;
    let other = Symbols::of(runs)?.part(first, own.len());
    (other.len() == own.len()).then_some(())?;
    let Written { ranks, symbols } = Written::of(&own.rows, &other);
    let mut payload = Vec::new();
    put_kind(&mut payload, cells);
    put_count(&mut payload, first);
    put_count(&mut payload, own.len());
    for ranks in &ranks {
        put_count(&mut payload, ranks.len());
        put_numbers(&mut payload, ranks, Dtype::U8, effort);
    }
    put_codes(&mut payload, &symbols, own.levels as usize, own.count, effort);
    let dictionary;
    let (form, values) = match &cells.items {
        Items::Coded { dictionary, .. } => (CODED, dictionary),
        Items::Plain(values) => {
            let mut different = Dictionary::of(values.none_like());
            values.iter().for_each(|value| {
                different.number(value);
            });
            dictionary = different.into_values();
            (PLAIN, &dictionary)
        }
    };
    payload.push(form);
    put_count(&mut payload, values.len());
    put_values(&mut payload, values, dtype_of(cells.physical), &[], effort);
    let found = Beside::take(&payload).and_then(|beside| beside.cells(&other));
    found.is_ok_and(|found| found == *cells).then_some(Encoded { codec: Codec::ColumnBeside, payload })
}

pub(super) fn decode(payload: &[u8], bases: &[&[u8]]) -> Result<Cells, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let beside = Beside::take(payload)?;
    let runs: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let runs = runs.ok_or(invalid("cells"))?;
    let other = Symbols::of(&runs.iter().collect::<Vec<_>>()).ok_or(invalid("cells"))?;
    let other = other.part(beside.first, beside.rows);
    beside.cells(&other)
}

/// What is in a payload.
struct Beside {
    kind: Kind,
    first: usize,
    rows: usize,
    written: Written,
    form: u8,
    values: Values,
}

impl Beside {
    fn take(payload: &[u8]) -> Result<Beside, DecodeError> {
        let mut reader = Reader::new(payload);
        let kind = take_kind(&mut reader)?;
        let (first, rows) = (reader.count("first row")?, count_of(&mut reader, "rows")?);
        let mut written = Written::default();
        for ranks in &mut written.ranks {
            let count = count_of(&mut reader, "ranks")?;
            *ranks = take_numbers(&mut reader, count, Dtype::U8)?;
        }
        let width = reader.byte("width of codes")?;
        written.symbols = take_codes(&mut reader, width, kind.max_definition.into())?;
        let form = reader.byte("form")?;
        let count = count_of(&mut reader, "values")?;
        let (none, dtype) = (Values::none(kind.physical), dtype_of(kind.physical));
        let values = take_values(&mut reader, none, count, dtype, &[])?;
        reader.end()?;
        let known = usize::from(kind.max_definition) + values.len();
        match written.symbols.iter().all(|symbol| (*symbol as usize) < known) && kind.max_repetition == 0 {
            true => Ok(Beside { kind, first, rows, written, form, values }),
            false => Err(DecodeError::Invalid { what: "symbols" }),
        }
    }

    /// The cells beside these rows of the other column.
    fn cells(self, other: &Symbols) -> Result<Cells, DecodeError> {
        let own = (other.len() == self.rows).then(|| self.written.read(other)).flatten();
        cells_of(self.kind, &own.ok_or(DecodeError::Invalid { what: "ranks" })?, self.values, self.form)
    }
}

/// The cells whose rows have these symbols.
fn cells_of(kind: Kind, rows: &[u32], values: Values, form: u8) -> Result<Cells, DecodeError> {
    let Kind { physical, max_definition, max_repetition } = kind;
    let most = u32::from(max_definition);
    let definitions = match max_definition {
        0 => Vec::new(),
        _ => rows.iter().map(|symbol| (*symbol).min(most) as u8).collect(),
    };
    let codes = rows.iter().filter_map(|symbol| symbol.checked_sub(most));
    let items = match form {
        CODED => Items::Coded { codes: codes.collect(), dictionary: values },
        PLAIN => {
            let mut all = values.none_like();
            for code in codes {
                all.push(values.get(code as usize));
                if all.bytes().len() > MAX_BYTES {
                    return Err(DecodeError::Invalid { what: "length of values" });
                }
            }
            Items::Plain(all)
        }
        _ => return Err(DecodeError::Invalid { what: "form" }),
    };
    let repetitions = Vec::new();
    Ok(Cells {
        physical,
        max_definition,
        max_repetition,
        entries: rows.len(),
        repetitions,
        definitions,
        items,
    })
}
