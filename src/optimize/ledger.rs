//! What was measured, so that nothing is measured twice: one file of lines for each source, which only grows.
//!
//! A line is written whole after each measurement, so a process that is killed loses the one that was running. A line
//! that was cut short, or that a stranger wrote, is passed over. What a measurement depends on is its key:
//! another engine, processor, text or recipe is another measurement.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::Oid;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// How a text is cut: [`Windows`].
    Windows { protocol: String, text: Oid, most: Option<usize> },
    /// One window of the evaluation: [`Scored`].
    Window { recipe: String, engine: String, protocol: String, text: Oid, window: usize },
    /// The file that a recipe gives: [`Made`].
    File { recipe: String, engine: String },
    /// How long things take, beside the source: [`Times`].
    Times { recipe: String, engine: String, hardware: String, threads: u32, work: String, samples: usize },
    /// How far a group of tensors takes the model from the source: nats.
    Sensitivity { group: String, dtype: String, rest: String, engine: String, text: Oid, windows: usize },
    /// The importance matrix of a text: [`Importance`].
    Importance { text: Oid, windows: usize, engine: String },
    /// How far each tensor is from itself in these types, by some of its rows: a map of names to errors.
    Distortions { types: Vec<String>, rows: u32, calibration: Option<String>, engine: String },
    /// What the source is made of: [`super::survey::Survey`].
    Source,
    /// What a recipe would give: [`Planned`].
    Plan { recipe: String, engine: String },
}

/// Of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// Scored tokens of each window.
    pub tokens: Vec<usize>,
}

/// Of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// ln p of each scored token by the candidate, and by the source.
    pub ln_p: Vec<f64>,
    pub source_ln_p: Vec<f64>,
    /// Mean divergence from the source in nats, where it was asked for.
    pub divergence: Option<f64>,
    /// Share of tokens where both find the same one the most likely.
    pub same_top: Option<f64>,
}

/// Of a candidate's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub bytes: u64,
    pub file: Option<Oid>,
}

/// Of an importance matrix, whose file lies beside the ledger's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Importance {
    /// Of the text, as many as were read.
    pub tokens: u64,
    /// SHA-256 of the file.
    pub matrix: Oid,
}

/// Of a candidate and of the source, in turns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub candidate: Vec<super::speed::Round>,
    pub source: Vec<super::speed::Round>,
    pub peak_bytes: u64,
}

/// Of a recipe, before it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Of the file; 0 where that can't be told.
    pub bytes: u64,
    pub why_not: Option<String>,
    /// A hash over its tensors and their types; older records have none.
    #[serde(default)]
    pub types: Option<String>,
}

/// Why what is known can't be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct LedgerError {
    pub path: PathBuf,
    pub error: io::Error,
}

/// All that is known of one source.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    known: HashMap<String, serde_json::Value>,
    file: Option<File>,
}

/// More than any run writes; what lies beyond is not read.
const MAX_BYTES: u64 = 1 << 30;
const MAX_LINE_BYTES: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Line<K, V> {
    key: K,
    value: V,
}

impl Ledger {
    /// Opens what is known of the source with these weights, below `dir`; nothing is there at first.
    ///
    /// # Errors
    /// A file that can't be read. Lines that can't are passed over.
    pub fn open(dir: &Path, weights: Oid) -> Result<Ledger, LedgerError> {
        let path = dir.join(format!("{weights}.jsonl"));
        let known = match File::open(&path) {
            Ok(file) => read(file).map_err(|error| LedgerError { path: path.clone(), error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(LedgerError { path, error }),
        };
        Ok(Ledger { path, known, file: None })
    }

    /// One that keeps nothing longer than it lives.
    pub fn in_memory() -> Ledger {
        Ledger { path: PathBuf::new(), known: HashMap::new(), file: None }
    }

    /// A place beside its file for what is no line, by a name; `None` where nothing is kept.
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        let stem = self.path.file_stem()?.to_string_lossy();
        Some(self.path.with_file_name(format!("{stem}-{name}")))
    }

    /// How many measurements there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What was measured before.
    pub fn find<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        serde_json::from_value(self.known.get(&text(key))?.clone()).ok()
    }

    /// Keeps a measurement, durably.
    ///
    /// # Errors
    /// A file that can't be written: a full disk, say.
    pub fn keep<T: Serialize>(&mut self, key: &Key, value: &T) -> Result<(), LedgerError> {
        let value = serde_json::to_value(value).expect("because our own types have string keys");
        if !self.path.as_os_str().is_empty() {
            self.append(key, &value).map_err(|error| LedgerError { path: self.path.clone(), error })?;
        }
        self.known.insert(text(key), value);
        Ok(())
    }

    fn append(&mut self, key: &Key, value: &serde_json::Value) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(begin(&self.path)?);
        }
        let mut line = serde_json::to_vec(&Line { key, value }).map_err(io::Error::from)?;
        line.push(b'\n');
        match &mut self.file {
            Some(file) => file.write_all(&line).and_then(|()| file.sync_data()),
            None => Ok(()),
        }
    }
}

/// The file, ready for a line at its end: what a killed process left of one is ended first.
fn begin(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(b"\n")?;
    Ok(file)
}

fn read(file: File) -> io::Result<HashMap<String, serde_json::Value>> {
    let mut known = HashMap::new();
    let mut lines = BufReader::new(file.take(MAX_BYTES));
    loop {
        let mut line = Vec::new();
        if lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(known);
        }
        if let Ok(Line { key, value }) = serde_json::from_slice::<Line<Key, serde_json::Value>>(&line) {
            known.insert(text(&key), value);
        }
    }
}

/// A key's one text.
fn text(key: &Key) -> String {
    serde_json::to_string(key).expect("because our own types have string keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(window: usize) -> Key {
        Key::Window {
            recipe: "Q4_0".into(),
            engine: "e".into(),
            protocol: "p".into(),
            text: Oid::from_bytes([3; 32]),
            window,
        }
    }

    fn scored(ln_p: f64) -> Scored {
        Scored { ln_p: vec![ln_p], source_ln_p: vec![-1.0], divergence: None, same_top: None }
    }

    /// The second run measures nothing: what was kept comes back, bit by bit, and only for its own key.
    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Oid::from_bytes([7; 32]);
        let mut ledger = Ledger::open(dir.path(), weights).unwrap();
        assert_eq!(ledger.find::<Scored>(&key(1)), None);
        ledger.keep(&key(1), &scored(-0.1 - 0.2)).unwrap();
        let again = Ledger::open(dir.path(), weights).unwrap();
        assert_eq!(again.find(&key(1)), Some(scored(-0.1 - 0.2)));
        assert_eq!(again.find::<Scored>(&key(2)), None);
        let other = Ledger::open(dir.path(), Oid::from_bytes([8; 32])).unwrap();
        assert_eq!(other.find::<Scored>(&key(1)), None);
    }

    /// A run that is killed loses the measurement that was running, and no other, whatever it left of a line.
    #[test]
    fn a_line_that_was_cut_short_loses_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Oid::from_bytes([7; 32]);
        let mut ledger = Ledger::open(dir.path(), weights).unwrap();
        ledger.keep(&key(1), &scored(-1.0)).unwrap();
        ledger.keep(&key(2), &scored(-2.0)).unwrap();
        let path = dir.path().join(format!("{weights}.jsonl"));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut ledger = Ledger::open(dir.path(), weights).unwrap();
            let first = ledger.find::<Scored>(&key(1));
            assert!(first.is_none() || first == Some(scored(-1.0)));
            if cut % 50 == 0 {
                ledger.keep(&key(3), &scored(-3.0)).unwrap();
                let again = Ledger::open(dir.path(), weights).unwrap();
                assert_eq!(again.find(&key(3)), Some(scored(-3.0)), "after a cut at {cut}");
                assert_eq!(again.find::<Scored>(&key(1)), first);
            }
        }
    }
}
