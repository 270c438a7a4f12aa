//! `--apply`: the winner's file beside its report, and in the store as a recipe or delta of its source's files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::subject::Subject;
use crate::cli::watch;
use crate::daemon::message::{Failure, Reply, Request};
use crate::id::Oid;
use crate::optimize::run::RunError;

/// The importance matrix that the winner was made with, beside it.
pub const MATRIX: &str = "importance.imatrix";

/// Writes the winner into `dir`, under the model's name and its own.
pub fn write(dir: &Path, made: &Path, subject: &Subject, name: &str) -> Result<PathBuf, RunError> {
    let path = place(dir, subject, name);
    copy(made, &path)?;
    std::path::absolute(&path).map_err(failed(&path))
}

/// Writes what the winner learned from into `dir`: with it the same file can be made without the text.
pub fn write_matrix(dir: &Path, matrix: &Path) -> Result<(), RunError> {
    copy(matrix, &dir.join(MATRIX))
}

fn copy(from: &Path, to: &Path) -> Result<(), RunError> {
    let partial = to.with_extension("partial");
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(failed(dir))?;
    }
    fs::copy(from, &partial).map_err(failed(&partial))?;
    fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(failed(&partial))?;
    fs::rename(&partial, to).map_err(failed(to))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.to_owned();
    move |error| RunError::File { path, error }
}

/// Stores the winner, and before it the files that it was made of; gives the bytes that the winner took.
pub fn store(path: &Path, oid: Oid, subject: &Subject) -> Result<u64, Failure> {
    let mut parents = Vec::new();
    for (weights, place) in subject.files()? {
        keep(weights, place, Vec::new())?;
        parents.push(weights);
    }
    keep(oid, path.to_owned(), parents)
}

fn keep(oid: Oid, path: PathBuf, parents: Vec<Oid>) -> Result<u64, Failure> {
    match watch::call(&Request::Keep { oid, path, parents })? {
        Reply::Uploaded { stored, .. } => Ok(stored),
        _ => Err(crate::cli::unexpected()),
    }
}

/// Where `write` puts a variant.
pub fn place(dir: &Path, subject: &Subject, name: &str) -> PathBuf {
    dir.join(file_name(&subject.name, name))
}

/// `SmolLM2-135M-Q6_K.gguf`: names of models may be paths, revisions or a hub's.
fn file_name(model: &str, variant: &str) -> String {
    let last = model.rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or("model");
    let stem = last.strip_suffix(".gguf").unwrap_or(last);
    let stem = stem.split('@').next().unwrap_or(stem);
    let safe = |text: &str| -> String {
        text.chars()
            .map(|sign| if sign.is_ascii_alphanumeric() || "._-".contains(sign) { sign } else { '-' })
            .collect()
    };
    format!("{}-{}.gguf", safe(stem.trim_start_matches('.')), safe(variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model's name never leads out of the directory that was asked for.
    #[test]
    fn names_of_files_stay_in_their_directory() {
        assert_eq!(file_name("models/SmolLM2-F16.gguf", "Q6_K"), "SmolLM2-F16-Q6_K.gguf");
        assert_eq!(file_name("HEAD~2:dir/model.gguf", "mixed-104MB"), "model-mixed-104MB.gguf");
        assert_eq!(file_name("org/name@main", "Q4_0"), "name-Q4_0.gguf");
        assert_eq!(file_name("../..", "../x"), "-..-x.gguf");
        assert_eq!(file_name("", "Q4_0"), "model-Q4_0.gguf");
    }
}
