//! Cells by the rows of other cells: most are copied, some are changed, some are new.
//!
//! What is copied is said once for all columns, by a map of rows. Here stands which of the rows that changed have
//! another cell in this column, and the cells of these and of new rows.

use std::ops::Range;

use super::super::payload::{Reader, put_count, put_stream};
use super::super::{Codec, DecodeError, Effort, Encoded};
use super::streams::{put_numbers, put_values, take_numbers, take_values};
use super::{
    Kind, MAX_BYTES, count_of, dtype_of, put_codes, put_kind, put_levels, take_codes, take_kind, take_levels,
};
use crate::format::Dtype;
use crate::table::{Cells, Dictionary, Items, MAX_ENTRIES, RowMap, RowRun, Rows, Values, cast};

/// Most bytes of old values that new ones may resemble.
const CONTEXT_BYTES: usize = 4 << 20;
/// Of that, the cells that were there before.
const BEFORE_BYTES: usize = 1 << 20;

const MAP_IS_OBJECT: u8 = 1;
/// Cells may differ in rows that the map does not call changed.
const ANY_MAY_DIFFER: u8 = 2;
const CODED: u8 = 4;

/// Cells that others are compared with; they are cast to the layout of these, where they have another.
#[derive(Clone, Copy)]
pub struct Former<'a> {
    pub cells: &'a Cells,
    /// Number of the first of their rows in their table.
    pub start: u32,
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
    let flags = [(has_object, MAP_IS_OBJECT), (any_may_differ, ANY_MAY_DIFFER), (coded, CODED)];
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
    put_kind(&mut payload, cells);
    put_numbers(&mut payload, &differs, Dtype::U8, effort);
    let context = sources.context(map, &written);
    put_written(&mut payload, cells, &own, &written, compared.dictionary, &context, effort);
    Some(Encoded { codec: Codec::ColumnRows, payload })
}

pub(super) fn decode(payload: &[u8], bases: &[&[u8]]) -> Result<Cells, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let flags = reader.byte("flags")?;
    let (map, cells) = match flags & MAP_IS_OBJECT {
        0 => (RowMap::decode(reader.stream("map of rows")?), bases),
        _ => {
            let (map, cells) = bases.split_first().ok_or(DecodeError::NoBase)?;
            let (first, rows) = (reader.count("first row")?, count_of(&mut reader, "rows")?);
            let part = |map: RowMap| Some(map.part(first, rows)).filter(|part| part.rows() == rows);
            (RowMap::decode(map).and_then(part), cells)
        }
    };
    let map = map.ok_or(invalid("map of rows"))?;
    if reader.count("bases")? != cells.len() {
        return Err(invalid("bases"));
    }
    let starts: Vec<u32> =
        cells.iter().map(|_| Ok(reader.count("first row")? as u32)).collect::<Result<_, _>>()?;
    let (physical, max_definition, max_repetition) = take_kind(&mut reader)?;
    let kind = Kind { physical, max_definition, max_repetition };
    let decoded = |base: &&[u8]| {
        let cells = Cells::decode(base)?;
        if cells.physical == physical { Some(cells) } else { cast(&cells, physical) }
    };
    let cells: Option<Vec<Cells>> = cells.iter().map(decoded).collect();
    let cells = cells.ok_or(invalid("cells"))?;
    let formers: Vec<Former> =
        cells.iter().zip(starts).map(|(cells, start)| Former { cells, start }).collect();
    let has_same_levels =
        |cells: &Cells| (cells.max_definition, cells.max_repetition) == (max_definition, max_repetition);
    if !cells.iter().all(has_same_levels) {
        return Err(invalid("cells of another kind"));
    }
    let sources = Sources::of(&formers).ok_or(invalid("cells"))?;
    let any_may_differ = flags & ANY_MAY_DIFFER != 0;
    let is_doubtful = |run: &RowRun| run.from.is_some() && (any_may_differ || run.is_changed);
    let doubtful = map.runs.iter().filter(|run| is_doubtful(run)).map(|run| run.rows as usize).sum();
    let differs = take_numbers(&mut reader, doubtful, Dtype::U8)?;
    let mut bits = differs.iter();
    let mut written = Vec::new();
    for (row, run, from) in each(&map) {
        let is_written = match from {
            None => true,
            Some(_) if is_doubtful(run) => bits.next() == Some(&1),
            Some(_) => false,
        };
        if is_written {
            written.push(row);
        }
    }
    let context = sources.context(&map, &written);
    let new = take_written(&mut reader, kind, flags & CODED != 0, &sources, &context)?;
    reader.end()?;
    sources.put_together(kind, &map, &written, new)
}

/// The rows of a map one by one: number, run, and the old row.
fn each(map: &RowMap) -> impl Iterator<Item = (usize, &RowRun, Option<u32>)> {
    let rows = map
        .runs
        .iter()
        .flat_map(|run| (0..run.rows).map(move |row| (run, run.from.map(|from| from.saturating_add(row)))));
    rows.enumerate().map(|(row, (run, from))| (row, run, from))
}

/// What rows are copied from.
struct Sources<'a> {
    formers: &'a [Former<'a>],
    rows: Vec<Rows>,
}

impl<'a> Sources<'a> {
    fn of(formers: &'a [Former<'a>]) -> Option<Sources<'a>> {
        let rows = formers.iter().map(|former| Rows::of(former.cells)).collect::<Option<_>>()?;
        Some(Sources { formers, rows })
    }

    /// Which cells have this row, and its number among theirs.
    fn find(&self, row: u32) -> Option<(usize, usize)> {
        self.formers.iter().enumerate().find_map(|(at, former)| {
            let own = row.checked_sub(former.start)? as usize;
            (own < self.rows[at].len()).then_some((at, own))
        })
    }

    /// Entries and values of a row of some cells.
    fn places(&self, at: usize, row: usize) -> (Range<usize>, Range<usize>) {
        let entries = self.rows[at].entries(row..row + 1);
        (entries.clone(), self.rows[at].values(entries))
    }

    /// All different values, in order of the cells that they are from.
    fn dictionary(&self, none: Values) -> Dictionary {
        let mut rest = self.formers.iter().map(|former| &former.cells.items);
        // Those of the first are known to differ, where they are coded.
        let (first, more) = match rest.next() {
            Some(Items::Coded { dictionary, .. }) => (dictionary.clone(), None),
            more => (none, more),
        };
        let mut all = Dictionary::of(first);
        for items in more.into_iter().chain(rest) {
            values_of(items).iter().for_each(|value| {
                all.number(value);
            });
        }
        all
    }

    /// Old values that those of the written rows may resemble: some from everywhere, then those at their place.
    fn context(&self, map: &RowMap, written: &[usize]) -> Vec<u8> {
        let values = |former: &Former<'a>| values_of(&former.cells.items);
        if written.is_empty()
            || self.formers.iter().any(|former| matches!(values(former), Values::Fixed { .. }))
        {
            return Vec::new();
        }
        let room = (CONTEXT_BYTES - BEFORE_BYTES) / self.formers.len().max(1);
        let mut context = Vec::new();
        for former in self.formers {
            let bytes = values(former).bytes();
            context.extend_from_slice(&bytes[bytes.len().saturating_sub(room)..]);
        }
        let most = context.len() + BEFORE_BYTES;
        let mut next = written.iter().peekable();
        for (row, _, from) in each(map) {
            if next.next_if(|written| **written == row).is_none() {
                continue;
            }
            let Some((at, own)) = from.and_then(|from| self.find(from)) else { continue };
            for value in self.places(at, own).1 {
                context.extend_from_slice(self.formers[at].cells.items.get(value));
            }
            if context.len() > most {
                break;
            }
        }
        context
    }

    /// The cells whose rows are copied, but for those that are written, which `new` has.
    fn put_together(
        &self,
        kind: Kind,
        map: &RowMap,
        written: &[usize],
        new: Written,
    ) -> Result<Cells, DecodeError> {
        let invalid = |what| DecodeError::Invalid { what };
        let Kind { physical, max_definition, max_repetition } = kind;
        let mut out = match &new.cells.items {
            Items::Plain(values) => Out::Plain(values.none_like()),
            Items::Coded { .. } => Out::coded(physical, &new.dictionary, self),
        };
        let theirs = Rows::of(&new.cells).filter(|theirs| theirs.len() == written.len());
        let theirs = theirs.ok_or(invalid("cells that are written"))?;
        let mut cells = Cells {
            physical,
            max_definition,
            max_repetition,
            entries: 0,
            repetitions: Vec::new(),
            definitions: Vec::new(),
            items: Items::Plain(Values::none(physical)),
        };
        let mut next = written.iter().copied().enumerate().peekable();
        let mut row = 0;
        for run in &map.runs {
            let end = row + run.rows as usize;
            while row < end {
                if let Some((place, _)) = next.next_if(|(_, written)| *written == row) {
                    let range = theirs.entries(place..place + 1);
                    cells.extend_levels(&new.cells, range.clone());
                    out.extend(&new.cells.items, theirs.values(range), None)?;
                    row += 1;
                    continue;
                }
                // As many as are copied from the same cells without a break.
                let until = next.peek().map_or(end, |(_, written)| end.min(*written));
                let skipped = run.rows - (end - row) as u32;
                let from =
                    run.from.and_then(|from| from.checked_add(skipped)).ok_or(invalid("map of rows"))?;
                let (at, own) = self.find(from).ok_or(invalid("map of rows"))?;
                let many = (until - row).min(self.rows[at].len() - own);
                let range = self.rows[at].entries(own..own + many);
                cells.extend_levels(self.formers[at].cells, range.clone());
                out.extend(&self.formers[at].cells.items, self.rows[at].values(range), Some(at))?;
                row += many;
                if cells.entries > MAX_ENTRIES {
                    return Err(invalid("entries"));
                }
            }
        }
        cells.items = out.finish();
        Ok(cells)
    }
}

/// How values are told to be the same.
struct Compared<'a> {
    cells: &'a Cells,
    /// All old values, where the new ones are coded.
    dictionary: Option<Dictionary>,
    /// The numbers in it of the new ones.
    numbers: Vec<u32>,
    /// The numbers in it of the old ones, by the cells that they are from.
    theirs: Vec<Vec<u32>>,
}

impl<'a> Compared<'a> {
    fn of(cells: &'a Cells, sources: &Sources<'_>) -> Compared<'a> {
        let Items::Coded { dictionary: own, .. } = &cells.items else {
            return Compared { cells, dictionary: None, numbers: Vec::new(), theirs: Vec::new() };
        };
        let dictionary = sources.dictionary(own.none_like());
        let numbers = own.iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect();
        let theirs =
            sources.formers.iter().map(|former| numbers_of(&former.cells.items, &dictionary)).collect();
        Compared { cells, dictionary: Some(dictionary), numbers, theirs }
    }

    /// Whether two rows have the same cell; none where the old one is in none of the cells.
    fn is_same(&self, own: &Rows, row: usize, sources: &Sources<'_>, from: u32) -> Option<bool> {
        let (at, old) = sources.find(from)?;
        let former = sources.formers[at].cells;
        let (their_entries, their_values) = sources.places(at, old);
        let entries = own.entries(row..row + 1);
        let values = own.values(entries.clone());
        let same_levels =
            |own: &[u8], theirs: &[u8]| own.get(entries.clone()) == theirs.get(their_entries.clone());
        let is_same = their_entries.len() == entries.len()
            && their_values.len() == values.len()
            && same_levels(&self.cells.repetitions, &former.repetitions)
            && same_levels(&self.cells.definitions, &former.definitions)
            && values.zip(their_values).all(|(own, theirs)| match (&self.cells.items, &former.items) {
                (Items::Coded { codes, .. }, Items::Coded { codes: their_codes, .. }) => {
                    self.numbers[codes[own] as usize] == self.theirs[at][their_codes[theirs] as usize]
                }
                (own_items, their_items) => own_items.get(own) == their_items.get(theirs),
            });
        Some(is_same)
    }
}

/// The values, or the different ones where they are coded.
fn values_of(items: &Items) -> &Values {
    match items {
        Items::Plain(values) | Items::Coded { dictionary: values, .. } => values,
    }
}

/// The numbers of these values in a dictionary.
fn numbers_of(items: &Items, dictionary: &Dictionary) -> Vec<u32> {
    values_of(items).iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect()
}

/// Rows that are written, and the values that their codes are numbers of: the old ones, then new ones.
struct Written {
    cells: Cells,
    dictionary: Values,
}

fn put_written(
    payload: &mut Vec<u8>,
    cells: &Cells,
    own: &Rows,
    written: &[usize],
    dictionary: Option<Dictionary>,
    context: &[u8],
    effort: Effort,
) {
    let rows = written.iter().map(|row| own.entries(*row..row + 1));
    let mut new = cells.without_items();
    let mut places = Vec::new();
    for range in rows {
        new.extend_levels(cells, range.clone());
        places.push(own.values(range));
    }
    put_count(payload, new.entries);
    put_levels(payload, &new, effort);
    let dtype = dtype_of(cells.physical);
    match (&cells.items, dictionary) {
        (Items::Coded { codes, dictionary: values }, Some(mut dictionary)) => {
            let old = dictionary.values().len();
            let mut numbers = vec![u32::MAX; values.len()];
            let codes: Vec<u32> = places
                .into_iter()
                .flatten()
                .map(|place| {
                    let code = codes[place] as usize;
                    if numbers[code] == u32::MAX {
                        numbers[code] = dictionary.number(values.get(code));
                    }
                    numbers[code]
                })
                .collect();
            put_codes(payload, &codes, dictionary.values().len(), effort);
            let mut new = values.none_like();
            new.extend(dictionary.values(), old..dictionary.values().len());
            put_count(payload, new.len());
            put_values(payload, &new, dtype, context, effort);
        }
        (items, _) => {
            let mut values = Values::none(cells.physical);
            places.into_iter().flatten().for_each(|place| values.push(items.get(place)));
            put_count(payload, values.len());
            put_values(payload, &values, dtype, context, effort);
        }
    }
}

fn take_written(
    reader: &mut Reader<'_>,
    kind: Kind,
    is_coded: bool,
    sources: &Sources<'_>,
    context: &[u8],
) -> Result<Written, DecodeError> {
    let (entries, repetitions, definitions) = take_levels(reader, kind)?;
    let Kind { physical, max_definition, max_repetition } = kind;
    let (none, dtype) = (Values::none(physical), dtype_of(physical));
    let (items, dictionary) = if is_coded {
        let width = reader.byte("width of codes")?;
        let codes = take_codes(reader, width)?;
        let count = count_of(reader, "values")?;
        let more = take_values(reader, none.clone(), count, dtype, context)?;
        let mut dictionary = sources.dictionary(none.clone()).into_values();
        dictionary.extend(&more, 0..more.len());
        if codes.iter().any(|code| *code as usize >= dictionary.len()) {
            return Err(DecodeError::Invalid { what: "codes" });
        }
        (Items::Coded { codes, dictionary: none }, dictionary)
    } else {
        let count = count_of(reader, "values")?;
        (Items::Plain(take_values(reader, none.clone(), count, dtype, context)?), none)
    };
    let cells = Cells { physical, max_definition, max_repetition, entries, repetitions, definitions, items };
    match cells.values_in(0..entries) == cells.items.len() {
        true => Ok(Written { cells, dictionary }),
        false => Err(DecodeError::Invalid { what: "levels" }),
    }
}

/// Values as they are put together.
enum Out<'a> {
    Plain(Values),
    Coded {
        codes: Vec<u32>,
        values: Values,
        /// Old values and new ones, and the code that each has by now.
        dictionary: &'a Values,
        known: Vec<u32>,
        /// The numbers in the dictionary of the old values, by the cells that they are from.
        theirs: Vec<Vec<u32>>,
    },
}

impl<'a> Out<'a> {
    fn coded(physical: crate::format::Physical, dictionary: &'a Values, sources: &Sources<'a>) -> Out<'a> {
        let theirs = match sources.formers {
            // Those of the only one are its own.
            [Former { cells: Cells { items: Items::Coded { dictionary, .. }, .. }, .. }] => {
                vec![(0..dictionary.len() as u32).collect()]
            }
            formers => {
                let all = sources.dictionary(Values::none(physical));
                formers.iter().map(|former| numbers_of(&former.cells.items, &all)).collect()
            }
        };
        let known = vec![u32::MAX; dictionary.len()];
        Out::Coded { codes: Vec::new(), values: Values::none(physical), dictionary, known, theirs }
    }

    /// Appends values of former cells, or of those that are written.
    fn extend(&mut self, items: &Items, range: Range<usize>, from: Option<usize>) -> Result<(), DecodeError> {
        let values = match self {
            Out::Plain(values) => {
                match items {
                    Items::Plain(theirs) => values.extend(theirs, range),
                    items => range.for_each(|at| values.push(items.get(at))),
                }
                values
            }
            Out::Coded { codes, values, dictionary, known, theirs } => {
                let numbers = from.map(|from| &theirs[from]);
                for at in range {
                    let own = match items {
                        Items::Coded { codes, .. } => codes[at],
                        Items::Plain(_) => at as u32,
                    };
                    let number = numbers.map_or(own, |numbers| numbers[own as usize]) as usize;
                    let code = known.get_mut(number).ok_or(DecodeError::Invalid { what: "codes" })?;
                    if *code == u32::MAX {
                        *code = values.len() as u32;
                        values.push(dictionary.get(number));
                    }
                    codes.push(*code);
                }
                values
            }
        };
        match values.bytes().len() <= MAX_BYTES {
            true => Ok(()),
            false => Err(DecodeError::Invalid { what: "length of values" }),
        }
    }

    fn finish(self) -> Items {
        match self {
            Out::Plain(values) => Items::Plain(values),
            Out::Coded { codes, values, .. } => Items::Coded { codes, dictionary: values },
        }
    }
}
