//! `git sparse delta estimate BASE FINE_TUNE`.

use clap::Args;

use super::{Subject, interrupted, model, not_stored, system};
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
        estimate(Subject::Model, (&self.base, &self.fine_tune), None, self.json)
    }
}

/// Says what an artifact of the second of two that are named would weigh, by so many rows of each table, if few are enough.
pub fn estimate(
    subject: Subject,
    (base, derived): (&str, &str),
    rows: Option<u64>,
    is_json: bool,
) -> Result<(), Failure> {
    let base = model::find(base, &model::scratch())?;
    let derived = model::find(derived, &model::scratch())?;
    let scratch = model::scratch();
    let estimate =
        |progress: &Progress<'_>| artifact::estimate(&base.tree, &derived.tree, rows, &scratch, progress);
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
    let reason = reason(subject, &found, best);
    match is_json {
        true => say_json(subject, &found, &strategies, best, &reason),
        false => say(subject, &found, &strategies, best, &reason),
    }
    Ok(())
}

/// A way to keep the derived one.
struct Strategy {
    name: &'static str,
    bytes: u64,
}

fn strategies(found: &artifact::Estimate) -> [Strategy; 3] {
    [
        Strategy { name: "delta", bytes: found.delta },
        Strategy { name: "whole", bytes: found.whole },
        Strategy { name: "as it is", bytes: found.size },
    ]
}

/// How a strategy is followed.
fn how(subject: Subject, strategy: &Strategy) -> String {
    match strategy.name {
        "delta" => format!("git sparse {} compress", subject.verb()),
        "whole" => "compressed without the base".into(),
        _ => "a copy of the files".into(),
    }
}

fn reason(subject: Subject, found: &artifact::Estimate, best: &Strategy) -> String {
    let share = |bytes| report::share(bytes, found.size);
    let (derived, plural) = (subject.derived(), subject.plural());
    match best.name {
        "delta" if found.identical && found.read >= found.both => format!("the two {plural} are identical"),
        "delta" if found.identical => format!("the two {plural} are identical in all that was read"),
        "delta" if found.same * 2 > found.size => {
            format!("{} of the {derived} lies in the base as it is", share(found.same))
        }
        "delta" => {
            format!("with the base it takes {}, without it {}", share(found.delta), share(found.whole))
        }
        "whole" => format!("the two {plural} have little in common"),
        _ => format!("it does not compress: an artifact would be larger than the {derived}"),
    }
}

fn say(subject: Subject, found: &artifact::Estimate, strategies: &[Strategy], best: &Strategy, reason: &str) {
    let (size, read) = (report::bytes(found.size), report::share(found.read, found.both));
    let (label, plural) = (subject.label(), subject.plural());
    report::say(&format!("{label}  {size}; {read} of both {plural} was read"));
    let rows = strategies.iter().map(|strategy| {
        vec![
            strategy.name.into(),
            report::bytes(strategy.bytes),
            report::share(strategy.bytes, found.size),
            format!("{:.2}", found.size as f64 / strategy.bytes.max(1) as f64),
            how(subject, strategy),
        ]
    });
    report::table(&["strategy", ">bytes", ">share", ">ratio", "how"], rows);
    report::say(&format!("best       {}: {reason}", best.name));
}

fn say_json(
    subject: Subject,
    found: &artifact::Estimate,
    strategies: &[Strategy],
    best: &Strategy,
    reason: &str,
) {
    let strategies: Vec<_> = strategies
        .iter()
        .map(|strategy| {
            let ratio = found.size as f64 / strategy.bytes.max(1) as f64;
            serde_json::json!({ "strategy": strategy.name, "bytes": strategy.bytes, "ratio": ratio })
        })
        .collect();
    report::json(
        &format!("{}-estimate", subject.verb()),
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
