//! The body of a page, unpacked: levels, then values.
//!
//! Source: the specification of Apache Parquet, "Data Pages" and "Encodings".

use std::ops::Range;

use crate::format::{PageParts, Physical, is_coded};

use super::cells::{Cells, Items, MAX_ENTRIES};
use super::hybrid::{self, Shape};
use super::values::Values;

const PLAIN: u8 = 0;
const RLE: u8 = 3;
/// Bytes of the length before levels, or before booleans in runs.
const LENGTH_BYTES: usize = 4;

/// More than that behind the values is no accident: they are not what they seem to be.
const MAX_TAIL_BYTES: usize = 64;

/// Longest body: a value that many cells have may be long.
const MAX_BODY_BYTES: usize = 32 << 20;

/// How a body follows from its cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub repetitions: Shape,
    pub definitions: Shape,
    /// Width of the numbers of dictionary entries; none where the page has no values and not even that.
    pub code_bits: Option<u8>,
    /// Of these numbers, or of booleans in runs.
    pub numbers: Shape,
    /// What stands behind the values for no reason.
    pub tail: Vec<u8>,
}

/// What a page of values holds.
#[derive(Debug)]
pub struct Content {
    pub repetitions: Vec<u8>,
    pub definitions: Vec<u8>,
    pub items: PageItems,
    pub layout: Layout,
}

/// The values of a page.
#[derive(Debug)]
pub enum PageItems {
    Plain(Values),
    /// Numbers of entries in the chunk's dictionary, all of which it has.
    Codes(Vec<u32>),
}

/// What is needed of a column to read its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub physical: Physical,
    pub max_definition: u8,
    pub max_repetition: u8,
}

/// Reads the body of a page whose dictionary has so many entries; none where it is not understood.
pub fn read(kind: Kind, page: &PageParts<'_>, body: &[u8], dictionary: usize) -> Option<Content> {
    let entries = page.values;
    if entries > MAX_ENTRIES {
        return None;
    }
    let [of_repetitions, of_definitions] = page.levels.map_or([None; 2], |lens| lens.map(Some));
    let mut rest = body;
    let (repetitions, repetitions_shape) =
        read_levels(&mut rest, kind.max_repetition, entries, of_repetitions)?;
    let (definitions, definitions_shape) =
        read_levels(&mut rest, kind.max_definition, entries, of_definitions)?;
    let count = match kind.max_definition {
        0 => entries,
        max => definitions.iter().filter(|level| **level == max).count(),
    };
    let mut layout = Layout {
        repetitions: repetitions_shape,
        definitions: definitions_shape,
        code_bits: None,
        numbers: Shape::Impala,
        tail: Vec::new(),
    };
    let (items, tail) = match page.encoding {
        PLAIN => {
            let mut values = Values::none(kind.physical);
            let tail = values.read_plain(kind.physical == Physical::Boolean, rest, count)?;
            (PageItems::Plain(values), tail)
        }
        RLE if kind.physical == Physical::Boolean => {
            let (len, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let (bits, tail) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            let (numbers, stretches, rest) = hybrid::read(bits, 1, count)?;
            rest.is_empty().then_some(())?;
            layout.numbers = hybrid::shape_of(&numbers, stretches);
            let bytes = numbers.iter().map(|bit| *bit as u8).collect();
            (PageItems::Plain(Values::Fixed { width: 1, bytes }), tail)
        }
        encoding if is_coded(encoding) => {
            let Some((&bits, rest)) = rest.split_first() else {
                let items = (count == 0).then_some(PageItems::Codes(Vec::new()))?;
                return Some(Content { repetitions, definitions, items, layout });
            };
            (bits <= 32).then_some(())?;
            let (numbers, stretches, tail) = hybrid::read(rest, bits.into(), count)?;
            numbers.iter().all(|code| (*code as usize) < dictionary).then_some(())?;
            layout.code_bits = Some(bits);
            layout.numbers = hybrid::shape_of(&numbers, stretches);
            (PageItems::Codes(numbers), tail)
        }
        _ => return None,
    };
    layout.tail = tail.to_vec();
    (tail.len() <= MAX_TAIL_BYTES).then_some(Content { repetitions, definitions, items, layout })
}

/// Levels up to `max`; those of a page of the first kind have their length before them.
fn read_levels(rest: &mut &[u8], max: u8, entries: usize, len: Option<usize>) -> Option<(Vec<u8>, Shape)> {
    if max == 0 {
        // A page of the second kind may tell of levels that it need not have.
        return matches!(len, None | Some(0)).then(|| (Vec::new(), Shape::Impala));
    }
    let len = match len {
        Some(len) => len,
        None => {
            let (len, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            *rest = behind;
            u32::from_le_bytes(*len) as usize
        }
    };
    let (levels, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    let (levels, stretches, tail) = hybrid::read(levels, bits_of(max), entries)?;
    tail.is_empty().then_some(())?;
    levels.iter().all(|level| *level <= u32::from(max)).then_some(())?;
    let shape = hybrid::shape_of(&levels, stretches);
    Some((levels.iter().map(|level| *level as u8).collect(), shape))
}

/// Bits that levels up to `max` take.
fn bits_of(max: u8) -> u32 {
    u8::BITS - max.leading_zeros()
}

/// Some neighbouring entries of a column, and their values.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub entries: Range<usize>,
    pub values: Range<usize>,
}

/// The body of a page of these cells; none where that can't be.
///
/// `numbers` are the numbers in the chunk's dictionary of the cells' different values, where they are not the same.
pub fn write(
    cells: &Cells,
    stretch: &Stretch,
    page: &PageParts<'_>,
    layout: &Layout,
    numbers: Option<&[u32]>,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let has_length = page.levels.is_none();
    let Cells { max_repetition, max_definition, .. } = *cells;
    if max_repetition > 0 {
        let levels = &cells.repetitions[stretch.entries.clone()];
        write_levels(levels, max_repetition, &layout.repetitions, has_length, &mut out)?;
    }
    if max_definition > 0 {
        let levels = &cells.definitions[stretch.entries.clone()];
        write_levels(levels, max_definition, &layout.definitions, has_length, &mut out)?;
    }
    let is_bits = cells.physical == Physical::Boolean;
    match (page.encoding, &cells.items) {
        (PLAIN, Items::Plain(values)) => values.write_plain(is_bits, stretch.values.clone(), &mut out),
        (PLAIN, Items::Coded { codes, dictionary }) => {
            for code in &codes[stretch.values.clone()] {
                dictionary.write_plain(false, *code as usize..*code as usize + 1, &mut out);
                (out.len() <= MAX_BODY_BYTES).then_some(())?;
            }
        }
        (RLE, Items::Plain(values)) if is_bits => {
            let bits: Vec<u32> =
                values.bytes()[stretch.values.clone()].iter().map(|bit| u32::from(*bit)).collect();
            let at = out.len();
            out.extend([0; LENGTH_BYTES]);
            hybrid::write(&bits, 1, &layout.numbers, &mut out)?;
            put_length(&mut out, at);
        }
        (encoding, Items::Coded { codes, .. }) if is_coded(encoding) => {
            let codes = &codes[stretch.values.clone()];
            let Some(bits) = layout.code_bits else { return codes.is_empty().then_some(out) };
            out.push(bits);
            let write = |codes: &[u32], out: &mut Vec<u8>| {
                let fits = u64::from(codes.iter().fold(0, |all, code| all | code)) < 1 << bits;
                fits.then(|| hybrid::write(codes, bits.into(), &layout.numbers, out))?
            };
            match numbers {
                None => write(codes, &mut out)?,
                Some(numbers) => {
                    let codes: Option<Vec<u32>> =
                        codes.iter().map(|code| numbers.get(*code as usize).copied()).collect();
                    write(&codes?, &mut out)?;
                }
            }
        }
        // All cells are nulls: there is nothing that could be a number of an entry.
        (encoding, Items::Plain(_)) if is_coded(encoding) && stretch.values.is_empty() => {
            let Some(bits) = layout.code_bits else { return Some(out) };
            out.push(bits);
            hybrid::write(&[], bits.into(), &layout.numbers, &mut out)?;
        }
        _ => return None,
    }
    out.extend_from_slice(&layout.tail);
    Some(out)
}

fn write_levels(levels: &[u8], max: u8, shape: &Shape, has_length: bool, out: &mut Vec<u8>) -> Option<()> {
    let levels: Vec<u32> = levels.iter().map(|level| u32::from(*level)).collect();
    let at = out.len();
    if has_length {
        out.extend([0; LENGTH_BYTES]);
    }
    hybrid::write(&levels, bits_of(max), shape, out)?;
    if has_length {
        put_length(out, at);
    }
    Some(())
}

/// Fills in the length of what follows it.
fn put_length(out: &mut [u8], at: usize) {
    let len = (out.len() - at - LENGTH_BYTES) as u32;
    out[at..at + LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
}
