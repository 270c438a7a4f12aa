//! Tokens that begin and end texts, whether they are put there, and the template of conversations.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::json::TokenizerJson;
use super::refuse;
use crate::convert::config::Config;
use crate::convert::{Checkpoint, ConvertError};

/// tokenizer_config.json, or nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Settings(Map<String, Value>);

impl Settings {
    /// Parses the file.
    pub fn of(checkpoint: &Checkpoint) -> Result<Settings, ConvertError> {
        const FILE: &str = "tokenizer_config.json";
        let Some(json) = &checkpoint.tokenizer_config else { return Ok(Settings::default()) };
        let malformed = |why: String| ConvertError::Malformed { file: FILE.into(), why };
        match serde_json::from_slice(json) {
            Ok(Value::Object(settings)) => Ok(Settings(settings)),
            Ok(_) => Err(malformed("expected a map of settings".into())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// A truth value; none where it is not there.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key).and_then(Value::as_bool)
    }

    /// The number of a token that has a role, such as `bos`: what the tokenizer's settings call it, or the number in
    /// config.json.
    pub fn token(
        &self,
        role: &str,
        config: &Config,
        ids: &HashMap<&str, u32>,
    ) -> Result<Option<u32>, ConvertError> {
        let named = self.0.get(&format!("{role}_token"));
        let text = named.and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
        if let Some(text) = text {
            let id = ids.get(text).copied();
            return id.map(Some).ok_or_else(|| refuse(format!("the {role} token {text:?} is no token")));
        }
        let id = config.get(&format!("{role}_token_id"));
        let id = id.and_then(|id| id.as_u64().or_else(|| id.get(0).and_then(Value::as_u64)));
        Ok(id.filter(|id| *id < ids.len() as u64).map(|id| id as u32))
    }

    /// The template of conversations: a file of its own, or the one that is the usual one here.
    pub fn template(&self, checkpoint: &Checkpoint) -> Option<String> {
        if checkpoint.template.is_some() {
            return checkpoint.template.clone();
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let template = self.0.get("chat_template")?;
        let listed = |list: &Vec<Value>| {
            list.iter().find(|one| one["name"] == "default").and_then(|one| text(&one["template"]))
        };
        text(template).or_else(|| template.as_array().and_then(listed))
    }
}

/// Which tokens a tokenizer puts around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Around<'a> {
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
}

impl<'a> Around<'a> {
    /// What the post-processor says; none where it says nothing of it.
    pub fn of(json: &'a TokenizerJson) -> Result<Option<Around<'a>>, ConvertError> {
        let Some(step) = &json.post_processor else { return Ok(None) };
        let steps = match step["type"].as_str() {
            Some("Sequence") => step["processors"].as_array().map(Vec::as_slice).unwrap_or_default(),
            _ => std::slice::from_ref(step),
        };
        let mut found = None;
        for step in steps {
            match step["type"].as_str() {
                // Changes where tokens are said to lie, and no token.
                Some("ByteLevel") => {}
                Some("TemplateProcessing") if found.is_none() => found = Some(Around::of_template(step)?),
                _ if step.is_null() => {}
                _ => return Err(refuse(format!("the post-processor {step} is not known"))),
            }
        }
        Ok(found)
    }

    fn of_template(step: &'a Value) -> Result<Around<'a>, ConvertError> {
        let unknown = || {
            refuse(format!("the template {} is not known: at most one token on each side is", step["single"]))
        };
        let pieces = step["single"].as_array().ok_or_else(unknown)?;
        let token = |piece: &'a Value| piece["SpecialToken"]["id"].as_str();
        let is_text = |piece: &Value| piece.get("Sequence").is_some();
        let (before, after) = match &pieces[..] {
            [text] if is_text(text) => (None, None),
            [before, text] if is_text(text) => (Some(token(before).ok_or_else(unknown)?), None),
            [text, after] if is_text(text) => (None, Some(token(after).ok_or_else(unknown)?)),
            [before, text, after] if is_text(text) => {
                (Some(token(before).ok_or_else(unknown)?), Some(token(after).ok_or_else(unknown)?))
            }
            _ => return Err(unknown()),
        };
        Ok(Around { before, after })
    }
}
