//! A run of a table's pages, from the cells that it holds.
//!
//! The object in a file are the pages, which change as a whole where a cell changes. Their bases are the cells of the
//! run, and those of the other runs of its chunk that share its dictionary; cells stand in no file.
//!
//! Where pages are written in a way that is not known here, their bodies stand for the cells, one value each.
//!
//! Payload (docs/format.md, "Payloads"): the length of the plan, and the plan as a zstd frame that continues the least
//! and the greatest value of the cells: the place of the run among those with its dictionary, the headers of the pages, and for each page how it follows from the cells.

use super::payload::{Reader, put_count, put_stream};
use super::{Codec, DecodeError, Effort, Encoded, zstd};
use crate::format::{PageKind, PageParts, header};
use crate::packing::Packer;
use crate::table::{
    Cells, Dictionary, Items, Layout, NumberRun, Run, Shape, Stretch, Values, extremes, write,
};

/// Longest plan: headers, and what is left over.
const MAX_PLAN_BYTES: usize = 32 << 20;
/// Bodies stand for cells.
const BODIES: u8 = 1;
/// Some page does not follow from the cells alone.
const LEFT_OVER: u8 = 2;
const NOT_PACKED: u8 = 0;
const PACKED_AS_BEFORE: u8 = 1;
const PACKED: u8 = 2;
const AS_IS: u8 = 0;
const IS_PATCHED: u8 = 1;
const DIFFERS_AT_SPOTS: u8 = 2;
const NO_CODES: u8 = u8::MAX;

/// Encodes a run that is number `place` of the runs with its dictionary; `others` are the cells of the others, in order.
pub fn encode(run: &Run<'_>, others: &[&Cells], place: usize, effort: Effort) -> Encoded {
    let chunk = Chunk::of(&run.cells, others, place);
    let mut plan = vec![u8::from(!run.is_understood) * BODIES];
    put_count(&mut plan, place);
    put_count(&mut plan, run.pages.len());
    let headers: Vec<u8> = run.pages.iter().flat_map(|page| page.parts.header).copied().collect();
    put_stream(&mut plan, &headers);
    let mut numbers = chunk.numbers();
    let mut at = Stretch { entries: 0..0, values: 0..0 };
    let mut last: Option<&Packer> = None;
    for (number, page) in run.pages.iter().enumerate() {
        match &page.packer {
            None => plan.push(NOT_PACKED),
            Some(packer) if last == Some(packer) => plan.push(PACKED_AS_BEFORE),
            Some(packer) => {
                plan.push(PACKED);
                put_stream(&mut plan, &packer.encode());
                last = Some(packer);
            }
        }
        if let Some(layout) = &page.layout {
            put_layout(&mut plan, layout);
        }
        let made = match run.is_understood {
            true => chunk.body(&page.parts, page.layout.as_ref(), &mut at, &numbers),
            false => chunk.whole(number),
        };
        if made.as_ref() == Some(&page.body) {
            plan.push(AS_IS);
        } else {
            plan[0] |= LEFT_OVER;
            put_left_over(&mut plan, &page.body, &made.unwrap_or_default(), effort);
        }
        if page.layout.is_none() && run.is_understood {
            numbers = chunk.numbers_of(&page.parts, &page.body);
        }
    }
    let mut payload = Vec::new();
    put_count(&mut payload, plan.len());
    payload.extend(zstd::patch_at(&plan, &context(&run.cells), LEVEL));
    Encoded { codec: Codec::Pages, payload }
}

/// Plans are short and all alike.
const LEVEL: i32 = 19;
/// Longest value that headers may tell as the least or the greatest.
const MAX_EXTREME_BYTES: usize = 4 << 10;

/// What is found in headers: the least and the greatest value, as statistics.
fn context(own: &Cells) -> Vec<u8> {
    extremes(own)
        .into_iter()
        .flatten()
        .filter(|value| value.len() <= MAX_EXTREME_BYTES)
        .flatten()
        .copied()
        .collect()
}

/// Whether some page is written in a way that does not follow from its cells, which are the first base.
pub fn leaves_something(payload: &[u8], own: &[u8]) -> Result<bool, DecodeError> {
    let cells = Cells::decode(own).ok_or(DecodeError::Invalid { what: "cells" })?;
    Ok(plan_of(payload, &cells)?.first().is_some_and(|form| form & LEFT_OVER != 0))
}

fn plan_of(payload: &[u8], own: &Cells) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let len = reader.count("length of the plan")?;
    if len > MAX_PLAN_BYTES {
        return Err(DecodeError::Invalid { what: "length of the plan" });
    }
    zstd::decompress_patch(reader.take(reader.remaining(), "plan")?, &context(own), len)
}

/// Decodes to `decoded_len` bytes; takes some times as many more.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let cells: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let cells = cells.ok_or(invalid("cells"))?;
    let (own, others) = cells.split_first().ok_or(DecodeError::NoBase)?;
    let plan = plan_of(payload, own)?;

    let mut reader = Reader::new(&plan);
    let is_understood = reader.byte("form")? & BODIES == 0;
    let place = reader.count("place in the chunk")?;
    let pages = reader.count("pages")?;
    let mut headers = reader.stream("headers of pages")?;
    let others: Vec<&Cells> = others.iter().collect();
    let chunk = Chunk::of(own, &others, place.min(others.len()));
    let mut numbers = chunk.numbers();
    let mut at = Stretch { entries: 0..0, values: 0..0 };
    let mut last: Option<Packer> = None;
    let mut out = Vec::with_capacity(decoded_len);
    for number in 0..pages {
        let head = header(headers).ok_or(invalid("header of a page"))?;
        headers = &headers[head.header.len()..];
        let parts = head.without_body().ok_or(invalid("header of a page"))?;
        let packer = match reader.byte("packer")? {
            NOT_PACKED => None,
            PACKED_AS_BEFORE => Some(last.clone().ok_or(invalid("packer"))?),
            PACKED => {
                let packer = Packer::decode(reader.stream("packer")?).map_err(|_| invalid("packer"))?.0;
                last = Some(packer.clone());
                Some(packer)
            }
            _ => return Err(invalid("packer")),
        };
        let layout = match parts.kind {
            PageKind::Values if is_understood => Some(take_layout(&mut reader)?),
            _ => None,
        };
        let made = match is_understood {
            true => chunk.body(&parts, layout.as_ref(), &mut at, &numbers),
            false => chunk.whole(number),
        };
        let body = match reader.byte("what is left over")? {
            AS_IS => made.ok_or(invalid("cells of a page"))?,
            mode => take_left_over(&mut reader, mode, made.unwrap_or_default())?,
        };
        out.extend_from_slice(parts.header);
        // What stands before the packed part is known by its length alone.
        let plain =
            if packer.is_some() { parts.levels.map_or(0, |lens| lens.iter().sum()) } else { body.len() };
        let (plain, rest) = body.split_at_checked(plain).ok_or(invalid("levels of a page"))?;
        out.extend_from_slice(plain);
        if let Some(packer) = &packer {
            out.extend(packer.pack(rest));
        }
        if out.len() > decoded_len {
            return Err(DecodeError::Length { what: "pages", expected: decoded_len, found: out.len() });
        }
        if layout.is_none() && is_understood {
            numbers = chunk.numbers_of(&parts, &body);
        }
    }
    match out.len() == decoded_len {
        true => Ok(out),
        false => Err(DecodeError::Length { what: "pages", expected: decoded_len, found: out.len() }),
    }
}

/// Appends what makes a body of what follows from its cells: a few spots, or a patch.
fn put_left_over(plan: &mut Vec<u8>, body: &[u8], made: &[u8], effort: Effort) {
    let patch = zstd::patch(body, made, effort);
    if let Some(spots) = spots(body, made).filter(|spots| spots.len() < patch.len()) {
        plan.push(DIFFERS_AT_SPOTS);
        put_stream(plan, &spots);
        return;
    }
    plan.push(IS_PATCHED);
    put_count(plan, body.len());
    put_stream(plan, &patch);
}

/// Where two bodies of one length differ, and the bytes there: where encoders leave what was in their buffers.
fn spots(body: &[u8], made: &[u8]) -> Option<Vec<u8>> {
    (body.len() == made.len()).then_some(())?;
    let mut spots = Vec::new();
    let mut next = 0;
    while let Some(start) = (next..body.len()).find(|at| body[*at] != made[*at]) {
        let end = (start..body.len()).find(|at| body[*at] == made[*at]).unwrap_or(body.len());
        put_count(&mut spots, start - next);
        put_stream(&mut spots, &body[start..end]);
        next = end;
    }
    Some(spots)
}

fn take_left_over(reader: &mut Reader<'_>, mode: u8, mut made: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    match mode {
        DIFFERS_AT_SPOTS => {
            let mut spots = Reader::new(reader.stream("what is left over")?);
            let mut at = 0usize;
            while spots.remaining() > 0 {
                at = at.saturating_add(spots.count("distance to a spot")?);
                let bytes = spots.stream("bytes of a spot")?;
                let end = at.saturating_add(bytes.len());
                made.get_mut(at..end).ok_or(invalid("place of a spot"))?.copy_from_slice(bytes);
                at = end;
            }
            Ok(made)
        }
        IS_PATCHED => {
            let len = reader.count("length of a page")?;
            if len > MAX_PLAN_BYTES {
                return Err(invalid("length of a page"));
            }
            zstd::decompress_patch(reader.stream("what is left over")?, &made, len)
        }
        _ => Err(invalid("what is left over")),
    }
}

/// The runs that share a dictionary.
struct Chunk<'a> {
    own: &'a Cells,
    /// The different values of them all, in the order in which they come first; none where the run is alone.
    union: Option<Dictionary>,
}

impl<'a> Chunk<'a> {
    fn of(own: &'a Cells, others: &[&'a Cells], place: usize) -> Chunk<'a> {
        let union = (!others.is_empty()).then(|| {
            let mut runs = others.to_vec();
            runs.insert(place, own);
            let mut union = Dictionary::of(Values::none(own.physical));
            for cells in runs {
                if let Items::Coded { dictionary, .. } = &cells.items {
                    dictionary.iter().for_each(|value| {
                        union.number(value);
                    });
                }
            }
            union
        });
        Chunk { own, union }
    }

    fn own_dictionary(&self) -> Option<&Values> {
        match &self.own.items {
            Items::Coded { dictionary, .. } => Some(dictionary),
            Items::Plain(_) => None,
        }
    }

    /// All values in the order in which they come first.
    fn values(&self) -> Option<&Values> {
        self.union.as_ref().map(Dictionary::values).or(self.own_dictionary())
    }

    /// The numbers of the run's values among all; none where they are the same.
    fn numbers(&self) -> Option<Vec<u32>> {
        let union = self.union.as_ref()?;
        Some(self.own_dictionary()?.iter().map(|value| union.find(value).unwrap_or(u32::MAX)).collect())
    }

    /// The same in a dictionary that is given as a page.
    fn numbers_of(&self, page: &PageParts<'_>, body: &[u8]) -> Option<Vec<u32>> {
        let made = self.dictionary(page.values);
        if made == body {
            return self.numbers();
        }
        let mut values = Values::none(self.own.physical);
        let count = page.values.min(body.len());
        values.read_plain(false, body, count)?;
        let dictionary = Dictionary::of(values);
        let own = self.own_dictionary()?;
        Some(own.iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect())
    }

    /// The body of a dictionary of the first `count` values.
    fn dictionary(&self, count: usize) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(values) = self.values() {
            values.write_plain(false, 0..count.min(values.len()), &mut body);
        }
        body
    }

    /// The body of a page, where bodies stand for cells.
    fn whole(&self, number: usize) -> Option<Vec<u8>> {
        (number < self.own.items.len()).then(|| self.own.items.get(number).to_vec())
    }

    /// The body of a page that begins where the last one ended.
    fn body(
        &self,
        page: &PageParts<'_>,
        layout: Option<&Layout>,
        at: &mut Stretch,
        numbers: &Option<Vec<u32>>,
    ) -> Option<Vec<u8>> {
        let Some(layout) = layout else { return Some(self.dictionary(page.values)) };
        let start = at.entries.end;
        let end = start.checked_add(page.values).filter(|end| *end <= self.own.entries)?;
        at.entries = start..end;
        at.values = at.values.end..at.values.end + self.own.values_in(start..end);
        write(self.own, at, page, layout, numbers.as_deref())
    }
}

const IMPALA: u8 = 0;
const ALL_PACKED: u8 = 1;
const LISTED: u8 = 2;

fn put_layout(plan: &mut Vec<u8>, layout: &Layout) {
    put_stream(plan, &layout.tail);
    plan.push(layout.code_bits.unwrap_or(NO_CODES));
    for shape in [&layout.repetitions, &layout.definitions, &layout.numbers] {
        match shape {
            Shape::Impala => plan.push(IMPALA),
            Shape::Packed => plan.push(ALL_PACKED),
            Shape::Listed(stretches) => {
                plan.push(LISTED);
                put_count(plan, stretches.len());
                for stretch in stretches {
                    let (many, is_packed) = match *stretch {
                        NumberRun::Equal(many) => (many, 0),
                        NumberRun::Packed(groups) => (groups, 1),
                    };
                    put_count(plan, (many as usize) << 1 | is_packed);
                }
            }
        }
    }
}

fn take_layout(reader: &mut Reader<'_>) -> Result<Layout, DecodeError> {
    let tail = reader.stream("tail of a page")?.to_vec();
    let bits = reader.byte("width of numbers")?;
    if bits > 32 && bits != NO_CODES {
        return Err(DecodeError::Invalid { what: "width of numbers" });
    }
    let code_bits = (bits != NO_CODES).then_some(bits);
    let [repetitions, definitions, numbers] = [take_shape(reader)?, take_shape(reader)?, take_shape(reader)?];
    Ok(Layout { repetitions, definitions, code_bits, numbers, tail })
}

fn take_shape(reader: &mut Reader<'_>) -> Result<Shape, DecodeError> {
    Ok(match reader.byte("shape of runs")? {
        IMPALA => Shape::Impala,
        ALL_PACKED => Shape::Packed,
        LISTED => {
            let count = reader.count("runs")?;
            if count > reader.remaining() {
                return Err(DecodeError::Invalid { what: "runs" });
            }
            let stretch = |_| {
                let number = reader.count("length of a run")? as u32;
                let many = number >> 1;
                Ok(if number & 1 == 0 { NumberRun::Equal(many) } else { NumberRun::Packed(many) })
            };
            Shape::Listed((0..count).map(stretch).collect::<Result<_, _>>()?)
        }
        _ => return Err(DecodeError::Invalid { what: "shape of runs" }),
    })
}
