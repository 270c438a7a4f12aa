//! What a delta does to a model's answers: the fine-tune and what the artifact gives, run side by side.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::model;
use super::reconstruct::rebuild_into;
use crate::artifact::{Artifact, Staging};
use crate::cli::eval as cli_eval;
use crate::cli::subject::{self, Subject};
use crate::cli::{engine, report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::engine::{Engine, Loaded};
use crate::eval::{self, Answer, Comparison, EvalError, Measured, Protocol};
use crate::store::Store;

/// Prompts that are read.
const MAX_PROMPTS: usize = 10_000;
const MAX_PROMPTS_BYTES: u64 = 64 << 20;
/// Of the interval of the perplexity.
const CONFIDENCE: f64 = 0.95;

/// What the models are to answer, where they are to be run at all.
#[derive(Debug, Args)]
pub struct Questions {
    /// Also run both models and compare their logits on each line of this file
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Also run both models and compare their perplexity on this text
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// How the text is cut and scored, as git sparse eval has it
    #[arg(long, default_value = "llama.cpp-512", value_parser = cli_eval::protocol)]
    protocol: Protocol,
    /// Tokens of a window, in place of the protocol's
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Score the first windows only
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Threads of the engine [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Most nats by which answers may diverge [default: 0 of a lossless artifact, no limit of a lossy one]
    #[arg(long, value_name = "NATS", value_parser = nats)]
    max_divergence: Option<f64>,
}

/// What was found of both models.
#[derive(Debug, Serialize)]
pub struct Logits {
    prompts: Vec<Answered>,
    text: Option<Before>,
    /// The most that answers may diverge, and whether they don't.
    limit: Option<f64>,
    pub passed: bool,
}

#[derive(Debug, Serialize)]
struct Answered {
    prompt: String,
    #[serde(flatten)]
    answer: Answer,
}

/// The perplexity of what the artifact gives; that of the fine-tune is the comparison's baseline.
#[derive(Debug, Serialize)]
struct Before {
    after: Measured,
    comparison: Comparison,
}

fn nats(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "expected nats, such as 0.01".into())
}

impl Questions {
    /// Whether anything is asked.
    pub fn are_some(&self) -> bool {
        self.prompts.is_some() || self.text.is_some()
    }

    /// Rebuilds the artifact's model for a while and runs it beside the fine-tune.
    pub fn ask(&self, artifact: &Artifact, store: &Store, tuned: &str) -> Result<Logits, Failure> {
        let prompts = self.prompts.as_deref().map(lines).transpose()?.unwrap_or_default();
        let text = self.text.as_deref().map(cli_eval::read).transpose()?;
        let staging = Staging::begin(&model::scratch()).map_err(|error| model::taken(&error))?;
        rebuild_into(artifact, store, &staging)?;
        let place = staging.path().to_str().ok_or_else(|| {
            Failure::new(Kind::Usage, "the directory for temporary files has a name that is no UTF-8")
        })?;
        let subjects = [subject::find(place)?, subject::find(tuned)?];
        let mut engine = engine::start()?;
        let mut load = |subject: &Subject| engine::load(&mut engine, subject, engine::threads(self.threads));
        let (after, before) = (load(&subjects[0])?, load(&subjects[1])?);
        eval::same_vocabulary(&after, &before).map_err(|error| cli_eval::failed(&error))?;
        let prompts = answers(&mut engine, &after, &before, prompts)?;
        let text = text.map(|text| self.compare(&mut engine, &after, &before, &text)).transpose()?;
        let limit = self.max_divergence.or((!artifact.manifest.kind.is_lossy()).then_some(0.0));
        let all = prompts.iter().map(|prompt| prompt.answer.divergence);
        let worst = all.chain(text.iter().map(|text| text.comparison.divergence)).fold(0.0, f64::max);
        Ok(Logits { prompts, text, limit, passed: limit.is_none_or(|limit| worst <= limit) })
    }

    fn compare(
        &self,
        engine: &mut Engine,
        after: &Loaded,
        before: &Loaded,
        text: &eval::Text,
    ) -> Result<Before, Failure> {
        let mut protocol = self.protocol;
        protocol.window = self.max_length.or(protocol.window);
        let told = |error: EvalError| cli_eval::failed(&error);
        let cut = eval::cut(engine, after, text, protocol, self.samples).map_err(told)?;
        let compared = watch::steps("score", "windows", cut.windows.len() as u64, |progress| {
            eval::compare(engine, after, before, &cut, CONFIDENCE, progress)
        });
        let (after, comparison) = compared.map_err(told)?;
        Ok(Before { after, comparison })
    }
}

/// The lines of a file that are not blank.
fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let len = fs::metadata(path).map_err(|error| words::file(path, &error))?.len();
    if len > MAX_PROMPTS_BYTES {
        let told =
            format!("{}: prompts of {len} bytes, expected {MAX_PROMPTS_BYTES} at most", path.display());
        return Err(Failure::new(Kind::Usage, told));
    }
    let text = fs::read_to_string(path).map_err(|error| words::file(path, &error))?;
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    match lines.len() {
        1..=MAX_PROMPTS => Ok(lines),
        count => Err(Failure::new(
            Kind::Usage,
            format!("{}: {count} prompts, expected 1 to {MAX_PROMPTS}, a line each", path.display()),
        )),
    }
}

fn answers(
    engine: &mut Engine,
    after: &Loaded,
    before: &Loaded,
    prompts: Vec<String>,
) -> Result<Vec<Answered>, Failure> {
    watch::steps("compare", "prompts", prompts.len() as u64, |progress| {
        let ask = |prompt: String| -> Result<Answered, EvalError> {
            let answer = eval::prompt(engine, after, before, &prompt)?;
            progress(1)?;
            Ok(Answered { prompt, answer })
        };
        prompts.into_iter().map(ask).collect::<Result<Vec<_>, EvalError>>()
    })
    .map_err(|error| cli_eval::failed(&error))
}

impl Logits {
    /// Prints it for people.
    pub fn say(&self) {
        if !self.prompts.is_empty() {
            let head = ["prompt", ">tokens", ">max logit", ">mean logit", ">KL divergence", ">same first"];
            let rows = self.prompts.iter().map(|Answered { prompt, answer }| {
                vec![
                    shortened(prompt),
                    answer.tokens.to_string(),
                    format!("{:.3e}", answer.max_logit),
                    format!("{:.3e}", answer.mean_logit),
                    format!("{:.3e}", answer.divergence),
                    format!("{:.1} %", 100.0 * answer.same_top),
                ]
            });
            report::table(&head, rows);
        }
        if let Some(Before { after, comparison }) = &self.text {
            report::say(&format!(
                "perplexity {:.4} of the fine-tune, {:.4} of what the artifact gives ({:+.3} %, from {:+.3} to {:+.3}); KL \
                 divergence {:.3e}, same first choice {:.2} %",
                comparison.baseline.perplexity,
                after.perplexity,
                comparison.increase_percent.value,
                comparison.increase_percent.low,
                comparison.increase_percent.high,
                comparison.divergence,
                100.0 * comparison.same_top,
            ));
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        report::say(&match self.limit {
            None => "answers: measured, with no limit (--max-divergence NATS)".to_owned(),
            Some(limit) => format!("answers: {verdict}, divergence at most {limit} nats"),
        });
    }
}

/// A prompt's beginning.
fn shortened(prompt: &str) -> String {
    const MOST: usize = 40;
    let begin: String = prompt.chars().take(MOST).collect();
    if prompt.chars().count() > MOST { format!("{begin}…") } else { begin }
}
