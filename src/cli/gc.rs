//! `git sparse gc` and `repack`: take away what no file needs, and store the rest better.

use clap::Args;

use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};

/// Move what no file needs to the trash, and empty what lay there long enough
#[derive(Debug, Args)]
pub struct Gc {
    /// Say what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Days that packs stay in the trash
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    grace: u64,
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

impl Gc {
    pub fn run(self) -> Result<(), Failure> {
        let plan = self.call(true)?;
        let nothing = plan.drop.is_empty() && plan.rewrite.is_empty() && plan.purge.is_empty();
        if !self.json {
            report::say(&format!(
                "{} objects in {} are needed",
                plan.live_objects,
                report::bytes(plan.live_bytes)
            ));
            report::say(&format!(
                "{} packs go to the trash, {} are rewritten: {}; {} leave it for good: {}",
                plan.drop.len(),
                plan.rewrite.len(),
                report::bytes(plan.freed),
                plan.purge.len(),
                report::bytes(plan.purged)
            ));
        }
        if !self.dry_run && !nothing {
            let asks = plan.purged > 0;
            if asks
                && !report::confirmed(&format!("Delete {} for good?", report::bytes(plan.purged)), self.yes)
            {
                return Err(Failure::new(Kind::Refused, "nothing was done").fix("git sparse gc --yes"));
            }
            self.call(false)?;
        }
        if self.json {
            report::json("gc", serde_json::json!({ "dry_run": self.dry_run, "plan": plan }));
        }
        Ok(())
    }

    fn call(&self, dry_run: bool) -> Result<crate::gc::Plan, Failure> {
        let grace_seconds = self.grace.saturating_mul(86_400);
        match watch::call(&Request::Gc { dry_run, grace_seconds })? {
            Reply::Gc { plan } => Ok(plan),
            _ => Err(super::unexpected()),
        }
    }
}

impl Repack {
    pub fn run(self) -> Result<(), Failure> {
        let Reply::Repacked { done } = watch::call(&Request::Repack)? else {
            return Err(super::unexpected());
        };
        if self.json {
            report::json("repack", &done);
            return Ok(());
        }
        report::say(&format!(
            "{} objects, {} stored differently: {} before, {} now; {} packs before, {} now",
            done.objects,
            done.changed,
            report::bytes(done.before),
            report::bytes(done.after),
            done.packs_before,
            done.packs_after
        ));
        report::say("the old packs are in the trash: git sparse gc empties it after its grace time");
        Ok(())
    }
}
