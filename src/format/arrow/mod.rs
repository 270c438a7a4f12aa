//! Arrow's IPC files and streams: messages, each with its metadata and the buffers of a batch of rows.
//!
//! A buffer is an array of numbers, so each is a segment, named by its column's path and by what it is for; its slices
//! are numbered through all batches. What surrounds it is left to `array` as filler.
//! Source: `Message.fbs`, `Schema.fbs` and "Columnar Format" of Apache Arrow 1.5.

mod columns;
mod flat;
mod footer;

use std::collections::HashMap;
use std::ops::Range;

use super::array::Array;
use super::reader::Reader;
use super::{Format, MAX_SLICE_ELEMENTS, Parsed, Refusal, Source};
use columns::{Buffer, Columns};
use flat::Table;
use footer::{Block, Footer};

/// Before the messages of a file; a stream has none.
pub(super) const MAGIC: [u8; 6] = *b"ARROW1";
const MAGIC_BYTES: u64 = 8;
const MOST_MAGIC_BYTES: u64 = 64;
/// Before the length of each message.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX_BYTES: u64 = 8;

const MAX_METADATA_BYTES: usize = 64 << 20;
/// Buffers that become segments, and the bytes of their names.
const MAX_BUFFERS: usize = 1 << 19;
const MAX_NAMES_BYTES: usize = 32 << 20;
/// Batches whose buffers are shorter than this are left as they are: a segment each would cost more than it saves.
const LEAST_MEAN_BYTES: u64 = 2048;
/// Longest padding behind a buffer, which belongs to it.
const MOST_PADDING_BYTES: u64 = 64;
/// Messages are read a little at a time, since bodies lie between them.
const WINDOW_BYTES: usize = 16 << 10;

const SCHEMA: u8 = 1;
const DICTIONARY_BATCH: u8 = 2;
const RECORD_BATCH: u8 = 3;

/// Walks through the messages.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let start = first_message(source)?;
    let mut reader = Reader::with_window(source, start..source.len(), WINDOW_BYTES);
    let Some(schema) = next(&mut reader)?.filter(|message| message.kind == SCHEMA) else {
        return by_footer(source);
    };
    let columns = schema.table()?.table(2).and_then(Columns::of).ok_or(Refusal::Malformed)?;
    let head = reader.position();
    let mut segments = Segments::default();
    // What lies behind something that is no message is filler: the footer of a file, the end of one that was cut off.
    while let Some(message) = next(&mut reader).or_else(malformed_is_none)? {
        if reader.skip(message.body_bytes).is_err() {
            break;
        }
        let body = reader.position() - message.body_bytes..reader.position();
        if let Some(buffers) = message.table().ok().and_then(|table| message.buffers(table, &columns)) {
            segments.add(body, &buffers);
        }
    }
    Ok(Parsed { format: Format::Arrow, head, arrays: segments.arrays })
}

/// Goes where the footer says: Polars writes the schema without a message around it.
fn by_footer(source: &dyn Source) -> Result<Parsed, Refusal> {
    let footer = Footer::read(source)?.ok_or(Refusal::Malformed)?;
    let (columns, blocks) = footer.columns().zip(footer.blocks()).ok_or(Refusal::Malformed)?;
    let head = blocks.first().map_or(MAGIC_BYTES, |block| block.message.start);
    let mut segments = Segments::default();
    for Block { message, body } in blocks {
        let mut reader = Reader::with_window(source, message, WINDOW_BYTES);
        let message = next(&mut reader).or_else(malformed_is_none)?;
        let message = message.filter(|message| message.body_bytes == body.end - body.start);
        if let Some(message) = message
            && let Some(buffers) = message.table().ok().and_then(|table| message.buffers(table, &columns))
        {
            segments.add(body, &buffers);
        }
    }
    Ok(Parsed { format: Format::Arrow, head, arrays: segments.arrays })
}

/// Where the first message begins: writers fill the magic of a file up with zeros to 8 bytes, arrow-rs to as many as it
/// aligns buffers to.
fn first_message(source: &dyn Source) -> Result<u64, Refusal> {
    let mut begin = vec![0; source.len().min(MOST_MAGIC_BYTES + CONTINUATION.len() as u64) as usize];
    source.read_at(&mut begin, 0)?;
    let Some(rest) = begin.strip_prefix(&MAGIC) else { return Ok(0) };
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    let start = (MAGIC.len() + zeros) as u64;
    match start.is_multiple_of(MAGIC_BYTES) && start <= MOST_MAGIC_BYTES {
        true => Ok(start),
        false => Err(Refusal::Malformed),
    }
}

fn malformed_is_none(refusal: Refusal) -> Result<Option<Message>, Refusal> {
    match refusal {
        Refusal::Malformed => Ok(None),
        error => Err(error),
    }
}

/// The metadata of a message.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
    body_bytes: u64,
}

/// The next message, whose body follows; none at the end.
fn next(reader: &mut Reader<'_>) -> Result<Option<Message>, Refusal> {
    if reader.left() < PREFIX_BYTES || reader.array()? != CONTINUATION {
        return Ok(None);
    }
    let len = reader.u32()?;
    if len == 0 {
        return Ok(None);
    }
    let bytes = reader.bytes(len.into(), MAX_METADATA_BYTES)?;
    let table = Table::root(&bytes).ok_or(Refusal::Malformed)?;
    let body_bytes = table.i64(3).unwrap_or(0);
    let body_bytes = u64::try_from(body_bytes).map_err(|_| Refusal::Malformed)?;
    let kind = table.u8(1).ok_or(Refusal::Malformed)?;
    Ok(Some(Message { kind, body_bytes, bytes }))
}

impl Message {
    fn table(&self) -> Result<Table<'_>, Refusal> {
        Table::root(&self.bytes).ok_or(Refusal::Malformed)
    }

    /// The buffers of a batch, where they lie in its body; none for a message that has none, or others than its columns.
    fn buffers<'a>(&self, table: Table<'_>, columns: &'a Columns) -> Option<Vec<(Range<u64>, &'a Buffer)>> {
        let header = table.table(2)?;
        let (batch, named) = match self.kind {
            RECORD_BATCH => (header, columns.of_batch()),
            DICTIONARY_BATCH => (header.table(1)?, columns.of_dictionary(header.i64(0).unwrap_or(0))?),
            _ => return None,
        };
        let places = batch.structs::<2>(2)?;
        let variadic: Vec<i64> =
            batch.structs(4).unwrap_or_default().into_iter().map(|[count]| count).collect();
        let named = columns::with_variadic(named, &variadic, places.len())?;
        let is_packed = batch.table(3).is_some();
        let place = |([offset, len], buffer): ([i64; 2], &'a (Buffer, Buffer))| {
            let (offset, len) = (u64::try_from(offset).ok()?, u64::try_from(len).ok()?);
            // Where bodies are packed, each buffer has its own length before it, and no type.
            let buffer = if is_packed { &buffer.1 } else { &buffer.0 };
            Some((offset..offset.checked_add(len)?, buffer))
        };
        places.into_iter().zip(named).map(place).collect()
    }
}

/// What was found so far, and how the slices are numbered.
#[derive(Default)]
struct Segments {
    arrays: Vec<Array>,
    names_bytes: usize,
    /// How many slices each name has.
    numbers: HashMap<String, u32>,
}

impl Segments {
    /// Adds the buffers of a batch, which lie in `body`.
    fn add(&mut self, body: Range<u64>, buffers: &[(Range<u64>, &Buffer)]) {
        let len = body.end - body.start;
        let filled = buffers.iter().filter(|(range, _)| !range.is_empty()).count();
        let names_bytes: usize = buffers.iter().map(|(_, buffer)| buffer.name.len()).sum();
        let has_room =
            self.arrays.len() + filled <= MAX_BUFFERS && self.names_bytes + names_bytes <= MAX_NAMES_BYTES;
        if filled == 0 || len / (filled as u64) < LEAST_MEAN_BYTES || !has_room {
            return;
        }
        self.names_bytes += names_bytes;
        for (at, (range, buffer)) in buffers.iter().enumerate() {
            let next = buffers.get(at + 1).map_or(len, |(next, _)| next.start);
            let is_padding = next.checked_sub(range.end).is_some_and(|padding| padding < MOST_PADDING_BYTES);
            let end = if is_padding { next } else { range.end };
            if range.is_empty() || end > len {
                continue;
            }
            let slice_bytes = MAX_SLICE_ELEMENTS * buffer.dtype.width() as u64;
            let number = self.numbers.entry(buffer.name.clone()).or_default();
            let range = body.start + range.start..body.start + end;
            self.arrays.push(Array::numbers(buffer.name.clone(), *number, range.clone(), buffer.dtype));
            *number += (range.end - range.start).div_ceil(slice_bytes) as u32;
        }
    }
}
