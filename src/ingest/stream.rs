//! What another program compressed as a whole, by what it holds: files as `.gz`, `.zst` and `.lz4`, buffers of Arrow.
//!
//! What a file holds is cut into pieces, each an object that is compared with the base's; together they are packed again.
//! Of a base that lies somewhere as it is, the pieces are objects that follow from it (see `codec::plain`).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;

use super::encoder::{Encoder, New};
use crate::chain::{MAX_BYTES, MAX_LINKS};
use crate::codec::{self, Codec, Encoded};
use crate::format::{self, Dtype, Format, Segment, Source};
use crate::id::ObjectId;
use crate::pack::{Bases, MAX_BASES, MAX_OBJECT_BYTES, Record};
use crate::packing::{self, Packer};

/// Most that a file may hold: what can be read again, and what has pieces enough.
const MOST_PLAIN_BYTES: usize = if MAX_BASES * PIECE_BYTES < codec::MOST_STREAM_BYTES {
    MAX_BASES * PIECE_BYTES
} else {
    codec::MOST_STREAM_BYTES
};
/// A piece ends at the first border of text behind this; none is longer than an object.
const PIECE_BYTES: usize = 16 << 20;
/// The first bytes of what may be unpacked: gzip,
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// frames of zstd and of LZ4.
const FRAMES: [&[u8]; 2] = [&[0x28, 0xb5, 0x2f, 0xfd], &[0x04, 0x22, 0x4d, 0x18]];
/// Before each packed buffer of Arrow stands its length.
const LENGTH_BYTES: usize = 8;
/// Level of zstd for what another program packed better than a push would: numbers in text, most of all.
const SLOWER: i32 = 12;
/// What takes more than this share of what it took there is packed slower.
const WORTH: f64 = 0.99;
/// After so many buffers that no packer gives, none is looked for any more: each look takes a while.
const MOST_FAILURES: usize = 8;

/// What packs some plain bytes to an object.
pub(super) struct Stream {
    packer: Packer,
    plain: Vec<u8>,
}

/// What packed the buffers of a file so far: one program packs them all.
#[derive(Default)]
pub(super) struct LastPacker {
    packer: SkipMap<(), Packer>,
    failures: AtomicUsize,
}

impl LastPacker {
    /// What packed these bytes, and what they hold, which is so long.
    fn find(&self, packed: &[u8], plain_len: usize) -> Option<(Packer, Vec<u8>)> {
        if self.failures.load(Ordering::Relaxed) >= MOST_FAILURES {
            return None;
        }
        let hint = self.packer.get(&()).map(|entry| entry.value().clone());
        let found = packing::find_stream(packed, plain_len, hint.as_ref());
        let Some((packer, plain)) = found.filter(|(_, plain)| plain.len() == plain_len) else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if hint.is_none_or(|hint| hint != packer) {
            self.packer.insert((), packer.clone());
        }
        Some((packer, plain))
    }
}

/// An object that follows from one of a base which is packed, and stored as it is.
pub struct Plain {
    pub object: ObjectId,
    /// Its length in bytes.
    pub len: u32,
    pub encoded: Encoded,
}

/// What a file of a base holds, if it is one compressed stream, whoever packed it.
pub(super) fn plain(source: &dyn Source) -> io::Result<Option<Vec<u8>>> {
    let plain = packed(source)?.and_then(|packed| packing::unpack_stream(&packed, MOST_PLAIN_BYTES));
    Ok(plain.filter(|plain| !plain.is_empty()))
}

/// The objects that an object of a base holds, if it is packed.
pub(super) fn plain_of(format: Format, segment: &Segment, bytes: &[u8]) -> Vec<Plain> {
    let object =
        |bytes: &[u8], encoded| Plain { object: ObjectId::of(bytes), len: bytes.len() as u32, encoded };
    if format == Format::Stream {
        let plain = packing::unpack_stream(bytes, MOST_PLAIN_BYTES).unwrap_or_default();
        let mut start = 0;
        let piece = |piece: &[u8]| {
            let object = object(piece, codec::plain::encode(0, 0, start));
            start += piece.len();
            object
        };
        return pieces(&plain).into_iter().map(piece).collect();
    }
    let buffer = || {
        let Buffer { packed, tail, plain_len, .. } = Buffer::of(format, segment, bytes)?;
        let plain = packing::unpack_stream(packed, plain_len).filter(|plain| plain.len() == plain_len)?;
        Some(object(&plain, codec::plain::encode(LENGTH_BYTES, tail.len(), 0)))
    };
    buffer().into_iter().collect()
}

/// A file that may be one compressed stream.
fn packed(source: &dyn Source) -> io::Result<Option<Vec<u8>>> {
    let mut magic = [0; 4];
    if !(magic.len() as u64..=MAX_OBJECT_BYTES.into()).contains(&source.len()) {
        return Ok(None);
    }
    source.read_at(&mut magic, 0)?;
    if !magic.starts_with(GZIP) && !FRAMES.contains(&magic.as_slice()) {
        return Ok(None);
    }
    let mut packed = vec![0; source.len() as usize];
    source.read_at(&mut packed, 0)?;
    Ok(Some(packed))
}

/// Text in pieces.
fn pieces(plain: &[u8]) -> Vec<&[u8]> {
    let cut = format::cut_text(plain);
    let (mut pieces, mut start) = (Vec::new(), 0);
    for end in cut {
        if end - start >= PIECE_BYTES || end == plain.len() {
            pieces.push(&plain[start..end]);
            start = end;
        }
    }
    pieces
}

/// A packed buffer of Arrow.
struct Buffer<'a> {
    length: &'a [u8; LENGTH_BYTES],
    packed: &'a [u8],
    tail: &'a [u8],
    plain_len: usize,
}

impl<'a> Buffer<'a> {
    fn of(format: Format, segment: &Segment, bytes: &'a [u8]) -> Option<Buffer<'a>> {
        if format != Format::Arrow || segment.dtype != Dtype::Bytes || segment.name.is_empty() {
            return None;
        }
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let plain_len = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let is_frame = FRAMES.iter().any(|magic| rest.starts_with(magic));
        if !is_frame || plain_len == 0 || plain_len > packing::MAX_PLAIN_BYTES {
            return None;
        }
        let (packed, tail) = rest.split_at_checked(packing::frame_bytes(rest)?)?;
        Some(Buffer { length, packed, tail, plain_len })
    }
}

impl Stream {
    /// A file that is one compressed stream, where a packer is known that gives it back.
    pub fn of(source: &dyn Source) -> io::Result<Option<Stream>> {
        let found = packed(source)?.and_then(|packed| packing::find_stream(&packed, MOST_PLAIN_BYTES, None));
        Ok(found.filter(|(_, plain)| !plain.is_empty()).map(|(packer, plain)| Stream { packer, plain }))
    }

    /// What the file holds.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }
}

impl Encoder<'_> {
    /// A file by what it holds, or nothing where that takes more.
    pub(super) fn stream(&self, stream: &Stream, object: ObjectId, len: usize) -> Option<Vec<New>> {
        let whole = codec::stream::encode(&[], &stream.packer, &[]);
        self.packed_again(&pieces(&stream.plain), whole, object, len)
    }

    /// A packed buffer of a table by what it holds.
    pub(super) fn buffer(&self, segment: &Segment, object: ObjectId, bytes: &[u8]) -> Option<Vec<New>> {
        let Buffer { length, packed, tail, plain_len } = Buffer::of(self.format, segment, bytes)?;
        let (packer, plain) = self.last_packer.find(packed, plain_len)?;
        let whole = codec::stream::encode(length, &packer, tail);
        self.packed_again(&[&plain], whole, object, bytes.len())
    }

    /// An object as what packs these pieces: first them, then itself.
    fn packed_again(
        &self,
        pieces: &[&[u8]],
        whole: Encoded,
        object: ObjectId,
        len: usize,
    ) -> Option<Vec<New>> {
        let bases = Bases::of(pieces.iter().map(|piece| ObjectId::of(piece)))?;
        let share = len as f64 / pieces.iter().fold(1, |all, piece| all + piece.len()) as f64;
        let mut new: Vec<New> = Vec::new();
        let (mut start, mut depth, mut below) = (0, 0, HashMap::new());
        for (&piece, id) in pieces.iter().zip(bases.iter()) {
            // What lies in the unfinished pack has a chain that nobody can look at yet.
            if self.pending.contains_key(id) {
                return None;
            }
            let own = self.piece(piece, *id, start, share);
            let under =
                own.as_ref().and_then(|own| own.base).map(|(bases, _)| bases.to_vec()).unwrap_or_default();
            for object in under.iter().chain(own.is_none().then_some(id)) {
                let chain = self.store.chain(object).ok();
                let links = chain.iter().flat_map(|chain| chain.links());
                below.extend(links.map(|link| (link.record.object, u64::from(link.record.logical_len))));
            }
            below.insert(*id, piece.len() as u64);
            depth = depth.max(match &own {
                Some(own) => own.base.map_or(0, |(_, depth)| depth + 1),
                None => self.depth_of_known(id)?,
            });
            new.extend(own);
            start += piece.len() as u64;
        }
        let stored: usize = new.iter().map(|new| new.encoded.payload.len() + Record::BYTES).sum();
        let fits = below.len() < MAX_LINKS && below.values().sum::<u64>() + len as u64 <= MAX_BYTES;
        if !fits || stored + whole.payload.len() >= len {
            return None;
        }
        new.push(New { object, len: len as u32, encoded: whole, base: Some((bases, depth)) });
        Some(new)
    }

    /// A piece that the store lacks, on what it resembles, or alone; in a file in which it takes that share of its size.
    fn piece(&self, bytes: &[u8], object: ObjectId, start: u64, share: f64) -> Option<New> {
        if self.depth_of_known(&object).is_some() {
            return None;
        }
        let alike = self.resembling.as_ref();
        let alike = alike.and_then(|known| known.encode(self.store, object, bytes, start, self.effort));
        if let Some(alike) = alike.as_ref().filter(|alike| alike.is_clear(self.effort)) {
            return Some(alike.clone());
        }
        let mut encoded = codec::encode(bytes, Dtype::Bytes, 0, &[], self.effort);
        if encoded.payload.len() as f64 > WORTH * share * bytes.len() as f64 {
            let slower = Encoded { codec: Codec::Zstd, payload: codec::zstd::compress(bytes, SLOWER) };
            encoded = std::cmp::min_by_key(encoded, slower, |encoded| encoded.payload.len());
        }
        let alone = New { object, len: bytes.len() as u32, encoded, base: None };
        alike.into_iter().chain([alone]).min_by_key(|new| new.encoded.payload.len())
    }
}
