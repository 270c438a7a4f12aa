//! One candidate on its way through a run.

use std::collections::HashMap;

use super::super::candidates::{Backend, Made, Named};
use super::super::ledger::{Key, Made as MadeFile, Planned};
use super::super::limits::{About, Limit, Limits};
use super::super::report::{Candidate, Verdict};
use super::super::size;
use super::calibration::Calibration;
use super::lab::Lab;
use super::{RunError, fails};
use crate::engine::EngineError;

/// How the engine makes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// A preset of llama.cpp.
    pub preset: String,
    /// Tensors whose names match get this type: an expression and a type; the first match counts.
    pub overrides: Vec<(String, String)>,
    /// What it learns from a text which inputs matter, where it does.
    pub calibration: Option<Calibration>,
}

impl Recipe {
    /// A preset as it is, with an importance matrix where it makes use of one.
    pub fn preset(preset: &str, calibration: Option<Calibration>) -> Recipe {
        let is_deaf = ["F32", "F16", "BF16", "Q8_0", "Q6_K"].contains(&preset);
        let calibration = calibration.filter(|_| !is_deaf);
        Recipe { preset: preset.to_owned(), overrides: Vec::new(), calibration }
    }

    /// In one line, as records and reports name it.
    pub fn words(&self) -> String {
        let calibration = self.calibration.map(|calibration| format!(" {}", calibration.word()));
        let overrides = self.overrides.iter().map(|(pattern, dtype)| format!(" {pattern}={dtype}"));
        format!("{}{}{}", self.preset, calibration.unwrap_or_default(), overrides.collect::<String>())
    }

    /// From the words of a report; `None` where they are none of ours.
    pub fn parse(words: &str) -> Option<Recipe> {
        let mut parts = words.split(' ').peekable();
        let preset = parts.next().filter(|preset| !preset.is_empty())?.to_owned();
        let calibration = parts.peek().and_then(|part| Calibration::parse(part));
        let parts = parts.skip(usize::from(calibration.is_some()));
        let pair =
            |part: &str| part.rsplit_once('=').map(|(pattern, dtype)| (pattern.to_owned(), dtype.to_owned()));
        let overrides: Option<Vec<_>> = parts.map(pair).collect();
        Some(Recipe { preset, overrides: overrides?, calibration })
    }
}

/// A candidate, how it is made, and what is known of it so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub candidate: Candidate,
    /// `None` of what the engine does not make.
    pub recipe: Option<Recipe>,
    /// What an outside tool is asked for, where one makes it.
    pub outside: Option<Backend>,
    /// What would be the same in a twin: the tensors' types, and what they were learned from.
    pub(super) made_of: Option<(String, Option<Calibration>)>,
    /// One of several that a search proposed: of those, the smallest that is good enough will do.
    pub is_proposed: bool,
}

impl Work {
    /// A candidate that the engine makes.
    pub fn new(name: &str, recipe: Recipe) -> Work {
        Work {
            candidate: blank(name, "llama.cpp", &recipe.words()),
            recipe: Some(recipe),
            outside: None,
            made_of: None,
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
        let mut work = Work {
            candidate: blank(&named.name, engine, &recipe),
            recipe: None,
            outside: None,
            made_of: None,
            is_proposed: false,
        };
        let like = named
            .like
            .as_ref()
            .map_or(String::new(), |like| format!("; the nearest of the engine's own is {like}"));
        work.note(&format!("{why}{like}"));
        work
    }

    /// A candidate that an outside tool makes.
    pub fn outside(name: &str, backend: &Backend) -> Work {
        let settings = backend.settings.iter().map(|(name, value)| format!(" {name}={value}"));
        let recipe = format!("{} {}{}", backend.name, backend.method, settings.collect::<String>());
        let candidate = blank(name, &backend.name, &recipe);
        Work { candidate, recipe: None, outside: Some(backend.clone()), made_of: None, is_proposed: false }
    }

    /// Whether limits on the size are kept.
    pub(super) fn is_small_enough(&self, limits: &Limits) -> bool {
        !fails(&self.candidate, limits, About::Size)
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
        let (recipe_words, engine) = (recipe.words(), lab.engine_name().to_owned());
        let made = Key::File { recipe: recipe_words.clone(), engine: engine.clone() };
        let key = Key::Plan { recipe: recipe_words, engine };
        let known = lab.ledger.find::<Planned>(&key);
        let planned = match known {
            Some(known) => known,
            None => {
                let planned = planned(lab, &recipe)?;
                lab.ledger.keep(&key, &planned)?;
                planned
            }
        };
        if let Some(why) = &planned.why_not {
            self.note(why);
        }
        self.made_of = planned.types.map(|types| (types, recipe.calibration));
        let bytes = lab.ledger.find::<MadeFile>(&made).map_or(planned.bytes, |made| made.bytes);
        self.candidate.bytes = bytes;
        self.candidate.compression = if bytes > 0 { lab.model.bytes as f64 / bytes as f64 } else { 0.0 };
        Ok(())
    }
}

/// Leaves out what would be made of the same types as one before it: presets fall back where rows don't fit their blocks.
pub(super) fn leave_out_twins(works: &mut [Work]) {
    let mut first: HashMap<(String, Option<Calibration>), String> = HashMap::new();
    for work in works.iter_mut().filter(|work| work.candidate.note.is_none()) {
        let Some(made_of) = work.made_of.clone() else { continue };
        let name = work.candidate.name.clone();
        let other = first.entry(made_of).or_insert_with(|| name.clone());
        if *other != name {
            work.note(&format!("of the same types as {other}: the rows of this model don't fit its own"));
        }
    }
}

/// What the engine would make.
fn planned(lab: &mut Lab<'_>, recipe: &Recipe) -> Result<Planned, RunError> {
    let none = |why: String| Planned { bytes: 0, why_not: Some(why), types: None };
    let planned = match lab.plan(recipe) {
        Ok(planned) => planned,
        Err(RunError::Engine(EngineError::Failed(why) | EngineError::Request(why))) => {
            return Ok(none(format!("the engine can't make it: {why}")));
        }
        Err(error) => return Err(error),
    };
    let survey = lab.survey()?;
    let typed = planned.tensors.iter().map(|(name, dtype)| {
        survey.tensors.iter().find(|tensor| tensor.name == *name).map(|tensor| (tensor, dtype.as_str()))
    });
    let typed: Option<Vec<_>> = typed.collect();
    let bytes = typed.and_then(|typed| size::file_bytes(survey.header_bytes, typed));
    let needs = "it needs an importance matrix, which is learned from a text: --search-text FILE";
    Ok(match bytes {
        None => {
            none("how large it would be can't be told: it has tensors of types that are not known".to_owned())
        }
        Some(bytes) => Planned {
            bytes,
            why_not: planned.needs_importance.then(|| needs.to_owned()),
            types: Some(digest(&planned.tensors)),
        },
    })
}

fn digest(typed: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, dtype) in typed {
        hasher.update(format!("{name} {dtype}\n").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
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
        estimate: None,
        peak_memory_bytes: None,
        cost: None,
        verdicts: Vec::new(),
        is_on_front: false,
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Oid;

    /// Nobody waits for the same file twice; what was learned from another text is another file.
    #[test]
    fn of_twins_the_first_is_measured() {
        let calibration = Calibration { text: Oid::from_bytes([7; 32]), windows: 16 };
        let work = |name: &str, types: &str, calibration| Work {
            made_of: Some((types.to_owned(), calibration)),
            ..Work::new(name, Recipe::preset(name, calibration))
        };
        let mut works = [
            work("Q5_0", "a", None),
            work("Q4_K_M", "a", None),
            work("Q3_K_M", "a", Some(calibration)),
            work("Q8_0", "b", None),
        ];
        leave_out_twins(&mut works);
        let notes = works.map(|work| work.candidate.note);
        assert!(notes[1].as_ref().is_some_and(|note| note.contains("same types as Q5_0")), "{notes:?}");
        assert!(notes[0].is_none() && notes[2].is_none() && notes[3].is_none(), "{notes:?}");
    }

    /// What a report says was made must be what is made again in CI.
    #[test]
    fn a_recipe_comes_back_from_its_words() {
        let overrides = vec![(r"^blk\.(1|2)\.ffn_down\.weight$".to_owned(), "Q4_K".to_owned())];
        let calibration = Calibration { text: Oid::from_bytes([7; 32]), windows: 16 };
        for recipe in [
            Recipe::preset("Q4_K_M", None),
            Recipe::preset("Q4_K_M", Some(calibration)),
            Recipe { preset: "Q8_0".into(), overrides: overrides.clone(), calibration: None },
            Recipe { preset: "Q8_0".into(), overrides, calibration: Some(calibration) },
        ] {
            assert_eq!(Recipe::parse(&recipe.words()), Some(recipe));
        }
        assert_eq!(Recipe::parse(""), None);
        assert_eq!(Recipe::parse("Q8_0 what"), None);
        assert_eq!(Recipe::parse("Q8_0 imatrix:16:00"), None);
        assert_eq!(Recipe::preset("Q8_0", Some(calibration)), Recipe::preset("Q8_0", None));
    }
}
