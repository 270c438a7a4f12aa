//! What a file costs: its objects, where they lie, how deep, and what is shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::format::{Dtype, Format};
use crate::id::{ObjectId, Oid, PackId};
use crate::pack::Record;
use crate::recipe::{Parent, Reason, Recipe};
use crate::store::{Store, StoreError};

/// One file in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileCost {
    pub oid: Oid,
    pub size: u64,
    pub format: Format,
    /// Payload bytes of those of its objects that its base does not have: what it added to the store.
    pub stored: u64,
    /// Payload bytes of those that its base has, too, and that are not stored again.
    pub shared: u64,
    /// Both, with all bases below: what a store that has nothing must receive.
    pub closure: u64,
    /// Longest delta chain among its objects.
    pub depth: u8,
    pub objects: u64,
    pub base: Option<Oid>,
    pub reason: Option<Reason>,
    /// What it was made from by a rule, with the weight of each; empty where no rule is known.
    pub origin: Vec<Parent>,
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
    /// As for the file: objects that neither its base nor an earlier tensor has.
    pub stored: u64,
    /// Those that one of them has.
    pub shared: u64,
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
    let (own, below) = (objects(store, recipe)?, objects_of_base(store, recipe));
    let mut seen = HashMap::new();
    let (mut stored, mut shared, mut depth) = (0, 0, 0);
    let mut packs = BTreeSet::new();
    let mut codecs: BTreeMap<String, u64> = BTreeMap::new();
    for object in &own {
        let chain = store.chain(object)?;
        let top = chain.top();
        let counter = if below.contains(object) { &mut shared } else { &mut stored };
        *counter += u64::from(top.record.payload_len);
        depth = depth.max(top.record.depth);
        packs.insert(top.pack);
        *codecs.entry(codec_name(top.record.codec)).or_default() += u64::from(top.record.payload_len);
        for link in chain.links() {
            seen.insert(link.record.object, u64::from(link.record.payload_len));
        }
    }
    Ok(FileCost {
        oid: recipe.oid,
        size: recipe.size,
        format: recipe.format,
        stored,
        shared,
        closure: seen.values().sum(),
        depth,
        objects: own.len() as u64,
        base: recipe.base.map(|(oid, _)| oid),
        reason: recipe.base.map(|(_, reason)| reason),
        origin: recipe.origin.clone(),
        packs: packs.into_iter().collect(),
        codecs,
    })
}

/// The cost of each tensor of a file, in the file's order.
pub fn tensors(store: &Store, recipe: &Recipe) -> Result<Vec<TensorCost>, StoreError> {
    let mut costs: Vec<TensorCost> = Vec::new();
    let mut seen = objects_of_base(store, recipe);
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
                shared: 0,
                depth: 0,
                codec: codec_name(record.codec),
            });
        }
        let cost = costs.last_mut().expect("because one was just pushed");
        cost.size += u64::from(part.len);
        let below = of_no_file(&record, |object| Ok::<_, StoreError>(store.find(object)?.record))?;
        for record in std::iter::once(record).chain(below) {
            let counter = if seen.insert(record.object) { &mut cost.stored } else { &mut cost.shared };
            *counter += u64::from(record.payload_len);
        }
        cost.depth = cost.depth.max(record.depth);
    }
    Ok(costs)
}

/// The objects of a file, and those below them that stand in no file, and belong to this one.
fn objects(store: &Store, recipe: &Recipe) -> Result<BTreeSet<ObjectId>, StoreError> {
    let mut objects = BTreeSet::new();
    for part in &recipe.parts {
        let record = store.find(&part.object)?.record;
        objects.insert(part.object);
        let below = of_no_file(&record, |object| Ok::<_, StoreError>(store.find(object)?.record))?;
        objects.extend(below.iter().map(|record| record.object));
    }
    Ok(objects)
}

/// What an object is made from that stands in no file: what it holds when it is unpacked, the cells of pages, and the
/// maps of their rows.
pub fn of_no_file<E>(
    record: &Record,
    mut find: impl FnMut(&ObjectId) -> Result<Record, E>,
) -> Result<Vec<Record>, E> {
    let is_cells =
        |record: &Record| matches!(record.codec, Codec::Column | Codec::ColumnRows | Codec::ColumnBeside);
    let mut found = Vec::new();
    match record.codec {
        Codec::Packed => found.extend(record.bases.first().map(&mut find).transpose()?),
        Codec::Stream => {
            for piece in record.bases.iter() {
                found.push(find(piece)?);
            }
        }
        Codec::Pages => {
            for base in record.bases.iter() {
                let cells = find(base)?;
                found.push(cells);
                for base in cells.bases.iter().filter(|_| cells.codec == Codec::ColumnRows) {
                    // The others are cells, of the version before.
                    found.extend(Some(find(base)?).filter(|below| !is_cells(below)));
                }
            }
        }
        _ => {}
    }
    Ok(found)
}

/// None where the store has no such file, or can't read it: the file itself is then all there is.
fn objects_of_base(store: &Store, recipe: &Recipe) -> BTreeSet<ObjectId> {
    let base = recipe.base.and_then(|(oid, _)| store.recipe(&oid).ok().flatten());
    base.and_then(|base| objects(store, &base).ok()).unwrap_or_default()
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
            for link in store.chain(&part.object)?.links() {
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

/// How a codec is called in what people and programs read.
pub fn codec_name(codec: Codec) -> String {
    format!("{codec:?}").to_lowercase()
}
