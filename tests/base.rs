//! The base search: which file a new one is compared against, among many of one architecture.

use git_sparse::backend::{Local, Memory, Privacy};
use git_sparse::base::Hints;
use git_sparse::codec::Effort;
use git_sparse::id::Oid;
use git_sparse::ingest::ingest;
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::store::Store;

use crate::support::random::Random;
use crate::support::samples::{fresh, open};

const MODELS: usize = 240;
const TENSORS: usize = 24;
const WEIGHTS: usize = 64;

/// A model of one architecture, as a safetensors file.
fn file(weights: &[f32]) -> Vec<u8> {
    let tensor = |number: usize| {
        let range = [number * WEIGHTS * 4, (number + 1) * WEIGHTS * 4];
        format!("\"layer.{number}.weight\":{{\"dtype\":\"F32\",\"shape\":[8,8],\"data_offsets\":{range:?}}}")
    };
    let header = format!("{{{}}}", (0..TENSORS).map(tensor).collect::<Vec<_>>().join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    weights.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
    bytes
}

/// Weights a step further, of this size.
fn tuned(weights: &[f32], step: f32, random: &mut Random) -> Vec<f32> {
    weights.iter().map(|weight| weight + step * (random.below(2001) as f32 / 1000.0 - 1.0)).collect()
}

/// Some bases, and for each a family of fine-tunes that lie as near to each other as to it.
fn families(random: &mut Random) -> Vec<Vec<f32>> {
    let mut models: Vec<Vec<f32>> = Vec::new();
    for number in 0..MODELS {
        models.push(match number % 40 {
            0 => tuned(&vec![0.0; TENSORS * WEIGHTS], 0.1, random),
            _ => tuned(&models[number / 40 * 40], 0.01, random),
        });
    }
    models
}

#[track_caller]
fn base_of(store: &Store, bytes: &[u8]) -> Option<(Oid, Reason)> {
    ingest(store, &bytes, Oid::of(bytes), &Hints::default(), Effort::Push, &unwatched).unwrap().base
}

/// People push fine-tunes without a word of where they come from: their parent is found, whoever it is.
#[test]
fn the_parent_is_found_among_many_of_one_architecture() {
    let mut random = Random::printed("base search");
    let models = families(&mut random);
    let store = fresh(Memory::default());
    for weights in &models {
        base_of(&store, &file(weights));
    }
    for parent in [0, 1, 137, 200, MODELS - 1] {
        let child = file(&tuned(&models[parent], 0.001, &mut random));
        let found = base_of(&store, &child);
        assert_eq!(found, Some((Oid::of(&file(&models[parent])), Reason::Likeness)), "of model {parent}");
    }
    let stranger = file(&tuned(&vec![0.0; TENSORS * WEIGHTS], 0.1, &mut random));
    assert_eq!(base_of(&store, &stranger), None);
}

/// An index may be lost at any time: that must not make every later push a whole model.
#[test]
fn the_parent_is_found_after_the_index_was_lost() {
    let mut random = Random::printed("base search");
    let dir = tempfile::tempdir().unwrap();
    let (parent, other) = (families(&mut random)[7].clone(), families(&mut random)[50].clone());
    {
        let store = open(dir.path(), "a boot");
        for weights in [&parent, &other] {
            base_of(&store, &file(weights));
        }
    }
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = open(dir.path(), "a boot");
    let child = file(&tuned(&parent, 0.001, &mut random));
    assert_eq!(base_of(&store, &child), Some((Oid::of(&file(&parent)), Reason::Likeness)));
    drop(store);
    // And where there never was one: over the files alone.
    let store = fresh(Local::new(dir.path(), Privacy::Private));
    let child = file(&tuned(&other, 0.001, &mut random));
    assert_eq!(base_of(&store, &child), Some((Oid::of(&file(&other)), Reason::Likeness)));
}
