//! `--check`: whether a choice that was committed still holds, for CI.

use std::path::Path;

use super::machine;
use super::output::REPORT;
use crate::cli::subject::Subject;
use crate::daemon::message::{Failure, Kind};
use crate::id::Oid;
use crate::optimize::report::{Report, SCHEMA};
use crate::optimize::run::{Recipe, RunError, Work};

/// What a report says was chosen.
pub struct Committed {
    name: String,
    recipe: Recipe,
    /// Of the file, where it was written.
    file: Option<Oid>,
}

/// Reads the choice in a directory's report, which must be of this source.
pub fn read(dir: &Path, subject: &Subject) -> Result<Committed, Failure> {
    let path = dir.join(REPORT);
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
    Ok(Committed { name: chosen.clone(), recipe, file: candidate.file })
}

impl Committed {
    /// The choice, to be measured again.
    pub fn work(&self) -> Work {
        Work::new(&self.name, self.recipe.clone())
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
