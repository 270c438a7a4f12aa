//! A gc of a remote that dies, or whose disk fails, at any of its calls, around a push.

use git_sparse::backend::{Area, Backend, Memory, Name};
use git_sparse::gc::remote::{self, Plan, Rules};
use git_sparse::id::PackId;
use git_sparse::progress::unwatched;
use git_sparse::sync::{self, Remote};

use crate::support::faulty::{Fault, Faulty};
use crate::support::samples::{
    Sample, assert_clean, assert_gives_back, fetch, fresh, keep_all, names, overwrite, read, samples,
};

const RULES: Rules<'static> = Rules { grace: 0, reached: None, forget: None };

/// When the push comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Push {
    /// Between the plan and the deed: its recipe needs what the plan takes away.
    Between,
    /// After the gc died.
    After,
}

/// A remote with all files, of which the recipes of three went: their packs are dead, and what the third file was
/// stored with lives in one of them.
fn remote_of(files: &[Sample]) -> Memory {
    let there = Memory::default();
    keep_all(&fresh(there.clone()), files);
    for dead in [0, 2, 3] {
        there.delete(Name::Recipe(files[dead].oid)).expect("a recipe that goes");
    }
    there
}

fn plan(there: &Memory) -> Plan {
    remote::plan(there, RULES, &unwatched).expect("a plan")
}

/// Whatever call of a gc fails, before or after it took effect: what a push needs is there for a fetch at once, and in
/// its place after the next gc.
#[test]
fn a_gc_that_dies_at_any_call_takes_nothing_that_a_push_needs() {
    let files = samples();
    for fault in [Fault::Stop, Fault::StopAfter, Fault::Full, Fault::Broken, Fault::Torn] {
        for push in [Push::Between, Push::After] {
            for at in 0.. {
                let when = format!("{fault:?} at call {at}, push {push:?}");
                let there = remote_of(&files);
                let home = Memory::default();
                keep_all(&fresh(home.clone()), &files);
                let send = || {
                    let mut remote = Remote::new(Box::new(there.clone()));
                    let sent = sync::push(&fresh(home.clone()), &mut remote, files[2].oid, &unwatched);
                    sent.unwrap_or_else(|error| panic!("{when}: {error}"));
                };
                let plan = plan(&there);
                assert!(!plan.is_idle(), "there is nothing to take away");
                if push != Push::After {
                    send();
                }
                let faulty = Faulty::new(there.clone(), fault, at);
                let done = remote::carry_out(&faulty, &plan, RULES, at as u32, &unwatched);
                if push == Push::After {
                    send();
                }
                // What a reader gets before anybody mends anything.
                let here = fresh(Memory::default());
                let mut remote = Remote::new(Box::new(there.clone()));
                for file in [1, 2] {
                    let bytes = fetch(&here, &mut remote, files[file].oid);
                    assert!(bytes.as_ref() == Ok(&files[file].bytes), "{when}: {bytes:?}");
                }
                for id in 0..2 {
                    let again = self::plan(&there);
                    let done = remote::carry_out(&there, &again, RULES, 1000 + id, &unwatched);
                    done.unwrap_or_else(|error| panic!("{when}: the next gc: {error}"));
                }
                let left = fresh(there.clone());
                assert_gives_back(&left, &files[1..3], &when);
                assert_clean(&left, &when);
                assert_eq!(names(&there, Area::Trash), [], "{when}");
                if !faulty.was_reached() {
                    done.unwrap_or_else(|error| panic!("{when}: no fault, and yet: {error}"));
                    assert!(at > 1, "{when}: is the fault anywhere?");
                    break;
                }
            }
        }
    }
}

/// A damaged pack that a file needs is a reason to refuse. One that nothing needs goes: a remote that was mended by
/// pushing again would be refused for ever.
#[test]
fn a_damaged_pack_that_is_not_needed_goes() {
    let files = samples();
    let there = Memory::default();
    keep_all(&fresh(there.clone()), &files[..1]);
    let before = names(&there, Area::Packs);
    let [pack] = before[..] else { panic!("expected one pack, found {before:?}") };
    let bytes = read(&there, pack);
    overwrite(&there, pack, &bytes[..bytes.len() - 1]);
    remote::plan(&there, RULES, &unwatched).expect_err("a file that is not whole");

    overwrite(&there, pack, &bytes);

    let damaged = PackId::from_bytes([7; 32]);
    overwrite(&there, Name::Pack(damaged), b"no pack at all, and longer than a footer");
    let plan = plan(&there);
    assert_eq!(plan.drop, [damaged]);
    remote::carry_out(&there, &plan, RULES, 1, &unwatched).expect("a gc");
    assert_gives_back(&fresh(there.clone()), &files[..1], "after the damaged pack went");
    assert_clean(&fresh(there), "after the damaged pack went");
}
