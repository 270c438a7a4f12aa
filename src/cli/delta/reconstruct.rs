//! `git sparse delta reconstruct BASE ARTIFACT -o DIR`.

use std::path::PathBuf;

use clap::Args;

use super::{model, not_rebuilt, unusable};
use crate::artifact::{Staging, rebuild};
use crate::cli::{report, watch};
use crate::daemon::message::Failure;

/// Write the fine-tune of an artifact: every file of it, proven by its SHA-256
#[derive(Debug, Args)]
pub struct Reconstruct {
    /// The base that the artifact was made with: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The artifact's directory
    artifact: PathBuf,
    /// A new directory for the fine-tune
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/delta-reconstruct/1)
    #[arg(long)]
    json: bool,
}

impl Reconstruct {
    pub fn run(self) -> Result<(), Failure> {
        let artifact = super::open(&self.artifact)?;
        let staging = Staging::begin(&self.output).map_err(|error| model::taken(&error))?;
        let base = model::find(&self.base, &self.output)?;
        let store = watch::here("check the base", |progress| artifact.on(&base.tree, progress));
        let store = store.map_err(|error| unusable(&artifact, &error))?;
        let done =
            watch::here("reconstruct", |progress| rebuild(&artifact, &store, staging.path(), progress));
        done.map_err(|error| not_rebuilt(&artifact, &error))?;
        let path = staging.publish().map_err(|error| model::taken(&error))?;
        let model = &artifact.manifest.fine_tune;
        if self.json {
            report::json(
                "delta-reconstruct",
                serde_json::json!({ "path": path, "kind": artifact.manifest.kind, "files": model.files }),
            );
            return Ok(());
        }
        if let Some(lossy) = super::compress::lossy(&artifact.manifest) {
            report::say(&format!("LOSSY: {lossy}"));
        }
        let files = report::count(model.files.len(), "file");
        report::say(&format!("{}: {files}, {}", path.display(), report::bytes(model.size())));
        Ok(())
    }
}
