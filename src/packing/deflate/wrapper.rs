//! What stands around a deflate stream: the headers and checksums of zlib (RFC 1950) and gzip (RFC 1952).

use zlib_rs::adler32::adler32;
use zlib_rs::crc32::crc32;

/// A header, kept as it is; what follows the stream is calculated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wrapper {
    kind: Kind,
    head: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Raw = 0,
    Zlib = 1,
    Gzip = 2,
}

/// Method deflate, and the largest window, which all our encoders use.
const ZLIB_METHOD: u8 = 0x78;
const ZLIB_DICTIONARY: u8 = 0x20;
const ZLIB_BYTES: usize = 2;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const GZIP_FLAGS: usize = 3;
const GZIP_BYTES: usize = 10;
const GZIP_EXTRA: u8 = 4;
const GZIP_NAME: u8 = 8;
const GZIP_COMMENT: u8 = 16;
/// Headers beyond this, with the name of a file and the like, are not kept.
const MOST_HEAD_BYTES: usize = 1024;

impl Wrapper {
    pub fn raw() -> Self {
        Self { kind: Kind::Raw, head: Vec::new() }
    }

    /// The wrapper with the header that `packed` begins with.
    pub fn read(packed: &[u8], kind: Kind) -> Option<Self> {
        let len = match kind {
            Kind::Raw => 0,
            Kind::Zlib => zlib_head_len(packed)?,
            Kind::Gzip => gzip_head_len(packed)?,
        };
        let head = packed.get(..len).filter(|head| head.len() <= MOST_HEAD_BYTES)?;
        Some(Self { kind, head: head.to_vec() })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Kind and header, whose end it tells itself.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend_from_slice(&self.head);
    }

    /// Also gives what follows.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let kind = [Kind::Raw, Kind::Zlib, Kind::Gzip].into_iter().find(|kind| *kind as u8 == tag)?;
        let wrapper = Self::read(rest, kind)?;
        let rest = &rest[wrapper.head.len()..];
        Some((wrapper, rest))
    }

    /// The stream in `packed`.
    pub(crate) fn within<'a>(&self, packed: &'a [u8]) -> Option<&'a [u8]> {
        let tail = match self.kind {
            Kind::Raw => 0,
            Kind::Zlib => 4,
            Kind::Gzip => 8,
        };
        packed.get(self.head.len()..packed.len().checked_sub(tail)?)
    }

    pub(crate) fn around(&self, stream: &[u8], plain: &[u8]) -> Vec<u8> {
        [&self.head, stream, &self.tail(plain)].concat()
    }

    pub(super) fn tail(&self, plain: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::Raw => Vec::new(),
            Kind::Zlib => adler32(1, plain).to_be_bytes().to_vec(),
            Kind::Gzip => [crc32(0, plain), plain.len() as u32].map(u32::to_le_bytes).concat(),
        }
    }
}

fn zlib_head_len(packed: &[u8]) -> Option<usize> {
    let [method, flags] = *packed.first_chunk::<ZLIB_BYTES>()?;
    let checked = u16::from_be_bytes([method, flags]).is_multiple_of(31);
    (method == ZLIB_METHOD && checked && flags & ZLIB_DICTIONARY == 0).then_some(ZLIB_BYTES)
}

fn gzip_head_len(packed: &[u8]) -> Option<usize> {
    let flags = *packed.get(GZIP_FLAGS).filter(|_| packed.starts_with(&GZIP_MAGIC))?;
    if flags & !(GZIP_EXTRA | GZIP_NAME | GZIP_COMMENT) != 0 {
        return None;
    }
    let mut len = GZIP_BYTES;
    if flags & GZIP_EXTRA != 0 {
        let extra = *packed.get(len..)?.first_chunk()?;
        len += 2 + usize::from(u16::from_le_bytes(extra));
    }
    for text in [GZIP_NAME, GZIP_COMMENT] {
        if flags & text != 0 {
            let rest = packed.get(len..)?;
            len += 1 + rest.iter().take(MOST_HEAD_BYTES).position(|byte| *byte == 0)?;
        }
    }
    Some(len)
}
