//! `git sparse gc --remote`: the same in the store of a remote, to which others may push meanwhile.

use super::{DEFAULT_GRACE_DAYS, Gc, refs};
use crate::cli::repo::Repo;
use crate::cli::report::{self, bytes, count};
use crate::cli::{unexpected, watch};
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::daemon::words;
use crate::gc::remote::Plan;
use crate::locator;

/// With a shorter grace time, files of a push that is under way can be taken for forgotten ones.
const SAFE_DAYS: u64 = 2;

impl Gc {
    pub(super) fn run_at(&self, name: Option<&str>) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let name = name.map_or_else(|| repo.default_remote(), str::to_owned);
        let place = place(&repo, &name)?;
        let plan = self.call_at(&repo, &name, &place, true)?;
        if !self.json {
            report::say(&format!("store of {name}: {}", place.name()));
            self.told(&plan, &name).iter().for_each(|line| report::say(line));
        }
        if !self.dry_run && !plan.is_idle() {
            if let Some(question) = self.question(&plan, &name)
                && !report::confirmed(&question, self.yes)
            {
                return Err(Failure::new(Kind::Refused, "nothing was done").fix(self.consent_at(&name)));
            }
            // The refs are asked for again: while the question stood, somebody may have pushed.
            self.call_at(&repo, &name, &place, false)?;
        }
        if self.json {
            let document = serde_json::json!({ "dry_run": self.dry_run, "remote": name, "plan": plan });
            report::json("gc-remote", document);
        } else if !plan.is_idle() {
            report::say(if self.dry_run { "nothing was done: --dry-run" } else { "done" });
        }
        Ok(())
    }

    fn call_at(&self, repo: &Repo, name: &str, place: &RemotePlace, dry_run: bool) -> Result<Plan, Failure> {
        let reached = match refs::reached(repo, name, self.forget_unreachable) {
            // Only who wants files forgotten has to know which are reached.
            Err(_) if !self.forget_unreachable => None,
            reached => reached?,
        };
        let request = Request::GcRemote {
            remote: place.clone(),
            reached,
            forget: self.forget_unreachable,
            dry_run,
            grace_seconds: self.grace.saturating_mul(86_400),
        };
        match watch::call(&request)? {
            Reply::GcRemote { plan } => Ok(plan),
            _ => Err(unexpected()),
        }
    }

    /// What has to be agreed to; none where all can be undone and is sure to be nobody's.
    fn question(&self, plan: &Plan, name: &str) -> Option<String> {
        let mut deeds = Vec::new();
        if !plan.forget.is_empty() {
            deeds.push(format!("forget {} in the store of {name}", count(plan.forget.len(), "file")));
        }
        if plan.purged > 0 || !plan.purge.is_empty() {
            deeds.push(format!("delete {} for good", bytes(plan.purged)));
        }
        let mut question = deeds.join(", and ");
        let first = question.get_mut(..1)?;
        first.make_ascii_uppercase();
        Some(format!("{question}?"))
    }

    /// The same command once more, without the question.
    fn consent_at(&self, name: &str) -> String {
        let mut command = format!("git sparse gc --remote {name}");
        if self.forget_unreachable {
            command += " --forget-unreachable";
        }
        if self.grace != DEFAULT_GRACE_DAYS {
            command += &format!(" --grace {}", self.grace);
        }
        command + " --yes"
    }

    /// What a plan takes away and what it leaves, in lines for people.
    fn told(&self, plan: &Plan, name: &str) -> Vec<String> {
        let needed = [count(plan.files, "file"), count(plan.live_objects, "object"), bytes(plan.live_bytes)];
        let mut lines = vec![format!("needed: {}", needed.join(", "))];
        let days = count(self.grace, "day");
        if !plan.forget.is_empty() {
            let files = count(plan.forget.len(), "file");
            lines.push(format!("forgotten: {files} that no ref of {name} reaches, nor one here"));
            lines.push("  if other repositories keep files in this store, those of theirs go, too".into());
            if self.grace < SAFE_DAYS {
                lines.push(format!("  with --grace {} a push at the same time could lose files", self.grace));
            }
        }
        let mut trash = Vec::new();
        if !plan.drop.is_empty() {
            trash.push(format!("{} that no file needs", count(plan.drop.len(), "pack")));
        }
        if !plan.rewrite.is_empty() {
            trash.push(format!("{} after what is needed has moved", count(plan.rewrite.len(), "pack")));
        }
        if !trash.is_empty() {
            lines.push(format!("to the trash, for {days}: {}; {}", trash.join(", "), bytes(plan.freed)));
        }
        if !plan.revive.is_empty() {
            lines.push(format!(
                "back from the trash, since it is needed: {}",
                count(plan.revive.len(), "entry")
            ));
        }
        if !plan.purge.is_empty() {
            let entries = count(plan.purge.len(), "entry");
            lines.push(format!("out of the trash for good: {entries}, {}", bytes(plan.purged)));
        }
        if !plan.unreached.is_empty() {
            let (files, size) = (count(plan.unreached.len(), "file"), bytes(plan.unreached_bytes));
            let why = match self.forget_unreachable {
                true => format!("younger than {days}"),
                false => "--forget-unreachable lets them go".into(),
            };
            lines.push(format!("kept: {files} that no ref of {name} reaches, nor one here, {size}; {why}"));
        }
        if !plan.young.is_empty() {
            let packs = count(plan.young.len(), "pack");
            lines.push(format!("kept: {packs} of the last day that a push may be about to need"));
        }
        if plan.is_idle() {
            lines.push("nothing to remove".into());
        }
        lines
    }
}

/// The store of a remote, if it is one to collect in. A server is not asked for anything.
fn place(repo: &Repo, name: &str) -> Result<RemotePlace, Failure> {
    if let Err(error) = locator::resolve(&repo.git, name, true)
        && error.is_no_locator()
        && let Some(url) = locator::lfs_url(&repo.git, name, true)
    {
        return Err(words::no_storage(&url));
    }
    match repo.remote(name, true)? {
        RemotePlace::Hub(place) => Err(words::no_storage(&place.name())),
        place => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Name, Run};
    use crate::id::{ObjectId, Oid, PackId};

    fn gc(grace: u64, forget_unreachable: bool) -> Gc {
        let remote = Some(Some("origin".into()));
        Gc { dry_run: false, grace, remote, forget_unreachable, yes: false, json: false }
    }

    /// Who deletes what others pushed reads these lines first: what goes, what stays, and why.
    #[test]
    fn a_plan_says_what_goes_and_what_stays() {
        let pack: PackId = ObjectId::of(b"x").to_string().parse().unwrap();
        let idle = Plan { files: 1, live_objects: 2, live_bytes: 10, ..Plan::default() };
        let told = gc(14, false).told(&idle, "origin");
        assert_eq!(told, ["needed: 1 file, 2 objects, 10 B", "nothing to remove"]);
        assert_eq!(gc(14, false).question(&idle, "origin"), None);

        let kept = Plan { unreached: vec![Oid::of(b"x")], unreached_bytes: 7, ..idle.clone() };
        let told = gc(14, false).told(&kept, "origin");
        assert_eq!(
            told[1],
            "kept: 1 file that no ref of origin reaches, nor one here, 7 B; --forget-unreachable lets them go"
        );

        let purge = vec![Name::Removed(Run { epoch: 1, id: 2 }, pack)];
        let busy = Plan { forget: vec![Oid::of(b"x")], drop: vec![pack], purge, freed: 5, purged: 7, ..idle };
        let told = gc(0, true).told(&busy, "origin");
        assert_eq!(
            told[1..],
            [
                "forgotten: 1 file that no ref of origin reaches, nor one here",
                "  if other repositories keep files in this store, those of theirs go, too",
                "  with --grace 0 a push at the same time could lose files",
                "to the trash, for 0 days: 1 pack that no file needs; 5 B",
                "out of the trash for good: 1 entry, 7 B",
            ]
        );
        let question = gc(0, true).question(&busy, "origin").unwrap();
        assert_eq!(question, "Forget 1 file in the store of origin, and delete 7 B for good?");
    }

    /// The command that is offered does what was asked for, and no more.
    #[test]
    fn the_next_command_asks_for_the_same() {
        assert_eq!(gc(14, false).consent_at("origin"), "git sparse gc --remote origin --yes");
        let all = gc(0, true).consent_at("origin");
        assert_eq!(all, "git sparse gc --remote origin --forget-unreachable --grace 0 --yes");
    }
}
