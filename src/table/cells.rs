//! The cells of one column in a stretch of rows, whatever its pages look like: what versions are compared by.
//!
//! Entries with levels as Dremel has them, and the values of those that have one. The same cells always give the
//! same bytes, so that they are one object. Byte layout: docs/format.md, "Cells".

use std::ops::Range;

use crate::format::Physical;

use super::values::Values;

const HEADER_BYTES: usize = 24;
/// Largest number of entries: a lie must not cost memory.
pub const MAX_ENTRIES: usize = 4 << 20;

/// Cells of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    pub physical: Physical,
    pub max_definition: u8,
    pub max_repetition: u8,
    pub entries: usize,
    /// One for each entry; none where nothing repeats.
    pub repetitions: Vec<u8>,
    /// One for each entry; none where nothing can be missing.
    pub definitions: Vec<u8>,
    pub items: Items,
}

/// The values of the entries that have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Items {
    /// One after the other.
    Plain(Values),
    /// By their numbers in a list of different values, in the order in which they come first.
    Coded { codes: Vec<u32>, dictionary: Values },
}

impl Items {
    pub fn len(&self) -> usize {
        match self {
            Items::Plain(values) => values.len(),
            Items::Coded { codes, .. } => codes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at that place, which must be there.
    pub fn get(&self, at: usize) -> &[u8] {
        match self {
            Items::Plain(values) => values.get(at),
            Items::Coded { codes, dictionary } => dictionary.get(codes[at] as usize),
        }
    }
}

impl Cells {
    /// Others of the same kind that have none.
    pub fn without_items(&self) -> Cells {
        Cells {
            entries: 0,
            repetitions: Vec::new(),
            definitions: Vec::new(),
            items: Items::Plain(Values::none(self.physical)),
            ..*self
        }
    }

    /// Appends entries of others of the same kind, without their values.
    pub fn extend_levels(&mut self, others: &Cells, entries: Range<usize>) {
        self.entries += entries.len();
        self.repetitions.extend_from_slice(others.repetitions.get(entries.clone()).unwrap_or_default());
        self.definitions.extend_from_slice(others.definitions.get(entries).unwrap_or_default());
    }

    /// Rows that begin here.
    pub fn rows(&self) -> usize {
        match self.max_repetition {
            0 => self.entries,
            _ => self.repetitions.iter().filter(|level| **level == 0).count(),
        }
    }

    /// Whether the first entry belongs to a row that began before.
    pub fn begins_inside(&self) -> bool {
        self.repetitions.first().is_some_and(|level| *level != 0)
    }

    /// Whether an entry has a value.
    pub fn has_value(&self, entry: usize) -> bool {
        self.definitions.get(entry).is_none_or(|level| *level == self.max_definition)
    }

    /// How many values these entries have.
    pub fn values_in(&self, entries: Range<usize>) -> usize {
        match self.definitions.is_empty() {
            true => entries.len(),
            // In pieces whose counts have room in a byte: as many levels at a time as a register holds.
            false => self.definitions[entries]
                .chunks(u8::MAX.into())
                .map(|levels| levels.iter().map(|level| u8::from(*level == self.max_definition)).sum::<u8>())
                .map(usize::from)
                .sum(),
        }
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        let (values, codes) = match &self.items {
            Items::Plain(values) => (values, None),
            Items::Coded { codes, dictionary } => (dictionary, Some(codes)),
        };
        let (tag, width) = self.physical.tag();
        let code_bytes = codes.map_or(0, |_| code_bytes(values.len()));
        let count = codes.map_or(0, Vec::len) as u32;
        let levels = self.repetitions.len() + self.definitions.len();
        let values_bytes = values.bytes().len() + 4 * values.len();
        let mut out = Vec::with_capacity(HEADER_BYTES + levels + count as usize * code_bytes + values_bytes);
        out.extend([tag, self.max_definition, self.max_repetition, code_bytes as u8]);
        for number in [width, self.entries as u32, count, values.len() as u32, values.bytes().len() as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.repetitions);
        out.extend_from_slice(&self.definitions);
        let codes = codes.into_iter().flatten();
        match code_bytes {
            1 => out.extend(codes.map(|code| *code as u8)),
            2 => codes.for_each(|code| out.extend_from_slice(&(*code as u16).to_le_bytes())),
            _ => codes.for_each(|code| out.extend_from_slice(&code.to_le_bytes())),
        }
        if let Values::Variable { ends, .. } = values {
            ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        }
        out.extend_from_slice(values.bytes());
        out
    }

    /// Reads what `encode` wrote; none where the bytes are no such object.
    pub fn decode(bytes: &[u8]) -> Option<Cells> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("because 4 bytes"));
        let physical = Physical::from_tag(header[0], number(4))?;
        let (max_definition, max_repetition, code_bytes) = (header[1], header[2], usize::from(header[3]));
        let (entries, codes) = (number(8) as usize, number(12) as usize);
        let (count, len) = (number(16) as usize, number(20) as usize);
        let mut take = |len: usize| -> Option<&[u8]> {
            let (head, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(head)
        };
        let repetitions = take(if max_repetition > 0 { entries } else { 0 })?.to_vec();
        let definitions = take(if max_definition > 0 { entries } else { 0 })?.to_vec();
        let codes = match code_bytes {
            0 => None,
            1 => Some(take(codes)?.iter().map(|code| u32::from(*code)).collect::<Vec<_>>()),
            2 => Some(wide(take(codes.checked_mul(2)?)?, |code: [u8; 2]| u16::from_le_bytes(code).into())),
            4 => Some(wide(take(codes.checked_mul(4)?)?, u32::from_le_bytes)),
            _ => return None,
        };
        let values = match Values::none(physical) {
            Values::Fixed { width, .. } => {
                (count.checked_mul(width)? == len).then_some(())?;
                Values::Fixed { width, bytes: take(len)?.to_vec() }
            }
            Values::Variable { .. } => {
                let ends = wide(take(count.checked_mul(4)?)?, u32::from_le_bytes);
                let is_sound = ends.is_sorted() && ends.last().map_or(0, |end| *end as usize) == len;
                is_sound.then_some(())?;
                Values::Variable { ends, bytes: take(len)?.to_vec() }
            }
        };
        let items = match codes {
            None => Items::Plain(values),
            Some(codes) => {
                codes.iter().all(|code| (*code as usize) < values.len()).then_some(())?;
                Items::Coded { codes, dictionary: values }
            }
        };
        let cells =
            Cells { physical, max_definition, max_repetition, entries, repetitions, definitions, items };
        let is_sound = rest.is_empty()
            && cells.entries <= MAX_ENTRIES
            && cells.definitions.iter().all(|level| *level <= max_definition)
            && cells.repetitions.iter().all(|level| *level <= max_repetition)
            && cells.values_in(0..entries) == cells.items.len();
        is_sound.then_some(cells)
    }
}

/// Bytes of a code, where there are so many different values.
fn code_bytes(values: usize) -> usize {
    match values {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

fn wide<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> u32) -> Vec<u32> {
    bytes.chunks_exact(N).map(|bytes| of(bytes.try_into().expect("because chunks have N bytes"))).collect()
}
