//! What to ask for, and in which pieces to send.

use std::collections::{HashMap, HashSet};

use super::frame::Want;
use super::{KEPT_BYTES, REQUEST_BYTES};
use crate::format::Dtype;
use crate::id::{ObjectId, Oid};
use crate::index::Found;
use crate::pack::Record;
use crate::recipe::Recipe;
use crate::store::Store;

/// Shorter objects are not worth a question.
const LEAST_WHOLE: u32 = 4 << 10;

/// The objects that a client lacks, and the cheapest way to each.
///
/// A delta whose base is lacking, too, and needed by nothing else, may cost more with its base than whole. What it costs
/// whole only the hub can find out: it gets the sum as a limit.
pub struct Plan<'a> {
    /// Lacking ones, bases first.
    lacking: Vec<&'a Record>,
    /// For objects of the file: payload bytes with all bases that nothing else needs, and these bases.
    dear: HashMap<ObjectId, (u64, Vec<ObjectId>)>,
    numbers: HashMap<ObjectId, (Dtype, u64)>,
}

impl<'a> Plan<'a> {
    pub fn of(
        store: &Store,
        recipe: &Recipe,
        records: &'a [Record],
        soon: &HashSet<Oid>,
        unmade: &HashSet<ObjectId>,
    ) -> Plan<'a> {
        let lacking: Vec<_> = records.iter().filter(|record| !store.holds_whole(&record.object)).collect();
        let by_id: HashMap<_, _> = lacking.iter().map(|record| (record.object, *record)).collect();
        let parts: HashSet<_> = recipe.parts.iter().map(|part| part.object).collect();
        let base_is_wanted = recipe.base.is_some_and(|(base, _)| soon.contains(&base));
        let mut users: HashMap<ObjectId, u32> = HashMap::new();
        for base in lacking.iter().flat_map(|record| record.bases.iter()) {
            *users.entry(*base).or_default() += 1;
        }
        // A chain of bases that one object alone stands on.
        let alone = |record: &Record| {
            let (mut bytes, mut bases, mut next) = (u64::from(record.payload_len), Vec::new(), *record);
            while next.codec.is_step()
                && let Some(base) = next.bases.first().and_then(|base| by_id.get(base))
            {
                if users[&base.object] > 1 || parts.contains(&base.object) {
                    return None;
                }
                bytes += u64::from(base.payload_len);
                bases.push(base.object);
                next = **base;
            }
            (!bases.is_empty()).then_some((bytes, bases))
        };
        let mut dear = HashMap::new();
        for record in lacking.iter().filter(|_| !base_is_wanted) {
            let asks = parts.contains(&record.object)
                && record.logical_len >= LEAST_WHOLE
                && !unmade.contains(&record.object);
            if let Some(cost) = asks.then(|| alone(record)).flatten() {
                dear.insert(record.object, cost);
            }
        }
        let numbers = recipe.parts.iter().filter(|part| dear.contains_key(&part.object)).map(|part| {
            let tensor = recipe.tensor_of(part);
            (part.object, tensor.map_or((Dtype::Bytes, 0), |tensor| (tensor.dtype, tensor.row_len)))
        });
        Plan { numbers: numbers.collect(), lacking, dear }
    }

    /// What to ask the hub for, bases first.
    pub fn wants(&self) -> Vec<Want> {
        let spared: HashSet<_> = self.dear.values().flat_map(|(_, bases)| bases).collect();
        let asked = self.lacking.iter().filter(|record| !spared.contains(&record.object));
        let want = |record: &&&Record| match self.dear.get(&record.object) {
            None => Want::stored(record.object),
            Some((cost, _)) => {
                let (dtype, row_len) = self.numbers[&record.object];
                Want { object: record.object, whole_below: *cost, dtype, row_len }
            }
        };
        asked.map(|record| want(&record)).collect()
    }
}

/// Objects in the order in which they are sent, divided into requests: each is not much longer than `REQUEST_BYTES`,
/// and every base of its objects was sent before, or comes within its first `KEPT_BYTES`.
pub fn requests(objects: &[Found]) -> Vec<&[Found]> {
    let (mut start, mut bytes, mut kept) = (0, 0, 0);
    let mut place: HashMap<ObjectId, (usize, bool)> = HashMap::new();
    let mut requests = Vec::new();
    for (at, Found { record, .. }) in objects.iter().enumerate() {
        let is_out_of_reach = |base: &ObjectId| {
            place.get(base).is_some_and(|(position, is_kept)| *position >= start && !is_kept)
        };
        if bytes >= REQUEST_BYTES || record.bases.iter().any(is_out_of_reach) {
            requests.push(&objects[start..at]);
            (start, bytes, kept) = (at, 0, 0);
        }
        bytes += u64::from(record.payload_len);
        kept += u64::from(record.logical_len);
        place.insert(record.object, (at, kept <= KEPT_BYTES));
    }
    requests.extend((start < objects.len()).then(|| &objects[start..]));
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::id::PackId;
    use crate::pack::Bases;

    fn found(name: u32, base: Option<u32>, len: u32) -> Found {
        let id = |name: u32| ObjectId::of(&name.to_le_bytes());
        let record = Record {
            object: id(name),
            bases: base.map_or(Bases::NONE, |base| id(base).into()),
            offset: 0,
            payload_len: len,
            logical_len: len,
            checksum: [0; 16],
            codec: Codec::Ulp,
            depth: u8::from(base.is_some()),
        };
        Found { pack: PackId::from_bytes([0; 32]), record }
    }

    /// The hub forgets what it cannot keep: a base must be in an earlier request, or near the front of this one.
    #[test]
    fn a_base_is_within_reach() {
        let big = 20 << 20;
        let objects = [found(0, None, big), found(1, None, big), found(2, Some(0), 5), found(3, Some(1), 5)];
        let sizes: Vec<_> = requests(&objects).iter().map(|request| request.len()).collect();
        assert_eq!(sizes, [3, 1]);
        let many: Vec<_> = (0..10).map(|name| found(name, None, big)).collect();
        assert_eq!(requests(&many).iter().map(|request| request.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert!(requests(&[]).is_empty());
    }
}
