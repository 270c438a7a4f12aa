//! The candidates that are known by name: a file that users read and replace, and what they ask for of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// What comes with git sparse.
pub const BUILT_IN: &str = include_str!("candidates.toml");

/// The group that is tried where nobody asked for candidates.
const DEFAULT: &str = "default";
/// Far more than anybody would try.
const MOST: usize = 1000;

/// A file of candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    candidates: Vec<Named>,
}

/// One candidate, by what it is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub made: Made,
    /// The nearest preset of the engine's own.
    pub like: Option<String>,
    aliases: Vec<String>,
    groups: Vec<String>,
}

/// How a candidate is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// By a preset of llama.cpp.
    Preset(String),
    /// By measuring which tensors can bear what.
    Mixed,
    /// By an outside tool.
    Backend(Backend),
}

/// What an outside tool is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    pub name: String,
    pub method: String,
    pub settings: BTreeMap<String, i64>,
    /// It learns from text.
    pub needs_text: bool,
}

/// Why a file is no catalogue, or does not have what was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CandidatesError {
    #[error("{0}")]
    Toml(String),
    #[error("candidate {name}: expected one of `preset`, `mixed` and `backend` with `method`")]
    Made { name: String },
    #[error("the name {0} stands for two candidates")]
    Twice(String),
    #[error("{0} candidates; at most {MOST} are taken")]
    Many(usize),
    #[error("no candidate and no group is called {asked}; there are {known}")]
    Unknown { asked: String, known: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    candidate: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    preset: Option<String>,
    #[serde(default)]
    mixed: bool,
    backend: Option<String>,
    method: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, i64>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    like: Option<String>,
    #[serde(default)]
    text: bool,
}

impl Catalogue {
    /// Reads a file of candidates.
    ///
    /// # Errors
    /// What is no such file, names that stand for two things, and candidates that say two ways to make them, or none.
    pub fn parse(text: &str) -> Result<Catalogue, CandidatesError> {
        let file: File = toml::from_str(text).map_err(|error| CandidatesError::Toml(error.to_string()))?;
        if file.candidate.len() > MOST {
            return Err(CandidatesError::Many(file.candidate.len()));
        }
        let candidates: Vec<Named> = file.candidate.into_iter().map(named).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        for name in candidates.iter().flat_map(|candidate| candidate.aliases.iter().chain([&candidate.name]))
        {
            if !names.insert(name.to_lowercase()) {
                return Err(CandidatesError::Twice(name.clone()));
            }
        }
        Ok(Catalogue { candidates })
    }

    /// The candidates that a user asked for, by names, aliases and groups, each once; without a wish, those of the group
    /// `default` and all of the back ends that are there.
    ///
    /// # Errors
    /// A name that nothing has.
    pub fn select(&self, asked: &[String], backends: &[String]) -> Result<Vec<&Named>, CandidatesError> {
        let standard: Vec<String>;
        let asked = if asked.is_empty() {
            standard = [DEFAULT.to_owned()].into_iter().chain(backends.iter().cloned()).collect();
            &standard
        } else {
            asked
        };
        let mut chosen: Vec<&Named> = Vec::new();
        for wish in asked {
            let found: Vec<&Named> = self.candidates.iter().filter(|named| named.is_called(wish)).collect();
            if found.is_empty() {
                return Err(self.unknown(wish));
            }
            for named in found {
                if !chosen.iter().any(|other| other.name == named.name) {
                    chosen.push(named);
                }
            }
        }
        Ok(chosen)
    }

    /// All of them, in the file's order.
    pub fn all(&self) -> impl Iterator<Item = &Named> {
        self.candidates.iter()
    }

    fn unknown(&self, asked: &str) -> CandidatesError {
        let groups: BTreeSet<&str> =
            self.candidates.iter().flat_map(|named| named.groups.iter().map(String::as_str)).collect();
        let names = self.candidates.iter().map(|named| named.name.as_str());
        let known: Vec<&str> = names.chain(groups).collect();
        CandidatesError::Unknown { asked: asked.to_owned(), known: known.join(", ") }
    }
}

impl Named {
    /// How it is made, in short.
    pub fn means(&self) -> String {
        match &self.made {
            Made::Preset(preset) => format!("llama.cpp {preset}"),
            Made::Mixed => "llama.cpp, a type for each role of tensors".to_owned(),
            Made::Backend(backend) => format!("{} {}", backend.name, backend.method),
        }
    }

    /// The groups that it is in.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    fn is_called(&self, wish: &str) -> bool {
        let names = [&self.name].into_iter().chain(&self.aliases).chain(&self.groups);
        names.into_iter().any(|name| name.eq_ignore_ascii_case(wish))
    }
}

fn named(entry: Entry) -> Result<Named, CandidatesError> {
    let made = match (entry.preset, entry.mixed, entry.backend, entry.method) {
        (Some(preset), false, None, None) => Made::Preset(preset),
        (None, true, None, None) => Made::Mixed,
        (None, false, Some(name), Some(method)) => {
            Made::Backend(Backend { name, method, settings: entry.settings, needs_text: entry.text })
        }
        _ => return Err(CandidatesError::Made { name: entry.name }),
    };
    Ok(Named { name: entry.name, made, like: entry.like, aliases: entry.aliases, groups: entry.groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[&Named]) -> Vec<String> {
        found.iter().map(|named| named.name.clone()).collect()
    }

    /// Whoever comes from the original types its names; each of them leads to something that can be made.
    #[test]
    fn the_originals_names_lead_to_real_candidates() {
        let catalogue = Catalogue::parse(BUILT_IN).unwrap();
        for old in
            "gptq_quality gptq_aggressive awq_balanced awq_fast bnb_nf4 bnb_fp4 bnb_int8 fp16".split(' ')
        {
            let found = catalogue.select(&[old.to_owned()], &[]).unwrap();
            assert_eq!(found.len(), 1, "{old}");
            let is_real = match &found[0].made {
                Made::Preset(preset) => preset == "F16",
                Made::Mixed => false,
                Made::Backend(_) => found[0].like.is_some(),
            };
            assert!(is_real, "{old}: {found:?}");
        }
    }

    /// Without a wish there are the presets, and the back ends that somebody set up; no more.
    #[test]
    fn without_a_wish_the_default_ones_are_tried() {
        let catalogue = Catalogue::parse(BUILT_IN).unwrap();
        let found = names(&catalogue.select(&[], &[]).unwrap());
        assert_eq!(found, ["Q8_0", "Q4_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "mixed"]);
        let found = names(&catalogue.select(&[], &["hqq".to_owned()]).unwrap());
        assert_eq!(found[8..], ["hqq_4bit", "hqq_3bit"]);
        let asked = ["q4_0", "legacy"].map(str::to_owned);
        let found = names(&catalogue.select(&asked, &[]).unwrap());
        assert_eq!(found, ["Q4_0", "Q8_0", "Q5_1", "Q5_0", "Q4_1"]);
    }

    /// A typing error must not quietly try something else.
    #[test]
    fn what_is_not_known_or_not_clear_is_refused() {
        let catalogue = Catalogue::parse(BUILT_IN).unwrap();
        let error = catalogue.select(&["Q4_K".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.contains("Q4_K_M") && error.contains("i-quants"), "{error}");
        let refused = |text: &str| Catalogue::parse(text).unwrap_err();
        assert!(matches!(refused("[[candidate]]\nname = 'x'"), CandidatesError::Made { .. }));
        let two = "[[candidate]]\nname = 'x'\npreset = 'F16'\nmixed = true";
        assert!(matches!(refused(two), CandidatesError::Made { .. }));
        let twice = "[[candidate]]\nname = 'x'\npreset = 'A'\n[[candidate]]\nname = 'y'\naliases = ['X']\npreset = 'B'";
        assert_eq!(refused(twice), CandidatesError::Twice("X".into()));
        assert!(matches!(refused("[[candidate]]\nname = 'x'\nprest = 'F16'"), CandidatesError::Toml(_)));
    }
}
