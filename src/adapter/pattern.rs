//! The keys of `rank_pattern` and `alpha_pattern`: regular expressions for the ends of modules' names.
//!
//! PEFT's rule (`get_pattern_key`): the first key, in the order of the file, for which Python's
//! `re.match(rf"(.*\.)?({key})$", name)` finds something.

use std::fmt;

use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Most keys of one table; each becomes an expression.
const MAX_KEYS: usize = 1 << 16;

/// Values for modules, by the first key that matches.
#[derive(Debug, Default)]
pub struct Patterns(Vec<(Key, f64)>);

#[derive(Debug)]
enum Key {
    /// Without signs that mean something else than themselves, but for `.`, which is any character.
    Plain(String),
    Expression(Regex),
}

impl Patterns {
    /// The value for a module, if a key matches.
    pub fn get(&self, module: &str) -> Option<f64> {
        self.0.iter().find(|(key, _)| key.matches(module)).map(|(_, value)| *value)
    }
}

impl Key {
    fn new(key: &str) -> Result<Key, regex_lite::Error> {
        if key.bytes().all(|sign| sign.is_ascii_alphanumeric() || b"._".contains(&sign)) {
            return Ok(Key::Plain(key.to_owned()));
        }
        Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")).map(Key::Expression)
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Key::Expression(expression) => expression.is_match(module),
            Key::Plain(key) if module.is_ascii() => {
                let Some(start) = module.len().checked_sub(key.len()) else { return false };
                let (before, end) = module.split_at(start);
                let same = |(sign, found): (u8, u8)| sign == b'.' || sign == found;
                (before.is_empty() || before.ends_with('.')) && key.bytes().zip(end.bytes()).all(same)
            }
            Key::Plain(key) => {
                Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")).is_ok_and(|it| it.is_match(module))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(PatternsVisitor)
    }
}

struct PatternsVisitor;

impl<'de> Visitor<'de> for PatternsVisitor {
    type Value = Patterns;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a map of at most {MAX_KEYS} patterns to numbers")
    }

    fn visit_unit<E: Error>(self) -> Result<Patterns, E> {
        Ok(Patterns::default())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Patterns, M::Error> {
        let mut patterns = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, f64>()? {
            if patterns.len() == MAX_KEYS {
                return Err(M::Error::invalid_length(MAX_KEYS + 1, &self));
            }
            let compiled = Key::new(&key)
                .map_err(|error| M::Error::custom(format!("pattern \"{key}\" is not supported: {error}")))?;
            patterns.push((compiled, value));
        }
        Ok(Patterns(patterns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern that matches another layer scales it wrongly: PEFT's rule, case by case.
    #[test]
    fn the_first_key_that_matches_an_end_counts() {
        let patterns = |json: &str| serde_json::from_str::<Patterns>(json);
        let found = patterns(
            r#"{"layers.0.q": 1, "q": 2, "^model.k": 3, "layers\\.[12]\\.v": 4, "layers.1.v": 5, "a|b": 6}"#,
        )
        .unwrap();
        assert_eq!(found.get("model.layers.0.q"), Some(1.0), "the first");
        assert_eq!(found.get("model.layers.10.q"), Some(2.0));
        assert_eq!(found.get("model.layers.0.xq"), None, "a whole part of the name");
        assert_eq!(found.get("xlayers.0.q"), Some(2.0), "a dot before the end");
        assert_eq!(found.get("model.layersX0.q"), Some(1.0), "a dot is any character");
        assert_eq!(found.get("model.k"), Some(3.0));
        assert_eq!(found.get("x.model.k"), None, "from the start");
        assert_eq!(found.get("x.layers.1.v"), Some(4.0), "the order of the file");
        assert_eq!(found.get("x.b"), Some(6.0));
        assert_eq!(found.get("x.bb"), None);
        let refused = patterns(r#"{"(?!q)v": 1}"#).unwrap_err().to_string();
        assert!(refused.contains("(?!q)v"), "{refused}");
        assert_eq!(patterns("null").unwrap().get("q"), None);
    }
}
