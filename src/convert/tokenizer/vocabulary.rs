//! The tokens by their numbers, and of which kind each is for llama.cpp.

use std::collections::{HashMap, HashSet};

use super::json::{Added, TokenizerJson};
use super::pre::{MARK, Pre};
use super::refuse;
use crate::convert::ConvertError;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub text: String,
    pub kind: TokenKind,
}

impl Token {
    /// The text that a file has of it.
    ///
    /// Where spaces are marked, llama.cpp looks for the user's own tokens before it marks them.
    pub fn written(&self, pre: Pre) -> String {
        match (self.kind, pre) {
            (TokenKind::UserDefined, Pre::Marks { .. }) => self.text.replace(MARK, " "),
            _ => self.text.clone(),
        }
    }
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
    // Some models leave out the embedding of a token that stands for images: no text has it.
    for added in json.added_tokens.iter().filter(|added| !added.special || added.id < count) {
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
    Ok(Token { text: content.clone(), kind: TokenKind::UserDefined })
}

/// llama.cpp stops the process where two tokens have one text, or a byte has none.
fn check_texts(tokens: &[Token], pre: Pre) -> Result<(), ConvertError> {
    let mut texts = HashSet::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if token.text.is_empty() || token.text.contains('\0') {
            return Err(refuse(format!("the token {id} is {:?}, which llama.cpp can't read", token.text)));
        }
        if !texts.insert(token.written(pre)) {
            return Err(refuse(format!("two tokens are {:?}", token.text)));
        }
    }
    if matches!(pre, Pre::Marks { .. })
        && let Some(byte) = (0..=255u8).find(|byte| !texts.contains(&format!("<0x{byte:02X}>")))
    {
        return Err(refuse(format!("there is no token <0x{byte:02X}>, though bytes are to have one each")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Pre = Pre::Bytes("gpt-2");

    fn of(vocab: &str, added: &str, pre: Pre, count: u64) -> Result<Vec<Token>, ConvertError> {
        let json = format!(
            r#"{{"added_tokens": [{added}], "model": {{"type": "BPE", "unk_token": "<unk>", "vocab": {{{vocab}}}}}}}"#
        );
        let (json, vocab) = TokenizerJson::parse(json.as_bytes()).unwrap();
        tokens(&json, &vocab, pre, count)
    }

    /// llama.cpp has a token for each row of the embedding, and stops the process where its texts repeat.
    #[test]
    fn rows_without_a_token_are_filled() {
        let added = r#"{"id": 1, "content": "<|end|>", "special": true}, {"id": 9, "content": "<image>", "special": true}"#;
        let tokens = of(r#""a": 0, "b": 3"#, added, BYTES, 5).unwrap();
        let found: Vec<_> = tokens.iter().map(|token| (token.text.as_str(), token.kind as i32)).collect();
        assert_eq!(found, [("a", 1), ("<|end|>", 3), ("[PAD2]", 5), ("b", 1), ("[PAD4]", 5)]);
    }

    /// What llama.cpp would find, or stop at, otherwise.
    #[test]
    fn impossible_vocabularies_are_refused() {
        let plain = |id: u64, content: &str| format!(r#"{{"id": {id}, "content": "{content}"}}"#);
        for (vocab, added, said) in [
            (r#""a": 0, "b": 5"#, String::new(), "has the number 5"),
            (r#""a": 0, "b": 0"#, String::new(), "have the number 0"),
            (r#""a": 0"#, plain(0, "b"), "have the number 0"),
            (r#""a": 0"#, plain(9, "b"), "has the number 9"),
            (r#""a": 0"#, plain(1, "a"), "two tokens are"),
            (r#""": 0"#, String::new(), "can't read"),
            (r#""a": 0, "[PAD1]": 2"#, String::new(), "two tokens are"),
            (r#""a": 0"#, r#"{"id": 1, "content": "b", "lstrip": true}"#.into(), "takes blanks"),
        ] {
            let error = of(vocab, &added, BYTES, 5).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let marked = of(r#""a": 0"#, "", Pre::Marks { prefix: true }, 1).unwrap_err().to_string();
        assert!(marked.contains("no token <0x00>"), "{marked}");
    }

    /// Gemma has runs of spaces as tokens, written with marks; llama.cpp looks for them in the text as it is.
    #[test]
    fn own_tokens_are_looked_for_before_spaces_are_marked() {
        let token = Token { text: "▁▁".into(), kind: TokenKind::UserDefined };
        assert_eq!(token.written(Pre::Marks { prefix: false }), "  ");
        assert_eq!(token.written(BYTES), "▁▁");
    }
}
