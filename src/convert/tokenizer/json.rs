//! tokenizer.json, as the library `tokenizers` writes it: a vocabulary, merges, and what happens to text before.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::refuse;
use crate::convert::ConvertError;

/// The parts that count here; steps that differ between families stay as they are written.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizerJson {
    #[serde(default)]
    pub added_tokens: Vec<Added>,
    pub normalizer: Option<Value>,
    pub pre_tokenizer: Option<Value>,
    pub post_processor: Option<Value>,
    pub model: Model,
}

/// A token that is found in a text before all else.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Added {
    pub id: u64,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
}

/// Byte-pair encoding; other models have other fields, which are not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    /// Absent in some older files, which are all of this kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub vocab: Value,
    #[serde(default)]
    pub merges: Vec<Merge>,
    pub unk_token: Option<String>,
    pub dropout: Option<f64>,
    pub continuing_subword_prefix: Option<String>,
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub byte_fallback: bool,
    #[serde(default)]
    pub ignore_merges: bool,
}

/// Two tokens that become one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    Pair(String, String),
    /// As older files write it: both with a space between.
    Text(String),
}

impl Merge {
    /// Both tokens.
    pub fn pair(&self) -> Result<(&str, &str), ConvertError> {
        match self {
            Merge::Pair(left, right) => Ok((left, right)),
            Merge::Text(text) => {
                text.split_once(' ').ok_or_else(|| refuse(format!("the merge {text:?} is no pair")))
            }
        }
    }
}

impl TokenizerJson {
    /// Parses the file, and refuses models other than plain byte-pair encoding.
    pub fn parse(json: &[u8]) -> Result<(TokenizerJson, HashMap<String, u64>), ConvertError> {
        let mut parsed: TokenizerJson =
            serde_json::from_slice(json).map_err(|error| refuse(error.to_string()))?;
        let model = &mut parsed.model;
        let kind = model.kind.as_deref().unwrap_or("BPE");
        if kind != "BPE" {
            return Err(refuse(format!("the model {kind} is not known; BPE is")));
        }
        let empty = |text: &Option<String>| text.as_deref().unwrap_or("").is_empty();
        if model.dropout.is_some_and(|share| share != 0.0) {
            return Err(refuse("dropout would give other tokens each time".into()));
        }
        if !empty(&model.continuing_subword_prefix) || !empty(&model.end_of_word_suffix) {
            return Err(refuse("prefixes or suffixes of parts of words are not known to llama.cpp".into()));
        }
        let vocab = serde_json::from_value(model.vocab.take());
        let vocab = vocab.map_err(|error| refuse(format!("the vocabulary: {error}")))?;
        Ok((parsed, vocab))
    }
}
