//! `git sparse delta compress-adapter` and `extract-adapter`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::compress::{failed, now, say_totals};
use super::{Subject, interrupted, model, system};
use crate::adapter::{AdapterError, ExtractError, ExtractedAdapter};
use crate::artifact::{self, ExtractionError, Made, MergeError, Staging, WEIGHTS, Way, compress};
use crate::cli::{report, watch};
use crate::daemon::message::{self, Failure};
use crate::daemon::words;

/// Tensors that are shown, the worst first.
const MOST_SHOWN: usize = 10;

/// Make an artifact of a LoRA adapter, checked to fit BASE: reconstruct gives the adapter, or merges it
#[derive(Debug, Args)]
pub struct CompressAdapter {
    /// The model that the adapter belongs to: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The adapter as PEFT saves it: a directory with adapter_config.json and adapter_model.safetensors
    adapter: String,
    /// A new directory for the artifact
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/delta-compress-adapter/1)
    #[arg(long)]
    json: bool,
}

impl CompressAdapter {
    pub fn run(self) -> Result<(), Failure> {
        let staging = Staging::begin(&self.output).map_err(|error| model::taken(&error))?;
        let base = model::find(&self.base, &self.output)?;
        let adapter = model::find(&self.adapter, &self.output)?;
        artifact::fits(&adapter.tree, &base.tree).map_err(|error| not_merged(&error))?;
        let doubts = artifact::doubts(&adapter.tree, &base.tree).map_err(|error| not_merged(&error))?;
        for doubt in &doubts {
            report::note(&format!("{doubt}; on another model than its own, an adapter gives nonsense"));
        }
        let made = watch::here("compress", |progress| {
            let by = format!("git-sparse {}", crate::VERSION);
            let made = Made { at: &now(), by: &by, way: Way::Adapter };
            compress(&base.tree, &adapter.tree, staging.path(), &made, progress)
        });
        let manifest = made.map_err(|error| failed(&error))?;
        let path = staging.publish().map_err(|error| model::taken(&error))?;
        if self.json {
            let document = serde_json::json!({
                "path": path, "kind": manifest.kind, "totals": manifest.totals, "doubts": doubts,
            });
            report::json("delta-compress-adapter", document);
            return Ok(());
        }
        report::say(&format!("{}", path.display()));
        say_totals(Subject::Model, &manifest, &path);
        Ok(())
    }
}

/// Make a LoRA adapter of what a fine-tune changed, and say what it leaves out
#[derive(Debug, Args)]
pub struct ExtractAdapter {
    /// The base: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The fine-tune, named in the same ways
    fine_tune: String,
    /// Rank of the factors: more is nearer, and larger
    #[arg(long)]
    rank: usize,
    /// lora_alpha in the adapter's configuration; the merge is the same whatever it is [default: the rank]
    #[arg(long)]
    alpha: Option<f64>,
    /// A new directory for the adapter
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/delta-extract-adapter/1)
    #[arg(long)]
    json: bool,
}

impl ExtractAdapter {
    pub fn run(self) -> Result<(), Failure> {
        let staging = Staging::begin(&self.output).map_err(|error| model::taken(&error))?;
        let base = model::find(&self.base, &self.output)?;
        let tuned = model::find(&self.fine_tune, &self.output)?;
        let alpha = self.alpha.unwrap_or(self.rank as f64);
        let found = watch::here("extract", |progress| {
            artifact::extract(&base.tree, &tuned.tree, self.rank, alpha, progress)
        });
        let found = found.map_err(|error| not_extracted(&error))?;
        write(&staging.path().join(WEIGHTS), &found.weights)?;
        write(&staging.path().join("adapter_config.json"), &found.config)?;
        let path = staging.publish().map_err(|error| model::taken(&error))?;
        if self.json {
            report::json(
                "delta-extract-adapter",
                serde_json::json!({
                    "path": path,
                    "size": found.weights.len(),
                    "relative_error": found.relative_error,
                    "tensors": found.tensors,
                    "not_expressible": found.not_expressible,
                }),
            );
            return Ok(());
        }
        say(&path, found);
        Ok(())
    }
}

fn say(path: &Path, mut found: ExtractedAdapter) {
    let size = report::bytes(found.weights.len() as u64);
    let count = report::count(found.tensors.len(), "tensor");
    report::say(&format!("{}: {size}, {count}", path.display()));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let lost = percent(found.relative_error);
    report::say(&format!(
        "LOSSY: of what these tensors changed, {lost} is lost (Frobenius norm); the worst:"
    ));
    found.tensors.sort_by(|a, b| b.relative_error.total_cmp(&a.relative_error));
    let row = |tensor: &crate::adapter::TensorReport| {
        vec![tensor.name.clone(), report::shape(&tensor.shape), percent(tensor.relative_error)]
    };
    report::table(&["tensor", "shape", ">lost"], found.tensors.iter().take(MOST_SHOWN).map(row));
    if !found.not_expressible.is_empty() {
        let named: Vec<_> = found.not_expressible.iter().take(3).map(|tensor| tensor.name.as_str()).collect();
        let count = report::count(found.not_expressible.len(), "changed tensor");
        report::say(&format!(
            "{count} can't be in an adapter and stay as in the base: {}, …",
            named.join(", ")
        ));
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| words::file(path, &error))
}

/// Why an adapter does not merge, with what to do.
pub(super) fn not_merged(error: &MergeError) -> Failure {
    let message = error.to_string();
    match error {
        MergeError::NoAdapter { .. } | MergeError::TooLong { .. } => Failure::new(message::Kind::Usage, message)
            .fix("name the directory that PEFT's save_pretrained wrote"),
        MergeError::Read { error, .. } | MergeError::Write { error, .. } => system(message, error),
        MergeError::Adapter(AdapterError::Base { .. } | AdapterError::Misfit(_)) => {
            Failure::new(message::Kind::Refused, message)
                .fix("name the adapter's own base: base_model_name_or_path in adapter_config.json tells")
        }
        MergeError::Adapter(_) => Failure::new(message::Kind::Refused, message)
            .fix("plain LoRA merges, as docs/adapters.md says; git sparse delta compress keeps any files as they are"),
        MergeError::Cancelled(_) => interrupted(),
    }
}

fn not_extracted(error: &ExtractionError) -> Failure {
    let message = error.to_string();
    match error {
        ExtractionError::Read { error, .. } => system(message, error),
        ExtractionError::Cancelled(_) => interrupted(),
        ExtractionError::Extract(ExtractError::Rank { .. } | ExtractError::Alpha { .. }) => {
            Failure::new(message::Kind::Usage, message).fix("for example: --rank 16, and no --alpha")
        }
        ExtractionError::Extract(_) | ExtractionError::Shape { .. } => {
            Failure::new(message::Kind::Usage, message)
                .fix("two models of one architecture, and --rank 8 or so")
        }
    }
}
