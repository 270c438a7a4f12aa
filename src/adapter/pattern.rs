//! The keys of `rank_pattern` and `alpha_pattern`: regular expressions for the ends of modules' names.
//!
//! PEFT's rule (`get_pattern_key`): the first key, in the order of the file, for which Python's
//! `re.match(rf"(.*\.)?({key})$", name)` finds something.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Most keys of one table, and most of them that are more than a name.
const MAX_KEYS: usize = 1 << 16;
const MAX_EXPRESSIONS: usize = 1 << 10;
/// A short text can ask for a large expression: `(a{1000}){1000}`.
const MAX_EXPRESSION_BYTES: usize = 64 << 10;

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
        let mut expression = RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{key})$"));
        expression.size_limit(MAX_EXPRESSION_BYTES).build().map(Key::Expression)
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Key::Expression(expression) => expression.is_match(module),
            Key::Plain(key) => {
                let Some(start) = module.chars().count().checked_sub(key.len()) else { return false };
                let split = module.char_indices().nth(start).map_or(module.len(), |(at, _)| at);
                let (before, end) = module.split_at(split);
                let same = |(sign, found)| sign == '.' || sign == found;
                (before.is_empty() || before.ends_with('.')) && key.chars().zip(end.chars()).all(same)
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
        let (mut patterns, mut expressions) = (Vec::new(), 0);
        while let Some((key, value)) = map.next_entry::<String, f64>()? {
            if patterns.len() == MAX_KEYS {
                return Err(M::Error::invalid_length(MAX_KEYS + 1, &self));
            }
            let compiled = Key::new(&key)
                .map_err(|error| M::Error::custom(format!("pattern \"{key}\" is not supported: {error}")))?;
            expressions += usize::from(matches!(compiled, Key::Expression(_)));
            if expressions > MAX_EXPRESSIONS {
                return Err(M::Error::custom(format!(
                    "more than {MAX_EXPRESSIONS} patterns that are no names"
                )));
            }
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
        assert!(patterns(r#"{"(a{1000}){1000}": 1}"#).is_err(), "a large expression");
        let many: String = (0..2000).map(|at| format!("\"^{at}\": 1,")).collect();
        assert!(patterns(&format!("{{{many} \"q\": 1}}")).is_err(), "many expressions");
        assert_eq!(patterns(r#"{"é.q": 1, "x.q": 2}"#).unwrap().get("éx.q"), None);
        assert_eq!(patterns(r#"{"..q": 1}"#).unwrap().get("é.q"), Some(1.0), "a character, not a byte");
        assert_eq!(patterns("null").unwrap().get("q"), None);
    }
}
