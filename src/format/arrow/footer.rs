//! The footer of a file: its schema, and where the batches lie.
//!
//! Source: `File.fbs` of Apache Arrow 1.5.

use std::ops::Range;

use super::columns::Columns;
use super::flat::Table;
use super::{MAGIC, MAGIC_BYTES, MAX_METADATA_BYTES};
use crate::format::{Refusal, Source};

/// The footer's length and the magic, at the end of the file.
const TAIL_BYTES: u64 = 4 + MAGIC.len() as u64;

pub(super) struct Footer {
    bytes: Vec<u8>,
    start: u64,
}

/// A message and its body.
pub(super) struct Block {
    pub message: Range<u64>,
    pub body: Range<u64>,
}

impl Footer {
    /// None where the source does not end with one.
    pub fn read(source: &dyn Source) -> Result<Option<Footer>, Refusal> {
        let mut tail = [0; TAIL_BYTES as usize];
        let Some(end) = source.len().checked_sub(TAIL_BYTES).filter(|end| *end >= MAGIC_BYTES) else {
            return Ok(None);
        };
        source.read_at(&mut tail, end)?;
        let Some(len) =
            tail.strip_suffix(&MAGIC).and_then(|len| Some(u32::from_le_bytes(*len.first_chunk()?)))
        else {
            return Ok(None);
        };
        let fits = len as usize <= MAX_METADATA_BYTES && u64::from(len) <= end - MAGIC_BYTES;
        if !fits {
            return Ok(None);
        }
        let start = end - u64::from(len);
        let mut bytes = vec![0; len as usize];
        source.read_at(&mut bytes, start)?;
        Ok(Some(Footer { bytes, start }))
    }

    pub fn columns(&self) -> Option<Columns> {
        Table::root(&self.bytes)?.table(1).and_then(Columns::of)
    }

    /// Dictionaries and batches, in the order of the file. What overlaps the one before, or the footer, is left out.
    pub fn blocks(&self) -> Option<Vec<Block>> {
        let root = Table::root(&self.bytes)?;
        let places = [2, 3].into_iter().filter_map(|number| root.structs::<3>(number)).flatten();
        let mut blocks: Vec<Block> = places.filter_map(block).collect();
        blocks.sort_by_key(|block| block.message.start);
        let mut at = MAGIC_BYTES;
        blocks.retain(|Block { message, body }| {
            let fits = at <= message.start && body.end <= self.start;
            at = if fits { body.end } else { at };
            fits
        });
        Some(blocks)
    }
}

/// Offset, length of the metadata (32 bits, and as many of padding), length of the body.
fn block([offset, metadata, body]: [i64; 3]) -> Option<Block> {
    let start = u64::try_from(offset).ok()?;
    let end = start.checked_add(u64::try_from(metadata as i32).ok()?)?;
    Some(Block { message: start..end, body: end..end.checked_add(u64::try_from(body).ok()?)? })
}
