//! Objects that lie elsewhere at another depth: what travels fits the place where it arrives.

use git_sparse::backend::{Backend, Memory};
use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::id::{ObjectId, Oid};
use git_sparse::pack::MAX_DEPTH;
use git_sparse::progress::unwatched;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::store::{self, Store, record_for};
use git_sparse::sync::{self, Remote};

use crate::support::random::Random;
use crate::support::samples::{assert_clean, fresh, give_back};

/// Revisions of a file of noise, a few bytes apart: alone they don't compress, as patches they do.
fn revisions(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::seeded(11);
    let mut bytes: Vec<u8> = (0..3000).map(|_| random.number() as u8).collect();
    (0..count)
        .map(|_| {
            bytes[random.below(3000)] ^= 1;
            bytes.clone()
        })
        .collect()
}

/// Stores `revisions`, each as a patch of the one before it.
fn keep_chain(store: &Store, revisions: &[Vec<u8>]) {
    let mut writer = store.begin_pack().expect("a pack");
    for (depth, bytes) in revisions.iter().enumerate() {
        let base = depth.checked_sub(1).map(|before| &revisions[before]);
        let with = base.map(|bytes| Base { bytes, dtype: Dtype::Bytes });
        let encoded = codec::encode(bytes, Dtype::Bytes, 0, with, Effort::Push);
        assert_eq!(encoded.codec == Codec::ZstdPatch, base.is_some(), "revision {depth} is no patch");
        let base = base.map(|bytes| (ObjectId::of(bytes), depth as u8 - 1));
        let record = record_for(ObjectId::of(bytes), base, encoded.codec, bytes.len() as u32);
        writer.add(record, &encoded.payload).expect("an object");
    }
    store.admit(writer).expect("a pack that is finished");
}

/// Makes `bytes`, which the store holds as one object, a file.
fn publish(backend: &dyn Backend, bytes: &[u8]) -> Oid {
    let oid = Oid::of(bytes);
    let part = Part { object: ObjectId::of(bytes), len: bytes.len() as u32, tensor: None, slice: 0 };
    let recipe = Recipe {
        oid,
        size: bytes.len() as u64,
        format: Format::Chunked,
        base: None,
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts: vec![part],
    };
    store::write_recipe(backend, &recipe.prove(oid).expect("its own hash")).expect("a recipe");
    oid
}

/// A chain that is full on one side takes one more revision from the other, in both directions.
#[test]
fn what_would_lie_too_deep_goes_whole() {
    let revisions = revisions(usize::from(MAX_DEPTH) + 2);
    let (deep, last_two) = (&revisions[..=usize::from(MAX_DEPTH)], &revisions[usize::from(MAX_DEPTH)..]);
    for pushing in [false, true] {
        let (full, short) = (Memory::default(), Memory::default());
        keep_chain(&fresh(full.clone()), deep);
        keep_chain(&fresh(short.clone()), last_two);
        let oid = publish(&short, &last_two[1]);
        if pushing {
            let mut remote = Remote::new(Box::new(full.clone()));
            sync::push(&fresh(short), &mut remote, oid, &unwatched).expect("a push");
        } else {
            let (store, mut remote) = (fresh(full.clone()), Remote::new(Box::new(short)));
            let (recipe, _) = sync::fetch(&store, &mut remote, oid, &unwatched).expect("a fetch");
            store.publish(&recipe.prove(oid).expect("its own hash")).expect("a recipe");
        }
        let store = fresh(full);
        assert_eq!(give_back(&store, oid).expect("the file"), last_two[1]);
        assert_clean(&store, "after it travelled");
    }
}
