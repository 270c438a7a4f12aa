//! Deflate by three libraries, alone or as zlib and gzip wrap it.

mod miniz;
mod wrapper;
mod zlib;
mod zlib_rs;

pub use wrapper::{Kind, Wrapper};

use self::zlib::Way;
use super::NotPacked;

const WHAT: NotPacked = NotPacked { what: "deflate" };

/// So much of the output is compared before the rest is made.
const BEGIN_BYTES: usize = 4096;

/// What wrote a deflate stream, and what is around it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deflate {
    encoder: Encoder,
    wrapper: Wrapper,
}

/// A library and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// The C library, levels 1..=9, memory levels 1..=9: 8 is its default.
    Zlib { level: u8, memory: u8 },
    /// The C library, at its default memory level, flushed before its end: `gzip.open(…, "wt")` of Python, and pandas.
    ZlibFlushed { level: u8 },
    /// The crate `zlib-rs` as writers of `flate2` call it, levels 1..=9: after zlib-ng, so with other matches.
    ZlibRs { level: u8 },
    /// miniz and its port `miniz_oxide`, levels 0..=9.
    Miniz { level: u8 },
}

const ZLIB: u8 = 1;
const ZLIB_RS: u8 = 2;
const MINIZ: u8 = 3;
const ZLIB_FLUSHED: u8 = 4;

/// Levels in the order of how common they are. At level 0, blocks of zlib are as long as the program's buffers.
const LEVELS: [u8; 9] = [6, 9, 1, 5, 4, 3, 2, 7, 8];
/// Memory levels in that order. Arrow gave its level for the memory, up to version 21.
const MEMORY: [u8; 9] = [8, 9, 6, 1, 5, 4, 3, 2, 7];
const MINIZ_ONLY: u8 = 0;

impl Encoder {
    /// All, the common ones first.
    fn all() -> impl Iterator<Item = Encoder> {
        let common = LEVELS.into_iter().flat_map(|level| {
            let [zlib, zlib9] = [MEMORY[0], MEMORY[1]].map(|memory| Encoder::Zlib { level, memory });
            let others =
                [Encoder::ZlibRs { level }, Encoder::Miniz { level }, Encoder::ZlibFlushed { level }];
            [zlib, zlib9].into_iter().chain(others)
        });
        let little_memory = LEVELS
            .into_iter()
            .flat_map(|level| MEMORY[2..].iter().map(move |memory| Encoder::Zlib { level, memory: *memory }));
        common.chain(little_memory).chain([Encoder::Miniz { level: MINIZ_ONLY }])
    }

    fn encode(self) -> [u8; 3] {
        match self {
            Encoder::Zlib { level, memory } => [ZLIB, level, memory],
            Encoder::ZlibFlushed { level } => [ZLIB_FLUSHED, level, 0],
            Encoder::ZlibRs { level } => [ZLIB_RS, level, 0],
            Encoder::Miniz { level } => [MINIZ, level, 0],
        }
    }

    fn decode(bytes: [u8; 3]) -> Option<Encoder> {
        Self::all().find(|known| known.encode() == bytes)
    }

    fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Encoder::Zlib { level, memory } => zlib::pack(plain, Way { level, memory, is_flushed: false }),
            Encoder::ZlibFlushed { level } => {
                zlib::pack(plain, Way { level, memory: MEMORY[0], is_flushed: true })
            }
            Encoder::ZlibRs { level } => zlib_rs::pack(plain, level),
            Encoder::Miniz { level } => miniz::pack(plain, level),
        }
    }

    /// The first bytes of what `plain` packs to, as many as `begin` has, or fewer at the end.
    fn begin(self, plain: &[u8], begin: &mut [u8]) -> usize {
        match self {
            Encoder::Zlib { level, memory } => {
                zlib::begin(plain, Way { level, memory, is_flushed: false }, begin)
            }
            Encoder::ZlibFlushed { level } => {
                zlib::begin(plain, Way { level, memory: MEMORY[0], is_flushed: true }, begin)
            }
            Encoder::ZlibRs { level } => zlib_rs::begin(plain, level, begin),
            Encoder::Miniz { level } => miniz::begin(plain, level, begin),
        }
    }
}

impl Deflate {
    /// None if the encoder has no such parameters.
    pub fn new(encoder: Encoder, wrapper: Wrapper) -> Option<Self> {
        Encoder::decode(encoder.encode()).map(|encoder| Self { encoder, wrapper })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.encoder.encode());
        self.wrapper.encode(out);
    }

    /// Also gives what follows.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (encoder, rest) = bytes.split_first_chunk::<3>()?;
        let encoder = Encoder::decode(*encoder)?;
        let (wrapper, rest) = Wrapper::decode(rest)?;
        Some((Self { encoder, wrapper }, rest))
    }

    /// What packs `plain` to `packed`.
    pub(super) fn find(plain: &[u8], packed: &[u8], kind: Kind) -> Option<Self> {
        let wrapper = Wrapper::read(packed, kind)?;
        let packers = Encoder::all().map(|encoder| Self { encoder, wrapper: wrapper.clone() });
        packers.into_iter().find(|packer| packer.gives(plain, packed))
    }

    /// The same with the header of another stream.
    pub(super) fn fitted(&self, packed: &[u8]) -> Option<Self> {
        Some(Self { encoder: self.encoder, wrapper: Wrapper::read(packed, self.wrapper.kind())? })
    }

    pub fn pack(&self, plain: &[u8]) -> Vec<u8> {
        self.wrapper.around(&self.encoder.pack(plain), plain)
    }

    /// Whether `plain` packs to `packed`; most that don't are found out by their first bytes.
    pub(super) fn gives(&self, plain: &[u8], packed: &[u8]) -> bool {
        self.begins_like(plain, packed) && self.pack(plain) == packed
    }

    /// Whether the stream begins with the first bytes that `plain` packs to.
    fn begins_like(&self, plain: &[u8], packed: &[u8]) -> bool {
        let Some(stream) = self.wrapper.within(packed) else { return false };
        let mut begin = [0; BEGIN_BYTES];
        let len = self.encoder.begin(plain, &mut begin);
        stream.starts_with(&begin[..len])
    }

    pub(super) fn kind(&self) -> Kind {
        self.wrapper.kind()
    }
}

/// What a stream holds, which is at most `most` bytes, and nothing behind it.
pub(super) fn unpack(packed: &[u8], kind: Kind, most: usize) -> Result<Vec<u8>, NotPacked> {
    let wrapper = Wrapper::read(packed, kind).ok_or(WHAT)?;
    let stream = wrapper.within(packed).ok_or(WHAT)?;
    let plain = zlib_rs::unpack(stream, most)?;
    if packed.ends_with(&wrapper.tail(&plain)) { Ok(plain) } else { Err(WHAT) }
}
