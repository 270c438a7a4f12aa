//! Which packer wrote some bytes: unpack them, then try who packs them to the same.

use super::deflate::{self, Deflate, Kind};
use super::lz4::{self, Lz4};
use super::lz4_frame::{self, Lz4Frame};
use super::preflate::Preflate;
use super::snappy::{self, Snappy};
use super::zstd::{self, Zstd};
use super::{MAX_PLAIN_BYTES, NotPacked, Packer};

/// How bytes are unpacked, which is the same for all packers of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Zstd,
    Lz4Frame,
    Deflate(Kind),
    Snappy,
    Lz4Hadoop,
    Lz4,
}

impl Format {
    /// Those that are known by their first bytes come first.
    const ALL: [Format; 8] = [
        Format::Zstd,
        Format::Lz4Frame,
        Format::Deflate(Kind::Gzip),
        Format::Deflate(Kind::Zlib),
        Format::Lz4Hadoop,
        Format::Snappy,
        Format::Lz4,
        Format::Deflate(Kind::Raw),
    ];

    pub(super) fn unpack(self, packed: &[u8], plain_len: Option<usize>) -> Result<Vec<u8>, NotPacked> {
        let other = NotPacked { what: "the format" };
        let most = plain_len.unwrap_or(MAX_PLAIN_BYTES);
        if most > MAX_PLAIN_BYTES {
            return Err(other);
        }
        let plain = match self {
            Format::Zstd => zstd::unpack(packed, most),
            Format::Lz4Frame => lz4_frame::unpack(packed, most),
            Format::Deflate(kind) => deflate::unpack(packed, kind, most),
            Format::Snappy => snappy::unpack(packed, most),
            Format::Lz4Hadoop => lz4::unpack_hadoop(packed, most),
            Format::Lz4 => lz4::unpack(packed, plain_len.ok_or(other)?),
        }?;
        if plain_len.is_none_or(|len| len == plain.len()) { Ok(plain) } else { Err(other) }
    }

    /// What packs `plain` to `packed`; the common ones are tried first.
    fn find(self, plain: &[u8], packed: &[u8]) -> Option<Packer> {
        match self {
            Format::Zstd => Zstd::find(plain, packed).map(Packer::Zstd),
            Format::Lz4Frame => Lz4Frame::find(plain, packed).map(Packer::Lz4Frame),
            Format::Deflate(kind) => Deflate::find(plain, packed, kind).map(Packer::Deflate),
            Format::Snappy => Snappy::find(plain, packed).map(Packer::Snappy),
            Format::Lz4Hadoop => Lz4::find(plain, packed, true).map(Packer::Lz4),
            Format::Lz4 => Lz4::find(plain, packed, false).map(Packer::Lz4),
        }
    }
}

/// A packer that gives exactly `packed`, and what it packs; none if there is none, or it holds too much.
///
/// The length of what it holds is not needed where the format tells it, but rules out guesses. Where nothing
/// is found, all was tried, which takes up to a second for a page: pages behind it are better not tried.
pub fn find(packed: &[u8], plain_len: Option<usize>) -> Option<(Packer, Vec<u8>)> {
    Format::ALL.into_iter().find_map(|format| {
        let plain = format.unpack(packed, plain_len).ok()?;
        Some((format.find(&plain, packed)?, plain))
    })
}

/// The same for a stream of gzip, zstd or LZ4 that may hold up to `most` bytes; what packed a similar one is tried first,
/// and for gzip of other writers corrections last.
pub fn find_stream(packed: &[u8], most: usize, hint: Option<&Packer>) -> Option<(Packer, Vec<u8>)> {
    let (format, plain) = stream(packed, most)?;
    let hinted = hint.and_then(|hint| hint.fitted(packed)).filter(|hint| hint.format() == format);
    let hinted = hinted.filter(|hint| hint.gives(&plain, packed));
    let corrected = || match format {
        Format::Deflate(kind) => Preflate::find(&plain, packed, kind).map(Packer::Preflate),
        _ => None,
    };
    Some((hinted.or_else(|| format.find(&plain, packed)).or_else(corrected)?, plain))
}

/// What such a stream holds, whoever packed it.
pub fn unpack_stream(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    stream(packed, most).map(|(_, plain)| plain)
}

fn stream(packed: &[u8], most: usize) -> Option<(Format, Vec<u8>)> {
    let unpacked = |format, plain: Result<Vec<u8>, NotPacked>| plain.ok().map(|plain| (format, plain));
    unpacked(Format::Zstd, zstd::unpack(packed, most))
        .or_else(|| unpacked(Format::Lz4Frame, lz4_frame::unpack(packed, most)))
        .or_else(|| unpacked(Format::Deflate(Kind::Gzip), deflate::unpack(packed, Kind::Gzip, most)))
}

/// Length of the frame of zstd or LZ4 that `packed` begins with, as its blocks tell.
pub fn frame_bytes(packed: &[u8]) -> Option<usize> {
    zstd::frame_bytes(packed).or_else(|| lz4_frame::frame_bytes(packed))
}

/// Like `find`, but tries first what packed similar bytes: pages of one file have one packer.
pub fn find_like(
    packed: &[u8],
    plain_len: Option<usize>,
    hint: Option<&Packer>,
) -> Option<(Packer, Vec<u8>)> {
    let hinted = || {
        let packer = hint?.fitted(packed)?;
        let plain = packer.unpack(packed, plain_len).ok()?;
        packer.gives(&plain, packed).then_some((packer, plain))
    };
    hinted().or_else(|| find(packed, plain_len))
}
