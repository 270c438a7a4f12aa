//! Reads a pack: its trailer, checked against its id, and single payloads.

use std::io;

use super::{FOOT, FOOTER_BYTES, HEAD, ID_BYTES, Record, RecordError, matches};
use crate::backend::{Backend, Name};
use crate::id::{ObjectId, PackId};

/// Why a pack can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("pack {pack}: {error}")]
    Io { pack: PackId, error: io::Error },
    #[error("pack {pack}: damaged: {what}")]
    Damaged { pack: PackId, what: String },
    #[error("pack {pack}, object {object}: {error}")]
    Record { pack: PackId, object: ObjectId, error: RecordError },
}

impl PackError {
    /// True when the file is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, PackError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What is read of a pack's end, in the hope that its trailer is in it: of some 600 objects, or 80.
const FAR_TAIL_BYTES: u64 = 64 << 10;
const NEAR_TAIL_BYTES: u64 = 8 << 10;
/// What is read of a payload at a time, where it is handed on.
const PIECE_BYTES: u64 = 1 << 20;
const FAR_PIECE_BYTES: u64 = 8 << 20;
/// Longest trailer, of some five million objects: what a lying server takes of memory.
const MAX_TRAILER_BYTES: u64 = 512 << 20;

/// The records of a pack, after its trailer was found to hash to its id.
pub fn read_trailer(backend: &dyn Backend, pack: PackId) -> Result<Vec<Record>, PackError> {
    read_trailer_at(backend, Name::Pack(pack), pack)
}

/// The same of a pack that lies under another name: in the trash.
pub fn read_trailer_at(backend: &dyn Backend, name: Name, pack: PackId) -> Result<Vec<Record>, PackError> {
    let records = read_records_at(backend, name, pack)?;
    let head = backend.read(name, 0..HEAD.len() as u64);
    match head.map_err(|error| PackError::Io { pack, error })? == HEAD {
        true => Ok(records),
        false => Err(PackError::Damaged { pack, what: "its first bytes are not those of a pack".into() }),
    }
}

/// The same, but for the head: the one part that the trailer doesn't bind, and that no object needs.
///
/// Most often this is one read.
pub fn read_records(backend: &dyn Backend, pack: PackId) -> Result<Vec<Record>, PackError> {
    read_records_at(backend, Name::Pack(pack), pack)
}

fn read_records_at(backend: &dyn Backend, name: Name, pack: PackId) -> Result<Vec<Record>, PackError> {
    let io = |error| PackError::Io { pack, error };
    let damaged = |what: String| PackError::Damaged { pack, what };
    let missing = || io(io::Error::new(io::ErrorKind::NotFound, "no such file"));
    let most = if backend.is_far() { FAR_TAIL_BYTES } else { NEAR_TAIL_BYTES };
    let tail = backend.tail(name, most).map_err(io)?.ok_or_else(missing)?;
    let (mut trailer, len) = (tail.bytes, tail.len);
    let least = (HEAD.len() + FOOTER_BYTES) as u64;
    let Some(footer) = trailer.last_chunk::<FOOTER_BYTES>().filter(|_| len >= least) else {
        return Err(damaged(format!("expected at least {least} bytes, found {len}")));
    };
    let lists = Lists::of(footer);
    let trailer_bytes = lists.bytes() + FOOTER_BYTES as u64;
    if &footer[..8] != FOOT || lists.bytes() + least > len || trailer_bytes > MAX_TRAILER_BYTES {
        return Err(damaged("its last bytes are no trailer".into()));
    }
    let start = len - trailer_bytes;
    match (trailer.len() as u64).checked_sub(trailer_bytes) {
        Some(before) => drop(trailer.drain(..before as usize)),
        None => trailer = backend.read(name, start..len).map_err(io)?,
    }
    if blake3::hash(&trailer).as_bytes() != pack.as_bytes() {
        return Err(damaged("its trailer does not hash to its name".into()));
    }
    let (records, mut further) = trailer[..lists.bytes() as usize].split_at(lists.records as usize);
    let raw = records.chunks_exact(Record::BYTES);
    let records = raw.map(|raw| check_record(pack, raw, &mut further, start)).collect::<Result<_, _>>()?;
    match further.is_empty() {
        true => Ok(records),
        false => Err(damaged("it lists bases that no object has".into())),
    }
}

/// Records of a pack whose trailer no longer hashes to its name: only a hint of what may be there.
///
/// Whoever uses them must check every payload, and the object that it decodes to.
pub fn salvage_trailer(backend: &dyn Backend, pack: PackId) -> Result<Vec<Record>, PackError> {
    let io = |error| PackError::Io { pack, error };
    let name = Name::Pack(pack);
    let len = backend.len(name).map_err(io)?.unwrap_or(0);
    let Some(end) = len.checked_sub(FOOTER_BYTES as u64) else { return Ok(Vec::new()) };
    let footer = backend.read(name, end..len).map_err(io)?;
    let lists = Lists::of(&footer);
    let Some(start) = end.checked_sub(lists.bytes()) else { return Ok(Vec::new()) };
    let trailer = backend.read(name, start..end).map_err(io)?;
    let (records, mut further) = trailer.split_at(lists.records as usize);
    let whole = records.chunks_exact(Record::BYTES);
    Ok(whole.filter_map(|raw| check_record(pack, raw, &mut further, start).ok()).collect())
}

/// Bytes of the two lists before the footer.
struct Lists {
    records: u64,
    further: u64,
}

impl Lists {
    fn of(footer: &[u8]) -> Lists {
        let count = |at: usize| {
            u32::from_le_bytes(footer[at..at + 4].try_into().expect("because a footer has 16 bytes"))
        };
        Lists {
            records: u64::from(count(8)) * Record::BYTES as u64,
            further: u64::from(count(12)) * ID_BYTES as u64,
        }
    }

    fn bytes(&self) -> u64 {
        self.records + self.further
    }
}

/// The payload of one record, after its checksum was found right.
pub fn read_payload(backend: &dyn Backend, pack: PackId, record: &Record) -> Result<Vec<u8>, PackError> {
    read_payload_at(backend, Name::Pack(pack), pack, record)
}

/// The same of a pack that lies under another name: in the trash.
pub fn read_payload_at(
    backend: &dyn Backend,
    name: Name,
    pack: PackId,
    record: &Record,
) -> Result<Vec<u8>, PackError> {
    let payload = read_range(backend, name, pack, record)?;
    check_payload(pack, record, &payload)?;
    Ok(payload)
}

/// Hands on a payload piece by piece, so that no more than a piece is in memory; `take` says whether it wants more. The
/// last piece comes when the checksum was found right.
pub fn copy_payload(
    backend: &dyn Backend,
    pack: PackId,
    record: &Record,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), PackError> {
    let piece_bytes = if backend.is_far() { FAR_PIECE_BYTES } else { PIECE_BYTES };
    let (start, len) = (record.offset, u64::from(record.payload_len));
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    loop {
        let end = len.min(at + piece_bytes);
        let piece = backend.read(Name::Pack(pack), start + at..start + end);
        let piece = piece.map_err(|error| PackError::Io { pack, error })?;
        hasher.update(&piece);
        if end == len && hasher.finalize().as_bytes()[..16] != record.checksum {
            return Err(wrong_payload(pack, record));
        }
        if !take(&piece) || end == len {
            return Ok(());
        }
        at = end;
    }
}

/// Reads a pack back from where it was written, to the last byte.
pub fn check_written(backend: &dyn Backend, pack: PackId, written: &[Record]) -> Result<(), PackError> {
    let records = read_trailer(backend, pack)?;
    if records != written {
        return Err(PackError::Damaged { pack, what: "it reads back differently".into() });
    }
    records.iter().try_for_each(|record| read_payload(backend, pack, record).map(drop))
}

/// Reads the payload of one record, for a caller who checks what it decodes to.
pub fn read_unchecked(backend: &dyn Backend, pack: PackId, record: &Record) -> Result<Vec<u8>, PackError> {
    read_range(backend, Name::Pack(pack), pack, record)
}

fn read_range(
    backend: &dyn Backend,
    name: Name,
    pack: PackId,
    record: &Record,
) -> Result<Vec<u8>, PackError> {
    let end = record.offset.checked_add(u64::from(record.payload_len));
    let end = end.ok_or_else(|| PackError::Damaged { pack, what: "offset out of range".into() })?;
    let read = backend.read(name, record.offset..end);
    read.map_err(|error| PackError::Io { pack, error })
}

/// Checks a payload against its record.
pub fn check_payload(pack: PackId, record: &Record, payload: &[u8]) -> Result<(), PackError> {
    if matches(record, payload) {
        return Ok(());
    }
    Err(wrong_payload(pack, record))
}

fn wrong_payload(pack: PackId, record: &Record) -> PackError {
    let what =
        format!("payload of object {} at offset {} has a wrong checksum", record.object, record.offset);
    PackError::Damaged { pack, what }
}

fn check_record(
    pack: PackId,
    raw: &[u8],
    further: &mut &[u8],
    payloads_end: u64,
) -> Result<Record, PackError> {
    let raw: &[u8; Record::BYTES] = raw.try_into().expect("because chunks_exact gives whole records");
    let object = ObjectId::from_bytes(raw[..32].try_into().expect("because an id has 32 bytes"));
    let record = Record::decode(raw, further).map_err(|error| PackError::Record { pack, object, error })?;
    let end = record.offset.saturating_add(u64::from(record.payload_len));
    if record.offset < HEAD.len() as u64 || end > payloads_end {
        let what = format!("object {object} ends at {end}, payloads end at {payloads_end}");
        return Err(PackError::Damaged { pack, what });
    }
    Ok(record)
}
