//! LZ4 blocks of the C library and of `lz4_flex`, alone or in the frame that Hadoop gives them.

use lz4::block::CompressionMode;

use super::NotPacked;

const WHAT: NotPacked = NotPacked { what: "lz4" };

/// Levels at which the C library searches longer.
const SEARCHING: std::ops::RangeInclusive<u8> = 3..=12;

/// What wrote a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lz4 {
    encoder: Encoder,
    /// Whether Hadoop's lengths stand before it: of what it holds, of itself; both big-endian.
    hadoop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Encoder {
    /// The C library at its default, or searching longer at a level.
    C(u8),
    Flex,
}

const FLEX: u8 = 0xff;
const HADOOP_BYTES: usize = 8;
/// A block that holds nothing.
const EMPTY: [u8; 1] = [0];

impl Lz4 {
    /// The C library: level 0 is its default, 3..=12 search longer.
    pub fn c(level: u8, hadoop: bool) -> Option<Self> {
        (level == 0 || SEARCHING.contains(&level)).then_some(Self { encoder: Encoder::C(level), hadoop })
    }

    /// The crate `lz4_flex`.
    pub fn flex(hadoop: bool) -> Self {
        Self { encoder: Encoder::Flex, hadoop }
    }

    pub(super) fn encode(self) -> [u8; 2] {
        let encoder = match self.encoder {
            Encoder::C(level) => level,
            Encoder::Flex => FLEX,
        };
        [encoder, self.hadoop.into()]
    }

    pub(super) fn decode([encoder, hadoop]: [u8; 2]) -> Option<Self> {
        let hadoop = [false, true].into_iter().find(|known| u8::from(*known) == hadoop)?;
        if encoder == FLEX { Some(Self::flex(hadoop)) } else { Self::c(encoder, hadoop) }
    }

    /// What packs `plain` to `packed`.
    pub(super) fn find(plain: &[u8], packed: &[u8], hadoop: bool) -> Option<Self> {
        let encoders = [Encoder::C(0), Encoder::Flex].into_iter().chain(SEARCHING.map(Encoder::C));
        encoders.map(|encoder| Self { encoder, hadoop }).find(|packer| packer.gives(plain, packed))
    }

    /// Whether `plain` packs to `packed`. A part of it would not tell: a literal has its length before it, so
    /// the last one of a part shows too early in the block.
    pub(super) fn gives(self, plain: &[u8], packed: &[u8]) -> bool {
        self.pack(plain) == packed
    }

    pub fn pack(self, plain: &[u8]) -> Vec<u8> {
        let block = match self.encoder {
            // The C library reads before an empty input at its highest levels.
            _ if plain.is_empty() => EMPTY.to_vec(),
            Encoder::C(0) => Self::pack_c(plain, CompressionMode::DEFAULT),
            Encoder::C(level) => Self::pack_c(plain, CompressionMode::HIGHCOMPRESSION(level.into())),
            Encoder::Flex => lz4_flex::block::compress(plain),
        };
        if !self.hadoop {
            return block;
        }
        let lens = [plain.len(), block.len()].map(|len| (len as u32).to_be_bytes());
        [lens.as_flattened(), &block].concat()
    }

    fn pack_c(plain: &[u8], mode: CompressionMode) -> Vec<u8> {
        lz4::block::compress(plain, Some(mode), false)
            .expect("because it fails only beyond 2 GB, and what is packed is shorter")
    }

    pub(super) fn is_hadoop(self) -> bool {
        self.hadoop
    }
}

/// What a block holds, which is exactly `len` bytes: a block alone doesn't tell.
pub(super) fn unpack(block: &[u8], len: usize) -> Result<Vec<u8>, NotPacked> {
    // A byte of a length stands for 255 at most: a length beyond that is a lie, and not allocated.
    if len / 256 > block.len() {
        return Err(WHAT);
    }
    let mut plain = vec![0; len];
    match lz4_flex::block::decompress_into(block, &mut plain) {
        Ok(found) if found == len => Ok(plain),
        _ => Err(WHAT),
    }
}

/// What a block with Hadoop's lengths holds, which is at most `most` bytes.
pub(super) fn unpack_hadoop(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    let (lens, block) = packed.split_first_chunk::<HADOOP_BYTES>().ok_or(WHAT)?;
    let (plain_len, block_len) = (u64::from_be_bytes(*lens) >> 32, u64::from_be_bytes(*lens) as u32);
    let plain_len = plain_len as usize;
    if plain_len > most || block_len as usize != block.len() {
        return Err(WHAT);
    }
    unpack(block, plain_len)
}
