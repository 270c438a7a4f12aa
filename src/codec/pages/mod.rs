//! A run of a table's pages, from the cells that it holds.
//!
//! The object in a file are the pages, which change as a whole where a cell changes. Their bases are the cells of the
//! run, and those of the other runs of its chunk that share its dictionary; cells stand in no file.
//!
//! Where pages are written in a way that is not known here, their bodies stand for the cells, one value each.
//!
//! Payload (docs/format.md, "Payloads"): the length of the plan, and the plan as a zstd frame that continues the least
//! and the greatest value of the cells: the place of the run among those with its dictionary, the headers of the pages, and for each page how it follows from the cells.

mod chunk;
mod plan;

use super::payload::{Reader, put_count, put_stream};
use super::{Codec, DecodeError, Effort, Encoded, zstd};
use crate::format::{PageKind, PageParts, header};
use crate::packing::Packer;
use crate::table::{Cells, Run, Stretch, extremes};
use chunk::Chunk;
use plan::{put_layout, put_left_over, take_layout, take_left_over};

/// Longest plan, and most bytes of all bodies: what may be unpacked at all.
const MAX_PLAIN_BYTES: usize = 32 << 20;
/// Bodies stand for cells.
const BODIES: u8 = 1;
/// Some page does not follow from the cells alone.
const LEFT_OVER: u8 = 2;
const NOT_PACKED: u8 = 0;
const PACKED_AS_BEFORE: u8 = 1;
const PACKED: u8 = 2;
const AS_IS: u8 = 0;

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
    if len > MAX_PLAIN_BYTES {
        return Err(DecodeError::Invalid { what: "length of the plan" });
    }
    zstd::decompress_patch(reader.take(reader.remaining(), "plan")?, &context(own), len)
}

/// Whether a payload gives the pages of a run back. What packs them was proven when it was found.
pub fn gives(encoded: &Encoded, run: &Run<'_>, others: &[&Cells]) -> bool {
    let mut pages = run.pages.iter();
    let mut is_same = true;
    let rebuilt = rebuild(&encoded.payload, &run.cells, others, |parts, packer, body| {
        is_same &= pages.next().is_some_and(|page| {
            (parts.header, packer, body) == (page.parts.header, page.packer.as_ref(), &page.body)
        });
        Ok(())
    });
    rebuilt.is_ok() && is_same && pages.next().is_none()
}

/// Decodes to `decoded_len` bytes; takes some times as many more.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let cells: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let cells = cells.ok_or(DecodeError::Invalid { what: "cells" })?;
    let (own, others) = cells.split_first().ok_or(DecodeError::NoBase)?;
    if others.iter().any(|cells| cells.physical != own.physical) {
        return Err(DecodeError::Invalid { what: "cells of another kind" });
    }
    let mut out = Vec::with_capacity(decoded_len);
    let of_length = |found: usize, is_right: bool| match is_right {
        true => Ok(()),
        false => Err(DecodeError::Length { what: "pages", expected: decoded_len, found }),
    };
    rebuild(payload, own, &others.iter().collect::<Vec<_>>(), |parts, packer, body| {
        out.extend_from_slice(parts.header);
        let Some(packer) = packer else {
            out.extend_from_slice(body);
            return of_length(out.len(), out.len() <= decoded_len);
        };
        // What stands before the packed part is known by its length alone.
        let plain =
            parts.levels.map_or(0, |[repetitions, definitions]| repetitions.saturating_add(definitions));
        let (plain, rest) =
            body.split_at_checked(plain).ok_or(DecodeError::Invalid { what: "levels of a page" })?;
        out.extend_from_slice(plain);
        out.extend(packer.pack(rest));
        of_length(out.len(), out.len() <= decoded_len)
    })?;
    of_length(out.len(), out.len() == decoded_len)?;
    Ok(out)
}

/// Gives `take` each page in order: what its header tells, what packs it, and its body.
fn rebuild(
    payload: &[u8],
    own: &Cells,
    others: &[&Cells],
    mut take: impl FnMut(&PageParts<'_>, Option<&Packer>, &Vec<u8>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let plan = plan_of(payload, own)?;
    let mut reader = Reader::new(&plan);
    let is_understood = reader.byte("form")? & BODIES == 0;
    let place = reader.count("place in the chunk")?;
    let pages = reader.count("pages")?;
    let mut headers = reader.stream("headers of pages")?;
    let chunk = Chunk::of(own, others, place.min(others.len()));
    let mut numbers = chunk.numbers();
    let mut at = Stretch { entries: 0..0, values: 0..0 };
    let (mut last, mut left): (Option<Packer>, _) = (None, MAX_PLAIN_BYTES);
    for number in 0..pages {
        let head = header(headers).ok_or(invalid("header of a page"))?;
        headers = &headers[head.header.len()..];
        let parts = head.without_body().ok_or(invalid("header of a page"))?;
        let is_packed = match reader.byte("packer")? {
            NOT_PACKED => false,
            PACKED_AS_BEFORE if last.is_some() => true,
            PACKED => {
                last = Some(Packer::decode(reader.stream("packer")?).map_err(|_| invalid("packer"))?.0);
                true
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
        let made_len = made.as_ref().map_or(0, Vec::len);
        let body = match reader.byte("what is left over")? {
            AS_IS => made.ok_or(invalid("cells of a page"))?,
            mode => take_left_over(&mut reader, mode, made.unwrap_or_default())?,
        };
        left = left.checked_sub(body.len().max(made_len)).ok_or(invalid("length of the pages"))?;
        take(&parts, last.as_ref().filter(|_| is_packed), &body)?;
        if layout.is_none() && is_understood {
            numbers = chunk.numbers_of(&parts, &body);
        }
    }
    reader.end()
}
