//! Zip archives, as `torch.save` and `numpy.savez` write them: the data of each member is a segment.
//!
//! Only the directory at the end is read, and the local headers it points to. Nothing is inflated and
//! nothing unpickled: a member's data is bytes, and its name is data too, never a path.
//! An archive whose directory contradicts itself or the local headers is cut by content; members that
//! overlap are left to `array`.
//! Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.

use std::ops::Range;

use super::array::{Array, MAX_ARRAYS, MAX_NAME_BYTES};
use super::reader::Reader;
use super::{Format, Parsed, Refusal, Source};

pub(super) const MAGIC: [u8; 4] = *b"PK\x03\x04";

const ENTRY_MAGIC: [u8; 4] = *b"PK\x01\x02";
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64_MAGIC: [u8; 4] = *b"PK\x06\x07";

const LOCAL_BYTES: u64 = 30;
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const LOCATOR64_BYTES: u64 = 20;
const MAX_COMMENT_BYTES: u64 = 65_535;
/// Tag of the extra field that holds sizes of 8 bytes.
const EXTRA64: u16 = 1;

/// Walks the directory.
pub(super) fn parse(source: &dyn Source) -> Result<Parsed, Refusal> {
    let directory = Directory::find(source)?;
    if directory.entries > MAX_ARRAYS as u64 {
        return Err(Refusal::Malformed);
    }
    let mut reader = Reader::new(source, directory.range.clone());
    let mut arrays = Vec::new();
    for _ in 0..directory.entries {
        let entry = Entry::read(&mut reader)?;
        let range = entry.data(source, directory.range.start)?;
        // Names in old code pages stay nameless: `array` drops what has no name.
        let name = String::from_utf8(entry.name).unwrap_or_default();
        arrays.push(Array::bytes(name, range, Vec::new()));
    }
    if reader.left() != 0 {
        return Err(Refusal::Malformed);
    }
    Ok(Parsed { format: Format::Zip, head: 0, arrays })
}

/// Where the directory lies, and how many entries it has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directory {
    entries: u64,
    range: Range<u64>,
}

impl Directory {
    /// Finds it from the end of the file; it must reach up to the end record, of whichever size.
    fn find(source: &dyn Source) -> Result<Self, Refusal> {
        let end_at = find_end(source)?;
        let mut end = Reader::new(source, end_at..source.len());
        end.skip(4)?;
        let disks = [end.u16()?, end.u16()?];
        let counts = [end.u16()?, end.u16()?];
        let (len, start) = (end.u32()?, end.u32()?);
        if disks != [0, 0] || counts[0] != counts[1] {
            return Err(Refusal::Malformed);
        }
        match find_end64(source, end_at)? {
            Some((found, end64_at)) => {
                let is_same = same_or_full(counts[0].into(), u16::MAX.into(), found.entries)
                    && same_or_full(len.into(), u32::MAX.into(), found.range.end - found.range.start)
                    && same_or_full(start.into(), u32::MAX.into(), found.range.start);
                found.ending_at(end64_at).filter(|_| is_same).ok_or(Refusal::Malformed)
            }
            None => {
                let range = u64::from(start)..u64::from(start) + u64::from(len);
                let found = Directory { entries: counts[0].into(), range };
                found.ending_at(end_at).ok_or(Refusal::Malformed)
            }
        }
    }

    fn ending_at(self, at: u64) -> Option<Self> {
        (self.range.end == at).then_some(self)
    }
}

/// A small field repeats the large one, or says by its largest value that it can't.
fn same_or_full(small: u64, full: u64, large: u64) -> bool {
    small == large || small == full
}

/// Where the end record starts: the last one whose comment reaches the end of the file.
fn find_end(source: &dyn Source) -> Result<u64, Refusal> {
    let len = source.len().min(END_BYTES + MAX_COMMENT_BYTES);
    let mut tail = vec![0; len as usize];
    source.read_at(&mut tail, source.len() - len)?;
    let is_end = |record: &[u8]| {
        let comment = u16::from_le_bytes([record[20], record[21]]);
        record.starts_with(&END_MAGIC) && record.len() as u64 == END_BYTES + u64::from(comment)
    };
    let last = tail.len().checked_sub(END_BYTES as usize).ok_or(Refusal::Malformed)?;
    let at = (0..=last).rev().find(|&at| is_end(&tail[at..])).ok_or(Refusal::Malformed)?;
    Ok(source.len() - len + at as u64)
}

/// The directory as the large end record tells, and where that record starts; none where there is none.
fn find_end64(source: &dyn Source, end_at: u64) -> Result<Option<(Directory, u64)>, Refusal> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR64_BYTES) else { return Ok(None) };
    let mut locator = Reader::new(source, locator_at..end_at);
    if locator.array()? != LOCATOR64_MAGIC {
        return Ok(None);
    }
    let disk = locator.u32()?;
    let at = locator.u64()?;
    if disk != 0 || at > locator_at {
        return Err(Refusal::Malformed);
    }
    let mut end = Reader::new(source, at..locator_at);
    let magic: [u8; 4] = end.array()?;
    let len = end.u64()?;
    let left = end.left();
    end.skip(4)?;
    let disks = [end.u32()?, end.u32()?];
    let counts = [end.u64()?, end.u64()?];
    let (size, start) = (end.u64()?, end.u64()?);
    let is_sound = magic == END64_MAGIC
        && len == left
        && left >= END64_BYTES - 12
        && disks == [0, 0]
        && counts[0] == counts[1];
    let directory_end = start.checked_add(size).filter(|_| is_sound).ok_or(Refusal::Malformed)?;
    Ok(Some((Directory { entries: counts[0], range: start..directory_end }, at)))
}

/// What the directory tells of a member.
#[derive(Debug)]
struct Entry {
    /// Empty where it is longer than [`MAX_NAME_BYTES`].
    name: Vec<u8>,
    name_len: u16,
    /// Bytes of its data in the file, compressed or not.
    len: u64,
    /// Where its local header starts.
    local_at: u64,
}

impl Entry {
    fn read(reader: &mut Reader) -> Result<Self, Refusal> {
        if reader.array()? != ENTRY_MAGIC {
            return Err(Refusal::Malformed);
        }
        // Versions, flags, method, time, date, checksum: nothing that moves a border.
        reader.skip(16)?;
        let (packed_len, full_len) = (reader.u32()?, reader.u32()?);
        let (name_len, extra_len, comment_len) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let disk = reader.u16()?;
        reader.skip(6)?;
        let local_at = reader.u32()?;
        let name = match usize::from(name_len) {
            0..=MAX_NAME_BYTES => reader.bytes(name_len.into(), MAX_NAME_BYTES)?,
            _ => reader.skip(name_len.into()).map(|()| Vec::new())?,
        };
        let extra = reader.bytes(extra_len.into(), extra_len.into())?;
        reader.skip(comment_len.into())?;
        if !matches!(disk, 0 | u16::MAX) {
            return Err(Refusal::Malformed);
        }

        // The extra field holds only what does not fit, in this order.
        let mut large = large_sizes(&extra).chunks_exact(8).map(le_u64);
        let mut widen = |small: u32| match small {
            u32::MAX => large.next().ok_or(Refusal::Malformed),
            small => Ok(u64::from(small)),
        };
        widen(full_len)?;
        Ok(Entry { len: widen(packed_len)?, local_at: widen(local_at)?, name, name_len })
    }

    /// Where its data lies: behind its local header, which must agree, and before the directory.
    fn data(&self, source: &dyn Source, directory_at: u64) -> Result<Range<u64>, Refusal> {
        if self.local_at > directory_at {
            return Err(Refusal::Malformed);
        }
        let mut local = [0; LOCAL_BYTES as usize + MAX_NAME_BYTES];
        let local = &mut local[..LOCAL_BYTES as usize + self.name.len()];
        if directory_at - self.local_at < local.len() as u64 {
            return Err(Refusal::Malformed);
        }
        source.read_at(local, self.local_at)?;
        let (fixed, name) = local.split_at(LOCAL_BYTES as usize);
        let name_len = u16::from_le_bytes([fixed[26], fixed[27]]);
        let extra_len = u16::from_le_bytes([fixed[28], fixed[29]]);
        if !fixed.starts_with(&MAGIC) || name_len != self.name_len || name != self.name {
            return Err(Refusal::Malformed);
        }
        let start = self.local_at + LOCAL_BYTES + u64::from(name_len) + u64::from(extra_len);
        let end = start.checked_add(self.len).filter(|&end| end <= directory_at);
        end.map(|end| start..end).ok_or(Refusal::Malformed)
    }
}

/// The content of the extra field with large sizes, empty where there is none.
fn large_sizes(mut extra: &[u8]) -> &[u8] {
    while let [tag_low, tag_high, len_low, len_high, rest @ ..] = extra {
        let len = usize::from(u16::from_le_bytes([*len_low, *len_high]));
        let Some((content, next)) = rest.split_at_checked(len) else { break };
        if u16::from_le_bytes([*tag_low, *tag_high]) == EXTRA64 {
            return content;
        }
        extra = next;
    }
    &[]
}

fn le_u64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("because chunks_exact(8) gives 8 bytes"))
}
