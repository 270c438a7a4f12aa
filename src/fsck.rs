//! Looks at everything a store holds, says what is damaged, and mends what can be mended.
//!
//! Nothing is deleted: a damaged pack gives up its good objects and is set aside under `bad/`; what
//! is then missing is fetched from a remote that has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::backend::{Area, Name};
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, PackError, Record};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::reconstruct::{ReconstructError, rehash};
use crate::store::{Store, StoreError};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Checksums of packs and recipes, and that no object is missing.
    Quick,
    /// Also rebuild every file and compare its SHA-256.
    Full,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub packs: u64,
    pub objects: u64,
    pub files: u64,
    pub bytes: u64,
    /// Damage that is still there.
    pub problems: Vec<Problem>,
    /// Damage that was mended.
    pub repaired: Vec<Problem>,
}

/// One thing that is wrong, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Problem {
    Pack { pack: PackId, what: String },
    File { oid: Oid, what: String },
    Index { pack: PackId, what: String },
}

/// Checks the whole store.
pub fn check(store: &Store, depth: Depth, progress: &Progress<'_>) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let packs = check_packs(store, &mut report)?;
    check_index(store, &packs, &mut report);
    for oid in store.oids()? {
        report.files += 1;
        let Some(recipe) = check_recipe(store, oid, &mut report) else { continue };
        if let Err(what) = check_file(store, &recipe, depth, progress) {
            report.problems.push(Problem::File { oid, what });
        }
    }
    Ok(report)
}

/// Brings the objects of a file from elsewhere into the store, and gives its recipe, not yet proven.
pub type Refetch<'a> = dyn FnMut(Oid) -> Result<Recipe, String> + 'a;

/// Mends what `report` found, with the help of a remote if there is one, then looks again.
pub fn repair(
    store: &Store,
    report: &Report,
    refetch: Option<&mut Refetch<'_>>,
    progress: &Progress<'_>,
) -> Result<Report, StoreError> {
    for problem in &report.problems {
        match problem {
            Problem::Pack { pack, .. } => set_aside(store, *pack)?,
            Problem::Index { pack, .. } => {
                if let Ok(records) = pack::read_trailer(store.backend(), *pack) {
                    store.note(*pack, &records);
                }
            }
            Problem::File { oid, .. } => {
                // Checksums are right where a pack was written with another object than it says.
                let Ok(Some(recipe)) = store.recipe(oid) else { continue };
                damaged_packs(store, &recipe).into_iter().try_for_each(|pack| set_aside(store, pack))?;
            }
        }
    }
    let mut now = check(store, Depth::Full, progress)?;
    if let Some(refetch) = refetch {
        for problem in now.problems.clone() {
            if let Problem::File { oid, .. } = problem {
                // A remote that lacks it, or is damaged too, leaves the problem in the report.
                let _ = refetch(oid).and_then(|recipe| restore(store, recipe, progress));
            }
        }
        now = check(store, Depth::Full, progress)?;
    }
    let left: BTreeSet<_> = now.problems.iter().collect();
    now.repaired = report.problems.iter().filter(|problem| !left.contains(problem)).cloned().collect();
    Ok(now)
}

/// Rebuilds one file and compares its hash.
pub fn verify(store: &Store, recipe: &Recipe, progress: &Progress<'_>) -> Result<(), ReconstructError> {
    crate::reconstruct::reconstruct(store, recipe, &mut std::io::sink(), progress)
}

/// Copies the good objects of a damaged pack into a new one and sets the old one aside.
///
/// What a damaged trailer says may be a lie, so an object is good only if it decodes to its id.
pub fn set_aside(store: &Store, pack: PackId) -> Result<(), StoreError> {
    let trailer = pack::read_trailer(store.backend(), pack);
    let mut records = trailer.or_else(|_| pack::salvage_trailer(store.backend(), pack)).unwrap_or_default();
    // Bases first: a delta can only be checked when its base was.
    records.sort_by_key(|record| record.depth);
    let mut writer = None;
    let mut salvaged = HashMap::new();
    for record in &records {
        let Some(payload) = good_payload(store, pack, record, &salvaged) else { continue };
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(store.begin_pack()?),
        };
        writer.add(*record, &payload)?;
        salvaged.entry(record.object).or_insert(*record);
    }
    store.index().forget_pack(&pack, &records);
    let copy = writer.map(|writer| store.admit(writer)).transpose()?;
    // With all objects good the copy has the same name and has taken the damaged one's place.
    if copy != Some(pack) && store.backend().len(Name::Pack(pack))?.is_some() {
        store.backend().rename(Name::Pack(pack), Name::Bad(pack))?;
    }
    Ok(())
}

/// A payload that decodes to its object, given those of the same pack that did so before.
fn good_payload(
    store: &Store,
    pack: PackId,
    record: &Record,
    salvaged: &HashMap<ObjectId, Record>,
) -> Option<Vec<u8>> {
    decode_in(store, pack, record, salvaged, &mut HashMap::new())?;
    read_twice(store, pack, record)
}

/// Decodes an object by what was salvaged of its pack, each base once.
fn decode_in(
    store: &Store,
    pack: PackId,
    record: &Record,
    salvaged: &HashMap<ObjectId, Record>,
    decoded: &mut HashMap<ObjectId, Vec<u8>>,
) -> Option<Vec<u8>> {
    for base in record.bases.iter() {
        if decoded.contains_key(base) {
            continue;
        }
        let bytes = match salvaged.get(base).filter(|below| below.depth < record.depth) {
            Some(below) => decode_in(store, pack, below, salvaged, decoded),
            None => store.get(base).ok(),
        };
        decoded.insert(*base, bytes?);
    }
    let bases: Vec<&[u8]> = record.bases.iter().map(|base| decoded[base].as_slice()).collect();
    read_twice(store, pack, record)?;
    store.decode(&Found { pack, record: *record }, &bases).ok()
}

/// A read that fails once may be a passing fault of the disk, and no reason to give an object up.
fn read_twice(store: &Store, pack: PackId, record: &Record) -> Option<Vec<u8>> {
    let read = || pack::read_payload(store.backend(), pack, record);
    read().or_else(|_| read()).ok()
}

/// Packs that hold an object of this file that can't be read, or is another than it says.
pub fn damaged_packs(store: &Store, recipe: &Recipe) -> BTreeSet<PackId> {
    let mut damaged = BTreeSet::new();
    for part in &recipe.parts {
        let Ok(chain) = store.chain(&part.object) else { continue };
        for link in chain.links() {
            if !damaged.contains(&link.pack) && !is_good(store, link) {
                damaged.insert(link.pack);
            }
        }
    }
    damaged
}

fn is_good(store: &Store, found: &Found) -> bool {
    let blames_this = |error| matches!(error, StoreError::Decode { pack, .. } if pack == found.pack);
    pack::read_payload(store.backend(), found.pack, &found.record).is_ok()
        && !store.get(&found.record.object).is_err_and(blames_this)
}

/// Proves a file whose objects were fetched, and publishes its recipe again.
fn restore(store: &Store, recipe: Recipe, progress: &Progress<'_>) -> Result<(), String> {
    let found = rehash(store, &recipe, progress).map_err(|error| error.to_string())?;
    let proven = recipe.prove(found).map_err(|error| error.to_string())?;
    store.publish(&proven).map_err(|error| error.to_string())
}

type Packs = BTreeMap<PackId, Vec<Record>>;

fn check_packs(store: &Store, report: &mut Report) -> Result<Packs, StoreError> {
    let mut good = BTreeMap::new();
    for pack in store.packs()? {
        report.packs += 1;
        report.bytes += store.backend().len(Name::Pack(pack))?.unwrap_or(0);
        match check_pack(store, pack) {
            Ok(records) => {
                report.objects += records.len() as u64;
                good.insert(pack, records);
            }
            Err(error) => report.problems.push(Problem::Pack { pack, what: error.to_string() }),
        }
    }
    Ok(good)
}

fn check_pack(store: &Store, pack: PackId) -> Result<Vec<Record>, PackError> {
    let records = pack::read_trailer(store.backend(), pack)?;
    for record in &records {
        pack::read_payload(store.backend(), pack, record)?;
    }
    Ok(records)
}

/// The index may know less than the packs, but nothing else.
fn check_index(store: &Store, packs: &Packs, report: &mut Report) {
    for (pack, records) in packs {
        let missing = records.iter().filter(|record| store.probe(&record.object).is_none()).count();
        if missing > 0 {
            let what = format!("{missing} of {} objects are not in the index", records.len());
            report.problems.push(Problem::Index { pack: *pack, what });
        }
    }
}

fn check_recipe(store: &Store, oid: Oid, report: &mut Report) -> Option<Recipe> {
    store.recipe(&oid).unwrap_or_else(|error| {
        report.problems.push(Problem::File { oid, what: error.to_string() });
        None
    })
}

fn check_file(store: &Store, recipe: &Recipe, depth: Depth, progress: &Progress<'_>) -> Result<(), String> {
    for part in &recipe.parts {
        store.chain(&part.object).map_err(|error| error.to_string())?;
    }
    match depth {
        Depth::Quick => Ok(()),
        Depth::Full => verify(store, recipe, progress).map_err(|error| error.to_string()),
    }
}

/// Packs and files that were set aside or wait in the trash.
pub fn leftovers(store: &Store) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for area in [Area::Bad, Area::Trash] {
        for name in store.backend().list(area)? {
            bytes += store.backend().len(name)?.unwrap_or(0);
        }
    }
    Ok(bytes)
}
