//! Takes away what no file needs: plan first, then move to the trash, then, after a grace time, delete.
//!
//! Liveness comes from recipes and packs, never from the index. Nothing else may write meanwhile:
//! the daemon runs gc alone. A store elsewhere, which nobody has alone, is `remote`'s affair.

mod packs;
pub mod remote;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::backend::{Area, Name};
use crate::id::{ObjectId, PackId};
use crate::pack::{self, Record};
use crate::store::{Store, StoreError};

/// A pack with less than this share of live bytes is rewritten.
const WORTH_KEEPING: f64 = 0.7;

/// What gc will do, or did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Packs without a live object.
    pub drop: Vec<PackId>,
    /// Packs whose live objects move to a new pack.
    pub rewrite: Vec<PackId>,
    /// Packs in the trash whose grace time is over.
    pub purge: Vec<(u64, PackId)>,
    /// Payload bytes that go to the trash.
    pub freed: u64,
    /// Bytes that leave the disk now.
    pub purged: u64,
    pub live_objects: u64,
    pub live_bytes: u64,
}

/// Decides what can go. Refuses when a recipe or an object is missing or damaged: gc on a store that
/// is not whole could take what a repair needs.
///
/// `now` and `grace` are in seconds.
pub fn plan(store: &Store, now: u64, grace: u64) -> Result<Plan, StoreError> {
    let live = live(store)?;
    let mut plan = Plan { live_objects: live.len() as u64, ..Plan::default() };
    let mut kept: HashSet<ObjectId> = HashSet::new();
    let mut packs = Vec::new();
    for id in store.packs()? {
        let records = pack::read_trailer(store.backend(), id)?;
        packs.push((id, records));
    }
    for (id, records) in &packs {
        let total: u64 = records.iter().map(|record| u64::from(record.payload_len)).sum();
        let needed: Vec<_> = records.iter().filter(|record| live.get(&record.object) == Some(id)).collect();
        let bytes: u64 = needed.iter().map(|record| u64::from(record.payload_len)).sum();
        kept.extend(needed.iter().map(|record| record.object));
        plan.live_bytes += bytes;
        if needed.is_empty() {
            plan.drop.push(*id);
            plan.freed += total;
        } else if (bytes as f64) < WORTH_KEEPING * total as f64 {
            plan.rewrite.push(*id);
            plan.freed += total - bytes;
        }
    }
    if let Some(lost) = live.keys().find(|object| !kept.contains(*object)) {
        return Err(StoreError::Missing(*lost));
    }
    for name in store.backend().list(Area::Trash)? {
        if let Name::Trash(epoch, pack) = name
            && epoch.saturating_add(grace) <= now
        {
            plan.purge.push((epoch, pack));
            plan.purged += store.backend().len(name)?.unwrap_or(0);
        }
    }
    Ok(plan)
}

/// Does what `plan` says. Packs go to `trash/<now>/`, so that a mistake can be undone by hand.
pub fn carry_out(store: &Store, plan: &Plan, now: u64) -> Result<(), StoreError> {
    let live = live(store)?;
    let mut written = HashSet::new();
    for pack in &plan.rewrite {
        let records = pack::read_trailer(store.backend(), *pack)?;
        let mut writer = store.begin_pack()?;
        for record in records.iter().filter(|record| live.get(&record.object) == Some(pack)) {
            writer.add(*record, &pack::read_payload(store.backend(), *pack, record)?)?;
        }
        written.insert(store.admit(writer)?);
    }
    // A gc that was cut short may have left the very pack that was just written again: it is in the
    // plan as one that nothing needs, and now everything needs it.
    for pack in plan.drop.iter().chain(&plan.rewrite).filter(|pack| !written.contains(*pack)) {
        discard(store, *pack, now)?;
    }
    for (epoch, pack) in &plan.purge {
        store.backend().delete(Name::Trash(*epoch, *pack))?;
    }
    Ok(())
}

/// Moves a pack to the trash and forgets where its objects were.
pub fn discard(store: &Store, pack: PackId, now: u64) -> Result<(), StoreError> {
    let records = pack::read_trailer(store.backend(), pack)?;
    store.index().forget_pack(&pack, &records);
    Ok(store.backend().rename(Name::Pack(pack), Name::Trash(now, pack))?)
}

/// Every object that some recipe needs, with its bases, and the one pack that keeps it.
///
/// Read from the packs themselves. Where several packs hold an object, the shallowest copy is kept.
pub fn live(store: &Store) -> Result<HashMap<ObjectId, PackId>, StoreError> {
    let mut all: HashMap<ObjectId, (PackId, Record)> = HashMap::new();
    for id in store.packs()? {
        for record in pack::read_trailer(store.backend(), id)? {
            let best = all.entry(record.object).or_insert((id, record));
            if (record.depth, id) < (best.1.depth, best.0) {
                *best = (id, record);
            }
        }
    }
    let mut live = HashMap::new();
    for oid in store.oids()? {
        let recipe = store.recipe(&oid)?.ok_or(StoreError::NoFile(oid))?;
        for part in &recipe.parts {
            let mut next = vec![part.object];
            while let Some(object) = next.pop() {
                let (pack, record) = all.get(&object).ok_or(StoreError::Missing(object))?;
                if live.insert(object, *pack).is_none() {
                    next.extend_from_slice(&record.bases);
                }
            }
        }
    }
    Ok(live)
}
