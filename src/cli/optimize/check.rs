//! `--check`: whether a choice that was committed still holds, for CI.

use std::fs;
use std::path::Path;

use super::output::REPORT;
use super::{apply, machine};
use crate::cli::subject::{self, Subject};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::git::{Pointer, pointer};
use crate::id::Oid;
use crate::optimize::ledger::Importance;
use crate::optimize::report::{Calibration, Report, SCHEMA};
use crate::optimize::run::{Lab, Recipe, RunError, Work};

/// What a report says was chosen.
pub struct Committed {
    name: String,
    recipe: Recipe,
    /// Of the file, where it was written.
    file: Option<Oid>,
    /// What it learned from, where it did.
    calibration: Option<Calibration>,
}

/// Reads the choice in a directory's report, which must be of this source.
pub fn read(dir: &Path, subject: &Subject) -> Result<Committed, Failure> {
    let path = dir.join(REPORT);
    if !path.exists() {
        return Err(Failure::new(Kind::NotFound, format!("{}: there is no report to check", path.display()))
            .fix("choose first, with the same -o DIR and without --check"));
    }
    let text = machine::small_file(&path)?;
    let wrong = |what: String| Failure::new(Kind::Corrupt, format!("{}: {what}", path.display()));
    let report: Report = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(wrong(format!("schema {}, expected {SCHEMA}", report.schema)));
    }
    if report.source.weights != subject.weights {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{}: it is of the weights {:.12}…, {} has {:.12}…",
                path.display(),
                report.source.weights,
                subject.name,
                subject.weights
            ),
        )
        .fix("the model changed: choose anew, without --check"));
    }
    let Some(chosen) = &report.chosen else {
        return Err(Failure::new(Kind::Refused, format!("{}: nothing was chosen", path.display())));
    };
    let candidate = report.candidates.iter().find(|candidate| candidate.name == *chosen);
    let candidate = candidate.ok_or_else(|| wrong(format!("{chosen} is not among its candidates")))?;
    let recipe = Recipe::parse(&candidate.recipe);
    let recipe = recipe.ok_or_else(|| wrong(format!("the recipe of {chosen} is {:?}", candidate.recipe)))?;
    if let Some(expected) = candidate.file {
        same_file(dir, subject, chosen, expected)?;
    }
    let calibration = report.calibration.clone();
    Ok(Committed { name: chosen.clone(), recipe, file: candidate.file, calibration })
}

/// Whether the file that was committed is the one that the report speaks of, or a pointer to it.
fn same_file(dir: &Path, subject: &Subject, name: &str, expected: Oid) -> Result<(), Failure> {
    // The model may have gone by another name then: the file is the one of this content, wherever it is.
    let named = apply::place(dir, subject, name);
    let ending = format!("-{name}.gguf");
    let entries = fs::read_dir(dir).map_err(|error| words::file(dir, &error))?;
    let others = entries.flatten().map(|entry| entry.path()).filter(|path| {
        *path != named && path.file_name().is_some_and(|file| file.to_string_lossy().ends_with(&ending))
    });
    let Some(path) = Some(named.clone()).filter(|path| path.exists()).or_else(|| others.into_iter().next())
    else {
        let told =
            format!("{}: the chosen file is not there, its SHA-256 was {expected:.12}…", named.display());
        return Err(Failure::new(Kind::NotFound, told).fix("git checkout it, or choose anew with --apply"));
    };
    let found = subject::hash(&path)?;
    let pointer = fs::metadata(&path).is_ok_and(|found| found.len() < pointer::MAX_POINTER_BYTES as u64);
    let points_at = pointer.then(|| fs::read(&path).ok()).flatten().and_then(|text| Pointer::parse(&text));
    if found == expected || points_at.is_some_and(|pointer| pointer.oid == expected) {
        return Ok(());
    }
    let told = format!("{}: its SHA-256 is {found:.12}…, the report has {expected:.12}…", path.display());
    Err(Failure::new(Kind::Corrupt, told).fix("git checkout both anew, or choose anew with --apply"))
}

impl Committed {
    /// The choice, to be measured again.
    pub fn work(&self) -> Work {
        Work::new(&self.name, self.recipe.clone())
    }

    /// Takes the importance matrix beside the report, where there is one: then the text that it was learned from is not needed.
    pub fn adopt(&self, lab: &mut Lab<'_>, dir: &Path) -> Result<(), RunError> {
        if let (Some(calibration), Some(Calibration { tokens, matrix, .. })) =
            (self.recipe.calibration, self.calibration.clone())
        {
            lab.adopt(calibration, &dir.join(apply::MATRIX), &Importance { tokens, matrix })?;
        }
        Ok(())
    }

    /// Whether the same file comes out as was written then.
    pub fn compare(&self, found: Oid) -> Result<(), RunError> {
        match self.file {
            Some(expected) if expected != found => {
                Err(RunError::Changed { name: self.name.clone(), expected, found })
            }
            _ => Ok(()),
        }
    }
}
