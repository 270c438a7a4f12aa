//! Whatever call of whatever verb fails, what was acknowledged comes back, and the verb can be run again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use git_sparse::backend::{Area, Backend, Memory, Name};
use git_sparse::fsck::{self, Depth, Problem};
use git_sparse::gc;
use git_sparse::progress::unwatched;
use git_sparse::repack::repack;
use git_sparse::store::Store;
use git_sparse::sync::{self, Remote};

use crate::support::faulty::{Fault, Faulty};
use crate::support::random::Random;
use crate::support::samples::{
    Sample, assert_clean, assert_gives_back, fetch, fresh, give_back, keep, keep_all, names, overwrite, read,
    refetch, samples_of,
};

/// More calls than any verb makes here; a run that needs more never ends.
const MOST_CALLS: u64 = 2000;

/// The disk of this machine and the remote's, and the files that the story is about.
struct Scene {
    here: Memory,
    there: Memory,
    files: Vec<Sample>,
}

/// Files whose verb said that it was done.
type Acknowledged = BTreeSet<usize>;

/// Runs a verb with the backends here and at the remote, and says which files it acknowledged.
type Run = fn(Box<dyn Backend>, Box<dyn Backend>, &[Sample], &mut Acknowledged) -> Result<(), String>;

/// A verb under test.
struct Verb {
    name: &'static str,
    /// Makes what the verb finds.
    setup: fn(&Scene),
    run: Run,
    /// The files that must come back when the verb was run to its end.
    after: &'static [usize],
    /// Whether it is the remote that fails, and that has to hold the files.
    at_the_remote: bool,
}

const INGEST: Verb = Verb {
    name: "ingest",
    setup: |_| (),
    run: |here, _, files, acknowledged| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        for (number, file) in files.iter().enumerate() {
            keep(&store, file).map_err(|error| error.to_string())?;
            acknowledged.insert(number);
        }
        Ok(())
    },
    after: &[0, 1, 2, 3],
    at_the_remote: false,
};

const PUSH: Verb = Verb {
    name: "push",
    setup: |scene| keep_all(&fresh(scene.here.clone()), &scene.files),
    run: |here, there, files, acknowledged| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        let mut remote = Remote::new(there);
        for (number, file) in files.iter().enumerate() {
            sync::push(&store, &mut remote, file.oid, &unwatched).map_err(|error| error.to_string())?;
            acknowledged.insert(number);
        }
        Ok(())
    },
    after: &[0, 1, 2, 3],
    at_the_remote: true,
};

const FETCH: Verb = Verb {
    name: "fetch",
    setup: |scene| keep_all(&fresh(scene.there.clone()), &scene.files),
    run: |here, there, files, acknowledged| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        let mut remote = Remote::new(there);
        // The newest first, so that bases come with what is built on them.
        for (number, file) in files.iter().enumerate().rev() {
            fetch(&store, &mut remote, file.oid)?;
            acknowledged.insert(number);
        }
        Ok(())
    },
    after: &[0, 1, 2, 3],
    at_the_remote: false,
};

const GC: Verb = Verb {
    name: "gc",
    setup: |scene| {
        keep_all(&fresh(scene.here.clone()), &scene.files);
        // Two whole packs die; what the first was the base for keeps its pack alive.
        for dead in [0, 2, 3] {
            scene.here.delete(Name::Recipe(scene.files[dead].oid)).expect("a recipe that goes");
        }
    },
    run: |here, _, _, _| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        let words = |error: git_sparse::store::StoreError| error.to_string();
        for now in [1000, 2000] {
            let plan = gc::plan(&store, now, 0).map_err(words)?;
            gc::carry_out(&store, &plan, now).map_err(words)?;
        }
        Ok(())
    },
    after: &[1],
    at_the_remote: false,
};

const GC_REMOTE: Verb = Verb {
    name: "gc of a remote",
    setup: |scene| {
        keep_all(&fresh(scene.there.clone()), &scene.files);
        // One pack lies in the trash already, and another goes there.
        let dies = |dead: usize| scene.there.delete(Name::Recipe(scene.files[dead].oid));
        dies(3).expect("a recipe that goes");
        collect(&scene.there, 1).expect("a gc");
        [0, 2].map(dies).into_iter().for_each(|died| died.expect("a recipe that goes"));
    },
    run: |_, there, _, _| collect(&*there, 2),
    after: &[1],
    at_the_remote: true,
};

/// One gc of a remote.
fn collect(there: &dyn Backend, id: u32) -> Result<(), String> {
    let rules = gc::remote::Rules { grace: 0, reached: None, forget: None };
    let plan = gc::remote::plan(there, rules, &unwatched).map_err(|error| error.to_string())?;
    gc::remote::carry_out(there, &plan, rules, id, &unwatched).map_err(|error| error.to_string())
}

const REPACK: Verb = Verb {
    name: "repack",
    setup: |scene| keep_all(&fresh(scene.here.clone()), &scene.files),
    run: |here, _, _, _| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        repack(&store, 1000, &unwatched).map(drop).map_err(|error| error.to_string())
    },
    after: &[0, 1, 2, 3],
    at_the_remote: false,
};

const REPAIR: Verb = Verb {
    name: "fsck repair",
    setup: |scene| {
        keep_all(&fresh(scene.here.clone()), &scene.files);
        keep_all(&fresh(scene.there.clone()), &scene.files);
        let packs = names(&scene.here, Area::Packs);
        // A payload of one pack and the trailer of another.
        for (pack, from_end) in [(packs[0], None), (packs[1], Some(3))] {
            let mut bytes = read(&scene.here, pack);
            let at = from_end.map_or(12, |from_end| bytes.len() - from_end);
            bytes[at] ^= 1;
            overwrite(&scene.here, pack, &bytes);
        }
    },
    run: |here, there, _, _| {
        let store = Store::over(here, git_sparse::index::Index::in_memory());
        let mut remote = Remote::new(there);
        let words = |error: git_sparse::store::StoreError| error.to_string();
        let found = fsck::check(&store, Depth::Full, &unwatched).map_err(words)?;
        let left =
            fsck::repair(&store, &found, Some(&mut |oid| refetch(&store, &mut remote, oid)), &unwatched)
                .map_err(words)?;
        match left.problems[..] {
            [] => Ok(()),
            _ => Err(format!("left: {:?}", left.problems)),
        }
    },
    after: &[0, 1, 2, 3],
    at_the_remote: false,
};

const VERBS: [Verb; 7] = [INGEST, PUSH, FETCH, GC, GC_REMOTE, REPACK, REPAIR];

impl Scene {
    fn new(verb: &Verb, seed: u64) -> Scene {
        let scene = Scene { here: Memory::default(), there: Memory::default(), files: samples_of(seed) };
        (verb.setup)(&scene);
        scene
    }

    /// The disk that the verb changes.
    fn disk(&self, verb: &Verb) -> &Memory {
        if verb.at_the_remote { &self.there } else { &self.here }
    }

    /// The files that come back now.
    fn held(&self, verb: &Verb) -> Acknowledged {
        let store = fresh(self.disk(verb).clone());
        (0..self.files.len()).filter(|number| give_back(&store, self.files[*number].oid).is_ok()).collect()
    }

    /// Runs the verb with a fault at call `at`; whether the fault was reached, and what was acknowledged.
    fn run(&self, verb: &Verb, fault: Fault, at: u64) -> (bool, Acknowledged, Result<(), String>) {
        let faulty = Faulty::new(self.disk(verb).clone(), fault, at);
        let (broken, whole) = (
            Box::new(faulty.clone()),
            Box::new(if verb.at_the_remote { &self.here } else { &self.there }.clone()),
        );
        let (here, there): (Box<dyn Backend>, Box<dyn Backend>) =
            if verb.at_the_remote { (whole, broken) } else { (broken, whole) };
        let mut acknowledged = Acknowledged::new();
        let outcome = (verb.run)(here, there, &self.files, &mut acknowledged);
        (faulty.was_reached(), acknowledged, outcome)
    }

    /// Checks after a restart: all that was promised comes back, and all that is visible is whole.
    #[track_caller]
    fn assert_keeps(&self, verb: &Verb, promised: &Acknowledged, fault: Fault, when: &str) {
        let store = fresh(self.disk(verb).clone());
        for number in promised {
            let file = std::slice::from_ref(&self.files[*number]);
            assert_gives_back(&store, file, when);
        }
        if fault == Fault::Torn || verb.name == REPAIR.name {
            return;
        }
        let report =
            fsck::check(&store, Depth::Full, &unwatched).unwrap_or_else(|error| panic!("{when}: {error}"));
        let bad: Vec<&Problem> =
            report.problems.iter().filter(|problem| !matches!(problem, Problem::Index { .. })).collect();
        assert!(bad.is_empty(), "{when}: half of something is visible: {bad:?}");
    }

    /// gc and repack take nothing from a store that is not whole: fsck comes first.
    #[track_caller]
    fn mend(&self, verb: &Verb, when: &str) {
        let store = fresh(self.disk(verb).clone());
        let found =
            fsck::check(&store, Depth::Full, &unwatched).unwrap_or_else(|error| panic!("{when}: {error}"));
        fsck::repair(&store, &found, None, &unwatched).unwrap_or_else(|error| panic!("{when}: {error}"));
    }

    /// Checks that the verb, run again without a fault, completes what it was for.
    #[track_caller]
    fn assert_completes(&self, verb: &Verb, when: &str) {
        let (_, _, outcome) = self.run(verb, Fault::Stop, u64::MAX);
        outcome.unwrap_or_else(|error| panic!("{when}: it does not complete when run again: {error}"));
        let store = fresh(self.disk(verb).clone());
        for number in verb.after {
            assert_gives_back(&store, std::slice::from_ref(&self.files[*number]), when);
        }
        assert_clean(&store, when);
    }
}

/// Runs a verb with the fault at each of its calls, restarts, and runs it again.
fn at_every_call(verb: &Verb, fault: Fault, seed: u64) {
    for at in 0..MOST_CALLS {
        let when = format!("{} with seed {seed}, {fault:?} at call {at}", verb.name);
        let scene = Scene::new(verb, seed);
        let mut promised = scene.held(verb);
        let (reached, acknowledged, outcome) = scene.run(verb, fault, at);
        promised.extend(acknowledged);
        if !reached {
            outcome.unwrap_or_else(|error| panic!("{when}: no fault, and yet: {error}"));
            assert!(at > 3, "{}: only {at} calls: is the fault anywhere?", verb.name);
            return;
        }
        scene.assert_keeps(verb, &promised, fault, &when);
        if fault == Fault::Torn && [GC.name, REPACK.name].contains(&verb.name) {
            scene.mend(verb, &when);
        }
        scene.assert_completes(verb, &when);
    }
    panic!("{}: still not done after {MOST_CALLS} calls", verb.name);
}

/// The process is killed before a call: nothing that was acknowledged is lost, nothing is half there.
#[test]
fn a_stop_before_any_call_loses_nothing() {
    for verb in &VERBS {
        (1..4).for_each(|seed| at_every_call(verb, Fault::Stop, seed));
    }
}

/// The process is killed right after a call: what it did and told nobody is whole or harmless.
#[test]
fn a_stop_after_any_call_loses_nothing() {
    for verb in &VERBS {
        (1..4).for_each(|seed| at_every_call(verb, Fault::StopAfter, seed));
    }
}

/// A disk that keeps half of a file under its name: the next run replaces it.
#[test]
fn a_torn_file_is_replaced_by_the_next_run() {
    for verb in &VERBS {
        at_every_call(verb, Fault::Torn, 1);
    }
}

/// A full disk fails a verb and nothing else: what was there stays, and with room it goes on.
#[test]
fn a_full_disk_at_any_call_is_harmless() {
    for verb in &VERBS {
        at_every_call(verb, Fault::Full, 1);
    }
}

/// One failed read or write, wherever it is, is never taken for missing or damaged data for good.
#[test]
fn one_failed_call_is_harmless_wherever_it_is() {
    for verb in &VERBS {
        at_every_call(verb, Fault::Broken, 1);
    }
}

/// New packs are as large as the store: a repack that gives up before all is proven leaves none of them.
#[test]
fn a_repack_that_gives_up_leaves_no_packs() {
    let repacked = |at: u64| {
        let scene = Scene::new(&REPACK, 1);
        let before = names(&scene.here, Area::Packs);
        let faulty = Faulty::new(scene.here.clone(), Fault::Broken, at);
        let store = Store::over(Box::new(faulty.clone()), git_sparse::index::Index::in_memory());
        let steps = AtomicU64::new(0);
        let outcome = repack(&store, 1000, &|_| {
            steps.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let is_as_before = before == names(&scene.here, Area::Packs);
        (faulty.was_reached(), outcome.is_err(), steps.into_inner(), is_as_before)
    };
    let (_, _, all, _) = repacked(u64::MAX);
    let runs = (0..MOST_CALLS).map(repacked).take_while(|(reached, ..)| *reached);
    let early = runs.filter(|(_, failed, steps, _)| *failed && *steps < all);
    let kept: Vec<bool> = early.map(|(.., is_as_before)| is_as_before).collect();
    assert!(kept.len() > 10 && kept.iter().all(|kept| *kept), "{kept:?}");
}

/// A failed fsync or rename is told to the caller, and never turned into success.
#[test]
fn a_failed_write_is_never_acknowledged() {
    for verb in [&INGEST, &PUSH, &FETCH] {
        for at in 0..MOST_CALLS {
            let scene = Scene::new(verb, 1);
            let (reached, acknowledged, outcome) = scene.run(verb, Fault::Stop, at);
            if !reached {
                break;
            }
            assert!(outcome.is_err(), "{} at call {at}: success, though the disk failed", verb.name);
            assert!(acknowledged.len() < scene.files.len(), "{} at call {at}: all acknowledged", verb.name);
        }
    }
}

/// A crash while the next run cleans up after a crash: the state that redb got wrong.
#[test]
fn a_crash_during_recovery_loses_nothing() {
    let mut random = Random::printed("a_crash_during_recovery_loses_nothing");
    for verb in &VERBS {
        for first in 0..MOST_CALLS {
            let second = random.below(40) as u64;
            let fault = [Fault::Stop, Fault::StopAfter][random.below(2)];
            let when = format!("{}, Stop at call {first}, then {fault:?} at call {second}", verb.name);
            let scene = Scene::new(verb, 1 + random.below(1000) as u64);
            let mut promised = scene.held(verb);
            let (reached, acknowledged, _) = scene.run(verb, Fault::Stop, first);
            promised.extend(acknowledged);
            let (_, acknowledged, _) = scene.run(verb, fault, second);
            promised.extend(acknowledged);
            scene.assert_keeps(verb, &promised, fault, &when);
            scene.assert_completes(verb, &when);
            if !reached {
                break;
            }
        }
    }
}
