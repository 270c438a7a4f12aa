//! zstd frames, as the one version of the library that is linked writes them.

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, SafeResult};

use super::NotPacked;

const WHAT: NotPacked = NotPacked { what: "zstd" };

const MAGIC: [u8; 4] = 0xfd2f_b528u32.to_le_bytes();
/// log2 of the largest window that a frame may ask for: memory of the decoder. Level 22 asks for 27.
const MAX_WINDOW_BITS: u32 = 27;
/// The part of a frame that is tried first: its first block comes out of so much.
const BLOCK_BYTES: usize = 1 << 17;

/// How a frame was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zstd {
    level: i8,
    /// Whether the frame tells the length of what it holds.
    has_len: bool,
    has_checksum: bool,
    /// Whether the bytes were given to a stream, which knew how many would come only if the frame tells it.
    streamed: bool,
}

/// Levels in the order of how common they are: defaults first, then upwards.
const LEVELS: [i8; 29] = [
    3, 1, 9, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, -1, -2, -3, -4, -5, -6, -7,
];
/// The highest of a frame that does not tell its length.
const HIGHEST_WITHOUT_LEN: i8 = 19;

/// Where a frame holds more than this, its first block tells whether it is worth making the others.
const LONG_BYTES: usize = 4 << 20;

const HAS_LEN: u8 = 1;
const HAS_CHECKSUM: u8 = 2;
const STREAMED: u8 = 4;

impl Zstd {
    /// One frame that a single call makes.
    pub fn new(level: i8, has_len: bool, has_checksum: bool) -> Option<Self> {
        Self { level, has_len, has_checksum, streamed: false }.checked()
    }

    /// One frame that a stream makes, which knew the length before if it `has_len`.
    pub fn streamed(level: i8, has_len: bool, has_checksum: bool) -> Option<Self> {
        Self { level, has_len, has_checksum, streamed: true }.checked()
    }

    fn checked(self) -> Option<Self> {
        // Without a length the highest levels take most of a gigabyte for any page.
        let is_fair = self.has_len || self.level <= HIGHEST_WITHOUT_LEN;
        (LEVELS.contains(&self.level) && is_fair).then_some(self)
    }

    pub(super) fn encode(self) -> [u8; 2] {
        let flags = [(self.has_len, HAS_LEN), (self.has_checksum, HAS_CHECKSUM), (self.streamed, STREAMED)];
        let flags = flags.into_iter().map(|(is_set, flag)| u8::from(is_set) * flag).sum();
        [self.level as u8, flags]
    }

    pub(super) fn decode([level, flags]: [u8; 2]) -> Option<Self> {
        let [has_len, has_checksum, streamed] =
            [HAS_LEN, HAS_CHECKSUM, STREAMED].map(|flag| flags & flag != 0);
        let known = flags <= (HAS_LEN | HAS_CHECKSUM | STREAMED);
        Self { level: level as i8, has_len, has_checksum, streamed }.checked().filter(|_| known)
    }

    /// What packs `plain` to `packed`.
    pub(super) fn find(plain: &[u8], packed: &[u8]) -> Option<Self> {
        let header = Header::read(packed)?;
        // A frame without its length is a stream's, most likely; a single block is the same in both ways.
        let ways: &[bool] = match header.has_len {
            true if plain.len() <= BLOCK_BYTES => &[false],
            true => &[false, true],
            false => &[true, false],
        };
        // The first block is the same in both ways as well.
        let written = LEVELS.into_iter().filter_map(|level| header.written(level, false).checked());
        let likely = written.filter(|packer| packer.begins_like(plain, packed)).map(|packer| packer.level);
        let packers =
            likely.flat_map(|level| ways.iter().map(move |streamed| header.written(level, *streamed)));
        packers.into_iter().find(|packer| packer.pack(plain) == packed)
    }

    /// Whether `plain` packs to `packed`.
    pub(super) fn gives(self, plain: &[u8], packed: &[u8]) -> bool {
        self.begins_like(plain, packed) && self.pack(plain) == packed
    }

    /// The same with the flags of another frame.
    pub(super) fn fitted(self, packed: &[u8]) -> Option<Self> {
        Header::read(packed)?.written(self.level, self.streamed).checked()
    }

    pub fn pack(self, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
        let made = if self.streamed {
            self.pack_stream(plain, &mut packed)
        } else {
            self.context().compress2(&mut packed, plain)
        };
        made.expect("because there is room for the whole frame");
        packed
    }

    /// All is given at once, but the end is not announced with it. How a writer cuts its input doesn't show.
    fn pack_stream(self, plain: &[u8], packed: &mut Vec<u8>) -> SafeResult {
        let mut context = self.context();
        if self.has_len {
            context.set_pledged_src_size(Some(plain.len() as u64))?;
        }
        let (mut input, mut output) = (InBuffer::around(plain), OutBuffer::around(packed));
        context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_continue)?;
        let left = context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_end)?;
        assert!(left == 0 && input.pos == plain.len(), "zstd did not end a frame that it has room for");
        Ok(left)
    }

    /// Whether `packed` begins with the first block that `plain` packs to; also true where that is not known.
    fn begins_like(self, plain: &[u8], packed: &[u8]) -> bool {
        let is_short = if self.has_len { 2 * BLOCK_BYTES } else { LONG_BYTES };
        if plain.len() <= is_short {
            return true;
        }
        let Some(end) = Header::read(packed).and_then(|header| header.end_of_first_block(packed)) else {
            return false;
        };
        let mut begin = Vec::with_capacity(end);
        let mut input = InBuffer::around(plain);
        let mut output = OutBuffer::around(&mut begin);
        // Where the end is announced with the first call, the length is known; the first block is the same in all ways.
        let directive =
            if self.has_len { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
        let made = self.context().compress_stream2(&mut output, &mut input, directive);
        made.is_ok() && packed.starts_with(&begin)
    }

    fn context(self) -> CCtx<'static> {
        let mut context = CCtx::create();
        let parameters = [
            CParameter::CompressionLevel(self.level.into()),
            CParameter::ContentSizeFlag(self.has_len || self.streamed),
            CParameter::ChecksumFlag(self.has_checksum),
        ];
        for parameter in parameters {
            context.set_parameter(parameter).expect("because every level in the list exists");
        }
        context
    }
}

/// Length of the frame that `packed` begins with, as its blocks tell.
pub(super) fn frame_bytes(packed: &[u8]) -> Option<usize> {
    zstd_safe::find_frame_compressed_size(packed).ok()
}

/// What one frame holds, which is at most `most` bytes.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    let header = Header::read(packed).ok_or(WHAT)?;
    let len = zstd_safe::get_frame_content_size(packed).ok().flatten();
    let room = len.map_or(most, |len| usize::try_from(len).unwrap_or(usize::MAX));
    // A block of four bytes may give 128 KiB; beyond that a length is a lie, and not allocated.
    if room > most || (header.has_len && room / BLOCK_BYTES > packed.len()) {
        return Err(WHAT);
    }
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(|_| WHAT)?;
    decompressor.window_log_max(MAX_WINDOW_BITS).map_err(|_| WHAT)?;
    let mut plain = decompressor.decompress(packed, room).map_err(|_| WHAT)?;
    plain.shrink_to_fit();
    Ok(plain)
}

/// What the header of a frame tells (RFC 8878, 3.1.1.1).
#[derive(Clone, Copy)]
struct Header {
    has_len: bool,
    has_checksum: bool,
    len: usize,
}

impl Header {
    /// None for a frame that needs a dictionary, or for no frame.
    fn read(packed: &[u8]) -> Option<Self> {
        let descriptor = *packed.strip_prefix(&MAGIC)?.first()?;
        let single_segment = descriptor & 0x20 != 0;
        let len_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            more => 1 << more,
        };
        let header = Self {
            has_len: len_bytes > 0,
            has_checksum: descriptor & 4 != 0,
            len: MAGIC.len() + 1 + usize::from(!single_segment) + len_bytes,
        };
        (descriptor & 3 == 0).then_some(header)
    }

    fn written(self, level: i8, streamed: bool) -> Zstd {
        Zstd { level, has_len: self.has_len, has_checksum: self.has_checksum, streamed }
    }

    fn end_of_first_block(self, packed: &[u8]) -> Option<usize> {
        let [a, b, c] = *packed.get(self.len..)?.first_chunk::<3>()?;
        let block = u32::from_le_bytes([a, b, c, 0]);
        let len = if block >> 1 & 3 == 1 { 1 } else { block as usize >> 3 };
        Some((self.len + 3 + len).min(packed.len()))
    }
}
