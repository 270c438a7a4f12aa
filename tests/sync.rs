//! Objects that lie elsewhere at another depth: what travels fits the place where it arrives.

use std::fs;
use std::os::unix::fs::MetadataExt;

use git_sparse::backend::{Backend, Local, Memory, Name, Privacy};
use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::id::{ObjectId, Oid};
use git_sparse::pack::MAX_DEPTH;
use git_sparse::progress::unwatched;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::store::{self, Store, record_for};
use git_sparse::sync::{self, Remote, SyncError};

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
    keep_links(store, revisions, 0);
}

/// Stores those from `first` on, each as a patch of the one before it.
fn keep_links(store: &Store, revisions: &[Vec<u8>], first: usize) {
    let mut writer = store.begin_pack().expect("a pack");
    for (depth, bytes) in revisions.iter().enumerate().skip(first) {
        let base = depth.checked_sub(1).map(|before| &revisions[before]);
        let with = base.map(|bytes| Base { bytes, dtype: Dtype::Bytes });
        let encoded = codec::encode(bytes, Dtype::Bytes, 0, with.as_slice(), Effort::Push);
        assert_eq!(encoded.codec == Codec::Copies, base.is_some(), "revision {depth} is no patch");
        let base = base.map(|bytes| (ObjectId::of(bytes).into(), depth as u8 - 1));
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
        origin: Vec::new(),
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

/// From a remote on the same file system a clone takes packs as they are: no second copy on disk. But
/// not when an object in them would then lie on a base that is here too deep, or not at all.
#[test]
fn packs_on_the_same_file_system_are_not_copied() {
    let dir = tempfile::tempdir().expect("a directory");
    let there = || Local::new(dir.path().join("there"), Privacy::Shared);
    let here = || Local::new(dir.path().join("here"), Privacy::Private);
    let revisions = revisions(4);
    // Two packs there: revisions 1 and 2, and 3 on top of them.
    keep_chain(&fresh(there()), &revisions[1..3]);
    keep_links(&fresh(there()), &revisions[1..], 2);
    let oid = publish(&there(), &revisions[3]);
    let fetch = |store: &Store| {
        let mut remote = Remote::new(Box::new(there()));
        let (recipe, _) = sync::fetch(store, &mut remote, oid, &unwatched).expect("a fetch");
        store.publish(&recipe.prove(oid).expect("its own hash")).expect("a recipe");
    };
    fetch(&fresh(here()));
    let store = fresh(here());
    let packs = store.packs().expect("a list");
    assert_eq!(packs.len(), 2);
    for pack in packs {
        let names = fs::metadata(here().file(Name::Pack(pack)).expect("a file")).expect("its metadata");
        assert_eq!(names.nlink(), 2, "pack {pack} was copied");
    }
    assert_eq!(give_back(&store, oid).expect("the file"), revisions[3]);
    assert_clean(&store, "after a fetch by links");

    // Revision 2 lies as deep here as revision 3 does there.
    let other = || Local::new(dir.path().join("other"), Privacy::Private);
    keep_chain(&fresh(other()), &revisions[..3]);
    fetch(&fresh(other()));
    assert_eq!(give_back(&fresh(other()), oid).expect("the file"), revisions[3]);
    assert_clean(&fresh(other()), "after a fetch on top of what was here");
}

/// What gc may leave of packs that were linked: an object that nothing needs, without its base. When
/// something needs it again, the base is fetched as well.
#[test]
fn an_object_without_its_base_does_not_count_as_here() {
    let revisions = revisions(2);
    let (there, here) = (Memory::default(), Memory::default());
    keep_chain(&fresh(there.clone()), &revisions);
    keep_links(&fresh(here.clone()), &revisions, 1);
    let oid = publish(&there, &revisions[1]);
    let (store, mut remote) = (fresh(here), Remote::new(Box::new(there)));
    sync::fetch(&store, &mut remote, oid, &unwatched).expect("a fetch");
    store.get(&ObjectId::of(&revisions[1])).expect("the object with its base");
}

/// A damaged pack is not linked: the remote is blamed, and nothing of it is here when it is mended.
#[test]
fn a_damaged_pack_is_not_linked() {
    let dir = tempfile::tempdir().expect("a directory");
    let there = || Local::new(dir.path().join("there"), Privacy::Shared);
    let revisions = revisions(1);
    keep_chain(&fresh(there()), &revisions);
    let oid = publish(&there(), &revisions[0]);
    let pack = there().file(Name::Pack(fresh(there()).packs().expect("a list")[0])).expect("a file");
    let flip = || {
        let mut bytes = fs::read(&pack).expect("the pack");
        bytes[100] ^= 1;
        fs::remove_file(&pack).expect("a file that can be removed");
        fs::write(&pack, bytes).expect("a pack");
    };
    flip();
    let store = fresh(Local::new(dir.path().join("here"), Privacy::Private));
    let mut remote = Remote::new(Box::new(there()));
    let error = sync::fetch(&store, &mut remote, oid, &unwatched).expect_err("it is damaged there");
    assert!(matches!(error, SyncError::There { .. }), "{error}");
    assert!(store.packs().expect("a list").is_empty());
    flip();
    sync::fetch(&store, &mut remote, oid, &unwatched).expect("it is mended");
    assert_eq!(store.get(&ObjectId::of(&revisions[0])).expect("the object"), revisions[0]);
}
