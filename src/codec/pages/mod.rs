//! A run of a table's pages, from the cells that it holds.
//!
//! The object in a file are the pages, which change as a whole where a cell changes. Their bases are the cells of the
//! run, and those of the other runs of its chunk that share its dictionary; cells stand in no file.
//!
//! Where pages are written in a way that is not known here, their bodies stand for the cells, one value each.
//!
//! Payload (docs/format.md, "Payloads"): a plan as a zstd frame that continues a typical one, or where it stands in an object
//! of many plans: the place of the run among
//! those with its dictionary, the headers of the pages without what follows from the pages, and for each page how it
//! follows from the cells.

mod chunk;
mod plan;
mod typical;

use std::ops::Range;

use super::payload::{Reader, put_count, put_stream};
use super::{Codec, DecodeError, Effort, Encoded, zstd};
use crate::format::{Extremes, Follows, PageKind, PageParts, header};
use crate::packing::Packer;
use crate::table::{Cells, Page, Run, Stretch, extremes, extremes_in};
use chunk::Chunk;
use plan::{put_layout, put_left_over, take_layout, take_left_over, take_order};
use typical::TYPICAL;

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
/// In place of the length of a plan: headers are without what follows from their pages,
const SHORT: usize = 0;
/// and behind that: the plan is in the last base.
const ELSEWHERE: usize = 0;
/// Plans are short and all alike.
const LEVEL: i32 = 19;
/// Longest value that headers may tell as the least or the greatest.
const MAX_EXTREME_BYTES: usize = 4 << 10;

/// Encodes a run that is number `place` of the runs with its dictionary; `others` are the cells of the others, in order.
pub fn encode(run: &Run<'_>, others: &[&Cells], place: usize, effort: Effort) -> Encoded {
    let chunk = Chunk::of(&run.cells, others, place);
    let (mut form, mut headers, mut left_out, mut bodies) = (0, Vec::new(), Vec::new(), Vec::new());
    let mut last: Option<&Packer> = None;
    each_page(run, &chunk, |page, made, stretch| {
        match &page.packer {
            None => bodies.push(NOT_PACKED),
            Some(packer) if last == Some(packer) => bodies.push(PACKED_AS_BEFORE),
            Some(packer) => {
                bodies.push(PACKED);
                put_stream(&mut bodies, &packer.encode());
                last = Some(packer);
            }
        }
        if let Some(layout) = &page.layout {
            put_layout(&mut bodies, layout);
        }
        if made.as_ref() == Some(&page.body) {
            bodies.push(AS_IS);
        } else {
            form |= LEFT_OVER;
            let order = order_of(run, &chunk, page);
            let made = made.unwrap_or_default();
            put_left_over(&mut bodies, &page.body, &made, order.as_deref(), effort);
        }
        let packed = page.parts.plain.len() + page.parts.packed.len();
        let has_values = page.parts.kind == PageKind::Values && run.is_understood;
        let stretch = has_values.then_some(stretch);
        let (rest, fields) =
            follows(&run.cells, stretch, page.body.len(), packed).leave_out(page.parts.header);
        headers.extend(rest);
        left_out.push(fields);
    });
    let mut plan = vec![form | (u8::from(!run.is_understood) * BODIES)];
    put_count(&mut plan, place);
    put_count(&mut plan, run.pages.len());
    put_stream(&mut plan, &left_out);
    put_stream(&mut plan, &headers);
    plan.extend(bodies);
    let mut payload = Vec::new();
    put_count(&mut payload, SHORT);
    put_count(&mut payload, plan.len());
    payload.extend(zstd::patch_at(&plan, TYPICAL, LEVEL));
    Encoded { codec: Codec::Pages, payload }
}

/// Bytes of the bodies of a run's pages, unpacked, that follow from its cells: with the arguments of `encode`, by which no
/// byte of them is stored, but for the order of a dictionary. A page of which some do not follow counts as nothing.
pub fn replayed(run: &Run<'_>, others: &[&Cells], place: usize) -> u64 {
    let chunk = Chunk::of(&run.cells, others, place);
    let mut bytes = 0;
    each_page(run, &chunk, |page, made, _| {
        let follows = || made.as_ref() == Some(&page.body) || order_of(run, &chunk, page).is_some();
        if run.is_understood && follows() {
            bytes += page.body.len() as u64;
        }
    });
    bytes
}

/// The order of a page's values among those of the cells, where it is a dictionary of these.
fn order_of(run: &Run<'_>, chunk: &Chunk<'_>, page: &Page<'_>) -> Option<Vec<u32>> {
    let is_dictionary = page.layout.is_none() && run.is_understood;
    is_dictionary.then(|| chunk.order_of(&page.parts, &page.body))?
}

/// Gives `take` each page of a run in order, with the body that follows from its cells, and where these are.
fn each_page<'r, 'b>(
    run: &'r Run<'b>,
    chunk: &Chunk<'_>,
    mut take: impl FnMut(&'r Page<'b>, Option<Vec<u8>>, &Stretch),
) {
    let mut numbers = chunk.numbers();
    let mut at = Stretch { entries: 0..0, values: 0..0 };
    for (number, page) in run.pages.iter().enumerate() {
        let made = match run.is_understood {
            true => chunk.body(&page.parts, page.layout.as_ref(), &mut at, &numbers),
            false => chunk.whole(number),
        };
        take(page, made, &at);
        if page.layout.is_none() && run.is_understood {
            numbers = chunk.numbers_of(&page.parts, &page.body);
        }
    }
}

/// The plan in a payload that `encode` gave; its first byte has 2 where some page does not follow from its cells.
pub fn plan_alone(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(payload);
    match where_is(&mut reader).ok()? {
        Where::Here { len, is_short: true } => {
            let frame = reader.take(reader.remaining(), "plan").ok()?;
            zstd::decompress_patch(frame, TYPICAL, len).ok()
        }
        _ => None,
    }
}

/// The same with the plan at a place of an object of plans, which is a base more, the last one.
pub fn with_plan_at(plan: Range<usize>) -> Encoded {
    let mut payload = Vec::new();
    [SHORT, ELSEWHERE, plan.start, plan.len()].into_iter().for_each(|count| put_count(&mut payload, count));
    Encoded { codec: Codec::Pages, payload }
}

/// Where a plan is.
enum Where {
    /// Behind the head of the payload.
    Here { len: usize, is_short: bool },
    /// In the last base.
    Base(Range<usize>),
}

/// Reads the head of a payload.
fn where_is(reader: &mut Reader<'_>) -> Result<Where, DecodeError> {
    let first = reader.count("length of the plan")?;
    let is_short = first == SHORT;
    let len = if is_short { reader.count("length of the plan")? } else { first };
    if is_short && len == ELSEWHERE {
        let (start, len) = (reader.count("place of the plan")?, reader.count("length of the plan")?);
        return Ok(Where::Base(start..start.saturating_add(len)));
    }
    match len <= MAX_PLAIN_BYTES {
        true => Ok(Where::Here { len, is_short }),
        false => Err(DecodeError::Invalid { what: "length of the plan" }),
    }
}

/// What follows from a page of these cells, whose body has so many bytes unpacked and packed.
fn follows<'a>(own: &'a Cells, stretch: Option<&Stretch>, unpacked: usize, packed: usize) -> Follows<'a> {
    let missing = stretch.map_or(0, |at| at.entries.len() - at.values.len());
    let values = stretch.map(|at| at.values.clone());
    let extremes = move || {
        let extremes = extremes_in(own, values?)?;
        extremes.iter().all(|value| value.len() <= MAX_EXTREME_BYTES).then_some(extremes)
    };
    Follows { unpacked, packed, missing, extremes: Extremes::new(Box::new(extremes)) }
}

/// What plans of whole headers continue: the least and the greatest value, which these tell.
fn context(own: &Cells) -> Vec<u8> {
    extremes(own)
        .into_iter()
        .flatten()
        .filter(|value| value.len() <= MAX_EXTREME_BYTES)
        .flatten()
        .copied()
        .collect()
}

/// A plan, and whether its headers are without what follows from their pages.
fn plan_of(payload: &[u8], own: &Cells, plans: Option<&[u8]>) -> Result<(Vec<u8>, bool), DecodeError> {
    let mut reader = Reader::new(payload);
    let (len, is_short) = match where_is(&mut reader)? {
        Where::Here { len, is_short } => (len, is_short),
        Where::Base(range) => {
            reader.end()?;
            let plan = plans.ok_or(DecodeError::NoBase)?.get(range);
            return Ok((plan.ok_or(DecodeError::Invalid { what: "place of the plan" })?.to_vec(), true));
        }
    };
    let frame = reader.take(reader.remaining(), "plan")?;
    let plan = match is_short {
        true => zstd::decompress_patch(frame, TYPICAL, len),
        false => zstd::decompress_patch(frame, &context(own), len),
    };
    Ok((plan?, is_short))
}

/// Decodes to `decoded_len` bytes; takes some times as many more.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let is_elsewhere = matches!(where_is(&mut Reader::new(payload))?, Where::Base(_));
    let (plans, bases) = match bases.split_last() {
        Some((plans, bases)) if is_elsewhere => (Some(*plans), bases),
        _ => (None, bases),
    };
    let cells: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let cells = cells.ok_or(invalid("cells"))?;
    let (own, others) = cells.split_first().ok_or(DecodeError::NoBase)?;
    if others.iter().any(|cells| cells.physical != own.physical) {
        return Err(invalid("cells of another kind"));
    }
    let mut out = Vec::with_capacity(decoded_len);
    let of_length = |found: usize, is_right: bool| match is_right {
        true => Ok(()),
        false => Err(DecodeError::Length { what: "pages", expected: decoded_len, found }),
    };
    let plan = plan_of(payload, own, plans)?;
    rebuild(plan, own, &others.iter().collect::<Vec<_>>(), |page| {
        // What stands before the packed part is known by its length alone.
        let levels = page.parts.levels.unwrap_or_default();
        let plain = if page.packer.is_some() { levels[0].saturating_add(levels[1]) } else { page.body.len() };
        let (plain, rest) = page.body.split_at_checked(plain).ok_or(invalid("levels of a page"))?;
        let packed = page.packer.map(|packer| packer.pack(rest)).unwrap_or_default();
        let follows = follows(own, page.stretch, page.body.len(), plain.len() + packed.len());
        let header = follows.fill_in(page.parts.header, page.left_out).ok_or(invalid("header of a page"))?;
        for part in [&header, plain, &packed] {
            out.extend_from_slice(part);
        }
        of_length(out.len(), out.len() <= decoded_len)
    })?;
    of_length(out.len(), out.len() == decoded_len)?;
    Ok(out)
}

/// A page that is put together.
struct Rebuilt<'a> {
    /// What its header tells; this may be without some fields.
    parts: &'a PageParts<'a>,
    left_out: u8,
    packer: Option<&'a Packer>,
    body: &'a [u8],
    /// Where its cells are, if it has some.
    stretch: Option<&'a Stretch>,
}

/// Gives `take` each page in order.
fn rebuild(
    (plan, is_short): (Vec<u8>, bool),
    own: &Cells,
    others: &[&Cells],
    mut take: impl FnMut(Rebuilt<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(&plan);
    let is_understood = reader.byte("form")? & BODIES == 0;
    let place = reader.count("place in the chunk")?;
    let pages = reader.count("pages")?;
    let left_out = if is_short { reader.stream("fields of headers")? } else { &[] };
    let mut headers = reader.stream("headers of pages")?;
    let chunk = Chunk::of(own, others, place.min(others.len()));
    let mut numbers = chunk.numbers();
    let mut at = Stretch { entries: 0..0, values: 0..0 };
    let (mut last, mut left): (Option<Packer>, _) = (None, MAX_PLAIN_BYTES);
    for number in 0..pages {
        let head = header(headers).ok_or(invalid("header of a page"))?;
        headers = &headers[head.header.len()..];
        let parts = head.without_body().ok_or(invalid("header of a page"))?;
        // A dictionary comes first, or who looked up all values in each of many would never end.
        if is_understood && number > 0 && parts.kind != PageKind::Values {
            return Err(invalid("place of a dictionary"));
        }
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
            mode => match take_order(&mut reader, mode)? {
                Some(order) => chunk.in_order(&order).ok_or(invalid("order of a dictionary"))?,
                None => take_left_over(&mut reader, mode, made.unwrap_or_default())?,
            },
        };
        left = left.checked_sub(body.len().max(made_len)).ok_or(invalid("length of the pages"))?;
        take(Rebuilt {
            parts: &parts,
            left_out: left_out.get(number).copied().unwrap_or(0),
            packer: last.as_ref().filter(|_| is_packed),
            body: &body,
            stretch: layout.as_ref().map(|_| &at),
        })?;
        if layout.is_none() && is_understood {
            numbers = chunk.numbers_of(&parts, &body);
        }
    }
    reader.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{self, Physical};
    use crate::table::{Items, Values};

    /// A dictionary page without entries: kind 2, no bytes, no values.
    const DICTIONARY: [u8; 13] = [0x15, 4, 0x15, 0, 0x15, 0, 0x4c, 0x15, 0, 0x15, 0, 0, 0];

    /// Cells of a run that has a dictionary of these, and nothing else.
    fn dictionary_of(values: &[i32]) -> Cells {
        let mut dictionary = Values::none(Physical::Int32);
        values.iter().for_each(|value| dictionary.push(&value.to_le_bytes()));
        Cells {
            physical: Physical::Int32,
            max_definition: 0,
            max_repetition: 0,
            entries: 0,
            repetitions: Vec::new(),
            definitions: Vec::new(),
            items: Items::Coded { codes: Vec::new(), dictionary },
        }
    }

    /// A dictionary in another order follows from its values and their order, which may not lead beyond them.
    #[test]
    fn a_dictionary_comes_back_in_its_order() {
        // Kind 2, 12 bytes, 3 values: as Thrift has them, doubled.
        let header = [0x15, 4, 0x15, 24, 0x15, 24, 0x4c, 0x15, 6, 0x15, 0, 0, 0];
        let body = [9, 5, 7].map(i32::to_le_bytes).concat();
        let bytes = [&header[..], &body].concat();
        let page = |parts| Page { parts, packer: None, body: body.clone(), layout: None };
        let pages = format::pages(&bytes).unwrap().into_iter().map(page).collect();
        let run = Run { cells: dictionary_of(&[7, 5, 9, 1]), pages, is_understood: true };
        assert_eq!(replayed(&run, &[], 0), body.len() as u64);
        let Encoded { payload, .. } = encode(&run, &[], 0, Effort::Push);
        assert_eq!(decode(&payload, &[&run.cells.encode()], bytes.len()).unwrap(), bytes);
        let lie = decode(&payload, &[&dictionary_of(&[7, 5]).encode()], bytes.len());
        assert_eq!(lie.unwrap_err(), DecodeError::Invalid { what: "order of a dictionary" });
        let run = Run { cells: dictionary_of(&[7, 5]), ..run };
        assert_eq!(replayed(&run, &[], 0), 0);
    }

    /// Each dictionary looks up all values of the run, and takes a few bytes of a payload.
    #[test]
    fn a_run_has_one_dictionary_and_it_comes_first() {
        let cells = dictionary_of(&[]);
        let decoded = |many: usize| {
            let bytes = DICTIONARY.repeat(many);
            let page = |parts| Page { parts, packer: None, body: Vec::new(), layout: None };
            let pages = format::pages(&bytes).unwrap().into_iter().map(page).collect();
            let run = Run { cells: cells.clone(), pages, is_understood: true };
            let Encoded { payload, .. } = encode(&run, &[], 0, Effort::Push);
            decode(&payload, &[&cells.encode()], bytes.len())
        };
        assert_eq!(decoded(1).unwrap(), DICTIONARY);
        assert_eq!(decoded(2).unwrap_err(), DecodeError::Invalid { what: "place of a dictionary" });
    }
}
