//! `git sparse delta verify ARTIFACT [--base BASE]`.

use std::path::PathBuf;

use clap::Args;

use super::{model, not_rebuilt, unusable};
use crate::artifact::try_out;
use crate::cli::{report, watch};
use crate::daemon::message::Failure;

/// Check an artifact: its checksums and figures, that nothing is missing, and with the base that all comes back
#[derive(Debug, Args)]
pub struct Verify {
    /// The artifact's directory
    artifact: PathBuf,
    /// Rebuild every file on this base as well, without keeping it
    #[arg(long, value_name = "BASE")]
    base: Option<String>,
    /// Print one JSON document (schema git-sparse/delta-verify/1)
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        let artifact = super::open(&self.artifact)?;
        let checked = watch::here("check", |progress| artifact.check(progress));
        checked.map_err(|error| unusable(&artifact, &error))?;
        if let Some(base) = &self.base {
            let base = model::find(base, &model::scratch())?;
            let store = watch::here("check the base", |progress| artifact.on(&base.tree, progress));
            let store = store.map_err(|error| unusable(&artifact, &error))?;
            let done = watch::here("rebuild", |progress| try_out(&artifact, &store, progress));
            done.map_err(|error| not_rebuilt(&artifact, &error))?;
        }
        let (files, rebuilt) = (artifact.manifest.fine_tune.files.len(), self.base.is_some());
        if self.json {
            report::json(
                "delta-verify",
                serde_json::json!({ "kind": artifact.manifest.kind, "files": files, "rebuilt": rebuilt }),
            );
            return Ok(());
        }
        if let Some(lossy) = super::compress::lossy(&artifact.manifest) {
            report::say(&format!("LOSSY: {lossy}"));
        }
        let files = report::count(files, "file");
        report::say(&match rebuilt {
            true => format!("whole: {files} rebuilt, each with the SHA-256 that the manifest names"),
            false => {
                format!("whole: all that {files} need is there, beside the base (rebuild them: --base BASE)")
            }
        });
        Ok(())
    }
}
