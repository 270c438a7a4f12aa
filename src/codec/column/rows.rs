//! Cells by the rows of other cells: most are copied, some are changed, some are new.
//!
//! What is copied is said once for all columns, by a map of rows. Here stands which of the rows that changed have
//! another cell in this column, and the cells of these and of new rows.

use super::super::payload::{Reader, put_count, put_stream};
use super::super::{Codec, DecodeError, Effort, Encoded};
use super::compared::Compared;
use super::context::context;
use super::sources::{Sources, each};
use super::streams::{put_numbers, take_numbers};
use super::written::{nothing_written, put_written, take_written};
use super::{count_of, put_kind, take_kind};
use crate::format::Dtype;
use crate::table::{Cells, Items, Kind, RowMap, RowRun, Rows, cast};

const MAP_IS_OBJECT: u8 = 1;
/// Cells may differ in rows that the map does not call changed.
const ANY_MAY_DIFFER: u8 = 2;
const CODED: u8 = 4;
/// All rows are copied, from cells of the same kind: nothing else is told.
const COPIED: u8 = 8;

/// Cells that others are compared with; they are cast to the layout of these, where they have another.
#[derive(Clone, Copy)]
pub struct Former<'a> {
    pub cells: &'a Cells,
    /// Number of the first of their rows in their table.
    pub start: u32,
    /// Whether they had another type.
    pub is_cast: bool,
}

/// Where the map of the rows stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapAt {
    /// In the payload.
    Here,
    /// In an object that is the first base; the rows are those from this one on.
    Object(usize),
}

/// Encodes cells whose rows come from others as `map` says; none where that can't be.
///
/// The bases of the payload are the object of the map, if it is one, and `formers` in order.
pub fn encode_rows(
    cells: &Cells,
    map: &RowMap,
    at: MapAt,
    formers: &[Former<'_>],
    effort: Effort,
) -> Option<Encoded> {
    let own = Rows::of(cells)?;
    (own.len() == map.rows()).then_some(())?;
    let sources = Sources::of(formers)?;
    let compared = Compared::of(cells, &sources);
    // One bit for each row that may differ, and the rows that are written.
    let (mut written, mut differs, mut any) = (Vec::new(), Vec::new(), Vec::new());
    let mut any_may_differ = false;
    for (row, run, from) in each(map) {
        let Some(from) = from else {
            written.push(row);
            continue;
        };
        let is_other = !compared.is_same(&own, row, &sources, from)?;
        if is_other {
            written.push(row);
        }
        if run.is_changed {
            differs.push(u8::from(is_other));
        }
        any_may_differ |= is_other && !run.is_changed;
        any.push(u8::from(is_other));
    }
    let differs = if any_may_differ { any } else { differs };

    let mut payload = Vec::new();
    let coded = matches!(cells.items, Items::Coded { .. });
    let has_object = at != MapAt::Here;
    let copied = written.is_empty() && formers.first().is_some_and(|former| !former.is_cast);
    let flags =
        [(has_object, MAP_IS_OBJECT), (any_may_differ, ANY_MAY_DIFFER), (coded, CODED), (copied, COPIED)];
    payload.push(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
    match at {
        MapAt::Here => put_stream(&mut payload, &map.encode()),
        MapAt::Object(first) => {
            put_count(&mut payload, first);
            put_count(&mut payload, own.len());
        }
    }
    put_count(&mut payload, formers.len());
    formers.iter().for_each(|former| put_count(&mut payload, former.start as usize));
    if copied {
        return Some(Encoded { codec: Codec::ColumnRows, payload });
    }
    put_kind(&mut payload, cells);
    put_numbers(&mut payload, &differs, Dtype::U8, effort);
    let context = context(&sources, map, &written);
    put_written(&mut payload, cells, &own, &written, compared.dictionary, &context, effort);
    Some(Encoded { codec: Codec::ColumnRows, payload })
}

/// Whether a payload of these gives the cells back.
pub fn gives_by_rows(encoded: &Encoded, cells: &Cells, map: &RowMap, formers: &[Former<'_>]) -> bool {
    let mut reader = Reader::new(&encoded.payload);
    let head = Head::take(&mut reader);
    let kind = kind_of(cells);
    head.and_then(|head| put_together(reader, &head, kind, map, formers)).is_ok_and(|found| found == *cells)
}

pub(super) fn decode(payload: &[u8], bases: &[&[u8]]) -> Result<Cells, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let head = Head::take(&mut reader)?;
    let (map, bases) = match &head.map {
        MapIn::Payload(map) => (RowMap::decode(map), bases),
        MapIn::Base { first, rows } => {
            let (map, bases) = bases.split_first().ok_or(DecodeError::NoBase)?;
            let part = |map: RowMap| Some(map.part(*first, *rows)).filter(|part| part.rows() == *rows);
            (RowMap::decode(map).and_then(part), bases)
        }
    };
    let map = map.ok_or(invalid("map of rows"))?;
    if head.starts.len() != bases.len() {
        return Err(invalid("bases"));
    }
    let cells: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let mut cells = cells.ok_or(invalid("cells"))?;
    let kind = head.kind.or(cells.first().map(kind_of)).ok_or(invalid("bases"))?;
    for cells in &mut cells {
        if cells.physical != kind.physical {
            *cells = cast(cells, kind.physical).ok_or(invalid("cells"))?;
        }
    }
    let former = |(cells, start)| Former { cells, start, is_cast: false };
    let formers: Vec<Former> = cells.iter().zip(head.starts.iter().copied()).map(former).collect();
    put_together(reader, &head, kind, &map, &formers)
}

fn kind_of(cells: &Cells) -> Kind {
    let Cells { physical, max_definition, max_repetition, .. } = *cells;
    Kind { physical, max_definition, max_repetition }
}

/// What stands before the cells.
struct Head<'a> {
    any_may_differ: bool,
    is_coded: bool,
    map: MapIn<'a>,
    starts: Vec<u32>,
    /// None where all rows are copied: that of what they are copied from.
    kind: Option<Kind>,
}

/// Where the map of the rows is to be found.
enum MapIn<'a> {
    Payload(&'a [u8]),
    Base { first: usize, rows: usize },
}

impl<'a> Head<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Head<'a>, DecodeError> {
        let flags = reader.byte("flags")?;
        let map = match flags & MAP_IS_OBJECT {
            0 => MapIn::Payload(reader.stream("map of rows")?),
            _ => MapIn::Base { first: reader.count("first row")?, rows: count_of(reader, "rows")? },
        };
        let bases = reader.count("bases")?;
        if bases > reader.remaining() {
            return Err(DecodeError::Invalid { what: "bases" });
        }
        let start = |_| Ok(reader.count("first row")? as u32);
        let starts = (0..bases).map(start).collect::<Result<_, _>>()?;
        let kind = if flags & COPIED == 0 { Some(take_kind(reader)?) } else { None };
        Ok(Head {
            any_may_differ: flags & ANY_MAY_DIFFER != 0,
            is_coded: flags & CODED != 0,
            map,
            starts,
            kind,
        })
    }
}

/// The cells that the rest of a payload, a map of their rows and the cells of these give.
fn put_together(
    mut reader: Reader<'_>,
    head: &Head<'_>,
    kind: Kind,
    map: &RowMap,
    formers: &[Former<'_>],
) -> Result<Cells, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let has_same_levels = |former: &Former| {
        let Cells { max_definition, max_repetition, .. } = former.cells;
        (*max_definition, *max_repetition) == (kind.max_definition, kind.max_repetition)
    };
    if !formers.iter().all(has_same_levels) {
        return Err(invalid("cells of another kind"));
    }
    let sources = Sources::of(formers).ok_or(invalid("cells"))?;
    if head.kind.is_none() {
        reader.end()?;
        return sources.put_together(kind, map, &[], nothing_written(kind, head.is_coded, &sources));
    }
    let is_doubtful = |run: &RowRun| run.from.is_some() && (head.any_may_differ || run.is_changed);
    let doubtful = map.runs.iter().filter(|run| is_doubtful(run)).map(|run| run.rows as usize).sum();
    let differs = take_numbers(&mut reader, doubtful, Dtype::U8)?;
    let mut bits = differs.iter();
    let mut written = Vec::new();
    for (row, run, from) in each(map) {
        let is_written = match from {
            None => true,
            Some(_) if is_doubtful(run) => bits.next() == Some(&1),
            Some(_) => false,
        };
        if is_written {
            written.push(row);
        }
    }
    let context = context(&sources, map, &written);
    let new = take_written(&mut reader, kind, head.is_coded, &sources, &context)?;
    reader.end()?;
    sources.put_together(kind, map, &written, new)
}
