//! Which objects of the base a new one resembles, where nothing has a name: text, logs, unknown files.
//!
//! The base is decoded once, and only its anchors are kept, a bounded number. A new object is compared with those
//! objects of the base that have most of its anchors; where it has none, with what lay at its place.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::AIM_DEPTH;
use super::encoder::New;
use crate::anchor::anchors;
use crate::chain::{MAX_BYTES, MAX_LINKS};
use crate::codec::{Codec, Effort, copies};
use crate::format::{Dtype, Format};
use crate::id::ObjectId;
use crate::pack::{Bases, MAX_BASES, MAX_OBJECT_BYTES};
use crate::pipeline::in_order;
use crate::recipe::Recipe;
use crate::store::{Decoded, Store, StoreError};

/// Anchors that are kept: 24 bytes each.
const MOST_ANCHORS: u64 = 1 << 20;
/// An anchor in so many bytes of a base that is not large, as a power of two.
const ANCHOR_BITS: u32 = 10;
/// Decoded bytes of the base that are under way.
const AHEAD_BYTES: u64 = 32 << 20;
/// A further base must have this share of the anchors.
const LEAST_SHARE: f64 = 0.01;
/// Fewer bytes are not worth a look.
const LEAST_BYTES: usize = 512;

/// The objects of the bases, and where their anchors lie.
pub(super) struct Resembling {
    /// In the order of the files: where each lies there, as if they were one.
    objects: Vec<(Range<u64>, ObjectId)>,
    anchors: HashMap<u64, Places>,
    bits: u32,
}

/// The objects that have an anchor.
struct Places {
    first: u32,
    are_several: bool,
}

impl Resembling {
    /// Of the bases of a file of this format, where that has anything without a name; `plain` is what objects of theirs
    /// hold of which the store does not say so.
    pub fn to_bases(
        store: &Store,
        format: Format,
        bases: &[Recipe],
        plain: &HashMap<ObjectId, Vec<ObjectId>>,
    ) -> Result<Option<Resembling>, StoreError> {
        let is_looked_at =
            matches!(format, Format::Chunked | Format::Text | Format::Arrow | Format::Tar | Format::Stream);
        (is_looked_at && !bases.is_empty()).then(|| Resembling::of(store, bases, plain)).transpose()
    }

    /// What in the bases has no type: headers, chunks, members of archives. What can't be decoded is left out: fsck tells.
    fn of(
        store: &Store,
        bases: &[Recipe],
        plain: &HashMap<ObjectId, Vec<ObjectId>>,
    ) -> Result<Resembling, StoreError> {
        let mut objects = Vec::new();
        let mut first = 0;
        for base in bases {
            let has_no_type = |part| base.tensor_of(part).is_none_or(|tensor| tensor.dtype == Dtype::Bytes);
            let parts = base.ranges().filter(|(_, part)| base.format == Format::Arrow || has_no_type(part));
            let placed = parts.map(|(range, part)| (range.start + first..range.end + first, part));
            objects.extend(placed.flat_map(|(range, part)| unpacked(store, plain, range, part.object)));
            first += base.size;
        }
        let bytes: u64 = objects.iter().map(|(range, _)| range.end - range.start).sum();
        let bits =
            ANCHOR_BITS + (bytes >> ANCHOR_BITS).div_ceil(MOST_ANCHORS).next_power_of_two().trailing_zeros();
        let mut found: HashMap<u64, Places> = HashMap::new();
        let numbered: Vec<(usize, &(Range<u64>, ObjectId))> = objects.iter().enumerate().collect();
        let work = |(_, (_, object)): &(usize, &(Range<u64>, ObjectId))| {
            Ok::<_, StoreError>(store.get_base(object).map(|bytes| anchors(&bytes, bits)).unwrap_or_default())
        };
        let take = |(number, _): &(usize, &(Range<u64>, ObjectId)), anchors: Vec<u64>| {
            let room = 2 * MOST_ANCHORS as usize - found.len();
            for anchor in anchors.into_iter().take(room) {
                let places =
                    found.entry(anchor).or_insert(Places { first: *number as u32, are_several: false });
                places.are_several |= places.first != *number as u32;
            }
            Ok(())
        };
        in_order(&numbered, |(_, (range, _))| range.end - range.start, AHEAD_BYTES, work, take)?;
        Ok(Resembling { objects, anchors: found, bits })
    }

    /// The objects that `bytes`, which begin at `start` of their file, resemble: the most alike first.
    fn find(&self, bytes: &[u8], start: u64) -> Vec<ObjectId> {
        let found = anchors(bytes, self.bits);
        let known: Vec<&Places> = found.iter().filter_map(|anchor| self.anchors.get(anchor)).collect();
        // What stands in many places tells little of where this comes from, unless there is nothing else.
        let tells = known.iter().filter(|places| !places.are_several).count();
        let is_told = tells * 4 >= known.len();
        let mut votes: HashMap<u32, u32> = HashMap::new();
        for places in known.iter().filter(|places| !(is_told && places.are_several)) {
            *votes.entry(places.first).or_default() += 1;
        }
        let least = (LEAST_SHARE * found.len() as f64) as u32;
        let mut votes: Vec<(u32, u32)> = votes.into_iter().filter(|(_, count)| *count > least).collect();
        votes.sort_by_key(|(number, count)| (u32::MAX - count, *number));
        if votes.is_empty() {
            return self.at(start).into_iter().collect();
        }
        votes.truncate(MAX_BASES);
        votes.into_iter().map(|(number, _)| self.objects[number as usize].1).collect()
    }

    /// What lay at this place of the base.
    fn at(&self, place: u64) -> Option<ObjectId> {
        let behind = self.objects.partition_point(|(range, _)| range.start <= place);
        Some(self.objects.get(behind.checked_sub(1)?)?.1)
    }

    /// An object as copies from those that it resembles, if any.
    pub fn encode(
        &self,
        store: &Store,
        object: ObjectId,
        bytes: &[u8],
        start: u64,
        effort: Effort,
    ) -> Option<New> {
        if bytes.len() < LEAST_BYTES {
            return None;
        }
        let bases = shallow(store, self.find(bytes, start));
        let decoded: Vec<Arc<Decoded>> = bases.iter().map(|(_, _, bytes)| bytes.clone()).collect();
        let with: Vec<&[u8]> = decoded.iter().map(|bytes| &***bytes).collect();
        let encoded = copies::encode(bytes, &with, effort)?;
        let depth = bases.iter().map(|(_, depth, _)| *depth).max()?;
        let ids = Bases::of(bases.iter().map(|(id, ..)| *id))?;
        Some(New { object, len: bytes.len() as u32, encoded, base: Some((ids, depth)) })
    }
}

/// An object at its place, or what it is packed from.
fn unpacked(
    store: &Store,
    plain: &HashMap<ObjectId, Vec<ObjectId>>,
    range: Range<u64>,
    object: ObjectId,
) -> Vec<(Range<u64>, ObjectId)> {
    let packed = || store.find(&object).ok().filter(|found| found.record.codec == Codec::Stream);
    let known = plain.get(&object).cloned();
    let Some(pieces) = known.or_else(|| packed().map(|found| found.record.bases.to_vec())) else {
        return vec![(range, object)];
    };
    let mut start = range.start;
    let pieces = pieces.iter().filter_map(|piece| store.find(piece).ok());
    let placed = pieces.map(|piece| {
        let from = start;
        start += u64::from(piece.record.logical_len);
        (from..start, piece.record.object)
    });
    placed.collect()
}

/// The objects with their depths and bytes; what lies too deep is replaced by what it is made of. No more than one
/// object may have, in number, in bytes and in what is below them.
fn shallow(store: &Store, mut wanted: Vec<ObjectId>) -> Vec<(ObjectId, u8, Arc<Decoded>)> {
    let mut taken: Vec<(ObjectId, u8, Arc<Decoded>)> = Vec::new();
    let (mut bytes, mut below) = (0, HashMap::new());
    // Objects share their bases, so there are more ways to one than there are objects, by far.
    let mut seen = HashSet::new();
    wanted.reverse();
    while let Some(object) = wanted.pop() {
        if !seen.insert(object) {
            continue;
        }
        let Ok(found) = store.find(&object) else { continue };
        if found.record.depth >= AIM_DEPTH {
            wanted.extend(found.record.bases.iter().rev());
            continue;
        }
        if taken.len() == MAX_BASES {
            break;
        }
        let Ok(chain) = store.chain(&object) else { continue };
        let mut all = below.clone();
        all.extend(chain.links().iter().map(|link| (link.record.object, u64::from(link.record.logical_len))));
        let len = found.record.logical_len as usize;
        let fits = bytes + len <= copies::MOST_BASE_BYTES
            && all.len() < MAX_LINKS
            && all.values().sum::<u64>() + u64::from(MAX_OBJECT_BYTES) <= MAX_BYTES;
        let decoded = if fits { store.get_base(&object).ok() } else { None };
        if let Some(decoded) = decoded {
            (bytes, below) = (bytes + len, all);
            taken.push((object, found.record.depth, decoded));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Memory;
    use crate::index::Index;
    use crate::store::record_for;

    /// Anyone may publish objects that share their bases, level by level: 8^16 ways lead down here, to 8 objects.
    #[test]
    fn objects_that_share_their_bases_are_looked_at_once() {
        let store = Store::over(Box::new(Memory::default()), Index::in_memory());
        let mut pack = store.begin_pack().unwrap();
        let mut level: Vec<ObjectId> = Vec::new();
        for depth in 0..AIM_DEPTH + 16 {
            let bases = (depth > 0).then(|| (Bases::of(level.iter().copied()).unwrap(), depth - 1));
            let codec = if depth == 0 { Codec::Raw } else { Codec::Copies };
            let bytes = |number: u8| vec![depth, number];
            let add = |number: u8| {
                let object = ObjectId::of(&bytes(number));
                pack.add(record_for(object, bases, codec, 2), &bytes(number)).unwrap();
                object
            };
            level = (0..8).map(add).collect();
        }
        store.admit(pack).unwrap();
        store.refresh().unwrap();
        assert!(shallow(&store, level).is_empty(), "no copies are made of two bytes");
        let raw = ObjectId::of(&[0, 3]);
        assert_eq!(shallow(&store, vec![raw, raw]).len(), 1);
    }
}
