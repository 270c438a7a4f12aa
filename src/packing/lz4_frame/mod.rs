//! LZ4 frames: what Arrow's buffers and `.lz4` files are packed to.
//!
//! Source: LZ4 Frame Format Description, version 1.6.4.

mod c;

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::NotPacked;

const WHAT: NotPacked = NotPacked { what: "LZ4 frame" };

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();

// Flags of a frame (FLG).
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const HAS_LEN: u8 = 8;
const CHECKSUM: u8 = 4;
const KNOWN: u8 = VERSION | INDEPENDENT | BLOCK_CHECKSUM | HAS_LEN | CHECKSUM;
/// Bit of a block's length: it is stored as it is.
const STORED: u32 = 1 << 31;
const CHECKSUM_BYTES: usize = 4;

/// What wrote a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lz4Frame {
    flags: u8,
    /// Its blocks hold 64 KiB, 256 KiB, 1 MiB or 4 MiB: 4 to 7, as the header tells.
    block: u8,
    encoder: Encoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Encoder {
    /// The C library, which was given all at once, at a level.
    C(u8),
    /// The same, but block by block: the crate `lz4`, and so Polars.
    CByBlocks(u8),
    /// The crate `lz4_flex`.
    Flex,
}

/// The C library's default, and the levels at which it searches longer.
const LEVELS: [u8; 11] = [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

const BY_BLOCKS: u8 = 0x40;
const FLEX: u8 = 0xff;

impl Lz4Frame {
    fn checked(self) -> Option<Self> {
        let level = match self.encoder {
            Encoder::C(level) | Encoder::CByBlocks(level) => level,
            Encoder::Flex => 0,
        };
        let is_known = self.flags & !KNOWN == 0 && self.flags & VERSION != 0;
        (is_known && (4..=7).contains(&self.block) && LEVELS.contains(&level)).then_some(self)
    }

    pub(super) fn encode(self) -> [u8; 3] {
        let encoder = match self.encoder {
            Encoder::C(level) => level,
            Encoder::CByBlocks(level) => BY_BLOCKS | level,
            Encoder::Flex => FLEX,
        };
        [self.flags, self.block, encoder]
    }

    pub(super) fn decode([flags, block, encoder]: [u8; 3]) -> Option<Self> {
        let encoder = match encoder {
            FLEX => Encoder::Flex,
            level if level & BY_BLOCKS != 0 => Encoder::CByBlocks(level & !BY_BLOCKS),
            level => Encoder::C(level),
        };
        Self { flags, block, encoder }.checked()
    }

    /// What packs `plain` to `packed`.
    pub(super) fn find(plain: &[u8], packed: &[u8]) -> Option<Self> {
        let header = Header::read(packed)?;
        // A single block is the same in both ways.
        let by_blocks = plain.len() > block_bytes(header.block);
        let defaults = [Encoder::C(0), Encoder::CByBlocks(0), Encoder::Flex];
        let searching =
            LEVELS.into_iter().skip(1).flat_map(|level| [Encoder::C(level), Encoder::CByBlocks(level)]);
        let encoders = defaults.into_iter().chain(searching);
        encoders
            .filter(|encoder| by_blocks || !matches!(encoder, Encoder::CByBlocks(_)))
            .filter_map(|encoder| header.written(encoder).checked())
            .find(|packer| packer.gives(plain, packed))
    }

    /// The same with the header of another frame.
    pub(super) fn fitted(self, packed: &[u8]) -> Option<Self> {
        Header::read(packed)?.written(self.encoder).checked()
    }

    /// Whether `plain` packs to `packed`.
    pub(super) fn gives(self, plain: &[u8], packed: &[u8]) -> bool {
        self.begins_like(plain, packed) && self.pack(plain) == packed
    }

    /// Whether the first of several blocks is the one that `packed` begins with: no other has a say in it.
    fn begins_like(self, plain: &[u8], packed: &[u8]) -> bool {
        let block = block_bytes(self.block);
        if plain.len() <= block {
            return true;
        }
        let first = |frame: &[u8]| -> Option<Vec<u8>> {
            let start = Header::read(frame)?.len;
            Some(frame.get(start..start + block_len(frame, start)?)?.to_vec())
        };
        first(&self.pack(&plain[..block])) == first(packed)
    }

    pub fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self.encoder {
            Encoder::C(level) => c::pack(plain, &self.preferences(level, true, plain), usize::MAX),
            Encoder::CByBlocks(level) => {
                c::pack(plain, &self.preferences(level, false, plain), block_bytes(self.block))
            }
            Encoder::Flex => self.pack_flex(plain),
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn pack_flex(self, plain: &[u8]) -> Vec<u8> {
        let size = match self.block {
            4 => BlockSize::Max64KB,
            5 => BlockSize::Max256KB,
            6 => BlockSize::Max1MB,
            _ => BlockSize::Max4MB,
        };
        let mode = if self.has(INDEPENDENT) { BlockMode::Independent } else { BlockMode::Linked };
        let info = FrameInfo::new()
            .block_size(size)
            .block_mode(mode)
            .block_checksums(self.has(BLOCK_CHECKSUM))
            .content_checksum(self.has(CHECKSUM))
            .content_size(self.has(HAS_LEN).then_some(plain.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        let written = encoder.write_all(plain);
        written.expect("because writing into memory can't fail");
        encoder.finish().expect("because writing into memory can't fail")
    }

    fn preferences(self, level: u8, at_once: bool, plain: &[u8]) -> lz4_sys::LZ4FPreferences {
        use lz4_sys::{BlockChecksum, BlockMode, BlockSize, ContentChecksum, FrameType};
        lz4_sys::LZ4FPreferences {
            frame_info: lz4_sys::LZ4FFrameInfo {
                block_size_id: match self.block {
                    4 => BlockSize::Max64KB,
                    5 => BlockSize::Max256KB,
                    6 => BlockSize::Max1MB,
                    _ => BlockSize::Max4MB,
                },
                block_mode: if self.has(INDEPENDENT) { BlockMode::Independent } else { BlockMode::Linked },
                content_checksum_flag: match self.has(CHECKSUM) {
                    true => ContentChecksum::ChecksumEnabled,
                    false => ContentChecksum::NoChecksum,
                },
                frame_type: FrameType::Frame,
                content_size: if self.has(HAS_LEN) { plain.len() as u64 } else { 0 },
                dict_id: 0,
                block_checksum_flag: match self.has(BLOCK_CHECKSUM) {
                    true => BlockChecksum::BlockChecksumEnabled,
                    false => BlockChecksum::NoBlockChecksum,
                },
            },
            compression_level: level.into(),
            auto_flush: at_once.into(),
            favor_dec_speed: 0,
            reserved: [0; 3],
        }
    }
}

fn block_bytes(block: u8) -> usize {
    1 << (8 + 2 * block)
}

/// Length of the block that begins at `start`, with what stands before and behind it.
fn block_len(packed: &[u8], start: usize) -> Option<usize> {
    let flags = *packed.get(MAGIC.len())?;
    let len = u32::from_le_bytes(*packed.get(start..)?.first_chunk()?) & !STORED;
    let checksum = if flags & BLOCK_CHECKSUM == 0 { 0 } else { CHECKSUM_BYTES };
    Some(size_of::<u32>() + len as usize + checksum)
}

/// Length of the frame that `packed` begins with, as its blocks tell.
pub(super) fn frame_bytes(packed: &[u8]) -> Option<usize> {
    let header = Header::read(packed)?;
    let mut at = header.len;
    loop {
        let mark = u32::from_le_bytes(*packed.get(at..)?.first_chunk()?);
        if mark == 0 {
            let checksum = if header.flags & CHECKSUM == 0 { 0 } else { CHECKSUM_BYTES };
            return Some(at + size_of::<u32>() + checksum).filter(|end| *end <= packed.len());
        }
        at += block_len(packed, at)?;
    }
}

/// What one frame holds, which is at most `most` bytes.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    if frame_bytes(packed) != Some(packed.len()) {
        return Err(WHAT);
    }
    let mut plain = Vec::new();
    let decoder = FrameDecoder::new(packed);
    decoder.take(most as u64 + 1).read_to_end(&mut plain).map_err(|_| WHAT)?;
    if plain.len() <= most { Ok(plain) } else { Err(WHAT) }
}

/// What the header of a frame tells.
#[derive(Clone, Copy)]
struct Header {
    flags: u8,
    block: u8,
    len: usize,
}

impl Header {
    /// None for a frame that needs a dictionary, or for no frame.
    fn read(packed: &[u8]) -> Option<Self> {
        let [flags, descriptor] = *packed.strip_prefix(&MAGIC)?.first_chunk::<2>()?;
        let is_known = flags & !KNOWN == 0 && flags & VERSION != 0 && descriptor & 0x8f == 0;
        let len_bytes = if flags & HAS_LEN == 0 { 0 } else { size_of::<u64>() };
        // Behind both a byte of a checksum.
        is_known.then_some(Self { flags, block: descriptor >> 4, len: MAGIC.len() + 3 + len_bytes })
    }

    fn written(self, encoder: Encoder) -> Lz4Frame {
        Lz4Frame { flags: self.flags, block: self.block, encoder }
    }
}

#[cfg(test)]
pub(super) mod of {
    use super::*;

    /// One of each kind of writer, as Arrow's C++ library, Polars, arrow-rs and the program `lz4` set them.
    pub fn each_writer() -> Vec<Lz4Frame> {
        let of = |flags: u8, block: u8, encoder| {
            Lz4Frame { flags: VERSION | flags, block, encoder }.checked().unwrap()
        };
        vec![
            of(0, 4, Encoder::C(0)),
            of(INDEPENDENT, 4, Encoder::C(0)),
            of(CHECKSUM | BLOCK_CHECKSUM, 4, Encoder::CByBlocks(0)),
            of(INDEPENDENT, 4, Encoder::Flex),
            of(INDEPENDENT, 7, Encoder::Flex),
            of(INDEPENDENT | CHECKSUM | HAS_LEN, 7, Encoder::C(9)),
            of(CHECKSUM, 5, Encoder::CByBlocks(12)),
        ]
    }
}
