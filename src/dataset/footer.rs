//! What is asked of a Parquet file before its footer is believed: lengths that fit the file, and lists that fit
//! the footer.
//!
//! The decoder allocates what a list's count says before it reads the first element. So the footer is walked
//! through once without keeping anything: Thrift's compact protocol, every count held against the bytes left.

use parquet::file::metadata::ParquetMetaData;

use crate::format::Source;

const MAGIC: &[u8; 4] = b"PAR1";
const ENCRYPTED: &[u8; 4] = b"PARE";
/// Largest footer that is read; one of ten thousand columns in a thousand groups has less.
const MOST_FOOTER_BYTES: u64 = 1 << 30;
/// Structures in each other: the format has six.
const MOST_DEPTH: usize = 16;

/// Checks the footer of a file that should be Parquet.
pub fn check(file: &dyn Source) -> Result<(), String> {
    let read = |start: u64, len: u64| {
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, start).map_err(|error| error.to_string())?;
        Ok::<_, String>(bytes)
    };
    let (len, ends) = (file.len(), (MAGIC.len() + 4 + MAGIC.len()) as u64);
    if len < ends {
        return Err(format!("{len} bytes are too few, it is truncated"));
    }
    let tail = read(len - 8, 8)?;
    match &tail[4..] {
        found if found == MAGIC => {}
        found if found == ENCRYPTED => return Err("its footer is encrypted".into()),
        _ => return Err("it does not end with a footer, it is truncated".into()),
    }
    let footer = u64::from(u32::from_le_bytes(tail[..4].try_into().expect("because 4 bytes are 4 bytes")));
    if footer > (len - ends).min(MOST_FOOTER_BYTES) {
        return Err(format!("its footer claims {footer} bytes of a file with {len}"));
    }
    check_lists(&read(len - 8 - footer, footer)?).map_err(|why| format!("its footer {why}"))
}

/// Checks that what a footer tells of lies in the file.
pub fn check_chunks(metadata: &ParquetMetaData, len: u64) -> Result<(), String> {
    let mut rows = 0i64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let counted = Some(group.num_rows()).filter(|rows| *rows >= 0);
        rows = counted
            .and_then(|more| rows.checked_add(more))
            .ok_or_else(|| format!("row group {number} claims {} rows", group.num_rows()))?;
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let fits = start >= 0 && column.compressed_size() >= 0 && column.num_values() >= 0;
            if !fits || end.is_none_or(|end| end as u64 > len) {
                let path = column.column_path();
                return Err(format!("row group {number}, column {path}: it lies beyond the end of the file"));
            }
        }
    }
    Ok(())
}

/// Walks through a structure of Thrift's compact protocol.
pub fn check_lists(bytes: &[u8]) -> Result<(), String> {
    Walk { rest: bytes }.structure(0).ok_or_else(|| "is malformed: its counts do not fit its bytes".into())
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, len: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(len).ok()?..)?;
        Some(())
    }

    fn structure(&mut self, depth: usize) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            if head >> 4 == 0 {
                self.varint()?;
            }
            // True and false stand in the type of a field.
            if !matches!(head & 15, 1 | 2) {
                self.value(head & 15, depth)?;
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let len = self.varint()?;
                self.skip(len)
            }
            9 | 10 => self.list(depth),
            11 => self.map(depth),
            12 => self.structure(depth + 1),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        // Each element has a byte at least.
        if depth > MOST_DEPTH || count > self.rest.len() as u64 {
            return None;
        }
        (0..count).try_for_each(|_| self.value(head & 15, depth + 1))
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        let count = self.varint()?;
        if count == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        if depth > MOST_DEPTH || count > self.rest.len() as u64 {
            return None;
        }
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth + 1)?;
            self.value(kinds & 15, depth + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that no bytes stand behind must not reach a decoder that allocates for it.
    #[test]
    fn counts_are_held_against_what_is_there() {
        let field = |kind: u8, value: &[u8]| [&[0x10 | kind], value, &[0]].concat();
        assert!(check_lists(&field(9, &[0x35, 2, 4, 6])).is_ok());
        assert!(check_lists(&field(9, &[0xf5, 0xff, 0xff, 0xff, 0xff, 7])).is_err());
        assert!(check_lists(&field(8, &[5, b'a'])).is_err());
        assert!(check_lists(&[0x1c; 100]).is_err(), "structures without end");
        assert!(check_lists(&field(12, &[0])).is_ok());
    }
}
