//! Small files with a history, and what a store must do with them.

use std::io::{self, Write};
use std::path::Path;

use git_sparse::backend::{Area, Backend, Name, Taken};
use git_sparse::base::Hints;
use git_sparse::codec::{self, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::fsck::{self, Depth, Report};
use git_sparse::id::{ObjectId, Oid, PackId};
use git_sparse::index::Index;
use git_sparse::ingest::{IngestError, ingest};
use git_sparse::pack::PackWriter;
use git_sparse::progress::unwatched;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::reconstruct::reconstruct;
use git_sparse::store::{self, NoShelf, Store, record_for};
use git_sparse::sync::{self, Remote};

use super::random::Random;

/// A file and the earlier ones that it was made from.
pub struct Sample {
    pub oid: Oid,
    pub bytes: Vec<u8>,
    pub earlier: Vec<Oid>,
}

/// A model in three revisions that share tensors, and a file of no format: a few hundred bytes each.
pub fn samples() -> Vec<Sample> {
    samples_of(7)
}

/// The same with other weights, so that all ids are others, too.
pub fn samples_of(seed: u64) -> Vec<Sample> {
    let mut random = Random::seeded(seed);
    let mut weights: Vec<f32> = (0..128).map(|_| random.below(2000) as f32 / 1000.0 - 1.0).collect();
    let mut found: Vec<Sample> = Vec::new();
    for step in 0..3 {
        weights[32..].iter_mut().for_each(|weight| *weight *= 1.0 + step as f32 / 512.0);
        let earlier = found.iter().rev().map(|sample| sample.oid).collect();
        found.push(sample(safetensors(&weights), earlier));
    }
    found.push(sample(format!("{{\"text\": \"no model {seed}\"}}\n").repeat(20).into_bytes(), Vec::new()));
    found
}

pub fn sample(bytes: Vec<u8>, earlier: Vec<Oid>) -> Sample {
    Sample { oid: Oid::of(&bytes), bytes, earlier }
}

/// A file with the tensors `a`, which no revision changes, and `b`, which each does.
fn safetensors(weights: &[f32]) -> Vec<u8> {
    let header = format!(
        "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[4,8],\"data_offsets\":[0,128]}},\
         \"b\":{{\"dtype\":\"F32\",\"shape\":[12,8],\"data_offsets\":[128,{}]}}}}",
        weights.len() * 4
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    weights.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
    bytes
}

/// A store that was just started over these files, with an index read from the packs.
pub fn fresh(backend: impl Backend + 'static) -> Store {
    let store = Store::over(Box::new(backend), Index::in_memory());
    store.refresh().unwrap_or_else(|error| panic!("no list of packs: {error}"));
    store
}

/// The store in a directory, as the daemon opens it.
pub fn open(root: &Path, boot: &str) -> Store {
    Store::open(root, boot, Box::new(NoShelf)).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

/// Stores a file; `Ok` is the acknowledgement.
pub fn keep(store: &Store, sample: &Sample) -> Result<(), IngestError> {
    let hints = Hints { earlier: sample.earlier.clone(), ..Hints::default() };
    ingest(store, &sample.bytes.as_slice(), sample.oid, &hints, Effort::Push, &unwatched).map(drop)
}

/// Stores all of them, which must succeed.
#[track_caller]
pub fn keep_all(store: &Store, samples: &[Sample]) {
    samples.iter().for_each(|sample| keep(store, sample).unwrap_or_else(|error| panic!("{error}")));
}

/// The file's bytes, or why they don't come back.
pub fn give_back(store: &Store, oid: Oid) -> Result<Vec<u8>, String> {
    let recipe = store.recipe(&oid).map_err(|error| error.to_string())?;
    let recipe = recipe.ok_or_else(|| format!("file {oid}: no recipe"))?;
    let mut bytes = Vec::new();
    reconstruct(store, &recipe, &mut bytes, &unwatched).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Checks that all of `samples` come back from `store` byte for byte.
#[track_caller]
pub fn assert_gives_back(store: &Store, samples: &[Sample], when: &str) {
    for sample in samples {
        match give_back(store, sample.oid) {
            Ok(bytes) => assert!(bytes == sample.bytes, "{when}: {} comes back with other bytes", sample.oid),
            Err(error) => panic!("{when}: {} does not come back: {error}", sample.oid),
        }
    }
}

/// Everything that fsck finds, after it looked closely.
#[track_caller]
pub fn check(store: &Store) -> Report {
    fsck::check(store, Depth::Full, &unwatched).unwrap_or_else(|error| panic!("fsck gave up: {error}"))
}

/// Checks that fsck finds nothing, and that it looked at something.
#[track_caller]
pub fn assert_clean(store: &Store, when: &str) {
    let report = check(store);
    assert!(report.problems.is_empty(), "{when}: {:#?}", report.problems);
}

/// Brings a file's objects from a remote, as fsck asks for it.
pub fn refetch(store: &Store, remote: &mut Remote, oid: Oid) -> Result<Recipe, String> {
    remote.refresh().map_err(|error| error.to_string())?;
    sync::fetch(store, remote, oid, &unwatched).map(|(recipe, _)| recipe).map_err(|error| error.to_string())
}

/// Fetches a file, proves it and publishes it, as a download does.
pub fn fetch(store: &Store, remote: &mut Remote, oid: Oid) -> Result<Vec<u8>, String> {
    let (recipe, _) = sync::fetch(store, remote, oid, &unwatched).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    reconstruct(store, &recipe, &mut bytes, &unwatched).map_err(|error| error.to_string())?;
    let proven = recipe.prove(Oid::of(&bytes)).map_err(|error| error.to_string())?;
    store.publish(&proven).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// One object of a pack made by hand.
pub struct Made<'a> {
    pub object: ObjectId,
    pub base: Option<(ObjectId, u8)>,
    /// What the payload decodes to.
    pub bytes: &'a [u8],
}

/// Writes a pack by hand, lies and all.
pub fn make_pack(backend: &dyn Backend, made: &[Made<'_>]) -> io::Result<PackId> {
    let mut writer = PackWriter::new(backend)?;
    for made in made {
        let whole = codec::encode(made.bytes, Dtype::Bytes, 0, &[], Effort::Push);
        let base = made.base.map(|(base, depth)| (base.into(), depth));
        writer.add(record_for(made.object, base, whole.codec, made.bytes.len() as u32), &whole.payload)?;
    }
    Ok(writer.finish()?.0)
}

/// Publishes a recipe by hand that says the file `bytes` is the one object `object`.
pub fn make_recipe(backend: &dyn Backend, bytes: &[u8], object: ObjectId) -> Oid {
    let oid = Oid::of(bytes);
    let recipe = Recipe {
        oid,
        size: bytes.len() as u64,
        format: Format::Chunked,
        base: None,
        origin: Vec::new(),
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts: vec![Part { object, len: bytes.len() as u32, tensor: None, slice: 0 }],
    };
    let proven = recipe.prove(oid).expect("its own oid");
    store::write_recipe(backend, &proven).expect("a recipe");
    oid
}

/// All bytes of a file of a store.
#[track_caller]
pub fn read(backend: &dyn Backend, name: Name) -> Vec<u8> {
    let len = backend.len(name).expect("a length").unwrap_or_else(|| panic!("{name} is not there"));
    backend.read(name, 0..len).expect("its bytes")
}

/// Puts `bytes` where a file of a store is, as a disk that rots does.
#[track_caller]
pub fn overwrite(backend: &dyn Backend, name: Name, bytes: &[u8]) {
    let mut staged = backend.create().expect("a staged file");
    staged.write_all(bytes).expect("its bytes");
    staged.publish(name, Taken::Replace).expect("its name");
}

/// The names of an area, sorted.
pub fn names(backend: &dyn Backend, area: Area) -> Vec<Name> {
    let mut names = backend.list(area).expect("a list");
    names.sort();
    names
}
