//! Segments → new objects: each encoded against its counterpart, by a rule, or alone; many at a time.

use std::sync::Arc;

use crossbeam_skiplist::SkipMap;

use super::unpacked::{self, Last};
use super::{AIM_DEPTH, IngestError, len_of};
use crate::codec::lossy::{self, Approximation, NotFinite, Tier};
use crate::codec::{self, Codec, Effort, Encoded};
use crate::counterpart::Counterparts;
use crate::format::{Dtype, Format, Segment, Source};
use crate::id::ObjectId;
use crate::index::Found;
use crate::origin::{Derived, Origin};
use crate::pack::{Bases, Record};
use crate::store::{Decoded, Store};

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
pub(super) struct New {
    pub object: ObjectId,
    /// Its length in bytes.
    pub len: u32,
    pub encoded: Encoded,
    /// Its bases, and the depth of the deepest.
    pub base: Option<(Bases, u8)>,
}

/// Encodes segments, many at a time.
pub(super) struct Encoder<'a> {
    pub store: &'a Store,
    pub format: Format,
    pub counterparts: Counterparts,
    pub origin: Option<Origin>,
    pub effort: Effort,
    pub lossy: Option<Tier>,
    /// Objects in the unfinished pack, with their depths: the index doesn't know them yet.
    pub pending: SkipMap<ObjectId, u8>,
    /// What packed the pages so far.
    pub last: Last,
}

impl Encoder<'_> {
    pub fn encode(&self, source: &dyn Source, segments: &[Segment]) -> Result<Stretch, IngestError> {
        let start = segments.first().map_or(0, |segment| segment.range.start);
        let mut bytes = vec![0; len_of(segments) as usize];
        source.read_at(&mut bytes, start).map_err(IngestError::Read)?;
        let outcome = |segment: &Segment| {
            let range = (segment.range.start - start) as usize..(segment.range.end - start) as usize;
            self.encode_one(segment, &mut bytes[range])
        };
        let outcomes: Result<_, IngestError> = segments.iter().map(outcome).collect();
        Ok(Stretch { outcomes: outcomes?, bytes })
    }

    /// Encodes what is not known yet. `bytes` become what was stored for them.
    fn encode_one(&self, segment: &Segment, bytes: &mut [u8]) -> Result<Outcome, IngestError> {
        let (mut object, len) = (ObjectId::of(bytes), bytes.len() as u32);
        if self.pending.contains_key(&object) || self.store.holds_whole(&object) {
            return Ok(Outcome { object, new: Vec::new() });
        }
        if let Some(new) = self.unpacked(segment, object, bytes) {
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
        let with = base.as_ref().map(BaseBytes::bases).unwrap_or_default();
        let mut encoded = codec::encode(bytes, segment.dtype, segment.row_len, &with, self.effort);
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
        Ok(Outcome { object, new: vec![new] })
    }

    /// A page of a table by what it is when unpacked, where that is smaller: the unpacked one, then itself.
    fn unpacked(&self, segment: &Segment, object: ObjectId, bytes: &[u8]) -> Option<Vec<New>> {
        if self.format != Format::Parquet || segment.name.is_empty() {
            return None;
        }
        let page = unpacked::unpack(bytes, &self.last)?;
        let below = ObjectId::of(&page.bytes);
        let packed = |depth| New {
            object,
            len: bytes.len() as u32,
            encoded: page.encoded.clone(),
            base: Some((below.into(), depth)),
        };
        if let Some(depth) = self.depth_of_known(&below) {
            return Some(vec![packed(depth)]);
        }
        let base = self.counterpart(segment).and_then(|(found, _)| {
            let unpacked = *found.record.bases.first().filter(|_| found.record.codec == Codec::Packed)?;
            self.base_at(self.store.find(&unpacked).ok()?, Dtype::Bytes)
        });
        let with = base.as_ref().map(BaseBytes::bases).unwrap_or_default();
        let encoded = codec::encode(&page.bytes, Dtype::Bytes, 0, &with, self.effort);
        if encoded.payload.len() + page.encoded.payload.len() + Record::BYTES >= bytes.len() {
            return None;
        }
        let base = base.and_then(|base| Some((base.ids(encoded.codec)?, base.depth)));
        let depth = base.map_or(0, |(_, depth)| depth + 1);
        let len = page.bytes.len() as u32;
        Some(vec![New { object: below, len, encoded, base }, packed(depth)])
    }

    fn depth_of_known(&self, object: &ObjectId) -> Option<u8> {
        let pending = self.pending.get(object).map(|entry| *entry.value());
        let stored = || Some(self.store.find(object).ok()?.record.depth);
        pending.or_else(|| self.store.holds_whole(object).then(stored).flatten())
    }

    /// The counterpart's bytes; none when there is none, or when it can't be read (fsck tells).
    fn base_of(&self, segment: &Segment) -> Option<BaseBytes> {
        let (found, dtype) = self.counterpart(segment)?;
        self.base_at(found, dtype)
    }

    fn counterpart(&self, segment: &Segment) -> Option<(Found, Dtype)> {
        let (object, dtype) = self.counterparts.find(segment)?;
        Some((self.store.find(&object).ok()?, dtype))
    }

    /// The bytes of an object, or of one below it where that lies too deep.
    fn base_at(&self, mut found: Found, dtype: Dtype) -> Option<BaseBytes> {
        while found.record.depth >= AIM_DEPTH {
            found = self.store.find(found.record.bases.first()?).ok()?;
        }
        let bytes = self.store.get_base(&found.record.object).ok()?;
        let previous = self.store.previous(&found, bytes.len());
        Some(BaseBytes { object: found.record.object, depth: found.record.depth, dtype, bytes, previous })
    }
}

impl New {
    fn by_rule(object: ObjectId, len: u32, derived: Derived) -> New {
        New { object, len, encoded: derived.encoded, base: Some((derived.bases, derived.depth)) }
    }
}

struct BaseBytes {
    object: ObjectId,
    depth: u8,
    dtype: Dtype,
    bytes: Arc<Decoded>,
    /// What it is itself a difference to.
    previous: Option<(ObjectId, Arc<Decoded>)>,
}

impl BaseBytes {
    /// What the codec may take: the base, and its own base.
    fn bases(&self) -> Vec<codec::Base<'_>> {
        let previous = self.previous.as_ref().map(|(_, bytes)| bytes);
        let both = std::iter::once(&self.bytes).chain(previous);
        both.map(|bytes| codec::Base { bytes, dtype: self.dtype }).collect()
    }

    /// Those that a codec took; none where it took none.
    fn ids(&self, codec: Codec) -> Option<Bases> {
        let previous = self.previous.as_ref().map(|(object, _)| *object);
        let both = std::iter::once(self.object).chain(previous);
        Bases::of(both.take(codec.bases())).filter(|bases| !bases.is_empty())
    }
}
