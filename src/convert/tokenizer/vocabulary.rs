//! The tokens by their numbers, and of which kind each is for llama.cpp.

use std::collections::{HashMap, HashSet};

use super::json::{Added, TokenizerJson};
use super::pre::Pre;
use super::refuse;
use crate::convert::ConvertError;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub text: String,
    pub kind: TokenKind,
}

/// What llama.cpp makes of a token; the numbers are those of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum TokenKind {
    Normal = 1,
    Unknown = 2,
    /// Found in a text only where that is asked for.
    Control = 3,
    /// Found in every text before all else.
    UserDefined = 4,
    Unused = 5,
    /// One byte, written as `<0x0A>`.
    Byte = 6,
}

/// The tokens of `tokenizer.json`, as many as the model has an embedding for: what the tokenizer does not have is
/// filled with unused ones.
pub(super) fn tokens(
    json: &TokenizerJson,
    vocab: &HashMap<String, u64>,
    pre: Pre,
    count: u64,
) -> Result<Vec<Token>, ConvertError> {
    let mut tokens: Vec<Option<Token>> = vec![None; usize::try_from(count).map_err(|_| too_many(count))?];
    for (text, id) in vocab {
        let kind = if matches!(pre, Pre::Marks { .. }) { kind_of(text, json) } else { TokenKind::Normal };
        let place = place(&mut tokens, *id, text)?;
        if let Some(other) = place {
            return Err(refuse(format!("the tokens {:?} and {text:?} have the number {id}", other.text)));
        }
        *place = Some(Token { text: text.clone(), kind });
    }
    for added in &json.added_tokens {
        let token = added_token(added, json, pre)?;
        let place = place(&mut tokens, added.id, &added.content)?;
        match place {
            Some(other) if other.text != added.content => {
                let (text, content) = (&other.text, &added.content);
                let why = format!("the tokens {text:?} and {content:?} have the number {}", added.id);
                return Err(refuse(why));
            }
            // The token for what is unknown keeps its kind.
            Some(other) if other.kind == TokenKind::Unknown => {}
            place => *place = Some(token),
        }
    }
    let unused = |id: usize| Token { text: format!("[PAD{id}]"), kind: TokenKind::Unused };
    let tokens: Vec<Token> =
        tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| unused(id))).collect();
    check_texts(&tokens, pre)?;
    Ok(tokens)
}

fn too_many(count: u64) -> ConvertError {
    refuse(format!("{count} tokens are more than this machine can count"))
}

fn place<'a>(
    tokens: &'a mut [Option<Token>],
    id: u64,
    text: &str,
) -> Result<&'a mut Option<Token>, ConvertError> {
    let count = tokens.len();
    let place = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
    place.ok_or_else(|| {
        refuse(format!("the token {text:?} has the number {id}, but the model has only {count} tokens"))
    })
}

fn kind_of(text: &str, json: &TokenizerJson) -> TokenKind {
    if is_byte(text) {
        TokenKind::Byte
    } else if json.model.unk_token.as_deref() == Some(text) {
        TokenKind::Unknown
    } else {
        TokenKind::Normal
    }
}

/// Whether a text is `<0x00>` to `<0xFF>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
    })
}

fn added_token(added: &Added, json: &TokenizerJson, pre: Pre) -> Result<Token, ConvertError> {
    let content = &added.content;
    if added.special {
        return Ok(Token { text: content.clone(), kind: TokenKind::Control });
    }
    if added.single_word || added.lstrip || added.rstrip {
        return Err(refuse(format!(
            "the added token {content:?} takes blanks or whole words with it, which llama.cpp does not"
        )));
    }
    if added.normalized && json.normalizer.is_some() && matches!(pre, Pre::Marks { prefix: true }) {
        return Err(refuse(format!(
            "the added token {content:?} is looked for after spaces were marked, which llama.cpp does not"
        )));
    }
    // llama.cpp looks for it before spaces are marked.
    let is_marked = matches!(pre, Pre::Marks { .. });
    let text = if is_marked { content.replace('▁', " ") } else { content.clone() };
    Ok(Token { text, kind: TokenKind::UserDefined })
}

/// llama.cpp stops the process where two tokens have one text, or a byte has none.
fn check_texts(tokens: &[Token], pre: Pre) -> Result<(), ConvertError> {
    let mut texts = HashSet::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if token.text.is_empty() || token.text.contains('\0') {
            return Err(refuse(format!("the token {id} is {:?}, which llama.cpp can't read", token.text)));
        }
        if !texts.insert(token.text.as_str()) {
            return Err(refuse(format!("two tokens are {:?}", token.text)));
        }
    }
    if matches!(pre, Pre::Marks { .. })
        && let Some(byte) = (0..=255u8).find(|byte| !texts.contains(format!("<0x{byte:02X}>").as_str()))
    {
        return Err(refuse(format!("there is no token <0x{byte:02X}>, though bytes are to have one each")));
    }
    Ok(())
}
