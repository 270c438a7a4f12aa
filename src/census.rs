//! What a file costs: its objects, where they lie, how deep, and what is shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::format::{Dtype, Format};
use crate::id::{ObjectId, Oid, PackId};
use crate::recipe::{Reason, Recipe};
use crate::store::{Store, StoreError};

/// One file in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileCost {
    pub oid: Oid,
    pub size: u64,
    pub format: Format,
    /// Bytes of the payloads of its own objects, each counted once.
    pub stored: u64,
    /// The same with all bases below: what a store that has nothing must receive.
    pub closure: u64,
    /// Longest delta chain among its objects.
    pub depth: u8,
    pub objects: u64,
    pub base: Option<Oid>,
    pub reason: Option<Reason>,
    pub packs: Vec<PackId>,
    pub codecs: BTreeMap<String, u64>,
}

/// One tensor of a file, or its headers and chunks together (with an empty name).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorCost {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub size: u64,
    pub stored: u64,
    pub depth: u8,
    pub codec: String,
}

/// Several files together, objects that they share counted once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    pub files: u64,
    pub size: u64,
    /// All their objects with all bases.
    pub stored: u64,
}

/// The cost of one file.
pub fn file(store: &Store, recipe: &Recipe) -> Result<FileCost, StoreError> {
    let own: BTreeSet<ObjectId> = recipe.parts.iter().map(|part| part.object).collect();
    let mut seen = HashMap::new();
    let (mut stored, mut depth) = (0, 0);
    let mut packs = BTreeSet::new();
    let mut codecs: BTreeMap<String, u64> = BTreeMap::new();
    for object in &own {
        let chain = store.chain(object)?;
        let top = &chain[0];
        stored += u64::from(top.record.payload_len);
        depth = depth.max(top.record.depth);
        packs.insert(top.pack);
        *codecs.entry(codec_name(top.record.codec)).or_default() += u64::from(top.record.payload_len);
        for link in chain {
            seen.insert(link.record.object, u64::from(link.record.payload_len));
        }
    }
    Ok(FileCost {
        oid: recipe.oid,
        size: recipe.size,
        format: recipe.format,
        stored,
        closure: seen.values().sum(),
        depth,
        objects: own.len() as u64,
        base: recipe.base.map(|(oid, _)| oid),
        reason: recipe.base.map(|(_, reason)| reason),
        packs: packs.into_iter().collect(),
        codecs,
    })
}

/// The cost of each tensor of a file, in the file's order.
pub fn tensors(store: &Store, recipe: &Recipe) -> Result<Vec<TensorCost>, StoreError> {
    let mut costs: Vec<TensorCost> = Vec::new();
    for part in &recipe.parts {
        let record = store.find(&part.object)?.record;
        let tensor = recipe.tensor_of(part);
        let name = tensor.map_or("", |tensor| tensor.name.as_str());
        if costs.last().is_none_or(|last| last.name != name) {
            costs.push(TensorCost {
                name: name.to_owned(),
                dtype: tensor.map_or(Dtype::Bytes, |tensor| tensor.dtype),
                shape: tensor.map(|tensor| tensor.shape.clone()).unwrap_or_default(),
                size: 0,
                stored: 0,
                depth: 0,
                codec: codec_name(record.codec),
            });
        }
        let cost = costs.last_mut().expect("because one was just pushed");
        cost.size += u64::from(part.len);
        cost.stored += u64::from(record.payload_len);
        cost.depth = cost.depth.max(record.depth);
    }
    Ok(costs)
}

/// What several files cost together.
pub fn total(store: &Store, oids: &[Oid]) -> Result<Total, StoreError> {
    let mut total = Total::default();
    let mut objects: HashMap<ObjectId, u64> = HashMap::new();
    for oid in oids {
        let Some(recipe) = store.recipe(oid)? else { continue };
        total.files += 1;
        total.size += recipe.size;
        for part in &recipe.parts {
            if objects.contains_key(&part.object) {
                continue;
            }
            for link in store.chain(&part.object)? {
                objects.insert(link.record.object, u64::from(link.record.payload_len));
            }
        }
    }
    total.stored = objects.values().sum();
    Ok(total)
}

/// Bytes of all packs, live or not.
pub fn pack_bytes(store: &Store) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for pack in store.packs()? {
        bytes += store.backend().len(crate::backend::Name::Pack(pack))?.unwrap_or(0);
    }
    Ok(bytes)
}

fn codec_name(codec: crate::codec::Codec) -> String {
    format!("{codec:?}").to_lowercase()
}
