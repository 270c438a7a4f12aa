//! One candidate on its way through a run.

use super::super::candidates::{Made, Named};
use super::super::ledger::{Key, Made as MadeFile};
use super::super::limits::{About, Limit, Limits};
use super::super::report::{Candidate, Verdict};
use super::super::size;
use super::lab::Lab;
use super::{RunError, fails};

/// How the engine makes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// A preset of llama.cpp.
    pub preset: String,
    /// Tensors whose names match get this type: an expression and a type; the first match counts.
    pub overrides: Vec<(String, String)>,
}

impl Recipe {
    /// In one line, as records and reports name it.
    pub fn words(&self) -> String {
        let overrides = self.overrides.iter().map(|(pattern, dtype)| format!(" {pattern}={dtype}"));
        format!("{}{}", self.preset, overrides.collect::<String>())
    }
}

/// A candidate, how it is made, and what is known of it so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub candidate: Candidate,
    /// `None` of what the engine does not make.
    pub recipe: Option<Recipe>,
    /// One of several that a search proposed: of those, the smallest that is good enough will do.
    pub is_proposed: bool,
}

impl Work {
    /// A candidate that the engine makes.
    pub fn new(name: &str, recipe: Recipe) -> Work {
        Work {
            candidate: blank(name, "llama.cpp", &recipe.words()),
            recipe: Some(recipe),
            is_proposed: false,
        }
    }

    /// A candidate that can't be made, and why.
    pub fn missing(named: &Named, why: &str) -> Work {
        let (engine, recipe) = match &named.made {
            Made::Preset(preset) => ("llama.cpp", preset.clone()),
            Made::Mixed => ("llama.cpp", "mixed".to_owned()),
            Made::Backend(backend) => (backend.name.as_str(), backend.method.clone()),
        };
        let mut work =
            Work { candidate: blank(&named.name, engine, &recipe), recipe: None, is_proposed: false };
        let like = named
            .like
            .as_ref()
            .map_or(String::new(), |like| format!("; the nearest of the engine's own is {like}"));
        work.note(&format!("{why}{like}"));
        work
    }

    /// Says why it is not measured further; the first reason stays.
    pub fn note(&mut self, why: &str) {
        self.candidate.note.get_or_insert_with(|| why.to_owned());
    }

    /// Whether it is worth measuring what comes after limits of this kind.
    pub(super) fn is_open(&mut self, limits: &Limits, about: About) -> bool {
        if self.candidate.note.is_some() || self.recipe.is_none() {
            return false;
        }
        if fails(&self.candidate, limits, about) {
            if about == About::Size {
                self.note("too large");
            }
            return false;
        }
        true
    }

    /// Whether a limit on quality is set and kept.
    pub(super) fn is_good(&self, limits: &Limits) -> bool {
        let quality = |limit: &Limit| limit.about == About::Quality;
        limits
            .list()
            .iter()
            .find(|limit| quality(limit))
            .is_some_and(|limit| limit.judge(&self.candidate).verdict == Verdict::Pass)
    }

    /// Works out how large its file will be.
    pub(super) fn plan(&mut self, lab: &mut Lab<'_>) -> Result<(), RunError> {
        let Some(recipe) = self.recipe.clone() else { return Ok(()) };
        let key = Key::File { recipe: recipe.words(), engine: lab.engine_name().to_owned() };
        let bytes = match lab.ledger.find::<MadeFile>(&key) {
            Some(made) => Some(made.bytes),
            None => self.planned_bytes(lab, &recipe)?,
        };
        match bytes {
            Some(bytes) => {
                self.candidate.bytes = bytes;
                self.candidate.compression = lab.model.bytes as f64 / bytes as f64;
            }
            None => {
                self.note("how large it would be can't be told: it has tensors of types that are not known")
            }
        }
        Ok(())
    }

    fn planned_bytes(&mut self, lab: &mut Lab<'_>, recipe: &Recipe) -> Result<Option<u64>, RunError> {
        let planned = match lab.plan(recipe) {
            Ok(planned) => planned,
            Err(error) => {
                self.note(&format!("the engine can't make it: {error}"));
                return Ok(Some(0));
            }
        };
        if planned.needs_importance {
            self.note("needs an importance matrix, which is not computed here");
        }
        let tensors = &lab.model.survey.tensors;
        let typed = planned.tensors.iter().map(|(name, dtype)| {
            tensors.iter().find(|tensor| tensor.name == *name).map(|tensor| (tensor, dtype.as_str()))
        });
        let typed: Option<Vec<_>> = typed.collect();
        Ok(typed.and_then(|typed| size::file_bytes(lab.model.survey.header_bytes, typed)))
    }
}

fn blank(name: &str, engine: &str, recipe: &str) -> Candidate {
    Candidate {
        name: name.to_owned(),
        engine: engine.to_owned(),
        recipe: recipe.to_owned(),
        bytes: 0,
        file: None,
        compression: 0.0,
        quality: None,
        speed: None,
        peak_memory_bytes: None,
        cost: None,
        verdicts: Vec::new(),
        is_on_front: false,
        note: None,
    }
}
