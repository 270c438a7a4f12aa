//! The contract of `Backend`, run on every implementation: what the store's promises stand on.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use git_sparse::backend::{Area, Backend, Local, Memory, Name, Privacy, Run, Tail, Taken, clock};
use git_sparse::id::{LockId, Oid, PackId};

use crate::support::s3::S3;
use crate::support::samples::{names, overwrite, read};

/// An implementation, empty, and what it stands on.
type Kind = (&'static str, Box<dyn Backend>, Place);

/// Where an implementation keeps its files; both live as long as this.
enum Place {
    Directory(tempfile::TempDir),
    Server(S3),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Place::Directory(dir) => dir.path().to_owned(),
            Place::Server(server) => server.files(),
        }
    }
}

/// The implementations.
fn backends() -> Vec<Kind> {
    let dirs = || tempfile::tempdir().expect("a directory");
    let (private, shared, unused) = (dirs(), dirs(), dirs());
    let (server, whole) = (S3::serve(), S3::serve());
    let (bucket, whole_bucket) = (server.bucket("a/prefix"), whole.bucket(""));
    vec![
        (
            "private",
            Box::new(Local::new(private.path().join("store"), Privacy::Private)),
            Place::Directory(private),
        ),
        (
            "shared",
            Box::new(Local::new(shared.path().join("a/store"), Privacy::Shared)),
            Place::Directory(shared),
        ),
        ("memory", Box::new(Memory::default()), Place::Directory(unused)),
        ("bucket", Box::new(bucket), Place::Server(server)),
        ("whole bucket", Box::new(whole_bucket), Place::Server(whole)),
    ]
}

fn pack(number: u8) -> PackId {
    PackId::from_bytes([number; 32])
}

fn lock() -> LockId {
    LockId::from_bytes([4; 32])
}

/// A name of each kind.
fn all_names() -> [Name; 10] {
    let run = Run { epoch: 7, id: 0xab };
    let recipe = Name::Recipe(Oid::of(b"file"));
    let probe = Name::Probe(0x12_3456_789a);
    [
        Name::Config,
        Name::Pack(pack(1)),
        recipe,
        Name::Trash(7, pack(2)),
        Name::Bad(pack(3)),
        Name::Lock(lock()),
        Name::Removed(run, pack(2)),
        Name::Forgotten(run, Oid::of(b"file")),
        Name::Clock,
        probe,
    ]
}

/// What is published is what is read, under every kind of name; nothing else is there.
#[test]
fn what_is_published_is_read() {
    for (kind, backend, _dir) in backends() {
        for (number, name) in all_names().into_iter().enumerate() {
            assert_eq!(backend.len(name).expect(kind), None, "{kind}: {name} is there too early");
            let bytes: Vec<u8> = (0..40 + number as u8).collect();
            overwrite(&*backend, name, &bytes);
            assert_eq!(backend.len(name).expect(kind), Some(bytes.len() as u64));
            assert_eq!(read(&*backend, name), bytes, "{kind}: {name}");
            assert_eq!(backend.read(name, 3..9).expect(kind), bytes[3..9]);
            assert_eq!(backend.read(name, 5..5).expect(kind), [0u8; 0]);
            for most in [0, 1, 7, bytes.len(), 1000] {
                let tail = backend.tail(name, most as u64).expect(kind).expect(kind);
                let expected = &bytes[bytes.len() - most.min(bytes.len())..];
                assert_eq!((&tail.bytes[..], tail.len), (expected, bytes.len() as u64), "{kind}: {name}");
            }
        }
    }
}

/// A reader tells "not there" from "too short", and never gets fewer bytes than it asked for.
#[test]
fn missing_and_short_files_are_told_apart() {
    for (kind, backend, _dir) in backends() {
        let name = Name::Pack(pack(1));
        let missing = backend.read(name, 0..1).expect_err(kind);
        assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{kind}: {missing}");
        assert_eq!(backend.tail(name, 5).expect(kind), None, "{kind}");
        overwrite(&*backend, name, b"");
        assert_eq!(backend.tail(name, 5).expect(kind), Some(Tail { bytes: Vec::new(), len: 0 }), "{kind}");
        overwrite(&*backend, name, b"four");
        for range in [0..5, 4..5, 100..200, 0..u64::MAX] {
            let short = backend.read(name, range.clone()).expect_err(kind);
            assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof, "{kind}, {range:?}: {short}");
        }
        let error = backend.read(Name::Pack(pack(2)), 0..1).expect_err(kind).to_string();
        assert!(error.contains(&pack(2).to_string()), "{kind}: the error does not say which file: {error}");
    }
}

/// A file that is dropped before it is published was never there.
#[test]
fn a_dropped_file_leaves_nothing() {
    for (kind, backend, dir) in backends() {
        let mut staged = backend.create().expect(kind);
        staged.write_all(b"half of a pack").expect(kind);
        drop(staged);
        for area in [Area::Packs, Area::Recipes, Area::Trash, Area::Bad, Area::Locks] {
            assert_eq!(names(&*backend, area), [], "{kind}: {area:?}");
        }
        let left = walk(&dir.path());
        assert!(left.is_empty(), "{kind}: left behind: {left:?}");
    }
}

/// A file is invisible until it is published: a reader never meets half of one.
#[test]
fn a_file_is_invisible_until_it_is_published() {
    for (kind, backend, _dir) in backends() {
        let mut staged = backend.create().expect(kind);
        staged.write_all(b"a pack").expect(kind);
        assert_eq!(names(&*backend, Area::Packs), [], "{kind}");
        staged.publish(Name::Pack(pack(1)), Taken::Keep).expect(kind);
        assert_eq!(names(&*backend, Area::Packs), [Name::Pack(pack(1))], "{kind}");
    }
}

/// `Keep` replaces what a torn write left, and `Replace` what is known to be damaged.
#[test]
fn a_taken_name_is_kept_or_replaced() {
    for (kind, backend, dir) in backends() {
        let name = Name::Pack(pack(1));
        overwrite(&*backend, name, b"the pack");
        publish(&*backend, name, b"THE PACK", Taken::Keep);
        assert_eq!(read(&*backend, name), b"the pack", "{kind}: names are content, the first one stays");
        publish(&*backend, name, b"THE PACK", Taken::Replace);
        assert_eq!(read(&*backend, name), b"THE PACK", "{kind}");
        publish(&*backend, name, b"", Taken::Replace);
        publish(&*backend, name, b"the pack", Taken::Keep);
        assert_eq!(read(&*backend, name), b"the pack", "{kind}: a torn file stays");
        let files = walk(&dir.path()).len();
        assert!(files <= 1, "{kind}: {files} files where one is expected");
    }
}

fn publish(backend: &dyn Backend, name: Name, bytes: &[u8], taken: Taken) {
    let mut staged = backend.create().expect("a staged file");
    staged.write_all(bytes).expect("its bytes");
    staged.publish(name, taken).expect("its name");
}

/// A lock is held by one: of many who want a name, one gets it and all others are told so.
#[test]
fn a_name_is_given_to_the_first_who_asks() {
    for (kind, backend, dir) in backends() {
        let name = Name::Lock(lock());
        let take = |bytes: &[u8]| {
            let mut staged = backend.create()?;
            staged.write_all(bytes)?;
            staged.publish(name, Taken::Refuse)
        };
        take(b"mine").expect(kind);
        for bytes in [b"yours".as_slice(), b"mine", b""] {
            let error = take(bytes).expect_err(kind);
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{kind}: {error}");
        }
        assert_eq!(read(&*backend, name), b"mine", "{kind}");
        backend.delete(name).expect(kind);
        let got: usize = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|number| scope.spawn(move || take(&[number; 9]).is_ok())).collect();
            tries.into_iter().map(|it| usize::from(it.join().expect(kind))).sum()
        });
        assert_eq!(got, 1, "{kind}: a name was given to {got}");
        let files = walk(&dir.path()).len();
        assert!(files <= 1, "{kind}: {files} files where one is expected");
    }
}

/// A listing has what is in its area, all of it, and nothing of another.
#[test]
fn a_list_has_its_area_and_no_other() {
    for (kind, backend, _dir) in backends() {
        let packs: Vec<Name> = (0..50).map(|number| Name::Pack(pack(number))).collect();
        packs.iter().for_each(|name| overwrite(&*backend, *name, b"p"));
        all_names().iter().for_each(|name| overwrite(&*backend, *name, b"x"));
        assert_eq!(names(&*backend, Area::Packs), packs, "{kind}");
        let [_, _, recipe, trash, bad, lock, removed, forgotten, _, probe] = all_names();
        assert_eq!(names(&*backend, Area::Recipes), [recipe], "{kind}");
        assert_eq!(names(&*backend, Area::Trash), [trash, removed, forgotten], "{kind}");
        assert_eq!(names(&*backend, Area::Bad), [bad], "{kind}");
        assert_eq!(names(&*backend, Area::Locks), [lock], "{kind}");
        assert_eq!(names(&*backend, Area::Probes), [probe], "{kind}");
    }
}

/// gc and fsck move packs: the bytes have exactly one name before and after.
#[test]
fn a_renamed_file_has_its_new_name_only() {
    for (kind, backend, _dir) in backends() {
        let (from, to) = (Name::Pack(pack(1)), Name::Trash(9, pack(1)));
        overwrite(&*backend, from, b"the pack");
        backend.rename(from, to).expect(kind);
        assert_eq!((backend.len(from).expect(kind), read(&*backend, to)), (None, b"the pack".to_vec()));
        let missing = backend.rename(from, to).expect_err(kind);
        assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{kind}: {missing}");
        assert_eq!(read(&*backend, to), b"the pack", "{kind}: a failed rename took the file with it");
    }
}

/// gc leaves alone what is younger than a push may take: a file's age must be that of its last writing.
#[test]
fn a_file_knows_when_it_was_written() {
    for (kind, backend, _dir) in backends() {
        let name = Name::Pack(pack(1));
        assert_eq!(backend.modified(name).expect(kind), None, "{kind}");
        // Clocks of file systems and servers tick coarsely.
        let slack = Duration::from_secs(2);
        let mut last = SystemTime::UNIX_EPOCH;
        for bytes in [b"the pack", b"THE PACK"] {
            let before = SystemTime::now() - slack;
            overwrite(&*backend, name, bytes);
            let written = backend.modified(name).expect(kind).expect(kind);
            assert!(written >= before && written <= SystemTime::now() + slack, "{kind}: {written:?}");
            assert!(written >= last, "{kind}: it became older");
            last = written;
        }
        let to = Name::Trash(9, pack(1));
        backend.rename(name, to).expect(kind);
        assert_eq!(backend.modified(name).expect(kind), None, "{kind}");
        assert!(backend.modified(to).expect(kind).is_some(), "{kind}");
    }
}

/// A push that relies on a file makes it younger, by writing the same bytes again. Where a gc moves it at the same
/// time, its age must tell.
#[test]
fn the_same_bytes_again_make_a_file_younger_and_a_rename_keeps_its_age() {
    for (kind, backend, _dir) in backends() {
        let (name, to) =
            (Name::Recipe(Oid::of(b"file")), Name::Forgotten(Run { epoch: 7, id: 1 }, Oid::of(b"file")));
        overwrite(&*backend, name, b"the recipe");
        let first = backend.modified(name).expect(kind).expect(kind);
        std::thread::sleep(Duration::from_millis(1100));
        overwrite(&*backend, name, b"the recipe");
        let second = backend.modified(name).expect(kind).expect(kind);
        assert!(second > first, "{kind}: it is as old as before");
        backend.rename(name, to).expect(kind);
        let moved = backend.modified(to).expect(kind).expect(kind);
        assert!(moved == second || !backend.renames_keep_age(), "{kind}: {second:?} became {moved:?}");
    }
}

/// All ages are told by one clock, which never goes back behind what was just written.
#[test]
fn the_clock_is_that_of_the_place() {
    for (kind, backend, _dir) in backends() {
        let name = Name::Pack(pack(1));
        overwrite(&*backend, name, b"the pack");
        let now = clock(&*backend).expect(kind);
        assert!(now >= backend.modified(name).expect(kind).expect(kind), "{kind}");
        std::thread::sleep(Duration::from_millis(1100));
        assert!(clock(&*backend).expect(kind) > now, "{kind}: it stands still");
    }
}

/// Deleting twice is no error: a gc that was cut short is run again.
#[test]
fn a_deleted_file_is_gone_and_may_be_deleted_again() {
    for (kind, backend, _dir) in backends() {
        for name in all_names() {
            overwrite(&*backend, name, b"x");
            backend.delete(name).expect(kind);
            assert_eq!(backend.len(name).expect(kind), None, "{kind}: {name}");
            backend.delete(name).expect(kind);
        }
    }
}

/// Many ingests publish at once, some of them the same pack: each ends with whole files.
#[test]
fn many_writers_end_with_whole_files() {
    for (kind, backend, dir) in backends() {
        let bytes = |number: u8| vec![number; 10_000 + usize::from(number)];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20 {
                        publish(&*backend, Name::Pack(pack(number)), &bytes(number), Taken::Keep);
                    }
                });
            }
        });
        for number in 0..20 {
            assert_eq!(read(&*backend, Name::Pack(pack(number))), bytes(number), "{kind}");
        }
        assert!(walk(&dir.path()).len() <= 20, "{kind}: staged files are left");
    }
}

/// What lies in the directory and is none of ours is passed over, and no link leads out of it.
#[test]
fn strange_files_are_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let local = Local::new(dir.path(), Privacy::Private);
    let name = Name::Pack(pack(1));
    overwrite(&local, name, b"the pack");
    fs::write(dir.path().join("packs/01/notes.txt"), "mine").expect("a file");
    fs::write(dir.path().join(format!("packs/{}", pack(2))), "in the wrong folder").expect("a file");
    fs::create_dir(dir.path().join(format!("packs/01/{}", pack(3)))).expect("a directory");
    fs::write(dir.path().join("secret"), "a secret").expect("a file");
    let link = dir.path().join(format!("packs/01/{}", PackId::from_bytes([1; 32])).replace("0101", "01ff"));
    symlink(dir.path().join("secret"), &link).expect("a link");
    assert_eq!(names(&local, Area::Packs), [name]);

    let linked = Name::Recipe(Oid::from_bytes([5; 32]));
    let path = dir.path().join(linked.to_string());
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    symlink(dir.path().join("secret"), &path).expect("a link");
    assert!(local.read(linked, 0..1).is_err(), "a link was followed");
    assert!(local.len(linked).is_err(), "a link was taken for a file");
}

/// Names of files come from directory listings: only what we write ourselves is one.
#[test]
fn only_what_is_written_is_a_name() {
    for name in all_names() {
        assert_eq!(name.to_string().parse::<Name>().expect("its own text"), name);
    }
    let id = pack(0xab).to_string();
    let upper = id.to_uppercase();
    for bad in [
        "".to_owned(),
        "lock".into(),
        "../config".into(),
        format!("packs/{id}"),
        format!("packs/ac/{id}"),
        format!("packs/ab/{upper}"),
        format!("packs/ab/{id}/"),
        format!("packs/../{id}"),
        format!("trash/07/{id}"),
        format!("trash/-1/{id}"),
        format!("trash/99999999999999999999/{id}"),
        format!("bad/{id}x"),
        format!("trash/7-ab/{id}"),
        format!("trash/07-000000ab/{id}"),
        format!("trash/7-000000AB/{id}"),
        format!("trash/7-000000ab/{id}.recipe.recipe"),
        format!("locks/ab/{id}"),
        "tmp/probe-7".into(),
        "tmp/12-3".into(),
    ] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?} passed");
    }
}

/// `git init --shared=group` lets a group write, whatever the umask of who writes first.
#[test]
fn a_group_may_in_a_shared_store_what_it_may_around_it() {
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").mode() & 0o7777;
    for (around, privacy, expected) in [
        (0o2775, Privacy::Shared, 0o2070),
        (0o755, Privacy::Shared, 0o050),
        (0o1777, Privacy::Shared, 0o050),
        (0o2775, Privacy::Private, 0),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(around)).expect("a mode");
        let root = dir.path().join("store");
        publish(&Local::new(&root, privacy), Name::Pack(pack(1)), b"one", Taken::Keep);
        for made in [root.clone(), root.join("tmp"), root.join("packs"), root.join("packs/01")] {
            let found = mode(&made) & 0o2070;
            // A setgid bit is inherited without us; the umask may take more away than we ask for.
            assert_eq!(found & 0o070, expected & 0o070, "{around:o} {privacy:?} {}", made.display());
            assert!(expected & 0o2000 == 0 || found & 0o2000 != 0, "{}", made.display());
        }
    }
}

/// What a dead process left half-written goes when it is old, and nothing else.
#[test]
fn what_was_left_half_written_is_swept() {
    let dir = tempfile::tempdir().expect("a directory");
    let local = Local::new(dir.path().join("store"), Privacy::Shared);
    publish(&local, Name::Pack(pack(1)), b"one", Taken::Keep);
    let left = dir.path().join("store/tmp/7-0");
    fs::write(&left, b"half").expect("a file");
    assert_eq!(local.sweep(Duration::from_secs(3600)).expect("a sweep"), 0);
    assert!(left.exists());
    assert_eq!(local.sweep(Duration::ZERO).expect("a sweep"), 1);
    assert!(!left.exists() && local.len(Name::Pack(pack(1))).expect("a length") == Some(3));
}

/// A user's own store is nobody else's, whatever the umask; files are read-only, being immutable.
#[test]
fn modes_are_exact() {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let private = Local::new(dir.path().join("private"), Privacy::Private);
    let shared = Local::new(dir.path().join("shared"), Privacy::Shared);
    for backend in [&private, &shared] {
        overwrite(backend, Name::Pack(pack(1)), b"the pack");
    }
    let below = |backend: &Local, name: &str| mode(&backend.root().join(name));
    let file = Name::Pack(pack(1)).to_string();
    for folder in ["", "packs", "packs/01", "tmp"] {
        assert_eq!(below(&private, folder), 0o700, "{folder:?}");
    }
    assert_eq!((below(&private, &file), below(&shared, &file)), (0o400, 0o444));
}

/// A file of another store is taken without a copy, and never in the place of one that is here.
#[test]
fn a_link_is_another_name_for_the_same_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (there, here) = (
        Local::new(dir.path().join("there"), Privacy::Shared),
        Local::new(dir.path().join("here"), Privacy::Private),
    );
    let name = Name::Pack(pack(1));
    overwrite(&there, name, b"theirs");
    let file = there.file(name).expect("a directory's files can be reached");
    assert!(here.link(&file, name).expect("a link"));
    assert_eq!(read(&here, name), b"theirs");
    let linked = fs::metadata(here.file(name).expect("a file")).expect("its metadata");
    assert_eq!(linked.ino(), fs::metadata(&file).expect("its metadata").ino());

    let taken = Name::Pack(pack(2));
    overwrite(&here, taken, b"ours");
    assert!(!here.link(&file, taken).expect("a refusal"));
    assert_eq!(read(&here, taken), b"ours");

    let pointing = dir.path().join("link");
    symlink(&file, &pointing).expect("a symbolic link");
    here.link(&pointing, Name::Pack(pack(3))).expect_err("it could point anywhere");
    let memory = Memory::default();
    assert!(memory.file(name).is_none() && !memory.link(&file, name).expect("a refusal"));
}

/// What a dead process staged goes when it is old, and what a live one stages stays.
#[test]
fn old_staged_files_are_swept() {
    let dir = tempfile::tempdir().expect("a directory");
    let local = Local::new(dir.path(), Privacy::Private);
    let mut staged = local.create().expect("a staged file");
    staged.write_all(b"alive").expect("its bytes");
    let old = dir.path().join("tmp/1-0");
    let file = fs::File::create(&old).expect("a file");
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).expect("a time");
    assert_eq!(local.sweep(std::time::Duration::from_secs(3600)).expect("a sweep"), 1);
    assert!(!old.exists());
    staged.publish(Name::Pack(pack(1)), Taken::Keep).expect("the live one is still there");
}

/// The files below a directory.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
