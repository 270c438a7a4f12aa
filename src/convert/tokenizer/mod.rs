//! The tokenizer: what llama.cpp needs to make the same tokens of a text.

mod json;
mod pre;
mod sentencepiece;
mod special;
mod vocabulary;

use std::collections::HashMap;

use super::config::Config;
use super::metadata::{Metadata, Value};
use super::{Checkpoint, ConvertError};
use json::{Merge, TokenizerJson};
use pre::Pre;
use special::{Around, Settings};
use vocabulary::{Token, TokenKind};

/// Tells all there is to know of the tokenizer of a model with `vocabulary` tokens.
pub(super) fn tell(
    checkpoint: &Checkpoint,
    config: &Config,
    vocabulary: u64,
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let (json, vocab) = TokenizerJson::parse(&checkpoint.tokenizer)?;
    let pre = Pre::of(&json)?;
    let tokens = vocabulary::tokens(&json, &vocab, pre, vocabulary)?;
    tell_model(&json, pre, &tokens, out)?;
    tell_special(checkpoint, config, &json, pre, &tokens, out)?;
    let texts = tokens.iter().map(|token| token.written(pre)).collect();
    out.add("tokenizer.ggml.tokens", Value::Texts(texts));
    Ok(())
}

fn tell_model(
    json: &TokenizerJson,
    pre: Pre,
    tokens: &[Token],
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let text = |text: &str| Value::Text(text.into());
    match pre {
        Pre::Bytes(name) => {
            out.add("tokenizer.ggml.model", text("gpt2"));
            out.add("tokenizer.ggml.pre", text(name));
            let merges = json.model.merges.iter().map(merge_of_bytes).collect::<Result<_, _>>()?;
            out.add("tokenizer.ggml.merges", Value::Texts(merges));
        }
        Pre::Marks { prefix } => {
            out.add("tokenizer.ggml.model", text("llama"));
            out.add("tokenizer.ggml.pre", text("default"));
            out.add("tokenizer.ggml.add_space_prefix", Value::Bool(prefix));
            let scores = sentencepiece::scores(tokens, &json.model.merges)?;
            out.add("tokenizer.ggml.scores", Value::F32s(scores));
        }
    }
    let kinds = tokens.iter().map(|token| token.kind as i32).collect();
    out.add("tokenizer.ggml.token_type", Value::I32s(kinds));
    Ok(())
}

/// As llama.cpp reads it: split at the first space behind the first character.
fn merge_of_bytes(merge: &Merge) -> Result<String, ConvertError> {
    let (left, right) = merge.pair()?;
    match left.is_empty() || right.is_empty() || left.contains(' ') || right.contains(' ') {
        true => {
            Err(refuse(format!("the merge of {left:?} and {right:?} is not of bytes written as characters")))
        }
        false => Ok(format!("{left} {right}")),
    }
}

fn tell_special(
    checkpoint: &Checkpoint,
    config: &Config,
    json: &TokenizerJson,
    pre: Pre,
    tokens: &[Token],
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let settings = Settings::of(checkpoint)?;
    let ids: HashMap<&str, u32> = (0u32..).zip(tokens).map(|(id, token)| (token.text.as_str(), id)).collect();
    let bos = settings.token("bos", config, &ids)?;
    let eos = settings.token("eos", config, &ids)?;
    // Without one, llama.cpp takes a token of its own choice for it.
    let eos =
        eos.ok_or_else(|| refuse("neither tokenizer_config.json nor config.json names an end token".into()))?;
    for (key, id) in [
        ("bos", bos),
        ("eos", Some(eos)),
        ("padding", settings.token("pad", config, &ids)?),
        ("unknown", unknown(tokens).or(settings.token("unk", config, &ids)?)),
    ] {
        if let Some(id) = id {
            out.add(format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
        }
    }
    let around = Around::of(json)?;
    let begins = match around {
        Some(around) => is_put("bos", around.before, bos, &ids)?,
        None => matches!(pre, Pre::Marks { .. }) && bos.is_some(),
    };
    let ends = is_put("eos", around.and_then(|around| around.after), Some(eos), &ids)?;
    // `transformers` follows its settings, where they say so, and not the tokenizer's own file.
    let add_bos = settings.flag("add_bos_token").unwrap_or(begins);
    let add_eos = settings.flag("add_eos_token").unwrap_or(ends);
    if add_bos && bos.is_none() {
        return Err(refuse("texts are to begin with a token that nothing names".into()));
    }
    out.add("tokenizer.ggml.add_bos_token", Value::Bool(add_bos));
    out.add("tokenizer.ggml.add_eos_token", Value::Bool(add_eos));
    let cleans = settings.flag("clean_up_tokenization_spaces").unwrap_or(false);
    out.add("tokenizer.ggml.clean_spaces", Value::Bool(cleans));
    if let Some(template) = settings.template(checkpoint) {
        out.add("tokenizer.chat_template", Value::Text(template));
    }
    Ok(())
}

fn unknown(tokens: &[Token]) -> Option<u32> {
    let place = tokens.iter().position(|token| token.kind == TokenKind::Unknown);
    place.map(|id| id as u32)
}

/// Whether a token of this role is put beside a text; another one can't be.
fn is_put(
    role: &str,
    put: Option<&str>,
    own: Option<u32>,
    ids: &HashMap<&str, u32>,
) -> Result<bool, ConvertError> {
    let Some(text) = put else { return Ok(false) };
    match ids.get(text) {
        Some(id) if Some(*id) == own => Ok(true),
        _ => Err(refuse(format!("{text:?} is put beside each text, but is not the {role} token"))),
    }
}

/// What is wrong with tokenizer.json.
fn refuse(why: String) -> ConvertError {
    ConvertError::Tokenizer { why }
}
