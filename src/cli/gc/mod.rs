//! `git sparse gc` and `repack`: take away what no file needs, and store the rest better.

mod refs;
mod remote;

use clap::Args;

use crate::cli::report::{self, bytes, count};
use crate::cli::{unexpected, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::gc::Plan;
use crate::repack::Repacked;

/// Move what no file needs to the trash, and empty what lay there long enough
#[derive(Debug, Args)]
pub struct Gc {
    /// Say what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Days that packs stay in the trash
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_GRACE_DAYS)]
    grace: u64,
    /// Collect in the store of a remote instead [default: the one a push would use]
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    remote: Option<Option<String>>,
    /// Also forget files that no ref of the remote reaches, nor one here, and that are older than --grace
    #[arg(long, requires = "remote")]
    forget_unreachable: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON document (schema git-sparse/gc/1)
    #[arg(long)]
    json: bool,
}

/// Choose again how everything is stored: more effort than a push may spend
#[derive(Debug, Args)]
pub struct Repack {
    /// Print one JSON document (schema git-sparse/repack/1)
    #[arg(long)]
    json: bool,
}

const DEFAULT_GRACE_DAYS: u64 = 14;

impl Gc {
    pub fn run(self) -> Result<(), Failure> {
        if let Some(name) = &self.remote {
            return self.run_at(name.as_deref());
        }
        let plan = self.call(true)?;
        if !self.json {
            words(&plan, self.grace).iter().for_each(|line| report::say(line));
        }
        if !self.dry_run && !is_idle(&plan) {
            let asks = plan.purged > 0;
            if asks
                && !report::confirmed(&format!("Delete {} for good?", report::bytes(plan.purged)), self.yes)
            {
                return Err(Failure::new(Kind::Refused, "nothing was done").fix(self.consent()));
            }
            self.call(false)?;
        }
        if !self.json && !is_idle(&plan) {
            report::say(if self.dry_run { "nothing was done: --dry-run" } else { "done" });
        }
        if self.json {
            report::json("gc", serde_json::json!({ "dry_run": self.dry_run, "plan": plan }));
        }
        Ok(())
    }

    /// The same command once more, without the question.
    fn consent(&self) -> String {
        match self.grace {
            DEFAULT_GRACE_DAYS => "git sparse gc --yes".into(),
            days => format!("git sparse gc --grace {days} --yes"),
        }
    }

    fn call(&self, dry_run: bool) -> Result<Plan, Failure> {
        let grace_seconds = self.grace.saturating_mul(86_400);
        match watch::call(&Request::Gc { dry_run, grace_seconds })? {
            Reply::Gc { plan } => Ok(plan),
            _ => Err(unexpected()),
        }
    }
}

impl Repack {
    pub fn run(self) -> Result<(), Failure> {
        let Reply::Repacked { done } = watch::call(&Request::Repack)? else {
            return Err(unexpected());
        };
        if self.json {
            report::json("repack", &done);
            return Ok(());
        }
        repacked(&done).iter().for_each(|line| report::say(line));
        Ok(())
    }
}

fn is_idle(plan: &Plan) -> bool {
    plan.drop.is_empty() && plan.rewrite.is_empty() && plan.purge.is_empty()
}

/// What a plan takes away, in lines for people.
fn words(plan: &Plan, grace_days: u64) -> Vec<String> {
    let needed = format!("needed: {}, {}", count(plan.live_objects, "object"), bytes(plan.live_bytes));
    if is_idle(plan) {
        let nothing = match grace_days {
            0 => "nothing to remove".into(),
            days => format!("nothing to remove; what is in the trash stays there for {}", count(days, "day")),
        };
        return vec![needed, nothing];
    }
    let mut lines = vec![needed];
    let mut trash = Vec::new();
    if !plan.drop.is_empty() {
        trash.push(format!("{} that no file needs", count(plan.drop.len(), "pack")));
    }
    if !plan.rewrite.is_empty() {
        trash.push(format!("{} after what is needed has moved", count(plan.rewrite.len(), "pack")));
    }
    if !trash.is_empty() {
        lines.push(format!(
            "to the trash, for {}: {}; {}",
            count(grace_days, "day"),
            trash.join(", "),
            bytes(plan.freed)
        ));
    }
    if !plan.purge.is_empty() {
        lines.push(format!(
            "out of the trash for good: {}, {}",
            count(plan.purge.len(), "pack"),
            bytes(plan.purged)
        ));
    }
    lines
}

/// What a repack did, in lines for people.
fn repacked(done: &Repacked) -> Vec<String> {
    if done.objects == 0 {
        return vec!["nothing to repack: no file needs an object".into()];
    }
    let (all, after) = (count(done.objects, "object"), bytes(done.after));
    let mut lines = vec![match done.changed {
        0 => format!("nothing could be stored better: {all} in {after}"),
        changed => {
            format!("{changed} of {all} stored better: all take {after}, before {}", bytes(done.before))
        }
    }];
    if done.packs_before != done.packs_after {
        lines.push(format!("{} in place of {}", count(done.packs_after, "pack"), done.packs_before));
    }
    lines.push(
        "packs that were replaced are in the trash: git sparse gc empties it after its grace time".into(),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ObjectId, PackId};

    /// Who deletes reads these lines first: they must fit the plan, in number and in grace time.
    #[test]
    fn a_plan_is_told_in_plain_words() {
        let pack: PackId = ObjectId::of(b"x").to_string().parse().unwrap();
        let idle = Plan { live_objects: 1, live_bytes: 10, ..Plan::default() };
        assert_eq!(
            words(&idle, 14),
            ["needed: 1 object, 10 B", "nothing to remove; what is in the trash stays there for 14 days"]
        );
        assert_eq!(words(&idle, 0)[1], "nothing to remove");
        let busy = Plan { drop: vec![pack], purge: vec![(0, pack); 2], freed: 5, purged: 7, ..idle };
        let told = words(&busy, 1);
        assert_eq!(
            told[1..],
            [
                "to the trash, for 1 day: 1 pack that no file needs; 5 B",
                "out of the trash for good: 2 packs, 7 B"
            ]
        );
    }

    /// The command that is offered does what was asked for: another grace time would delete more, or less.
    #[test]
    fn the_next_command_keeps_the_grace_time() {
        let gc = |grace| Gc {
            dry_run: false,
            grace,
            remote: None,
            forget_unreachable: false,
            yes: false,
            json: false,
        };
        assert_eq!(gc(DEFAULT_GRACE_DAYS).consent(), "git sparse gc --yes");
        assert_eq!(gc(0).consent(), "git sparse gc --grace 0 --yes");
    }

    /// A repack that gained nothing must not sound as if it had.
    #[test]
    fn a_repack_says_what_it_gained() {
        let done =
            Repacked { objects: 3, changed: 1, before: 90, after: 80, packs_before: 2, packs_after: 1 };
        let told = repacked(&done);
        assert_eq!(
            told[..2],
            ["1 of 3 objects stored better: all take 80 B, before 90 B", "1 pack in place of 2"]
        );
        let none = repacked(&Repacked { changed: 0, packs_before: 1, after: 90, ..done });
        assert_eq!(none[0], "nothing could be stored better: 3 objects in 90 B");
    }
}
