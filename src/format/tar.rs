//! Tar archives: members one after another, each behind a block that tells its name and length.
//!
//! Shards of data sets are such archives: a member that did not change is found again wherever it lies. Members that
//! are small stay with the blocks between them.
//! Source: POSIX.1-2024, `pax`, "ustar Interchange Format" and "pax Header Block"; GNU tar for its long names and lengths.

use std::io;

use super::array::{Array, MAX_NAME_BYTES};
use super::reader::Reader;
use super::{Format, Parsed, Refusal, Source};

const BLOCK_BYTES: u64 = 512;
const MAGIC: [u8; 5] = *b"ustar";
const MAGIC_AT: u64 = 257;
/// Smaller members are no segments of their own.
const LEAST_MEMBER_BYTES: u64 = 4096;
const MAX_MEMBERS: usize = 1 << 20;
const MAX_NAMES_BYTES: usize = 64 << 20;
/// Longest block that tells of the next member.
const MAX_EXTENSION_BYTES: usize = 1 << 20;
const WINDOW_BYTES: usize = 2048;

/// Whether a source has the magic of an archive, which does not stand at its beginning.
pub(super) fn is_one(source: &dyn Source) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if source.len() < BLOCK_BYTES {
        return Ok(false);
    }
    source.read_at(&mut magic, MAGIC_AT)?;
    Ok(magic == MAGIC)
}

/// Walks through the members.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let mut reader = Reader::with_window(source, 0..source.len(), WINDOW_BYTES);
    let (mut arrays, mut names_bytes, mut members) = (Vec::new(), 0, 0);
    let mut told = Told::default();
    // The first block must be one; what lies behind the last is filler.
    let mut header = Header::read(&reader.array()?).ok_or(Refusal::Malformed)?;
    loop {
        let len = told.len.take().unwrap_or(header.len);
        let range = reader.position()..reader.position().saturating_add(len);
        members += 1;
        if range.end > source.len() || members > MAX_MEMBERS || names_bytes > MAX_NAMES_BYTES {
            break;
        }
        match header.kind {
            b'L' => told.name = text(&reader.bytes(len, MAX_EXTENSION_BYTES)?),
            b'x' => told.read(&reader.bytes(len, MAX_EXTENSION_BYTES)?),
            _ => {
                let name = told.name.take().unwrap_or(header.name);
                told = Told::default();
                if matches!(header.kind, b'0' | 0)
                    && len >= LEAST_MEMBER_BYTES
                    && name.len() <= MAX_NAME_BYTES
                {
                    names_bytes += name.len();
                    arrays.push(Array::bytes(name, range.clone(), Vec::new()));
                }
                reader.skip(len)?;
            }
        }
        if reader.skip(len.next_multiple_of(BLOCK_BYTES) - len).is_err() || reader.left() < BLOCK_BYTES {
            break;
        }
        match Header::read(&reader.array()?) {
            Some(next) => header = next,
            None => break,
        }
    }
    Ok(Parsed { format: Format::Tar, head: BLOCK_BYTES, arrays })
}

/// A block before a member.
struct Header {
    name: String,
    len: u64,
    kind: u8,
}

impl Header {
    /// None for a block that is none: its sum is wrong, or there are two of zeros at the end.
    fn read(block: &[u8; BLOCK_BYTES as usize]) -> Option<Header> {
        let sum = octal(&block[148..156])?;
        let own = |(at, byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte });
        if block.iter().enumerate().map(own).sum::<u64>() != sum || !block[257..].starts_with(&MAGIC) {
            return None;
        }
        let (name, prefix) = (text(&block[..100])?, text(&block[345..500])?);
        // GNU tar has other fields at that place, and no zero behind its magic.
        let has_prefix = block[262] == 0 && !prefix.is_empty();
        let name = if has_prefix { format!("{prefix}/{name}") } else { name };
        Some(Header { name, len: number(&block[124..136])?, kind: block[156] })
    }
}

/// What a block of its own tells of the next member.
#[derive(Default)]
struct Told {
    name: Option<String>,
    len: Option<u64>,
}

impl Told {
    /// Records of a length, a blank, and `key=value` with a line end.
    fn read(&mut self, mut records: &[u8]) {
        while let Some(blank) = records.iter().position(|byte| *byte == b' ') {
            let len = text(&records[..blank]).and_then(|len| len.parse::<usize>().ok());
            let Some(record) = len.and_then(|len| records.get(blank + 1..len)) else { return };
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                self.name = text(path);
            } else if let Some(size) = record.strip_prefix(b"size=") {
                self.len = text(size).and_then(|size| size.parse().ok());
            }
            records = &records[len.unwrap_or(records.len())..];
        }
    }
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).ok()
}

/// Octal digits, or with the highest bit set the rest as a number.
fn number(field: &[u8]) -> Option<u64> {
    match field[0] {
        0x80 => field[1..]
            .iter()
            .try_fold(0u64, |value, byte| value.checked_mul(256)?.checked_add((*byte).into())),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = text(field)?;
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}
