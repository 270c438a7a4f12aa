//! Takes away from a store elsewhere what no file needs, while others may push to it at any time.
//!
//! There is no lock. Whatever goes is moved to the trash first; then recipes are read again, and what one of
//! them needs is put back. A push publishes its recipe first and looks at the packs then, so of a push and a gc
//! one always sees what the other did. docs/architecture.md, "Collecting a remote", has the proof.
//! Nothing here knows git: the caller says which files are reached.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::WORTH_KEEPING;
use super::packs::{Lack, Packs, each};
use crate::backend::{self, Area, Backend, Name, Run, STALE};
use crate::id::{ObjectId, Oid, PackId};
use crate::pack::{self, PackWriter, Record};
use crate::progress::{Cancelled, Progress, unwatched};
use crate::store::{self, StoreError};
use crate::sync::SyncError;

/// Packs that are younger may belong to a push that has yet to publish its recipe. To take them away loses
/// nothing, but they would be sent again.
const IN_FLIGHT: Duration = Duration::from_secs(86_400);
/// How often a gc looks again when another one moves packs while it looks.
const ROUNDS: usize = 4;

/// What may go.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Seconds that what goes stays in the trash.
    pub grace: u64,
    /// Tells the files that somebody can still ask for; none when nobody knows, and then none is forgotten.
    pub reached: Option<&'a (dyn Fn(&Oid) -> bool + Sync)>,
    /// Whether files that are not reached are forgotten, and from which age on, in seconds.
    pub forget: Option<u64>,
}

/// What gc will do at a remote, or did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The time there, in seconds since 1970.
    pub now: u64,
    /// Files that nobody reaches any more.
    pub forget: Vec<Oid>,
    /// Files that nobody reaches and that stay, and the payload bytes that only they need.
    pub unreached: Vec<Oid>,
    pub unreached_bytes: u64,
    /// Packs without an object that a file needs.
    pub drop: Vec<PackId>,
    /// Packs whose needed objects move to a new pack.
    pub rewrite: Vec<PackId>,
    /// Packs without a needed object that stay, since a push may be about to need them.
    pub young: Vec<PackId>,
    /// What lies in the trash and is needed: it goes back.
    pub revive: Vec<Name>,
    /// What lay in the trash for its grace time: it leaves for good.
    pub purge: Vec<Name>,
    /// Payload bytes that go to the trash.
    pub freed: u64,
    /// Bytes that leave the remote now.
    pub purged: u64,
    /// Files that stay.
    pub files: u64,
    pub live_objects: u64,
    pub live_bytes: u64,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        let packs = [&self.drop, &self.rewrite].iter().all(|packs| packs.is_empty());
        let names = [&self.revive, &self.purge].iter().all(|names| names.is_empty());
        packs && names && self.forget.is_empty()
    }
}

/// A remote, and whom to ask whether to go on.
struct There<'a> {
    backend: &'a dyn Backend,
    progress: &'a Progress<'a>,
}

/// Decides what can go. Refuses when a file there is not whole: what a repair needs could go.
pub fn plan(backend: &dyn Backend, rules: Rules<'_>, progress: &Progress<'_>) -> Result<Plan, SyncError> {
    let there = There { backend, progress };
    let now = backend::clock(backend).map_err(|error| there.failed(error))?;
    for _ in 1..ROUNDS {
        match there.plan(rules, now) {
            // Another gc may have moved a pack from where we had not looked yet to where we had.
            Err(error) if is_hole(&error) => continue,
            done => return done,
        }
    }
    there.plan(rules, now)
}

/// Does what `plan` says, and nothing that became wrong since. `id` is drawn at random for each gc.
pub fn carry_out(
    backend: &dyn Backend,
    plan: &Plan,
    rules: Rules<'_>,
    id: u32,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    // What a dead process left half-written is in nobody's way; a failure to sweep is no reason to stop.
    let _ = backend.sweep(STALE);
    if plan.is_idle() {
        return Ok(());
    }
    let run = Run { epoch: plan.now, id };
    for name in &plan.revive {
        There { backend, progress }.put_back(*name)?;
    }
    let taken = take_away(backend, plan, rules, run, progress);
    // Also after an error, and if nobody waits for it any more: what was taken away until then may be needed.
    let whole = restore(backend, &unwatched);
    taken.and(whole)?;
    purge(backend, plan)
}

/// Moves what the plan names to the trash. Only a part of a gc: `restore` has to follow.
pub fn take_away(
    backend: &dyn Backend,
    plan: &Plan,
    rules: Rules<'_>,
    run: Run,
    progress: &Progress<'_>,
) -> Result<(), SyncError> {
    let there = There { backend, progress };
    let written = there.rewrite(&plan.rewrite)?;
    for oid in &plan.forget {
        there.forget(*oid, rules, plan.now, run)?;
    }
    // A gc that was cut short may have left the very pack that was just written again.
    for pack in plan.drop.iter().chain(&plan.rewrite).filter(|pack| !written.contains(*pack)) {
        there.go_on()?;
        there.rename(Name::Pack(*pack), Name::Removed(run, *pack))?;
    }
    Ok(())
}

/// Puts back from the trash what a file needs, until every file is whole.
pub fn restore(backend: &dyn Backend, progress: &Progress<'_>) -> Result<(), SyncError> {
    let there = There { backend, progress };
    let mut failed = 0;
    loop {
        let roots = there.roots(&there.oids()?)?;
        let mut packs = there.packs()?;
        if packs.live(&roots).is_ok() {
            return Ok(());
        }
        match there.needed(&mut packs, &roots, &there.trash()?) {
            (names, None) => names.into_iter().try_for_each(|name| there.put_back(name))?,
            (_, Some(lack)) if failed == ROUNDS => return Err(there.hole(&lack)),
            _ => failed += 1,
        }
    }
}

/// Deletes for good what the plan names. Only after `restore` found every file whole without the trash.
pub fn purge(backend: &dyn Backend, plan: &Plan) -> Result<(), SyncError> {
    let delete = |name: &Name| backend.delete(*name);
    plan.purge.iter().try_for_each(delete).map_err(|error| there_error(backend, error))
}

impl There<'_> {
    fn plan(&self, rules: Rules<'_>, now: SystemTime) -> Result<Plan, SyncError> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut plan = Plan { now: seconds, ..Plan::default() };
        // Recipes before packs: what a recipe needs was there before it.
        let reached = self.sort_out(rules, now, &mut plan)?;
        let mut packs = self.packs()?;
        let trash = self.trash()?;
        let of_reached = self.roots(&reached)?;
        let mut roots = of_reached.clone();
        roots.extend(self.roots(&plan.unreached)?);
        let known: HashSet<PackId> = packs.ids().collect();
        match self.needed(&mut packs, &roots, &trash) {
            (names, None) => plan.revive.extend(names),
            (_, Some(lack)) => return Err(self.hole(&lack)),
        }
        let staying = self.sort_forgotten(rules, now, &trash, &mut packs, &mut roots, &mut plan)?;
        plan.files = (reached.len() + plan.unreached.len()) as u64;
        let live = packs.live(&roots).map_err(|lack| self.hole(&lack))?;
        self.sort_packs(&packs, &known, &live, rules, now, &mut plan)?;
        let of_reached = packs.live(&of_reached).map_err(|lack| self.hole(&lack))?;
        plan.unreached_bytes = packs.bytes(live.keys()) - packs.bytes(of_reached.keys());
        // What a forgotten file needs lies in the trash as long as the file itself.
        let (with_it, _) = self.needed(&mut packs, &staying, &trash);
        let stays: HashSet<&Name> = plan.revive.iter().chain(&with_it).collect();
        let expired = |name: &Name| epoch(name).saturating_add(rules.grace) <= seconds;
        let purge = trash.iter().filter(|name| name.pack_in_trash().is_some() && expired(name));
        plan.purge.extend(purge.filter(|name| !stays.contains(name)));
        for name in &plan.purge {
            plan.purged += self.backend.len(*name).map_err(|error| self.failed(error))?.unwrap_or(0);
        }
        Ok(plan)
    }

    /// The files that are reached; of the others, which go and which stay.
    fn sort_out(&self, rules: Rules<'_>, now: SystemTime, plan: &mut Plan) -> Result<Vec<Oid>, SyncError> {
        let mut found = Vec::new();
        for oid in self.oids()? {
            if rules.reached.is_none_or(|reached| reached(&oid)) {
                found.push(oid);
            } else if self.is_forgettable(Name::Recipe(oid), rules.forget, now)? {
                plan.forget.push(oid);
            } else {
                plan.unreached.push(oid);
            }
        }
        Ok(found)
    }

    /// Looks at the files that were forgotten: which come back, added to the roots, and which leave. Gives what
    /// the others need.
    fn sort_forgotten(
        &self,
        rules: Rules<'_>,
        now: SystemTime,
        trash: &[Name],
        packs: &mut Packs,
        roots: &mut HashSet<ObjectId>,
        plan: &mut Plan,
    ) -> Result<HashSet<ObjectId>, SyncError> {
        let mut staying = HashSet::new();
        for name in trash {
            let Name::Forgotten(run, oid) = name else { continue };
            let Some(reached) = rules.reached else {
                staying.extend(self.roots_at(&[(*name, *oid)])?);
                continue;
            };
            // A push may have made it young while it was taken away.
            let old = self.is_forgettable(*name, Some(rules.forget.unwrap_or(rules.grace)), now)?;
            let comes_back = reached(oid) || !old && self.backend.renames_keep_age();
            if !comes_back && run.epoch.saturating_add(rules.grace) <= plan.now {
                plan.purge.push(*name);
                continue;
            }
            let own = self.roots_at(&[(*name, *oid)])?;
            let (names, lack) = if comes_back { self.needed(packs, &own, trash) } else { (Vec::new(), None) };
            plan.revive.extend(names);
            match comes_back && lack.is_none() && !own.is_empty() {
                true => {
                    plan.revive.push(*name);
                    roots.extend(own);
                }
                false => staying.extend(own),
            }
        }
        Ok(staying)
    }

    /// Which packs go, of those that are `known` to be in their place and not in the trash.
    fn sort_packs(
        &self,
        packs: &Packs,
        known: &HashSet<PackId>,
        live: &HashMap<ObjectId, PackId>,
        rules: Rules<'_>,
        now: SystemTime,
        plan: &mut Plan,
    ) -> Result<(), SyncError> {
        let young = IN_FLIGHT.min(Duration::from_secs(rules.grace));
        for (id, records) in packs.iter() {
            let bytes = |record: &Record| u64::from(record.payload_len);
            let total: u64 = records.iter().map(bytes).sum();
            let needed: u64 = records.iter().filter(|r| live.get(&r.object) == Some(&id)).map(bytes).sum();
            let is_empty = !records.iter().any(|record| live.get(&record.object) == Some(&id));
            plan.live_bytes += needed;
            if !known.contains(&id) || !is_empty && needed as f64 >= WORTH_KEEPING * total as f64 {
                continue;
            }
            if !self.is_older(Name::Pack(id), young, now)? {
                plan.young.push(id);
                continue;
            }
            plan.freed += total - needed;
            if is_empty { plan.drop.push(id) } else { plan.rewrite.push(id) }
        }
        for pack in packs.damaged() {
            // Every file is whole without it.
            plan.drop.push(*pack);
            plan.freed +=
                self.backend.len(Name::Pack(*pack)).map_err(|error| self.failed(error))?.unwrap_or(0);
        }
        plan.live_objects = live.len() as u64;
        plan.drop.sort();
        plan.rewrite.sort();
        Ok(())
    }

    /// Copies what is needed of these packs to new ones, and reads them back.
    fn rewrite(&self, packs: &[PackId]) -> Result<HashSet<PackId>, SyncError> {
        let mut written = HashSet::new();
        if packs.is_empty() {
            return Ok(written);
        }
        let roots = self.roots(&self.oids()?)?;
        let all = self.packs()?;
        let live = all.live(&roots).map_err(|lack| self.hole(&lack))?;
        for pack in packs {
            let needed = |record: &&Record| live.get(&record.object) == Some(pack);
            let records: Vec<_> = all.records(pack).iter().filter(needed).collect();
            if records.is_empty() {
                continue;
            }
            match self.copy(*pack, records) {
                Ok(id) => drop(written.insert(id)),
                // Another gc took one of both away: it will see to it that nothing is missed.
                Err(SyncError::There { error, .. }) if matches!(&*error, StoreError::Pack(error) if error.is_missing()) =>
                    {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Copies these objects of a pack to a new one.
    fn copy(&self, pack: PackId, records: Vec<&Record>) -> Result<PackId, SyncError> {
        let mut writer = PackWriter::new(self.backend).map_err(|error| self.failed(error))?;
        for record in records {
            self.go_on()?;
            let payload = pack::read_payload(self.backend, pack, record);
            let payload = payload.map_err(|error| self.failed(error))?;
            writer.add(*record, &payload).map_err(|error| self.failed(error))?;
        }
        let (id, records) = writer.finish().map_err(|error| self.failed(error))?;
        pack::check_written(self.backend, id, &records).map_err(|error| self.failed(error))?;
        Ok(id)
    }

    /// Moves a recipe to the trash, unless a push made it young since the plan, before or while it was moved.
    fn forget(&self, oid: Oid, rules: Rules<'_>, now: u64, run: Run) -> Result<(), SyncError> {
        self.go_on()?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let gone = Name::Forgotten(run, oid);
        if !self.is_forgettable(Name::Recipe(oid), rules.forget, now)? {
            return Ok(());
        }
        self.rename(Name::Recipe(oid), gone)?;
        if self.backend.renames_keep_age() && !self.is_forgettable(gone, rules.forget, now)? {
            self.put_back(gone)?;
        }
        Ok(())
    }

    fn is_forgettable(&self, name: Name, age: Option<u64>, now: SystemTime) -> Result<bool, SyncError> {
        age.map_or(Ok(false), |age| self.is_older(name, Duration::from_secs(age), now))
    }

    /// Whether a file is there and has this age.
    fn is_older(&self, name: Name, age: Duration, now: SystemTime) -> Result<bool, SyncError> {
        let written = self.backend.modified(name).map_err(|error| self.failed(error))?;
        let found = written.and_then(|written| now.duration_since(written).ok());
        Ok(found.is_some_and(|found| found >= age))
    }

    /// Gives a file of the trash its place again; another may have done so.
    fn put_back(&self, name: Name) -> Result<(), SyncError> {
        match name {
            Name::Forgotten(_, oid) => {
                // Copied and not renamed: a push may publish it at the same time, and its age starts anew.
                store::freshen_recipe(self.backend, name, oid).map_err(|error| self.failed(error))?;
                self.backend.delete(name).map_err(|error| self.failed(error))
            }
            _ => match name.pack_in_trash() {
                Some(pack) => self.rename(name, Name::Pack(pack)),
                None => Ok(()),
            },
        }
    }

    /// A file that is gone was moved by another gc.
    fn rename(&self, from: Name, to: Name) -> Result<(), SyncError> {
        match self.backend.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|error| self.failed(error)),
        }
    }

    /// Which names of the trash the roots need, added to `packs`, and what is nowhere.
    fn needed(
        &self,
        packs: &mut Packs,
        roots: &HashSet<ObjectId>,
        trash: &[Name],
    ) -> (Vec<Name>, Option<Lack>) {
        let (mut names, mut candidates) = (Vec::new(), None);
        while let Err(lack) = packs.live(roots) {
            let candidates = candidates.get_or_insert_with(|| self.trailers(trash));
            let ends = |(_, _, records): &(Name, PackId, Vec<Record>)| {
                records.iter().any(|record| lack.would_end_with(record))
            };
            // The newest first: what went last was in use last.
            let Some(found) = candidates.iter().rposition(ends) else { return (names, Some(lack)) };
            let (name, pack, records) = candidates.remove(found);
            if !packs.contains(&pack) {
                packs.add(pack, records);
                names.push(name);
            }
        }
        (names, None)
    }

    /// What is in the packs that lie in the trash.
    fn trailers(&self, trash: &[Name]) -> Vec<(Name, PackId, Vec<Record>)> {
        let read = |name: &Name| {
            let pack = name.pack_in_trash()?;
            Some((*name, pack, pack::read_trailer_at(self.backend, *name, pack).ok()?))
        };
        trash.iter().filter_map(read).collect()
    }

    fn oids(&self) -> Result<Vec<Oid>, SyncError> {
        let names = self.backend.list(Area::Recipes).map_err(|error| self.failed(error))?;
        let oid = |name| if let Name::Recipe(oid) = name { Some(oid) } else { None };
        Ok(names.into_iter().filter_map(oid).collect())
    }

    /// What lies in the trash, the oldest first.
    fn trash(&self) -> Result<Vec<Name>, SyncError> {
        let mut names = self.backend.list(Area::Trash).map_err(|error| self.failed(error))?;
        names.sort_by_key(|name| (epoch(name), *name));
        Ok(names)
    }

    fn packs(&self) -> Result<Packs, SyncError> {
        Packs::read(self.backend, self.progress).map_err(|error| self.failed(error))
    }

    /// The objects that these files are made of.
    fn roots(&self, oids: &[Oid]) -> Result<HashSet<ObjectId>, SyncError> {
        let names: Vec<_> = oids.iter().map(|oid| (Name::Recipe(*oid), *oid)).collect();
        self.roots_at(&names)
    }

    fn roots_at(&self, recipes: &[(Name, Oid)]) -> Result<HashSet<ObjectId>, SyncError> {
        let read = |(name, oid): &(Name, Oid)| -> Result<HashSet<ObjectId>, SyncError> {
            self.go_on()?;
            let recipe = store::read_recipe_at(self.backend, *name, oid);
            let recipe = recipe.map_err(|error| self.failed(error))?;
            Ok(recipe.map(|recipe| recipe.parts.iter().map(|part| part.object).collect()).unwrap_or_default())
        };
        let found = each(recipes, read)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What is missing, and for which file.
    fn hole(&self, lack: &Lack) -> SyncError {
        let needs = |oid: &Oid| {
            let recipe = store::read_recipe(self.backend, oid).ok().flatten();
            recipe.is_some_and(|recipe| recipe.parts.iter().any(|part| part.object == lack.root))
        };
        let place = self.backend.place();
        match self.oids().unwrap_or_default().into_iter().find(needs) {
            Some(oid) => SyncError::Hole { place, oid, object: lack.object },
            None => self.failed(StoreError::Missing(lack.object)),
        }
    }

    fn go_on(&self) -> Result<(), Cancelled> {
        (self.progress)(0)
    }

    fn failed(&self, error: impl Into<StoreError>) -> SyncError {
        there_error(self.backend, error)
    }
}

fn there_error(backend: &dyn Backend, error: impl Into<StoreError>) -> SyncError {
    SyncError::There { place: backend.place(), error: Box::new(error.into()) }
}

/// Whether something that a file needs is missing.
fn is_hole(error: &SyncError) -> bool {
    match error {
        SyncError::Hole { .. } => true,
        SyncError::There { error, .. } => matches!(**error, StoreError::Missing(_)),
        _ => false,
    }
}

/// When what has this name was taken away.
fn epoch(name: &Name) -> u64 {
    match name {
        Name::Trash(epoch, _) => *epoch,
        Name::Removed(run, _) | Name::Forgotten(run, _) => run.epoch,
        _ => 0,
    }
}
