//! Objects on the wire: a record and its payload, one after the other, and a mark at the end.
//!
//! A frame is a tag byte (1 object, 2 record without payload, 3 not made), the record as packs have it, and its bases
//! behind the first; then the payload. A stream ends with tag 0, so that one that was cut is not taken for whole.

use std::io::{self, Read, Write};

use super::MAX_IDS;
use crate::format::Dtype;
use crate::id::ObjectId;
use crate::pack::{self, MAX_BASES, MAX_OBJECT_BYTES, Record};

const END: u8 = 0;
const OBJECT: u8 = 1;
const BARE: u8 = 2;
const UNMADE: u8 = 3;
const ID_BYTES: usize = 32;
/// A payload is no longer than what it decodes to, but for a header.
const MAX_PAYLOAD_BYTES: u32 = MAX_OBJECT_BYTES + (1 << 16);

/// One thing in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Object(Record, Vec<u8>),
    /// A record whose payload was not asked for.
    Bare(Record),
    /// An object that was wanted whole, if that is cheaper, and is not.
    Unmade(ObjectId),
}

/// Why a stream can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("malformed stream: {0}")]
    Malformed(String),
}

/// What a client wants of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    pub object: ObjectId,
    /// Above zero: the object without a base, if that takes fewer payload bytes than these.
    pub whole_below: u64,
    /// For an encoder that sees no base: what the object's numbers are.
    pub dtype: Dtype,
    /// Numbers in a row; 0 where there are no rows.
    pub row_len: u64,
}

impl Want {
    pub const BYTES: usize = ID_BYTES + 8 + 8 + 1;

    /// As it is stored.
    pub fn stored(object: ObjectId) -> Want {
        Want { object, whole_below: 0, dtype: Dtype::Bytes, row_len: 0 }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.object.as_bytes());
        out.extend_from_slice(&self.whole_below.to_le_bytes());
        out.extend_from_slice(&self.row_len.to_le_bytes());
        out.push(self.dtype as u8);
    }

    /// All wants of a request's body.
    pub fn read_all(body: &[u8]) -> Result<Vec<Want>, FrameError> {
        check_count(body.len(), Want::BYTES)?;
        body.chunks_exact(Want::BYTES).map(Want::read).collect()
    }

    fn read(raw: &[u8]) -> Result<Want, FrameError> {
        let u64_at = |at: usize| u64::from_le_bytes(raw[at..at + 8].try_into().expect("because 8 bytes"));
        let dtype = Dtype::from_tag(raw[48]).ok_or_else(|| malformed("unknown dtype"))?;
        Ok(Want { object: id_of(&raw[..32]), whole_below: u64_at(32), dtype, row_len: u64_at(40) })
    }
}

/// The ids of a request's body.
pub fn ids<T>(body: &[u8], of: impl Fn([u8; 32]) -> T) -> Result<Vec<T>, FrameError> {
    check_count(body.len(), ID_BYTES)?;
    let raw = body.chunks_exact(ID_BYTES);
    Ok(raw.map(|raw| of(raw.try_into().expect("because chunks have 32 bytes"))).collect())
}

/// A body with these ids.
pub fn write_ids<'a>(ids: impl IntoIterator<Item = &'a [u8; 32]>) -> Vec<u8> {
    ids.into_iter().flatten().copied().collect()
}

fn check_count(len: usize, each: usize) -> Result<(), FrameError> {
    match len.is_multiple_of(each) && len / each <= MAX_IDS {
        true => Ok(()),
        false => Err(malformed("its length is not that of a list, or of one that is too long")),
    }
}

/// Writes a record, and its payload if there is one.
pub fn write_frame(out: &mut dyn Write, record: &Record, payload: Option<&[u8]>) -> io::Result<()> {
    write_tagged(out, if payload.is_some() { OBJECT } else { BARE }, record)?;
    out.write_all(payload.unwrap_or_default())
}

/// Begins an object, whose payload is written next.
pub fn write_head(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    write_tagged(out, OBJECT, record)
}

fn write_tagged(out: &mut dyn Write, tag: u8, record: &Record) -> io::Result<()> {
    let mut head = Vec::with_capacity(1 + Record::BYTES);
    head.push(tag);
    head.extend_from_slice(&record.encode());
    record.further().iter().for_each(|base| head.extend_from_slice(base.as_bytes()));
    out.write_all(&head)
}

/// Says that an object is not cheaper whole.
pub fn write_unmade(out: &mut dyn Write, object: &ObjectId) -> io::Result<()> {
    out.write_all(&[UNMADE])?;
    out.write_all(object.as_bytes())
}

/// Ends a stream.
pub fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[END])
}

/// Reads frames from the other side, which may lie.
pub struct FrameReader<R> {
    from: R,
    over: bool,
}

impl<R: Read> FrameReader<R> {
    pub fn new(from: R) -> FrameReader<R> {
        FrameReader { from, over: false }
    }

    /// The next frame; none at the end. A payload has the checksum that its record says.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.over {
            return Ok(None);
        }
        match self.array::<1>()?[0] {
            END => {
                self.over = true;
                Ok(None)
            }
            BARE => Ok(Some(Frame::Bare(self.record()?))),
            UNMADE => Ok(Some(Frame::Unmade(ObjectId::from_bytes(self.array()?)))),
            OBJECT => {
                let record = self.record()?;
                if record.payload_len > MAX_PAYLOAD_BYTES {
                    return Err(malformed("a payload is longer than an object can be"));
                }
                let mut payload = Vec::new();
                // It grows with what really comes, whatever was announced.
                let read = self.from.by_ref().take(record.payload_len.into()).read_to_end(&mut payload)?;
                if read != record.payload_len as usize {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                match pack::matches(&record, &payload) {
                    true => Ok(Some(Frame::Object(record, payload))),
                    false => Err(malformed("a payload has a wrong checksum")),
                }
            }
            tag => Err(malformed(&format!("unknown tag {tag}"))),
        }
    }

    fn record(&mut self) -> Result<Record, FrameError> {
        let raw: [u8; Record::BYTES] = self.array()?;
        let count = usize::from(raw[98]);
        if count >= MAX_BASES {
            return Err(malformed("a record has too many bases"));
        }
        let mut further = vec![0; count * ID_BYTES];
        self.from.read_exact(&mut further)?;
        Record::decode(&raw, &mut &further[..]).map_err(|error| malformed(&error.to_string()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut raw = [0; N];
        self.from.read_exact(&mut raw)?;
        Ok(raw)
    }
}

fn id_of(raw: &[u8]) -> ObjectId {
    ObjectId::from_bytes(raw.try_into().expect("because an id has 32 bytes"))
}

fn malformed(what: &str) -> FrameError {
    FrameError::Malformed(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::pack::Bases;

    fn record(payload: &[u8], bases: usize) -> Record {
        let bases: Vec<_> = (0..bases).map(|at| ObjectId::of(&[at as u8])).collect();
        Record {
            object: ObjectId::of(b"object"),
            depth: u8::from(!bases.is_empty()),
            bases: Bases::of(bases).expect("few bases"),
            offset: 0,
            payload_len: payload.len() as u32,
            logical_len: 12,
            checksum: pack::checksum(payload),
            codec: Codec::Raw,
        }
    }

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, &record(b"payload", 0), Some(b"payload")).unwrap();
        write_frame(&mut out, &record(b"", 16), None).unwrap();
        write_unmade(&mut out, &ObjectId::of(b"other")).unwrap();
        write_end(&mut out).unwrap();
        out
    }

    fn all(stream: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(stream);
        std::iter::from_fn(|| reader.next_frame().transpose()).collect()
    }

    /// What one side writes is what the other reads.
    #[test]
    fn frames_come_back() {
        let frames = all(&stream()).unwrap();
        let expected = [
            Frame::Object(record(b"payload", 0), b"payload".to_vec()),
            Frame::Bare(record(b"", 16)),
            Frame::Unmade(ObjectId::of(b"other")),
        ];
        assert_eq!(frames, expected);
    }

    /// A connection that breaks, and a hub that lies, must never look like a stream that is whole.
    #[test]
    fn what_is_cut_or_changed_is_an_error() {
        let whole = stream();
        for end in 0..whole.len() {
            assert!(all(&whole[..end]).is_err(), "cut at {end} passed");
        }
        let mut changed = whole.clone();
        changed[1 + Record::BYTES] ^= 1;
        assert!(matches!(all(&changed), Err(FrameError::Malformed(_))), "a changed payload passed");
        let mut long = whole;
        long[1 + 72..1 + 76].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(all(&long), Err(FrameError::Malformed(_))), "a payload of 4 GiB passed");
    }

    /// Lists come from outside: only whole ones may pass.
    #[test]
    fn lists_have_whole_entries() {
        let want = Want { object: ObjectId::of(b"x"), whole_below: 7, dtype: Dtype::Bf16, row_len: 9 };
        let mut body = Vec::new();
        want.write(&mut body);
        assert_eq!(Want::read_all(&body).unwrap(), [want]);
        assert!(Want::read_all(&body[1..]).is_err());
        body[48] = 255;
        assert!(Want::read_all(&body).is_err());
        assert!(ids(&[0; 33], ObjectId::from_bytes).is_err());
        assert_eq!(ids(&[7; 64], ObjectId::from_bytes).unwrap().len(), 2);
    }
}
