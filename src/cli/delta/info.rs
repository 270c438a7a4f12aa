//! `git sparse delta info ARTIFACT`.

use std::path::PathBuf;

use clap::Args;

use super::Subject;
use super::compress::say_totals;
use crate::artifact::{Manifest, Model};
use crate::cli::report;
use crate::daemon::message::Failure;
use crate::dataset;

/// Tensors that are shown. Models of many experts have more than anybody reads.
const MOST_SHOWN: usize = 5000;
/// Characters of a name that are shown.
const LONGEST_NAME: usize = 200;

/// What an artifact holds: its base, its files, and what each tensor costs
#[derive(Debug, Args)]
pub struct Info {
    /// The artifact's directory
    artifact: PathBuf,
    /// Print one JSON document (schema git-sparse/delta-info/1): the manifest
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> Result<(), Failure> {
        let manifest = super::open(&self.artifact)?.manifest;
        if self.json {
            report::long_json("delta-info", &manifest);
            return Ok(());
        }
        let subject = subject(&manifest);
        say_model("base     ", &manifest.base);
        say_model(subject.label(), &manifest.fine_tune);
        report::say(&format!("made       {} by {}", manifest.created_at, manifest.created_by));
        say_totals(subject, &manifest, &self.artifact);
        if !manifest.tensors.is_empty() {
            report::say("");
            say_tensors(&manifest);
        }
        Ok(())
    }
}

/// What it is of, by the largest file.
fn subject(manifest: &Manifest) -> Subject {
    let largest = manifest.fine_tune.files.iter().max_by_key(|file| file.size);
    match largest.and_then(|file| dataset::Kind::named(&file.path)) {
        Some(_) => Subject::DataSet,
        None => Subject::Model,
    }
}

fn say_model(what: &str, model: &Model) {
    report::say(&format!("{what}  {}", model.portable()));
}

fn say_tensors(manifest: &Manifest) {
    let is_lossy = manifest.kind.is_lossy();
    let rows = manifest.tensors.iter().take(MOST_SHOWN).map(|tensor| {
        let mut row = vec![
            tensor.name.chars().take(LONGEST_NAME).collect(),
            format!("{:?}", tensor.dtype).to_lowercase(),
            report::shape(&tensor.shape),
            report::bytes(tensor.size),
            report::bytes(tensor.stored),
            report::share(tensor.stored, tensor.size),
            tensor.method.chars().take(LONGEST_NAME).collect(),
        ];
        if is_lossy {
            let lost = tensor.error.and_then(|error| error.of_change);
            row.push(lost.map_or("-".into(), |lost| format!("{:.2} %", 100.0 * lost)));
        }
        row
    });
    let head = ["tensor", "type", "shape", ">size", ">stored", ">ratio", "method", ">lost"];
    report::table(&head[..if is_lossy { 8 } else { 7 }], rows);
    if manifest.tensors.len() > MOST_SHOWN {
        report::say(&format!("and {} more: --json has all", manifest.tensors.len() - MOST_SHOWN));
    }
}
