//! Pushes, fetches and gcs at one remote, in thousands of orders: nobody loses a file that was acknowledged, and
//! what nobody needs is gone when all is quiet.

mod commands;

mod faults;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use git_sparse::backend::{Area, Backend, Memory, Name, Run};
use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{Dtype, Format};
use git_sparse::gc::remote::{self, Rules};
use git_sparse::id::{ObjectId, Oid};
use git_sparse::pack::PackWriter;
use git_sparse::progress::unwatched;
use git_sparse::recipe::{Part, Recipe};
use git_sparse::store::{self, Store, StoreError, record_for};
use git_sparse::sync::{self, Remote, SyncError};

use crate::support::random::Random;
use crate::support::samples::fresh;
use crate::support::turns::{Disk, Part as Play, Seat, play};

/// What every file of the template is younger than by far.
const NOW: u64 = 10_000_000;
/// Files that nobody reaches are forgotten from this age on, in seconds: no push here takes as long.
const FORGET: u64 = 500_000;
const ORDERS: u64 = 4_000;

/// Objects: name, the base that it is a patch of, depth.
type Made = (&'static str, Option<&'static str>, u8);

/// What the pushers have at home.
const HOME: [Made; 8] = [
    ("base", None, 0),
    ("same", None, 0),
    ("tuned", Some("base"), 1),
    ("more", Some("tuned"), 2),
    ("own", None, 0),
    ("old", None, 0),
    ("kept", None, 0),
    ("other", None, 0),
];

/// Packs of the remote. Of most objects in them no file there knows, but pushers will find and use them.
const THERE: [&[Made]; 6] = [
    &[("base", None, 0), ("same", None, 0)],
    // Worth a new pack: little of it is needed.
    &[("kept", None, 0), ("large", None, 0), ("tuned", Some("base"), 1)],
    &[("old", None, 0), ("kept", None, 0)],
    // A second copy of a base, too deep for what lies on the first.
    &[("deep", Some("same"), 1), ("base", Some("deep"), 2)],
    &[("gone", None, 0)],
    &[("same", None, 0)],
];

/// Files and their objects.
const FILES: [(&str, &[&str]); 7] = [
    ("kept file", &["kept"]),
    ("deep file", &["deep"]),
    ("old file", &["old", "kept"]),
    ("gone file", &["gone"]),
    ("tuned file", &["tuned", "same"]),
    ("more file", &["more", "own", "same"]),
    ("other file", &["other", "base"]),
];

/// A step that is left out, to see that it is needed.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// The push's look at the packs after its recipe is there.
    SecondLook,
    /// The push's new publication of a recipe that is old.
    Freshening,
    /// The gc's look at the recipes after it took packs away.
    Restoring,
}

/// What an object holds: noise that does not compress, and differs from that of others in a few bytes.
fn bytes(name: &str) -> Vec<u8> {
    let len = if name == "large" { 30_000 } else { 3000 };
    let mut random = Random::seeded(1);
    let mut bytes: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
    let at = name.bytes().map(usize::from).sum::<usize>() % 3000;
    bytes[at] ^= name.len() as u8;
    bytes
}

fn object(name: &str) -> ObjectId {
    ObjectId::of(&bytes(name))
}

fn write_pack(backend: &dyn Backend, made: &[Made]) {
    let mut writer = PackWriter::new(backend).expect("a pack");
    for (name, base, depth) in made {
        let own = bytes(name);
        let below = base.map(bytes);
        let with = below.as_ref().map(|bytes| Base { bytes, dtype: Dtype::Bytes });
        let encoded = codec::encode(&own, Dtype::Bytes, 0, with.as_slice(), Effort::Push);
        assert_eq!(encoded.codec == Codec::Copies, base.is_some(), "{name} is no patch, or should be none");
        let base = base.map(|base| (object(base).into(), depth - 1));
        let record = record_for(object(name), base, encoded.codec, own.len() as u32);
        writer.add(record, &encoded.payload).expect("an object");
    }
    writer.finish().expect("a pack that is finished");
}

fn oid(name: &str) -> Oid {
    Oid::of(name.as_bytes())
}

fn publish(backend: &dyn Backend, name: &str) {
    let (_, objects) = FILES.iter().find(|(file, _)| *file == name).expect("a file");
    let part =
        |name: &&str| Part { object: object(name), len: bytes(name).len() as u32, tensor: None, slice: 0 };
    let parts: Vec<_> = objects.iter().map(part).collect();
    let recipe = Recipe {
        oid: oid(name),
        size: parts.iter().map(|part| u64::from(part.len)).sum(),
        format: Format::Chunked,
        base: None,
        origin: Vec::new(),
        layout: None,
        sketch: Vec::new(),
        tensors: Vec::new(),
        parts,
    };
    store::write_recipe(backend, &recipe.prove(oid(name)).expect("its own oid")).expect("a recipe");
}

/// The remote before anybody moves, and the pushers' store.
struct Scene {
    template: Disk,
    home: Store,
}

impl Scene {
    fn new() -> Scene {
        let disk = Arc::new(Disk::new(1));
        let seat = Seat::alone(&disk);
        store::check_config(&seat).expect("a config");
        THERE.iter().for_each(|made| write_pack(&seat, made));
        ["kept file", "deep file", "old file", "gone file"].iter().for_each(|name| publish(&seat, name));
        let home = Memory::default();
        write_pack(&home, &HOME);
        ["old file", "tuned file", "more file", "other file"].iter().for_each(|name| publish(&home, name));
        Scene { template: disk.copy(NOW), home: fresh(home) }
    }

    /// One order, and what is wrong after it.
    fn run(&self, seed: u64, without: Without) -> Result<(), String> {
        let disk = Arc::new(self.template.copy(NOW));
        let refs = Mutex::new(BTreeSet::from([oid("kept file"), oid("deep file")]));
        let wrong = Mutex::new(Vec::new());
        let mut random = Random::seeded(seed);
        let push = |names: &'static [&'static str]| -> Play<'_> {
            let (refs, wrong) = (&refs, &wrong);
            Box::new(move |seat: Seat| {
                let mut remote = Remote::new(Box::new(seat.clone()));
                for name in names {
                    match self.push(&mut remote, oid(name), without) {
                        // git pushes the refs after git-lfs the files.
                        Ok(()) if seat.step().is_ok() => {
                            refs.lock().expect("no panic").insert(oid(name));
                        }
                        Ok(()) => {}
                        Err(_) if seat.was_killed() => return,
                        Err(error) => {
                            wrong.lock().expect("no panic").push(format!("push of {name}: {error}"))
                        }
                    }
                }
            })
        };
        let gc = |id: u32, forgets: bool| -> Play<'_> {
            let (refs, wrong) = (&refs, &wrong);
            Box::new(move |seat: Seat| {
                // Twice, since the second deletes what the first took away.
                for round in 0..2 {
                    let reached = forgets.then(|| refs.lock().expect("no panic").clone());
                    match collect(&seat, 10 * id + round, reached, without) {
                        // A push that is under way lacks something and will see it: not for this gc to mend.
                        Ok(()) | Err(SyncError::Hole { .. }) => {}
                        Err(SyncError::There { error, .. }) if matches!(*error, StoreError::Missing(_)) => {}
                        Err(_) if seat.was_killed() => return,
                        Err(error) => wrong.lock().expect("no panic").push(format!("gc: {error}")),
                    }
                }
            })
        };
        let fetch: Play<'_> = Box::new(|seat: Seat| {
            let (here, mut remote) = (fresh(Memory::default()), Remote::new(Box::new(seat.clone())));
            for name in ["kept file", "deep file"] {
                if let Err(error) = sync::fetch(&here, &mut remote, oid(name), &unwatched)
                    && !seat.was_killed()
                {
                    wrong.lock().expect("no panic").push(format!("fetch of {name}: {error}"));
                }
            }
        });
        // One of the first four is killed in every second order.
        let killed = [random.below(8), random.below(300)];
        let life = |actor: usize| (actor == killed[0]).then_some(killed[1] as u64);
        let parts = vec![
            (push(&["tuned file", "old file", "other file"]), life(0)),
            (push(&["old file", "more file"]), life(1)),
            (gc(1, false), life(2)),
            (gc(2, true), life(3)),
            (fetch, None),
        ];
        play(&disk, random, parts);
        let wrong = wrong.into_inner().expect("no panic");
        let refs = refs.into_inner().expect("no panic");
        match wrong.first() {
            Some(wrong) => Err(wrong.clone()),
            None => check_after(&disk, &refs),
        }
    }

    fn push(&self, remote: &mut Remote, oid: Oid, without: Without) -> Result<(), SyncError> {
        let push = |remote: &mut Remote| sync::push(&self.home, remote, oid, &unwatched).map(drop);
        match without {
            Without::SecondLook if !sync::has_all(remote, &[oid])?[0] => loop {
                match sync::send(&self.home, remote, oid, &unwatched) {
                    // What it had just written went before it could be read back.
                    Err(SyncError::There { error, .. }) if matches!(&*error, StoreError::Pack(error) if error.is_missing()) =>
                        {}
                    sent => return sent.map(drop),
                }
            },
            Without::Freshening if sync::has_all(remote, &[oid])?[0] => Ok(()),
            _ => push(remote),
        }
    }
}

fn collect(seat: &Seat, id: u32, reached: Option<BTreeSet<Oid>>, without: Without) -> Result<(), SyncError> {
    let is_reached = |oid: &Oid| reached.as_ref().is_some_and(|reached| reached.contains(oid));
    let forgets = reached.is_some();
    let rules = Rules {
        grace: 0,
        reached: if forgets { Some(&is_reached) } else { None },
        forget: forgets.then_some(FORGET),
    };
    let plan = remote::plan(seat, rules, &unwatched)?;
    match without {
        Without::Restoring => {
            let run = Run { epoch: plan.now, id };
            remote::take_away(seat, &plan, rules, run, &unwatched)?;
            remote::purge(seat, &plan)
        }
        _ => remote::carry_out(seat, &plan, rules, id, &unwatched),
    }
}

/// What a reader finds when all are done, and what a last gc leaves.
fn check_after(disk: &Arc<Disk>, refs: &BTreeSet<Oid>) -> Result<(), String> {
    let all_come = |when: &str| {
        let (here, mut there) = (fresh(Memory::default()), Remote::new(Box::new(Seat::alone(disk))));
        refs.iter().try_for_each(|oid| {
            let fetched = sync::fetch(&here, &mut there, *oid, &unwatched).map(drop);
            let name = FILES.iter().find(|(name, _)| self::oid(name) == *oid).expect("a file").0;
            fetched.map_err(|error| format!("{when}: {name} is lost: {error}"))
        })
    };
    all_come("when all are done")?;
    let seat = Seat::alone(disk);
    disk.pass(2 * FORGET);
    for id in 100..103 {
        collect(&seat, id, Some(refs.clone()), Without::Nothing)
            .map_err(|error| format!("last gc: {error}"))?;
        disk.pass(10);
    }
    all_come("after a last gc")?;
    let (trash, recipes) = (seat.list(Area::Trash), seat.list(Area::Recipes));
    let recipes: BTreeSet<_> = recipes.expect("a list").into_iter().collect();
    let expected: BTreeSet<_> = refs.iter().map(|oid| Name::Recipe(*oid)).collect();
    match trash.expect("a list")[..] {
        [] if recipes == expected => {}
        ref left => return Err(format!("left: {left:?} in the trash, {recipes:?}, expected {expected:?}")),
    }
    let is_reached = |oid: &Oid| refs.contains(oid);
    let rules = Rules { grace: 0, reached: Some(&is_reached), forget: Some(FORGET) };
    let plan =
        remote::plan(&seat, rules, &unwatched).map_err(|error| format!("a look at the end: {error}"))?;
    match plan.is_idle() && plan.young.is_empty() {
        true => Ok(()),
        false => Err(format!("something was left: {plan:?}")),
    }
}

/// The first order of these that goes wrong.
fn first_wrong(scene: &Scene, seeds: std::ops::Range<u64>, without: Without) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| Some((seed, scene.run(seed, without).err()?)))
}

#[track_caller]
fn all_orders(seeds: u64) {
    let scene = Scene::new();
    let lanes = std::thread::available_parallelism().map_or(1, |lanes| lanes.get().min(4) as u64);
    let first = Random::printed("all_orders").number() >> 1;
    std::thread::scope(|scope| {
        let (scene, each) = (&scene, seeds / lanes + 1);
        let lane = |lane: u64| {
            move || first_wrong(scene, first + lane * each..first + (lane + 1) * each, Without::Nothing)
        };
        let lanes: Vec<_> = (0..lanes).map(|number| scope.spawn(lane(number))).collect();
        for lane in lanes {
            if let Some((seed, wrong)) = lane.join().expect("no panic") {
                panic!("order {seed}: {wrong}");
            }
        }
    });
}

/// No order of calls of two pushers, two gcs and a reader, one of whom may be killed, loses a file.
#[test]
fn no_order_of_pushes_and_gcs_loses_a_file() {
    all_orders(ORDERS);
}

/// The same for a night.
#[test]
#[ignore = "minutes; cargo xtask test --long"]
fn no_order_of_many_more_loses_a_file() {
    all_orders(20 * ORDERS);
}

/// Each step of the protocol is there for a reason: without it, some order loses a file. So the test above
/// can fail.
#[test]
fn without_any_of_its_steps_a_file_is_lost() {
    let scene = Scene::new();
    let mut needless = Vec::new();
    for (without, what) in [
        (Without::SecondLook, "the second look"),
        (Without::Freshening, "freshening"),
        (Without::Restoring, "restoring"),
    ] {
        match first_wrong(&scene, 0..ORDERS, without) {
            Some((seed, wrong)) => eprintln!("without {what}, order {seed}: {wrong}"),
            None => needless.push(what),
        }
    }
    assert!(needless.is_empty(), "nothing is lost without {}", needless.join(", nor without "));
}
