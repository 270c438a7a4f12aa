//! Chooses again how objects are stored: more effort than a push may spend, and bases that came later.
//!
//! Every live object is considered against its present base, or, when nothing is based on it, against
//! the counterpart in the best base that the store has now; the smaller encoding wins. All go to new
//! packs, every file is proven from them, and only then do the old packs go to the trash.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::backend::Name;
use crate::base::{self, Hints};
use crate::codec::{self, Codec, Effort};
use crate::counterpart::Counterparts;
use crate::format::{Dtype, Segment};
use crate::gc;
use crate::id::{ObjectId, PackId};
use crate::index::Found;
use crate::origin::{self, Attempt, Child};
use crate::pack::{self, Bases, MAX_DEPTH, PackWriter, Record};
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Recipe};
use crate::reconstruct::{ReconstructError, reconstruct};
use crate::renamed;
use crate::store::{self, Store, StoreError};

const PACK_BYTES: u64 = 1 << 30;
/// Objects that are encoded together.
const BATCH: usize = 32;

/// What a repack did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Repacked {
    pub objects: u64,
    /// Objects that got another encoding.
    pub changed: u64,
    /// Payload bytes before and after.
    pub before: u64,
    pub after: u64,
    pub packs_before: u64,
    pub packs_after: u64,
}

/// Why a repack gave up. The store is then as it was, but for what can't be undone (see `undo`); or, where only the old
/// packs could not be taken away, it has both.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("repacked file does not come back, nothing was changed: {0}")]
    Proof(ReconstructError),
    #[error("the index does not take in where object {0} is now: nothing was taken away")]
    Unknown(ObjectId),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl From<std::io::Error> for RepackError {
    fn from(error: std::io::Error) -> RepackError {
        RepackError::Store(StoreError::Io(error))
    }
}

/// What is known of an object before it is stored again.
struct Plan {
    found: Found,
    dtype: Dtype,
    row_len: u64,
    /// A base it does not have yet, with its type.
    counterpart: Option<(ObjectId, Dtype)>,
    /// A rule that it does not follow yet.
    attempt: Option<Attempt>,
    base_dtype: Dtype,
}

/// Rewrites all live objects. `now` is in seconds, for the trash.
pub fn repack(store: &Store, now: u64, progress: &Progress<'_>) -> Result<Repacked, RepackError> {
    let old_packs = store.packs()?;
    let plans = plan(store)?;
    let mut new_packs = Vec::new();
    let done = rewrite(store, &plans, &mut new_packs, progress)
        .and_then(|done| prove(store, &plans, &new_packs, progress).map(|()| done));
    let done = done.inspect_err(|_| undo(store, &new_packs, &old_packs))?;
    for pack in old_packs.iter().filter(|pack| !new_packs.contains(pack)) {
        gc::discard(store, *pack, now)?;
    }
    Ok(Repacked { packs_before: old_packs.len() as u64, packs_after: new_packs.len() as u64, ..done })
}

/// Writes all objects to new packs, and tells how many bytes they take; `new` are the packs that the store has by now.
fn rewrite(
    store: &Store,
    plans: &HashMap<ObjectId, Plan>,
    new: &mut Vec<PackId>,
    progress: &Progress<'_>,
) -> Result<Repacked, RepackError> {
    let mut done = Repacked::default();
    let mut depths: HashMap<ObjectId, u8> = HashMap::new();
    let mut writer: Option<PackWriter<'_>> = None;
    for batch in by_depth(plans) {
        let encoded: Vec<_> = batch.par_iter().map(|plan| encode(store, plan, &depths)).collect();
        for (plan, outcome) in batch.iter().zip(encoded) {
            let (record, payload) = outcome?;
            let pack = match &mut writer {
                Some(pack) => pack,
                None => writer.insert(store.begin_pack()?),
            };
            depths.insert(record.object, record.depth);
            done.objects += 1;
            done.changed +=
                u64::from(record.codec != plan.found.record.codec || record.bases != plan.found.record.bases);
            done.before += u64::from(plan.found.record.payload_len);
            done.after += payload.len() as u64;
            pack.add(record, &payload)?;
            progress(u64::from(record.logical_len))?;
            if pack.len() > PACK_BYTES {
                new.push(store.admit(writer.take().expect("because it was just filled"))?);
            }
        }
    }
    if let Some(writer) = writer {
        new.push(store.admit(writer)?);
    }
    Ok(done)
}

/// Every file must come back from the new packs.
fn prove(
    store: &Store,
    plans: &HashMap<ObjectId, Plan>,
    new: &[PackId],
    progress: &Progress<'_>,
) -> Result<(), RepackError> {
    // The index is no proof: where it could not be written, it leads to the old packs still.
    for object in plans.keys() {
        if !new.contains(&store.find(object)?.pack) {
            return Err(RepackError::Unknown(*object));
        }
    }
    for oid in store.oids()? {
        let recipe = store.recipe(&oid)?.ok_or(StoreError::NoFile(oid))?;
        reconstruct(store, &recipe, &mut std::io::sink(), &|_| progress(0)).map_err(|error| match error {
            ReconstructError::Cancelled(cancelled) => RepackError::Cancelled(cancelled),
            error => RepackError::Proof(error),
        })?;
    }
    Ok(())
}

/// Takes the new packs away, and the old ones count again. What fails is left, and does no harm: a pack more is space that
/// the next gc frees, and the index is never believed.
fn undo(store: &Store, new: &[PackId], old: &[PackId]) {
    let records = |pack: PackId| pack::read_trailer(store.backend(), pack);
    for pack in new.iter().filter(|pack| !old.contains(pack)) {
        store.index().forget_pack(pack, &records(*pack).unwrap_or_default());
        let _ = store.backend().delete(Name::Pack(*pack));
    }
    for pack in old {
        if let Ok(records) = records(*pack) {
            store.index().put_pack(*pack, &records);
        }
    }
}

/// All live objects with what recipes know of them.
fn plan(store: &Store) -> Result<HashMap<ObjectId, Plan>, StoreError> {
    let live = gc::live(store)?;
    let mut plans = HashMap::new();
    for (object, pack) in live {
        let records = store.find(&object)?;
        let found = if records.pack == pack { records } else { find_in(store, pack, &object)? };
        let (dtype, base_dtype) = (Dtype::Bytes, Dtype::Bytes);
        let plan = Plan { found, dtype, row_len: 0, counterpart: None, attempt: None, base_dtype };
        plans.insert(object, plan);
    }
    let based_on: HashSet<ObjectId> =
        plans.values().flat_map(|plan| plan.found.record.bases.to_vec()).collect();
    let mut types: HashMap<ObjectId, Dtype> = HashMap::new();
    // Each recipe is read twice: all of them at once are as large as the store is old.
    let oids = store.oids()?;
    for oid in &oids {
        let Some(recipe) = store.recipe(oid)? else { continue };
        for part in &recipe.parts {
            if let (Some(tensor), Some(plan)) = (recipe.tensor_of(part), plans.get_mut(&part.object)) {
                (plan.dtype, plan.row_len) = (tensor.dtype, tensor.row_len);
                types.insert(part.object, tensor.dtype);
            }
        }
    }
    for oid in &oids {
        let Some(recipe) = store.recipe(oid)? else { continue };
        let hints = Hints { earlier: recipe.base.iter().map(|(oid, _)| *oid).collect(), ..Hints::default() };
        let choice = base::choose(store, recipe.oid, recipe.layout.as_ref(), &recipe.sketch, &hints)?;
        let base = choice.as_ref().map(|choice| &choice.recipe);
        let (origin, counterparts) = look(store, &recipe, |child| {
            // What a file was made from is looked for once the store has it.
            let origin = recipe.origin.is_empty().then(|| origin::find(store, child, base)).transpose()?;
            let mut counterparts = base.map(Counterparts::of).unwrap_or_default();
            if let Some(base) = base {
                renamed::find(store, child, base, &mut counterparts);
            }
            Ok::<_, StoreError>((origin.flatten(), counterparts))
        })?;
        for part in &recipe.parts {
            let Some(tensor) = recipe.tensor_of(part) else { continue };
            let Some(plan) = plans.get_mut(&part.object) else { continue };
            // Only a leaf may get new bases: nothing can then close a circle through it.
            if based_on.contains(&part.object) || plan.found.record.codec == Codec::Derived {
                continue;
            }
            let origin = origin.as_ref().and_then(|origin| origin.named(&tensor.name, part.slice));
            plan.attempt = origin.filter(|attempt| !attempt.sources.contains(&part.object)).cloned();
            if plan.found.record.bases.is_empty() {
                plan.counterpart =
                    counterparts.named(&tensor.name, part.slice).filter(|(base, _)| *base != part.object);
            }
        }
    }
    drop_mutual(&mut plans);
    for plan in plans.values_mut() {
        let base = plan.found.record.bases.first().copied();
        plan.base_dtype = base.and_then(|base| types.get(&base).copied()).unwrap_or(plan.dtype);
    }
    Ok(plans)
}

/// Looks at a file of the store as at one that is about to be stored.
fn look<T>(store: &Store, recipe: &Recipe, look: impl FnOnce(&Child<'_>) -> T) -> T {
    let mut objects = HashMap::new();
    let segment = |(range, part): (Range<u64>, &Part)| {
        objects.insert(range.start, part.object);
        let tensor = recipe.tensor_of(part);
        Segment {
            range,
            name: tensor.map(|tensor| tensor.name.clone()).unwrap_or_default(),
            slice: part.slice,
            dtype: tensor.map_or(Dtype::Bytes, |tensor| tensor.dtype),
            row_len: tensor.map_or(0, |tensor| tensor.row_len),
            shape: tensor.map(|tensor| tensor.shape.clone()).unwrap_or_default(),
        }
    };
    let segments: Vec<Segment> = recipe.ranges().map(segment).collect();
    let read = |segment: &Segment, len: usize| {
        let mut bytes = store.get(objects.get(&segment.range.start)?).ok()?;
        bytes.truncate(len);
        Some(bytes)
    };
    let (oid, layout, sketch) = (Some(recipe.oid), recipe.layout.as_ref(), &recipe.sketch);
    look(&Child { oid, layout, sketch, segments: &segments, read: &read })
}

/// Two leaves may have chosen each other: an object that is about to be a base stays as it is.
fn drop_mutual(plans: &mut HashMap<ObjectId, Plan>) {
    let mut bases = HashSet::new();
    let mut objects: Vec<ObjectId> = plans.keys().copied().collect();
    objects.sort();
    for object in objects {
        let plan = plans.get_mut(&object).expect("because the keys were just listed");
        if bases.contains(&object) {
            plan.forget_new();
        }
        bases.extend(plan.new_bases());
    }
    let is_new = |plan: &Plan| plan.new_bases().next().is_some();
    let with_new: HashSet<ObjectId> =
        plans.iter().filter(|(_, plan)| is_new(plan)).map(|(object, _)| *object).collect();
    for plan in plans.values_mut() {
        if plan.new_bases().any(|base| with_new.contains(&base)) {
            plan.forget_new();
        }
    }
}

impl Plan {
    /// The bases that it may get.
    fn new_bases(&self) -> impl Iterator<Item = ObjectId> {
        let counterpart = self.counterpart.map(|(base, _)| base);
        let sources = self.attempt.as_ref().map(|attempt| attempt.sources.clone());
        counterpart.into_iter().chain(sources.unwrap_or_default())
    }

    fn forget_new(&mut self) {
        (self.counterpart, self.attempt) = (None, None);
    }
}

fn find_in(store: &Store, pack: PackId, object: &ObjectId) -> Result<Found, StoreError> {
    let records = pack::read_trailer(store.backend(), pack)?;
    let record = records.into_iter().find(|record| record.object == *object);
    record.map(|record| Found { pack, record }).ok_or(StoreError::Missing(*object))
}

/// Batches in which no object is the base of another, bases before what is based on them.
fn by_depth(plans: &HashMap<ObjectId, Plan>) -> Vec<Vec<&Plan>> {
    let mut ordered: Vec<&Plan> = plans.values().collect();
    let rank = |plan: &Plan| match plan.new_bases().next() {
        Some(_) => MAX_DEPTH + 1,
        None => plan.found.record.depth,
    };
    ordered.sort_by_key(|plan| (rank(plan), plan.found.pack, plan.found.record.offset));
    let same_rank = ordered.chunk_by(|a, b| rank(a) == rank(b));
    same_rank.flat_map(|same| same.chunks(BATCH).map(<[&Plan]>::to_vec)).collect()
}

/// The smaller of the present encoding and a new one.
fn encode(
    store: &Store,
    plan: &Plan,
    depths: &HashMap<ObjectId, u8>,
) -> Result<(Record, Vec<u8>), StoreError> {
    let old = plan.found.record;
    let depth_of = |base: &ObjectId| depths.get(base).copied().ok_or(StoreError::Missing(*base));
    let present = old.bases.first().map(|base| (*base, plan.base_dtype)).or(plan.counterpart);
    let mut kept = old;
    let below: Vec<u8> = old.bases.iter().map(depth_of).collect::<Result<_, _>>()?;
    kept.depth = below.into_iter().max().map_or(0, |depth| depth + 1);
    let payload = pack::read_payload(store.backend(), plan.found.pack, &old)?;
    let bytes = store.get(&old.object)?;
    if let Some(derived) = plan
        .attempt
        .as_ref()
        .and_then(|attempt| attempt.encode(store, &bytes, plan.dtype, plan.row_len, Effort::Repack))
        && derived.encoded.payload.len() < payload.len()
    {
        let below: Vec<u8> = derived.bases.iter().map(depth_of).collect::<Result<_, _>>()?;
        let base = below.into_iter().max().map(|depth| (derived.bases, depth));
        let record = store::record_for(old.object, base, Codec::Derived, old.logical_len);
        return Ok((record, derived.encoded.payload));
    }
    let mut bases = Vec::new();
    if let Some((base, dtype)) = present {
        let base_bytes = store.get_base(&base)?;
        let previous = store.previous(&store.find(&base)?, base_bytes.len());
        bases.push((base, dtype, base_bytes));
        // Another copy of the base may have another one below it, which goes away.
        let previous = previous.filter(|(object, _)| depths.contains_key(object));
        bases.extend(previous.map(|(object, bytes)| (object, dtype, bytes)));
        if depth_of(&base)? >= MAX_DEPTH {
            bases.clear();
        }
    }
    let with: Vec<_> = bases.iter().map(|(_, dtype, bytes)| codec::Base { bytes, dtype: *dtype }).collect();
    let fresh = codec::encode(&bytes, plan.dtype, plan.row_len, &with, Effort::Repack);
    if fresh.payload.len() >= payload.len() {
        return Ok((kept, payload));
    }
    let taken = Bases::of(bases.iter().map(|(base, ..)| *base).take(fresh.codec.bases()));
    let taken = taken.expect("because these are two at most");
    let below: Vec<u8> = taken.iter().map(depth_of).collect::<Result<_, _>>()?;
    let base = below.into_iter().max().map(|depth| (taken, depth));
    Ok((store::record_for(old.object, base, fresh.codec, old.logical_len), fresh.payload))
}
