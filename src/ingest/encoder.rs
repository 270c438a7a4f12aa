//! Segments → new objects: each encoded against its counterpart, by a rule, or alone; many at a time.

use std::sync::Arc;

use crossbeam_skiplist::SkipMap;

use super::resembling::Resembling;
use super::rows::Both;
use super::stream::{LastPacker, Stream};
use super::table::{Piece, Table, goes_on};
use super::{AIM_DEPTH, IngestError, len_of};
use crate::codec::lossy::{self, Approximation, NotFinite, Tier};
use crate::codec::{self, Codec, Effort, Encoded};
use crate::counterpart::Counterparts;
use crate::format::{Dtype, Format, Segment, Source};
use crate::id::ObjectId;
use crate::index::Found;
use crate::origin::{Derived, Origin};
use crate::pack::Bases;
use crate::store::{Decoded, Store};

/// Text rarely compresses better than this without a base.
const CLEAR_TIMES: usize = 16;

/// A footer or an index of pages that is no longer is worth all time: it is most of what a small edit takes.
const SHORT_FOOTER_BYTES: usize = 128 << 10;

/// Neighbouring segments after the parallel part.
pub(super) struct Stretch {
    pub bytes: Vec<u8>,
    pub outcomes: Vec<Outcome>,
}

/// A segment that is known already, or encoded.
pub(super) struct Outcome {
    pub object: ObjectId,
    /// What has to be stored for it, bases first; nothing for one that is known.
    pub new: Vec<New>,
}

/// An object that the store does not have yet.
#[derive(Clone)]
pub(super) struct New {
    pub object: ObjectId,
    /// Its length in bytes.
    pub len: u32,
    pub encoded: Encoded,
    /// Its bases, and the depth of the deepest.
    pub base: Option<(Bases, u8)>,
}

/// An object in the unfinished pack.
pub(super) struct Pending {
    pub depth: u8,
    pub len: u32,
    pub bases: Box<[ObjectId]>,
}

/// Encodes segments, many at a time.
pub(super) struct Encoder<'a> {
    pub store: &'a Store,
    pub format: Format,
    pub counterparts: Counterparts,
    pub origin: Option<Origin>,
    pub effort: Effort,
    pub lossy: Option<Tier>,
    /// Objects in the unfinished pack: the index doesn't know them yet.
    pub pending: SkipMap<ObjectId, Pending>,
    /// None where the file is no table.
    pub table: Option<Table>,
    /// What may be like what has no counterpart.
    pub resembling: Option<Resembling>,
    /// What the file holds, if it is one compressed stream.
    pub stream: Option<Stream>,
    pub last_packer: LastPacker,
}

impl Encoder<'_> {
    /// Reads segments without encoding them.
    pub fn read(&self, source: &dyn Source, segments: &[Segment]) -> Result<Stretch, IngestError> {
        let start = segments.first().map_or(0, |segment| segment.range.start);
        let mut bytes = vec![0; len_of(segments) as usize];
        source.read_at(&mut bytes, start).map_err(IngestError::Read)?;
        Ok(Stretch { bytes, outcomes: Vec::new() })
    }

    pub fn encode(&self, source: &dyn Source, segments: &[Segment]) -> Result<Stretch, IngestError> {
        let start = segments.first().map_or(0, |segment| segment.range.start);
        let Stretch { mut bytes, .. } = self.read(source, segments)?;
        let mut outcomes = Vec::with_capacity(segments.len());
        for chunk in segments.chunk_by(|before, next| self.table.is_some() && goes_on(source, before, next)) {
            let range = |segment: &Segment| {
                (segment.range.start - start) as usize..(segment.range.end - start) as usize
            };
            let mut found = self.chunk(source, chunk, |segment| &bytes[range(segment)]).into_iter();
            for segment in chunk {
                outcomes.push(match found.next().flatten() {
                    Some(outcome) => outcome,
                    None => self.encode_one(segment, &mut bytes[range(segment)])?,
                });
            }
        }
        Ok(Stretch { outcomes, bytes })
    }

    /// What is found of runs of pages that share a dictionary; nothing where that takes no look at the others.
    fn chunk<'a>(
        &self,
        source: &dyn Source,
        chunk: &'a [Segment],
        bytes: impl Fn(&Segment) -> &'a [u8],
    ) -> Vec<Option<Outcome>> {
        let Some(table) = self.table.as_ref().filter(|_| !chunk[0].name.is_empty()) else {
            return Vec::new();
        };
        let piece = |segment: &'a Segment| {
            let bytes = bytes(segment);
            Piece { segment, bytes, object: ObjectId::of(bytes) }
        };
        let pieces: Vec<Piece> = chunk.iter().map(piece).collect();
        match pieces.iter().all(|piece| self.is_known(&piece.object)) {
            true => Vec::new(),
            false => {
                let tables = Both { store: self.store, source, kinds: &table.kinds, last: &table.last };
                self.encode_chunk(table, &pieces, &table.beside.others(&tables, chunk))
            }
        }
    }

    pub(super) fn is_known(&self, object: &ObjectId) -> bool {
        self.pending.contains_key(object) || self.store.holds_whole(object)
    }

    /// Encodes what is not known yet. `bytes` become what was stored for them.
    fn encode_one(&self, segment: &Segment, bytes: &mut [u8]) -> Result<Outcome, IngestError> {
        let (mut object, len) = (ObjectId::of(bytes), bytes.len() as u32);
        if self.is_known(&object) {
            return Ok(Outcome { object, new: Vec::new() });
        }
        let held = self.stream.as_ref().and_then(|stream| self.stream(stream, object, bytes.len()));
        if let Some(new) = held.or_else(|| self.buffer(segment, object, bytes)) {
            return Ok(Outcome { object, new });
        }
        let attempt = self.origin.as_ref().and_then(|origin| origin.of(segment));
        let derived = attempt.and_then(|attempt| {
            attempt.encode(self.store, bytes, segment.dtype, segment.row_len, self.effort)
        });
        if let Some(derived) = derived.as_ref().filter(|derived| derived.is_exact) {
            return Ok(Outcome { object, new: vec![New::by_rule(object, len, derived.clone())] });
        }
        let base = self.base_of(segment);
        let may_resemble = self.format == Format::Arrow || (base.is_none() && segment.dtype == Dtype::Bytes);
        let resembling = self.resembling.as_ref().filter(|_| may_resemble);
        let alike = resembling
            .and_then(|known| known.encode(self.store, object, bytes, segment.range.start, self.effort));
        if let Some(alike) = alike.as_ref().filter(|alike| alike.is_clear(self.effort)) {
            return Ok(Outcome { object, new: vec![alike.clone()] });
        }
        let with = base.as_ref().map(BaseBytes::bases).unwrap_or_default();
        // No sensible column is called so.
        let is_footer = self.table.is_some() && segment.name.starts_with('/');
        let effort =
            if is_footer && bytes.len() <= SHORT_FOOTER_BYTES { Effort::Repack } else { self.effort };
        let mut encoded = codec::encode(bytes, segment.dtype, segment.row_len, &with, effort);
        if let Some((tier, with)) = self.lossy.zip(with.first()) {
            let found = lossy::approximate(bytes, segment.dtype, segment.row_len, *with, tier);
            let found = found.map_err(|NotFinite| IngestError::NotFinite(segment.name.clone()))?;
            let smaller = |found: &Approximation| found.encoded.payload.len() < encoded.payload.len();
            if let Some(found) = found.filter(smaller) {
                bytes.copy_from_slice(&found.bytes);
                object = ObjectId::of(bytes);
                encoded = found.encoded;
            }
        }
        let base = base.and_then(|base| Some((base.ids(encoded.codec)?, base.depth)));
        let smaller = |derived: &Derived| derived.encoded.payload.len() < encoded.payload.len();
        let new = match derived.filter(smaller) {
            Some(derived) => New::by_rule(object, len, derived),
            None => New { object, len, encoded, base },
        };
        let new = alike.into_iter().chain([new]).min_by_key(|new| new.encoded.payload.len());
        let new = new.expect("because there is one at least");
        Ok(Outcome { object, new: vec![new] })
    }

    pub(super) fn depth_of_known(&self, object: &ObjectId) -> Option<u8> {
        let pending = self.pending.get(object).map(|entry| entry.value().depth);
        let stored = || Some(self.store.find(object).ok()?.record.depth);
        pending.or_else(|| self.store.holds_whole(object).then(stored).flatten())
    }

    /// The counterpart's bytes; none when there is none, or when it can't be read (fsck tells).
    fn base_of(&self, segment: &Segment) -> Option<BaseBytes> {
        let (found, dtype) = self.counterpart(segment)?;
        self.base_at(found, dtype)
    }

    pub(super) fn counterpart(&self, segment: &Segment) -> Option<(Found, Dtype)> {
        let (object, dtype) = self.counterparts.find(segment)?;
        Some((self.store.find(&object).ok()?, dtype))
    }

    /// The bytes of an object, or of one below it where that lies too deep.
    pub(super) fn base_at(&self, mut found: Found, dtype: Dtype) -> Option<BaseBytes> {
        while found.record.depth >= AIM_DEPTH {
            found = self.store.find(found.record.bases.first()?).ok()?;
        }
        let bytes = self.store.get_base(&found.record.object).ok()?;
        let previous = self.store.previous(&found, bytes.len());
        Some(BaseBytes { object: found.record.object, depth: found.record.depth, dtype, bytes, previous })
    }
}

impl New {
    /// Whether it is so small that nothing else is tried.
    pub fn is_clear(&self, effort: Effort) -> bool {
        effort == Effort::Push && self.encoded.payload.len() * CLEAR_TIMES < self.len as usize
    }

    fn by_rule(object: ObjectId, len: u32, derived: Derived) -> New {
        New { object, len, encoded: derived.encoded, base: Some((derived.bases, derived.depth)) }
    }
}

pub(super) struct BaseBytes {
    object: ObjectId,
    pub depth: u8,
    dtype: Dtype,
    bytes: Arc<Decoded>,
    /// What it is itself a difference to.
    previous: Option<(ObjectId, Arc<Decoded>)>,
}

impl BaseBytes {
    /// What the codec may take: the base, and its own base.
    pub fn bases(&self) -> Vec<codec::Base<'_>> {
        let previous = self.previous.as_ref().map(|(_, bytes)| bytes);
        let both = std::iter::once(&self.bytes).chain(previous);
        both.map(|bytes| codec::Base { bytes, dtype: self.dtype }).collect()
    }

    /// Those that a codec took; none where it took none.
    pub fn ids(&self, codec: Codec) -> Option<Bases> {
        let previous = self.previous.as_ref().map(|(object, _)| *object);
        let both = std::iter::once(self.object).chain(previous);
        Bases::of(both.take(codec.bases())).filter(|bases| !bases.is_empty())
    }
}
