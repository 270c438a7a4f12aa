//! `git sparse delta validate BASE FINE_TUNE ARTIFACT`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::logits::{Logits, Questions};
use super::{interrupted, model, unusable};
use crate::artifact::{Artifact, MeasureError, Measured, ValidateError};
use crate::cli::{report, watch};
use crate::daemon::message::{self, Failure};

/// The share of a tensor's change that an approximation may lose, unless --max-loss says otherwise.
const LOSSY_MAX: f64 = 0.05;
/// Tensors that are shown, the worst first.
const MOST_SHOWN: usize = 20;

/// Measure how far what an artifact gives lies from the fine-tune, tensor by tensor, and in its answers
#[derive(Debug, Args)]
pub struct Validate {
    /// The base that the artifact was made with: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The fine-tune that it was made of, named in the same ways
    fine_tune: String,
    /// The artifact's directory
    artifact: PathBuf,
    /// Share of a tensor's change that may be lost [default: 0 of a lossless artifact, 0.05 of a lossy one]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_loss: Option<f64>,
    #[command(flatten)]
    questions: Questions,
    /// Print one JSON document (schema git-sparse/delta-validate/1)
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let artifact = super::open(&self.artifact)?;
        let base = model::find(&self.base, &model::scratch())?;
        let tuned = model::find(&self.fine_tune, &model::scratch())?;
        let store = watch::here("check the base", |progress| artifact.on(&base.tree, progress));
        let store = store.map_err(|error| unusable(&artifact, &error))?;
        let measured = watch::here("measure", |progress| artifact.measure(&store, &tuned.tree, progress));
        let mut measured = measured.map_err(|error| failed(&artifact, &error))?;
        measured.sort_by(|a, b| loss(b).total_cmp(&loss(a)));
        let is_lossy = artifact.manifest.kind.is_lossy();
        let limit = self.max_loss.unwrap_or(if is_lossy { LOSSY_MAX } else { 0.0 });
        let verdict = Verdict::of(&measured, limit);
        let questions = &self.questions;
        let logits =
            questions.are_some().then(|| questions.ask(&artifact, &store, &self.fine_tune)).transpose()?;
        if self.json {
            say_json(&artifact, &measured, &verdict, logits.as_ref());
        } else {
            say(&measured, &verdict);
            logits.iter().for_each(Logits::say);
        }
        let passed = verdict.passed && logits.is_none_or(|logits| logits.passed);
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| share.is_finite() && *share >= 0.0);
    share.ok_or_else(|| "expected a share, such as 0.05".into())
}

/// What the measurements come to.
struct Verdict {
    passed: bool,
    limit: f64,
    worst: f64,
    max: f64,
}

impl Verdict {
    /// Where nothing was measured, nothing was shown.
    fn of(measured: &[Measured], limit: f64) -> Verdict {
        let worst = measured.iter().map(loss).fold(0.0, f64::max);
        let max = measured.iter().map(|tensor| tensor.error.max).fold(0.0, f64::max);
        Verdict { passed: !measured.is_empty() && worst <= limit, limit, worst, max }
    }
}

/// The share of its change that a tensor lost; all of it where there was no change to lose.
fn loss(tensor: &Measured) -> f64 {
    tensor.error.of_change.unwrap_or(f64::INFINITY)
}

fn say(measured: &[Measured], verdict: &Verdict) {
    let differ: Vec<_> = measured.iter().filter(|tensor| tensor.error.max > 0.0).collect();
    if !differ.is_empty() {
        let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.3} %", 100.0 * share));
        let row = |tensor: &&Measured| {
            let error = &tensor.error;
            let numbers = [format!("{:.2e}", error.max), format!("{:.2e}", error.mean)];
            [vec![tensor.name.clone()], numbers.to_vec(), vec![share(error.relative), share(error.of_change)]]
                .concat()
        };
        let head = ["tensor", ">max", ">mean", ">of weights", ">of change"];
        report::table(&head, differ.iter().take(MOST_SHOWN).map(row));
        if differ.len() > MOST_SHOWN {
            report::say(&format!("and {} more", differ.len() - MOST_SHOWN));
        }
    }
    let count = report::count(measured.len(), "tensor");
    report::say(&match (measured.is_empty(), verdict.passed, verdict.max == 0.0) {
        (true, ..) => "FAILED: no tensor was measured; of files without tensors, git sparse delta verify proves each byte".into(),
        (_, true, true) => format!("passed: {count}, every weight equal"),
        (_, passed, _) => format!(
            "{}: {count}, at most {:.3} % of a tensor's change is lost (limit {:.3} %)",
            if passed { "passed" } else { "FAILED" },
            100.0 * verdict.worst,
            100.0 * verdict.limit
        ),
    });
}

fn say_json(artifact: &Artifact, measured: &[Measured], verdict: &Verdict, logits: Option<&Logits>) {
    let tensors: Vec<_> = measured
        .iter()
        .map(|tensor| {
            let Measured { file, name, error } = tensor;
            serde_json::json!({ "file": file, "name": name, "error": error })
        })
        .collect();
    report::json(
        "delta-validate",
        serde_json::json!({
            "kind": artifact.manifest.kind,
            "passed": verdict.passed,
            "limit": verdict.limit,
            "worst": verdict.worst,
            "max": verdict.max,
            "tensors": tensors,
            "logits": logits,
        }),
    );
}

fn failed(artifact: &Artifact, error: &MeasureError) -> Failure {
    let message = error.to_string();
    match error {
        MeasureError::Open(error) => unusable(artifact, error),
        MeasureError::Validate(ValidateError::Cancelled(_)) => interrupted(),
        MeasureError::Validate(ValidateError::Missing { .. } | ValidateError::Size { .. }) => {
            Failure::new(message::Kind::Refused, message)
                .fix("name the fine-tune that the artifact was made of (git sparse delta info tells)")
        }
        MeasureError::Validate(ValidateError::Read { error, .. }) => super::system(message, error),
        MeasureError::Validate(ValidateError::Store(error)) => {
            super::of_changed_base(&message, error).unwrap_or_else(|| super::damaged(message))
        }
    }
}
