//! An outside tool in its own virtual environment, asked over JSON lines, and believed in nothing.
//!
//! It answers three questions: who it is (`probe`), to write a quantised model (`quantize`), and how likely that model
//! finds tokens (`logprobs`). Sizes are counted on disk, probabilities are checked to be some, and a model that says
//! exactly what the source says was not quantised (docs/optimize.md, "Outside tools").

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::candidates::Backend;
use crate::engine::Token;
use crate::worker::{Worker, WorkerError};

/// The longest answer.
const MAX_REPLY_BYTES: u64 = 64 << 20;
/// By how much a claimed size may differ from the one on disk, as a share.
const MOST_OFF: f64 = 0.01;
/// Files of a model; more is no model.
const MOST_FILES: usize = 10_000;
/// Rounding may give a probability of a bit more than 1.
const MOST_ABOVE_ZERO: f64 = 1e-4;

/// What a tool is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Question<'a> {
    Probe {},
    Quantize {
        source: &'a Path,
        target: &'a Path,
        method: &'a str,
        settings: &'a BTreeMap<String, i64>,
        /// A text for calibration.
        text: Option<&'a Path>,
    },
    Logprobs {
        model: &'a Path,
        tokens: &'a [Token],
        scored_from: usize,
    },
}

/// What it answers; anything else is no answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Probed(Probed),
    Quantized { bytes: u64 },
    Logprobs(Vec<f64>),
    Failed(String),
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Probed {
    pub tool: String,
    pub version: String,
    pub device: String,
    pub methods: Vec<String>,
}

/// Why a tool gave no candidate. Each is told beside the candidate's name.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    #[error("{} can't be started: {error}", path.display())]
    Start { path: PathBuf, error: io::Error },
    #[error("the tool ended: {0}")]
    Died(String),
    /// It was not asked, since it could not have done it.
    #[error("{0}")]
    Unfit(&'static str),
    #[error("the tool failed: {0}")]
    Failed(String),
    #[error("the tool answered another question, or in words that mean nothing")]
    Answer,
    #[error("the tool can't do {method}, only {}", can.join(", "))]
    Method { method: String, can: Vec<String> },
    #[error("the tool says that its model takes {said} bytes, and it takes {found}")]
    Size { said: u64, found: u64 },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("of {expected} tokens the tool scored {found}")]
    Count { expected: usize, found: usize },
    #[error("the tool gave {found} as the logarithm of a probability")]
    NotAProbability { found: f64 },
    #[error("its model gives exactly the source's probabilities: nothing was quantised")]
    NotQuantised,
}

impl From<WorkerError> for OutsideError {
    fn from(error: WorkerError) -> OutsideError {
        match error {
            // Of a traceback, the last line says what it was.
            WorkerError::Died { status, words } => OutsideError::Died(match words.lines().next_back() {
                Some(last) => format!("it said: {}", shortened(last)),
                None => status,
            }),
            WorkerError::Answer => OutsideError::Answer,
        }
    }
}

/// A tool that runs.
pub struct Outside {
    worker: Worker,
}

impl Outside {
    /// Starts the adapter `script` with the Python of a virtual environment; nothing of ours is in its environment
    /// that would make it reach for a network.
    ///
    /// # Errors
    /// An environment without Python.
    pub fn start(venv: &Path, script: &Path) -> Result<Outside, OutsideError> {
        let python = venv.join("bin").join("python");
        let mut command = Command::new(&python);
        command.arg(script).env("HF_HUB_OFFLINE", "1").env("TRANSFORMERS_OFFLINE", "1");
        let worker = Worker::start(command, MAX_REPLY_BYTES);
        Ok(Outside { worker: worker.map_err(|error| OutsideError::Start { path: python, error })? })
    }

    /// Who it is.
    ///
    /// # Errors
    /// Those of asking.
    pub fn probe(&mut self) -> Result<Probed, OutsideError> {
        match self.ask(&Question::Probe {})? {
            Answer::Probed(probed) => Ok(probed),
            _ => Err(OutsideError::Answer),
        }
    }

    /// Has a model quantised into `target`, and gives its bytes as they were counted there.
    ///
    /// # Errors
    /// Those of asking, a method that the tool does not have, and a size that is not what it says.
    pub fn quantize(
        &mut self,
        probed: &Probed,
        wanted: &Backend,
        source: &Path,
        target: &Path,
        text: Option<&Path>,
    ) -> Result<u64, OutsideError> {
        if !probed.methods.contains(&wanted.method) {
            return Err(OutsideError::Method { method: wanted.method.clone(), can: probed.methods.clone() });
        }
        let (method, settings) = (wanted.method.as_str(), &wanted.settings);
        match self.ask(&Question::Quantize { source, target, method, settings, text })? {
            Answer::Quantized { bytes: said } => {
                let found = weight_bytes(target)?;
                let is_off = (said as f64 - found as f64).abs() > MOST_OFF * found as f64;
                if is_off || found == 0 { Err(OutsideError::Size { said, found }) } else { Ok(found) }
            }
            _ => Err(OutsideError::Answer),
        }
    }

    /// ln p of the tokens from `scored_from` on, by the model in a directory.
    ///
    /// # Errors
    /// Those of asking, and numbers that are not as many logarithms of probabilities.
    pub fn logprobs(
        &mut self,
        model: &Path,
        tokens: &[Token],
        scored_from: usize,
    ) -> Result<Vec<f64>, OutsideError> {
        let Answer::Logprobs(ln_p) = self.ask(&Question::Logprobs { model, tokens, scored_from })? else {
            return Err(OutsideError::Answer);
        };
        let expected = tokens.len().saturating_sub(scored_from);
        if ln_p.len() != expected {
            return Err(OutsideError::Count { expected, found: ln_p.len() });
        }
        match ln_p.iter().find(|ln_p| !ln_p.is_finite() || **ln_p > MOST_ABOVE_ZERO) {
            Some(found) => Err(OutsideError::NotAProbability { found: *found }),
            None => Ok(ln_p),
        }
    }

    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, OutsideError> {
        match self.worker.call(question)? {
            Answer::Failed(why) => Err(OutsideError::Failed(shortened(&why))),
            answer => Ok(answer),
        }
    }
}

/// Bytes of the files with weights in a directory, links not followed.
///
/// # Errors
/// A directory that can't be read.
pub fn weight_bytes(dir: &Path) -> Result<u64, OutsideError> {
    const ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "gguf"];
    let failed = |error| OutsideError::File { path: dir.to_owned(), error };
    let mut bytes = 0u64;
    for entry in fs::read_dir(dir).map_err(failed)?.take(MOST_FILES) {
        let entry = entry.map_err(failed)?;
        let found = entry.metadata().map_err(failed)?;
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if found.is_file() && ENDINGS.contains(&ending) {
            bytes += found.len();
        }
    }
    Ok(bytes)
}

fn shortened(text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    first.chars().take(300).collect()
}

#[cfg(test)]
mod tests;
