//! What variants learn from a text: an importance matrix, computed once for the source's weights, and kept beside what
//! was measured of them.
//!
//! It says how large the inputs of each matrix are, in the mean of their squares: the quantiser then spends its
//! precision where an error is multiplied by more (llama.cpp, `llama-imatrix`).

use std::fs;
use std::path::{Path, PathBuf};

use super::super::ledger::{Importance as Known, Key};
use super::lab::Lab;
use super::work::Recipe;
use super::{Around, RunError};
use crate::engine::Importance;
use crate::eval::Text;
use crate::id::Oid;

/// Windows that are read, spread over the text, and tokens of each.
const WINDOWS: usize = 8;
const WINDOW_TOKENS: usize = 512;

/// The text that is learned from, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calibration {
    /// SHA-256 of the text.
    pub text: Oid,
    /// At most: a short text has fewer.
    pub windows: usize,
}

impl Calibration {
    /// The one that a text gives.
    pub fn of(text: &Text) -> Calibration {
        Calibration { text: text.hash, windows: WINDOWS }
    }

    /// As a recipe's words have it.
    pub fn word(&self) -> String {
        format!("imatrix:{}:{}", self.windows, self.text)
    }

    /// From such a word; `None` where it is another.
    pub fn parse(word: &str) -> Option<Calibration> {
        let (windows, text) = word.strip_prefix("imatrix:")?.split_once(':')?;
        Some(Calibration { text: text.parse().ok()?, windows: windows.parse().ok()? })
    }
}

impl Lab<'_> {
    /// Makes sure that what a recipe learns from is there: computed before, or computed now from its text.
    ///
    /// # Errors
    /// A text that is not at hand, or too short; those of the engine.
    pub fn learn(&mut self, recipe: &Recipe, around: &Around<'_>) -> Result<(), RunError> {
        recipe.calibration.map_or(Ok(()), |calibration| self.learned(calibration, around).map(drop))
    }

    /// The file of a matrix, which is there then.
    pub(super) fn learned(
        &mut self,
        calibration: Calibration,
        around: &Around<'_>,
    ) -> Result<PathBuf, RunError> {
        let path = self.matrix(calibration);
        if !self.has_learned(calibration) {
            let known = self.known(calibration).map(|known| known.matrix);
            if known.is_none() || hash(&path).ok() != known {
                self.compute(calibration, &path, around)?;
            }
            self.remember(calibration);
        }
        Ok(path)
    }

    /// Takes a matrix that lies beside a report, as if it had been computed here; `false` where it is not the one of the report.
    ///
    /// # Errors
    /// A store that can't be written.
    pub fn adopt(&mut self, calibration: Calibration, from: &Path, known: &Known) -> Result<bool, RunError> {
        if hash(from).ok() != Some(known.matrix) {
            return Ok(false);
        }
        let path = self.matrix(calibration);
        place(&path, |partial| fs::copy(from, partial).map(drop).map_err(|error| failed(partial, error)))?;
        self.ledger.keep(&self.matrix_key(calibration), known)?;
        Ok(true)
    }

    /// What is known of a matrix, and `None` before it was computed.
    pub fn known(&self, calibration: Calibration) -> Option<Known> {
        self.ledger.find(&self.matrix_key(calibration))
    }

    /// Where a matrix lies, or will.
    pub fn matrix(&self, calibration: Calibration) -> PathBuf {
        let words = format!("{} {}", calibration.word(), self.engine_name());
        let name = format!("{:.16}.imatrix", blake3::hash(words.as_bytes()).to_hex());
        self.ledger.beside(&name).unwrap_or_else(|| self.scratch().join(name))
    }

    fn matrix_key(&self, calibration: Calibration) -> Key {
        let Calibration { text, windows } = calibration;
        Key::Importance { text, windows, engine: self.engine_name().to_owned() }
    }

    fn compute(
        &mut self,
        calibration: Calibration,
        path: &Path,
        around: &Around<'_>,
    ) -> Result<(), RunError> {
        let Some(text) = self.teacher(calibration.text) else {
            return Err(RunError::Untaught { text: calibration.text });
        };
        (around.tell)("which inputs matter");
        let cut = self.search_windows(&text, calibration.windows, WINDOW_TOKENS, 1)?;
        let begin = self.source()?.begin;
        let mut windows: Vec<Vec<_>> = cut.into_iter().map(|window| window.tokens).collect();
        // As where windows are scored, the first token is the one that texts begin with.
        for (window, begin) in windows.iter_mut().filter_map(|window| Some((window.first_mut()?, begin?))) {
            *window = begin;
        }
        let tokens = windows.iter().map(Vec::len).sum::<usize>() as u64;
        place(path, |partial| {
            let order = |model| Importance { model, windows: windows.clone(), target: partial.to_owned() };
            self.importance(order, &mut |_| Ok((around.progress)(1)?))
        })?;
        let matrix = hash(path).map_err(|error| failed(path, error))?;
        self.ledger.keep(&self.matrix_key(calibration), &Known { tokens, matrix })?;
        Ok(())
    }
}

/// Makes a file beside its name first, so that it is there whole or not at all.
fn place(path: &Path, make: impl FnOnce(&Path) -> Result<(), RunError>) -> Result<(), RunError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    }
    let partial = path.with_extension("partial");
    let made = make(&partial).and_then(|()| fs::rename(&partial, path).map_err(|error| failed(path, error)));
    if made.is_err() {
        // It may not have come to be.
        let _ = fs::remove_file(&partial);
    }
    made
}

fn failed(path: &Path, error: std::io::Error) -> RunError {
    RunError::File { path: path.to_owned(), error }
}

fn hash(path: &Path) -> std::io::Result<Oid> {
    fs::File::open(path).and_then(Oid::of_reader)
}
