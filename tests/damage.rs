//! Damage of every kind: the right bytes or an error that names the place, never wrong bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use git_sparse::backend::{Area, Backend, Memory, Name};
use git_sparse::fsck;
use git_sparse::id::{ObjectId, Oid, PackId};
use git_sparse::index::{Found, Index};
use git_sparse::pack;
use git_sparse::progress::unwatched;
use git_sparse::store::{NoShelf, Store, StoreError};
use git_sparse::sync::{self, Remote};

use crate::support::random::Random;
use crate::support::samples::{
    Made, Sample, assert_clean, assert_gives_back, check, fetch, fresh, give_back, keep_all, make_pack,
    make_recipe, names, open, overwrite, read, refetch, samples,
};

/// Bytes of a trailer's footer and of one record in it (docs/format.md, "Packs").
const FOOTER_BYTES: usize = 16;
const RECORD_BYTES: usize = 100;

/// A store in memory with all samples in it.
fn stocked() -> (Memory, Vec<Sample>) {
    let (disk, files) = (Memory::default(), samples());
    keep_all(&fresh(disk.clone()), &files);
    (disk, files)
}

/// A store in a directory with all samples in it, closed in good order.
fn stocked_directory() -> (tempfile::TempDir, Vec<Sample>) {
    let (dir, files) = (tempfile::tempdir().expect("a directory"), samples());
    keep_all(&open(dir.path(), "boot"), &files);
    assert!(!dir.path().join("index/open").exists(), "an orderly close leaves no marker");
    (dir, files)
}

/// All files of the index.
fn index_files(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![store.join("index")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir { dirs.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

/// Damages the index, opens the store, and checks every byte; what `open` told.
fn with_damaged_index(boot: &str, damage: impl FnOnce(&Path)) -> Option<String> {
    let (dir, files) = stocked_directory();
    damage(dir.path());
    let store = open(dir.path(), boot);
    let when = format!("index damaged, {:?}", store.index().notice());
    assert_gives_back(&store, &files, &when);
    files
        .iter()
        .for_each(|file| assert!(store.has(&file.oid).expect("an answer"), "{when}: a file is denied"));
    let found = check(&store);
    let repaired = fsck::repair(&store, &found, None, &unwatched).expect("a repair");
    assert_eq!(repaired.problems, [], "{when}");
    store.index().notice().map(str::to_owned)
}

/// The index is disposable: without it, everything is still there.
#[test]
fn a_deleted_index_is_rebuilt() {
    with_damaged_index("boot", |store| {
        fs::remove_dir_all(store.join("index")).expect("a directory that goes")
    });
}

/// sled opens a cut file, or does not, or panics: the files come back in each case.
#[test]
fn a_truncated_index_costs_nothing_but_time() {
    let mut random = Random::printed("a_truncated_index_costs_nothing_but_time");
    for _ in 0..8 {
        with_damaged_index("boot", |store| {
            for path in index_files(store) {
                let len = fs::metadata(&path).expect("a file").len() as usize;
                let file = fs::OpenOptions::new().write(true).open(&path).expect("a file");
                file.set_len(random.below(len + 1) as u64).expect("a cut");
            }
        });
    }
}

/// One flipped bit made sled forget keys without a word in 41 of 60 trials: a miss is never the last word.
#[test]
fn a_flipped_bit_in_the_index_changes_no_answer() {
    let mut random = Random::printed("a_flipped_bit_in_the_index_changes_no_answer");
    for _ in 0..25 {
        with_damaged_index("boot", |store| {
            let files: Vec<_> = index_files(store)
                .into_iter()
                .filter(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0))
                .collect();
            let path = &files[random.below(files.len())];
            let mut bytes = fs::read(path).expect("a file");
            // sled's log is mostly padding: the front is where the keys are.
            let at = random.below(bytes.len().min(20_000));
            bytes[at] ^= 1 << random.below(8);
            fs::write(path, bytes).expect("a file");
        });
    }
}

/// Garbage is set aside, and the user is told.
#[test]
fn a_garbage_index_is_set_aside_with_a_notice() {
    let notice = with_damaged_index("boot", |store| {
        for path in index_files(store) {
            fs::write(path, "this is not what sled wrote").expect("a file");
        }
    });
    assert!(notice.is_some_and(|notice| notice.contains("index: rebuilt")), "nobody was told");
    let notice = with_damaged_index("boot", |store| {
        fs::remove_dir_all(store.join("index")).expect("a directory that goes");
        fs::write(store.join("index"), "a file, where a directory was").expect("a file");
    });
    assert!(notice.is_some_and(|notice| notice.starts_with("index: ")), "nobody was told");
}

/// The marker of another boot, or one that is torn, means a power cut: sled's word counts no more.
#[test]
fn a_marker_of_another_boot_rebuilds_the_index() {
    for marker in ["another boot", "", "boo"] {
        let notice = with_damaged_index("boot", |store| {
            fs::write(store.join("index/open"), marker).expect("a marker")
        });
        assert!(notice.is_some_and(|notice| notice.contains("went down")), "{marker:?}: nobody was told");
    }
    let same =
        with_damaged_index("boot", |store| fs::write(store.join("index/open"), "boot").expect("a marker"));
    assert_eq!(same, None, "after kill -9 the index is as good as before");
    let unknown = with_damaged_index("", |store| fs::write(store.join("index/open"), "").expect("a marker"));
    assert!(unknown.is_some(), "where the system names no boot, an open index is never trusted");
}

/// Where nothing can be written, the index lives in memory, and many threads may ask it at once.
#[test]
fn an_index_in_memory_answers_all_threads() {
    let (disk, files) = stocked();
    for _ in 0..50 {
        let store = fresh(disk.clone());
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| assert_gives_back(&store, &files, "four readers"))));
        });
    }
}

/// Exhaustive: each byte of each pack and recipe flipped, each file asked for, and fsck asked as well.
#[test]
fn no_flipped_byte_gives_wrong_bytes_or_escapes_fsck() {
    let (disk, files) = stocked();
    for name in [names(&disk, Area::Packs), names(&disk, Area::Recipes)].concat() {
        let whole = read(&disk, name);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            overwrite(&disk, name, &bytes);
            let store = fresh(disk.clone());
            let when = format!("{name} flipped at {at}");
            assert_right_or_refused(&store, &files, &when);
            assert!(!check(&store).problems.is_empty(), "{when}: fsck finds nothing");
        }
        overwrite(&disk, name, &whole);
    }
    assert_gives_back(&fresh(disk.clone()), &files, "undamaged again");
    assert_clean(&fresh(disk), "undamaged again");
}

/// A file that ends early is found at every length.
#[test]
fn no_truncation_gives_wrong_bytes_or_escapes_fsck() {
    let (disk, files) = stocked();
    for name in [names(&disk, Area::Packs), names(&disk, Area::Recipes)].concat() {
        let whole = read(&disk, name);
        let ends = (0..whole.len()).filter(|end| *end < 40 || end % 11 == 0 || end + 40 > whole.len());
        for end in ends {
            overwrite(&disk, name, &whole[..end]);
            let store = fresh(disk.clone());
            let when = format!("{name} cut to {end} bytes");
            assert_right_or_refused(&store, &files, &when);
            assert!(!check(&store).problems.is_empty(), "{when}: fsck finds nothing");
        }
        overwrite(&disk, name, &whole);
    }
}

#[track_caller]
fn assert_right_or_refused(store: &Store, files: &[Sample], when: &str) {
    for file in files {
        match give_back(store, file.oid) {
            Ok(bytes) => assert!(bytes == file.bytes, "{when}: wrong bytes"),
            Err(error) => assert!(names_something(&error), "{when}: the error names nothing: {error}"),
        }
    }
}

/// An error that a person can act on has the id of a file, object or pack in it.
fn names_something(error: &str) -> bool {
    error.split(|sign: char| !sign.is_ascii_hexdigit()).any(|word| word.len() == 64)
}

/// Records that lead in a circle, to themselves, or nowhere are refused at once.
#[test]
fn forged_chains_are_refused_fast() {
    let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| ObjectId::of(bytes));
    let link = |object, base, depth: u8| Made { object, base: Some((base, depth - 1)), bytes: b"x" };
    let forged: [(&str, Vec<Made<'_>>); 5] = [
        ("a circle of two", vec![link(a, b, 1), link(b, a, 2)]),
        ("a circle of three", vec![link(a, b, 3), link(b, c, 2), link(c, a, 1)]),
        ("its own base", vec![link(a, a, 1)]),
        ("a base as deep", vec![link(a, b, 32), link(b, c, 32)]),
        ("no base", vec![link(a, b, 1)]),
    ];
    for (what, made) in forged {
        let disk = Memory::default();
        make_pack(&disk, &made).expect("a pack");
        let oid = make_recipe(&disk, b"a", a);
        let store = fresh(disk);
        let start = Instant::now();
        let error = give_back(&store, oid).expect_err(what);
        assert!(names_something(&error), "{what}: {error}");
        assert!(start.elapsed() < Duration::from_millis(500), "{what} took {:?}", start.elapsed());
        assert!(!check(&store).problems.is_empty(), "{what}: fsck finds nothing");
    }
}

/// A delta whose base is gone says which object is missing.
#[test]
fn a_missing_base_is_named() {
    let disk = Memory::default();
    let (object, base) = (ObjectId::of(b"delta"), ObjectId::of(b"its base"));
    make_pack(&disk, &[Made { object, base: Some((base, 0)), bytes: b"delta" }]).expect("a pack");
    let oid = make_recipe(&disk, b"delta", object);
    let error = give_back(&fresh(disk), oid).expect_err("no base");
    assert!(error.contains(&base.to_string()), "{error}");
}

/// No writer may begin a chain that no reader would follow.
#[test]
fn a_depth_over_the_limit_is_not_written() {
    let disk = Memory::default();
    let (object, base) = (ObjectId::of(b"a"), ObjectId::of(b"b"));
    let made = |depth| [Made { object, base: Some((base, depth)), bytes: b"a" }];
    assert!(make_pack(&disk, &made(pack::MAX_DEPTH)).is_err());
    assert!(make_pack(&disk, &made(pack::MAX_DEPTH - 1)).is_ok());
}

/// A pack's name binds its trailer, but a forger can name a lying trailer rightly: each number is checked.
#[test]
fn lies_in_a_rightly_named_trailer_are_refused() {
    let (disk, files) = stocked();
    let name = names(&disk, Area::Packs)[0];
    let whole = read(&disk, name);
    let trailer_at = |bytes: &[u8]| {
        let end = bytes.len() - FOOTER_BYTES;
        let count = u32::from_le_bytes(bytes[end + 8..end + 12].try_into().expect("four bytes")) as usize;
        end - count * RECORD_BYTES
    };
    let record = trailer_at(&whole);
    let count_at = whole.len() - 8;
    let lies: [(&str, usize, Vec<u8>); 8] = [
        ("an offset beyond the end", record + 64, u64::MAX.to_le_bytes().to_vec()),
        ("an offset in the trailer", record + 64, (record as u64).to_le_bytes().to_vec()),
        ("an offset in the head", record + 64, 0u64.to_le_bytes().to_vec()),
        ("a payload of 4 GiB", record + 72, u32::MAX.to_le_bytes().to_vec()),
        ("an object of 4 GiB", record + 76, u32::MAX.to_le_bytes().to_vec()),
        ("a codec of the future", record + 96, vec![250]),
        ("a depth without a base", record + 97, vec![200]),
        ("4 billion records", count_at, u32::MAX.to_le_bytes().to_vec()),
    ];
    for (what, at, lie) in lies {
        let mut bytes = whole.clone();
        bytes[at..at + lie.len()].copy_from_slice(&lie);
        let start = if at == count_at { record } else { trailer_at(&bytes) };
        let forged = PackId::from_bytes(*blake3::hash(&bytes[start..]).as_bytes());
        let disk = Memory::default();
        overwrite(&disk, Name::Pack(forged), &bytes);
        for file in &files {
            make_recipe(&disk, &file.bytes, ObjectId::of(&file.bytes));
        }
        let error = pack::read_trailer(&disk, forged).expect_err(what).to_string();
        assert!(error.contains(&forged.to_string()), "{what}: {error}");
        assert_right_or_refused(&fresh(disk), &files, what);
    }
}

/// Two copies of an object at two depths, as an interrupted repack leaves them, are no broken chain.
#[test]
fn copies_at_two_depths_fit_each_other() {
    let disk = Memory::default();
    let [x, y, z] = [b"x", b"y", b"z"].map(|bytes| ObjectId::of(bytes));
    let made = |object, base| Made { object, base, bytes: b"?" };
    let old =
        make_pack(&disk, &[made(z, None), made(y, Some((z, 0))), made(x, Some((y, 1)))]).expect("a pack");
    let new = make_pack(&disk, &[made(y, None), made(x, Some((y, 0)))]).expect("a pack");
    let index = Index::in_memory();
    for pack in [old, new] {
        index.put_pack(pack, &pack::read_trailer(&disk, pack).expect("a trailer"));
    }
    let records = pack::read_trailer(&disk, old).expect("a trailer");
    index.put_object(&Found { pack: old, record: records[1] });
    let store = Store::over(Box::new(disk), index);
    let depths: Vec<u8> =
        store.chain(&x).expect("a chain").links().iter().map(|link| link.record.depth).collect();
    assert_eq!(depths, [1, 0]);
}

/// A store of the future is refused by name and left as it is.
#[test]
fn a_newer_store_is_refused_by_name() {
    let (dir, _) = stocked_directory();
    let config = dir.path().join("config");
    let before = index_files(dir.path());
    for (text, word) in [("git-sparse store, format version 2\n", "version 2"), ("[core]\n", "[core]")] {
        fs::remove_file(&config).expect("a file that goes");
        fs::write(&config, text).expect("a file");
        let Err(error) = Store::open(dir.path(), "boot", Box::new(NoShelf)) else {
            panic!("{text:?} was opened")
        };
        assert!(matches!(error, StoreError::Newer { .. } | StoreError::Config { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(fs::read_to_string(&config).expect("a file"), text, "it was written to");
        assert_eq!(index_files(dir.path()), before);
    }
}

/// A remote of the future gets no pack of ours.
#[test]
fn a_newer_remote_gets_nothing() {
    let (disk, files) = stocked();
    let there = Memory::default();
    overwrite(&there, Name::Config, b"git-sparse store, format version 9\n");
    let mut remote = Remote::new(Box::new(there.clone()));
    let error = sync::push(&fresh(disk), &mut remote, files[0].oid, &unwatched).expect_err("version 9");
    assert!(error.to_string().contains("format version 9"), "{error}");
    assert_eq!(names(&there, Area::Packs), []);
}

/// A remote that lies about an object is found out, and does not keep the true one from coming later.
#[test]
fn a_lying_remote_poisons_nothing() {
    let (honest, files) = stocked();
    let file = &files[3];
    let recipe = fresh(honest.clone()).recipe(&file.oid).expect("a recipe").expect("a recipe");
    let liar = Memory::default();
    for part in &recipe.parts {
        make_pack(&liar, &[Made { object: part.object, base: None, bytes: &vec![b'!'; part.len as usize] }])
            .expect("a pack");
    }
    overwrite(&liar, Name::Recipe(file.oid), &read(&honest, Name::Recipe(file.oid)));
    let store = fresh(Memory::default());
    let error = fetch(&store, &mut Remote::new(Box::new(liar)), file.oid).expect_err("lies");
    assert!(names_something(&error), "{error}");
    assert!(!store.has(&file.oid).expect("an answer"), "a file that was not proven is there");
    for pack in fsck::damaged_packs(&store, &recipe) {
        fsck::set_aside(&store, pack).expect("a pack that is set aside");
    }
    let found = fetch(&store, &mut Remote::new(Box::new(honest)), file.oid).expect("the true file");
    assert!(found == file.bytes);
    assert_clean(&store, "after the liar");
}

/// A way to damage a store.
type Damage = fn(&Memory, &[Sample]);

/// The kinds of damage that fsck has to find and a remote can mend.
const DAMAGES: [(&str, Damage); 20] = [
    ("a pack's head", |disk, _| flip(disk, pack_of(disk, 0), 3)),
    ("a payload", |disk, _| flip(disk, pack_of(disk, 0), 12)),
    ("an object's id in a trailer", |disk, _| flip_record(disk, 5)),
    ("a base in a trailer", |disk, _| flip_record(disk, 40)),
    ("a length in a trailer", |disk, _| flip_record(disk, 72)),
    ("a codec in a trailer", |disk, _| flip_record(disk, 96)),
    ("a depth in a trailer", |disk, _| flip_record(disk, 97)),
    ("a footer's magic", |disk, _| flip_from_end(disk, 15)),
    ("a footer's count", |disk, _| flip_from_end(disk, 8)),
    ("a footer's empty bytes", |disk, _| flip_from_end(disk, 1)),
    ("a pack without its last byte", |disk, _| cut(disk, pack_of(disk, 1), 1)),
    ("an empty pack", |disk, _| overwrite(disk, pack_of(disk, 1), b"")),
    ("a pack of ten bytes", |disk, _| overwrite(disk, pack_of(disk, 1), b"ten bytes!")),
    ("a pack that is gone", |disk, _| disk.delete(pack_of(disk, 1)).expect("a deletion")),
    ("two packs swapped", |disk, _| swap(disk, pack_of(disk, 0), pack_of(disk, 1))),
    ("a recipe's header", |disk, files| flip(disk, Name::Recipe(files[0].oid), 20)),
    ("a recipe's body", |disk, files| flip(disk, Name::Recipe(files[0].oid), 150)),
    ("an empty recipe", |disk, files| overwrite(disk, Name::Recipe(files[1].oid), b"")),
    ("two recipes swapped", |disk, files| swap(disk, Name::Recipe(files[0].oid), Name::Recipe(files[1].oid))),
    ("a pack that says what it is not", lie),
];

fn pack_of(disk: &Memory, number: usize) -> Name {
    names(disk, Area::Packs)[number]
}

fn flip(disk: &Memory, name: Name, at: usize) {
    let mut bytes = read(disk, name);
    bytes[at] ^= 0x10;
    overwrite(disk, name, &bytes);
}

fn flip_from_end(disk: &Memory, from_end: usize) {
    let name = pack_of(disk, 0);
    flip(disk, name, read(disk, name).len() - from_end);
}

/// Flips a byte in the last record of the first pack.
fn flip_record(disk: &Memory, at: usize) {
    flip_from_end(disk, FOOTER_BYTES + RECORD_BYTES - at);
}

fn cut(disk: &Memory, name: Name, bytes: usize) {
    let whole = read(disk, name);
    overwrite(disk, name, &whole[..whole.len() - bytes]);
}

fn swap(disk: &Memory, one: Name, other: Name) {
    let (first, second) = (read(disk, one), read(disk, other));
    overwrite(disk, one, &second);
    overwrite(disk, other, &first);
}

/// Puts in place of a true pack one whose checksums are right and whose object is another.
fn lie(disk: &Memory, files: &[Sample]) {
    let store = fresh(disk.clone());
    let recipe = store.recipe(&files[3].oid).expect("a recipe").expect("a recipe");
    let true_pack = store.find(&recipe.parts[0].object).expect("an object").pack;
    disk.delete(Name::Pack(true_pack)).expect("a deletion");
    for part in &recipe.parts {
        let bytes = vec![b'!'; part.len as usize];
        make_pack(disk, &[Made { object: part.object, base: None, bytes: &bytes }]).expect("a pack");
    }
}

/// fsck finds every kind of damage, mends it from a remote, and throws nothing away.
#[test]
fn fsck_finds_and_mends_every_kind_of_damage() {
    let (whole, files) = stocked();
    for (what, damage) in DAMAGES {
        let (disk, _) = stocked();
        damage(&disk, &files);
        let damaged: Vec<(Name, Vec<u8>)> =
            names(&disk, Area::Packs).iter().map(|name| (*name, read(&disk, *name))).collect();
        let store = fresh(disk.clone());
        let found = check(&store);
        assert!(!found.problems.is_empty(), "{what}: fsck finds nothing");
        let mut remote = Remote::new(Box::new(whole.clone()));
        let left =
            fsck::repair(&store, &found, Some(&mut |oid| refetch(&store, &mut remote, oid)), &unwatched)
                .expect(what);
        assert_eq!(left.problems, [], "{what}: not mended");
        assert!(!left.repaired.is_empty(), "{what}: mended, and nobody is told");
        assert_gives_back(&fresh(disk.clone()), &files, what);
        assert_clean(&fresh(disk.clone()), what);
        for (name, bytes) in damaged {
            assert_kept_or_mended(&disk, name, &bytes, what);
        }
    }
}

/// Checks that a pack is as it was, or whole, or set aside as it was.
#[track_caller]
fn assert_kept_or_mended(disk: &Memory, name: Name, bytes: &[u8], what: &str) {
    let Name::Pack(pack) = name else { unreachable!("because packs were listed") };
    let aside = Name::Bad(pack);
    let is_aside = disk.len(aside).expect("a length").is_some() && read(disk, aside) == bytes;
    assert!(is_aside || pack::read_trailer(disk, pack).is_ok(), "{what}: {name} was thrown away");
}

/// Without a remote, fsck mends what it can from the pack itself, and says what is lost.
#[test]
fn fsck_without_a_remote_saves_what_is_good() {
    for (what, damage) in DAMAGES {
        let (disk, files) = stocked();
        damage(&disk, &files);
        let before: Vec<bool> =
            files.iter().map(|file| give_back(&fresh(disk.clone()), file.oid).is_ok()).collect();
        let store = fresh(disk.clone());
        let found = check(&store);
        let left = fsck::repair(&store, &found, None, &unwatched).expect(what);
        let store = fresh(disk);
        for (file, was_whole) in files.iter().zip(before) {
            let now = give_back(&store, file.oid);
            assert!(!was_whole || now.is_ok(), "{what}: the repair lost {}: {now:?}", file.oid);
            let told = left
                .problems
                .iter()
                .any(|problem| matches!(problem, fsck::Problem::File { oid, .. } if *oid == file.oid));
            assert_eq!(
                now.is_err(),
                told,
                "{what}: {} comes back {}, and the report says otherwise",
                file.oid,
                now.is_ok()
            );
        }
    }
}

/// A file that a damaged remote lacks is named, not made up.
#[test]
fn a_remote_without_the_object_is_named() {
    let (there, files) = stocked();
    names(&there, Area::Packs).into_iter().for_each(|name| there.delete(name).expect("a deletion"));
    let store = fresh(Memory::default());
    let error = fetch(&store, &mut Remote::new(Box::new(there)), files[0].oid).expect_err("no packs");
    assert!(error.contains(&files[0].oid.to_string()), "{error}");
    let missing = Oid::of(b"never pushed");
    let error = fetch(&store, &mut Remote::new(Box::new(Memory::default())), missing).expect_err("no file");
    assert!(error.contains(&missing.to_string()), "{error}");
}
