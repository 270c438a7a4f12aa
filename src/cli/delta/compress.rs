//! `git sparse delta compress BASE FINE_TUNE -o DIR`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::{interrupted, model, not_stored, system};
use crate::artifact::{CompressError, Manifest, Staging, compress};
use crate::cli::{report, watch};
use crate::daemon::message::{Failure, Kind};

/// Make an artifact that gives FINE_TUNE, every byte of every file, to whoever has BASE
#[derive(Debug, Args)]
pub struct Compress {
    /// The model that the fine-tune was made of: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The fine-tune, named in the same ways
    fine_tune: String,
    /// A new directory for the artifact
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/delta-compress/1)
    #[arg(long)]
    json: bool,
}

impl Compress {
    pub fn run(self) -> Result<(), Failure> {
        let staging = Staging::begin(&self.output).map_err(|error| model::taken(&error))?;
        let base = model::find(&self.base, &self.output)?;
        let tuned = model::find(&self.fine_tune, &self.output)?;
        let made = watch::here("compress", |progress| {
            let by = format!("git-sparse {}", crate::VERSION);
            compress(&base.tree, &tuned.tree, staging.path(), &now(), &by, progress)
        });
        let manifest = made.map_err(|error| failed(&error))?;
        let path = staging.publish().map_err(|error| model::taken(&error))?;
        if self.json {
            let totals = &manifest.totals;
            report::json("delta-compress", serde_json::json!({ "path": path, "totals": totals }));
            return Ok(());
        }
        report::say(&format!("{}", path.display()));
        say_totals(&manifest);
        Ok(())
    }
}

/// What the artifact weighs, and against what.
pub(super) fn say_totals(manifest: &Manifest) {
    let totals = &manifest.totals;
    report::say(&format!("fine-tune  {} in {}", report::bytes(totals.size), files(manifest)));
    let same = report::share(totals.same, totals.size);
    report::say(&format!("in base    {} of it, as they are ({same})", report::bytes(totals.same)));
    let share = report::share(totals.stored, totals.size);
    report::say(&format!("artifact   {} ({share} of the fine-tune's files)", report::bytes(totals.stored)));
    if totals.ratio < 1.0 {
        report::say("           larger than the fine-tune: these two models have little in common");
    }
}

fn files(manifest: &Manifest) -> String {
    report::count(manifest.fine_tune.files.len(), "file")
}

fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    report::date(seconds as i64)
}

fn failed(error: &CompressError) -> Failure {
    let message = error.to_string();
    if error.is_cancelled() {
        return interrupted();
    }
    match error {
        CompressError::Ingest { error, .. } => not_stored(message, error),
        CompressError::Read { error, .. } => system(message, error),
        CompressError::Outline { .. } | CompressError::Store(_) | CompressError::Manifest(_) => {
            Failure::new(Kind::Fatal, message).fix("nothing was written; check the disk, then try again")
        }
    }
}
