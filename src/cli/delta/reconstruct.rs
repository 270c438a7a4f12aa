//! `git sparse delta reconstruct BASE ARTIFACT -o DIR`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::adapter::not_merged;
use super::{Subject, model, not_rebuilt, unusable};
use crate::artifact::{self, Artifact, Kind, Staging, Tree, rebuild};
use crate::cli::{report, watch};
use crate::daemon::message::{self, Failure};
use crate::store::Store;

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
    /// Of an adapter: write the base with the adapter merged into it, as PEFT's merge_and_unload does
    #[arg(long)]
    merge: bool,
    /// Print one JSON document (schema git-sparse/delta-reconstruct/1)
    #[arg(long)]
    json: bool,
}

impl Reconstruct {
    pub fn run(self) -> Result<(), Failure> {
        let paths = (self.artifact.as_path(), self.output.as_path());
        reconstruct(Subject::Model, &self.base, paths, self.merge, self.json)
    }
}

/// Writes what an artifact gives, or the base with the adapter in it merged, and says so.
pub fn reconstruct(
    subject: Subject,
    base: &str,
    (artifact, output): (&Path, &Path),
    is_merge: bool,
    is_json: bool,
) -> Result<(), Failure> {
    let artifact = super::open(artifact)?;
    if is_merge && artifact.manifest.kind != Kind::Adapter {
        return Err(Failure::new(
            message::Kind::Usage,
            "this artifact is of a whole model, not of an adapter",
        )
        .fix("leave out --merge"));
    }
    let staging = Staging::begin(output).map_err(|error| model::taken(&error))?;
    let base = model::find(base, output)?;
    let store = watch::here("check the base", |progress| artifact.on(&base.tree, progress));
    let store = store.map_err(|error| unusable(&artifact, &error))?;
    match is_merge {
        true => merge_into(&artifact, &store, &base.tree, (output, &staging))?,
        false => rebuild_into(&artifact, &store, &staging)?,
    }
    let written = Tree::read("", staging.path()).map_err(|error| model::not_a_model(&error))?;
    let path = staging.publish().map_err(|error| model::taken(&error))?;
    let (kind, files) = (artifact.manifest.kind, &artifact.manifest.fine_tune.files);
    if is_json {
        let files = if is_merge { Vec::new() } else { files.clone() };
        let document = serde_json::json!({ "path": path, "kind": kind, "merged": is_merge, "files": files });
        report::json(&format!("{}-reconstruct", subject.verb()), document);
        return Ok(());
    }
    if let Some(lossy) = super::compress::lossy(&artifact.manifest) {
        report::say(&format!("LOSSY: {lossy}"));
    }
    let what = if is_merge { " with the adapter merged into it" } else { "" };
    report::say(&format!("{}: {}{what}", path.display(), report::count(written.files.len(), "file")));
    Ok(())
}

/// The adapter is rebuilt beside what it is merged into, and goes. A base that lacks files would be merged in part.
fn merge_into(
    artifact: &Artifact,
    store: &Store,
    base: &Tree,
    (output, merged): (&Path, &Staging),
) -> Result<(), Failure> {
    artifact.has_all_tensors(base).map_err(|error| unusable(artifact, &error))?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let beside = output.with_file_name(format!("{name}.adapter"));
    let adapter = Staging::begin(&beside).map_err(|error| model::taken(&error))?;
    rebuild_into(artifact, store, &adapter)?;
    let tree = Tree::read(&artifact.manifest.fine_tune.name, adapter.path());
    let tree = tree.map_err(|error| model::not_a_model(&error))?;
    let done = watch::here("merge", |progress| artifact::merge(&tree, base, merged.path(), progress));
    done.map_err(|error| not_merged(&error))
}

/// Rebuilds the fine-tune of an artifact.
pub fn rebuild_into(artifact: &Artifact, store: &Store, staging: &Staging) -> Result<(), Failure> {
    let done = watch::here("reconstruct", |progress| rebuild(artifact, store, staging.path(), progress));
    done.map_err(|error| not_rebuilt(artifact, &error))
}
