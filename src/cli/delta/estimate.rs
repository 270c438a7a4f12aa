//! `git sparse delta estimate BASE FINE_TUNE`.

use clap::Args;

use super::{interrupted, model, not_stored, system};
use crate::artifact::{self, EstimateError};
use crate::cli::{report, watch};
use crate::daemon::message::Failure;
use crate::progress::Progress;

/// What an artifact would weigh, from about a twelfth of a large pair
#[derive(Debug, Args)]
pub struct Estimate {
    /// The base: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The fine-tune, named in the same ways
    fine_tune: String,
    /// Print one JSON document (schema git-sparse/delta-estimate/1)
    #[arg(long)]
    json: bool,
}

impl Estimate {
    pub fn run(self) -> Result<(), Failure> {
        let base = model::find(&self.base, &model::scratch())?;
        let tuned = model::find(&self.fine_tune, &model::scratch())?;
        let scratch = model::scratch();
        let estimate =
            |progress: &Progress<'_>| artifact::estimate(&base.tree, &tuned.tree, &scratch, progress);
        let found = watch::here("estimate", estimate);
        let found = found.map_err(|error| {
            let message = error.to_string();
            match error {
                EstimateError::Read { error, .. } => system(message, &error),
                EstimateError::Store { error, .. } => not_stored(message, &error),
                EstimateError::Scratch(error) => model::taken(&error),
                EstimateError::Cancelled(_) => interrupted(),
            }
        })?;
        let strategies = strategies(&found);
        let best = strategies.iter().min_by_key(|strategy| strategy.bytes).expect("because there are three");
        let reason = reason(&found, best);
        if self.json {
            say_json(&found, &strategies, best, &reason);
        } else {
            say(&found, &strategies, best, &reason);
        }
        Ok(())
    }
}

/// A way to keep the fine-tune.
struct Strategy {
    name: &'static str,
    bytes: u64,
    what: &'static str,
}

fn strategies(found: &artifact::Estimate) -> [Strategy; 3] {
    [
        Strategy { name: "delta", bytes: found.delta, what: "git sparse delta compress" },
        Strategy { name: "whole", bytes: found.whole, what: "compressed without the base" },
        Strategy { name: "as it is", bytes: found.size, what: "a copy of the files" },
    ]
}

fn reason(found: &artifact::Estimate, best: &Strategy) -> String {
    let share = |bytes| report::share(bytes, found.size);
    match best.name {
        "delta" if found.identical && found.read >= found.both => "the two models are identical".into(),
        "delta" if found.identical => "the two models are identical in all that was read".into(),
        "delta" if found.same * 2 > found.size => {
            format!("{} of the fine-tune lies in the base as it is", share(found.same))
        }
        "delta" => {
            format!("with the base it takes {}, without it {}", share(found.delta), share(found.whole))
        }
        "whole" => "the two models have little in common".into(),
        _ => "it does not compress: an artifact would be larger than the fine-tune".into(),
    }
}

fn say(found: &artifact::Estimate, strategies: &[Strategy], best: &Strategy, reason: &str) {
    let (size, read) = (report::bytes(found.size), report::share(found.read, found.both));
    report::say(&format!("fine-tune  {size}; {read} of both models was read"));
    let rows = strategies.iter().map(|strategy| {
        vec![
            strategy.name.into(),
            report::bytes(strategy.bytes),
            report::share(strategy.bytes, found.size),
            format!("{:.2}", found.size as f64 / strategy.bytes.max(1) as f64),
            strategy.what.into(),
        ]
    });
    report::table(&["strategy", ">bytes", ">share", ">ratio", "how"], rows);
    report::say(&format!("best       {}: {reason}", best.name));
}

fn say_json(found: &artifact::Estimate, strategies: &[Strategy], best: &Strategy, reason: &str) {
    let strategies: Vec<_> = strategies
        .iter()
        .map(|strategy| {
            let ratio = found.size as f64 / strategy.bytes.max(1) as f64;
            serde_json::json!({ "strategy": strategy.name, "bytes": strategy.bytes, "ratio": ratio })
        })
        .collect();
    report::json(
        "delta-estimate",
        serde_json::json!({
            "size": found.size,
            "both": found.both,
            "read": found.read,
            "same": found.same,
            "identical": found.identical,
            "strategies": strategies,
            "best": best.name,
            "reason": reason,
        }),
    );
}
