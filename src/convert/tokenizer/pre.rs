//! Which of llama.cpp's pre-tokenizers a tokenizer.json describes.
//!
//! llama.cpp has the rules by which text is split in its code and takes their name from the file. So the steps that
//! tokenizer.json lists are compared with those that the names stand for, and whatever differs is refused: a text
//! that is split otherwise has other tokens, and a perplexity that means nothing.

use serde_json::Value;

use super::json::TokenizerJson;
use super::refuse;
use crate::convert::ConvertError;

/// Patterns that split text before the bytes are encoded, whether whole words go before merges, and the name.
const PATTERNS: [(&str, bool, &str); 5] = [
    (LLAMA3, true, "llama-bpe"),
    (LLAMA3, false, "dbrx"),
    (QWEN2, false, "qwen2"),
    (TEKKEN, true, "tekken"),
    (GPT4O, false, "gpt-4o"),
];

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text becomes pieces that merges work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pre {
    /// Split by a rule of this name, then its bytes written as characters.
    Bytes(&'static str),
    /// Spaces written as `▁`, perhaps one more in front, and bytes that are no token as tokens of their own.
    Marks { prefix: bool },
}

impl Pre {
    /// What the file describes.
    ///
    /// # Errors
    /// Steps that no name of llama.cpp's stands for.
    pub fn of(json: &TokenizerJson) -> Result<Pre, ConvertError> {
        if json.model.byte_fallback { marks(json) } else { bytes(json) }
    }
}

/// One step, or the steps of a sequence; `list` is what they are called there.
fn steps<'a>(step: &'a Option<Value>, list: &str) -> Vec<&'a Value> {
    match step {
        None | Some(Value::Null) => Vec::new(),
        Some(step) if kind(step) == "Sequence" => {
            step[list].as_array().map(|steps| steps.iter().collect()).unwrap_or_default()
        }
        Some(step) => vec![step],
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("")
}

fn bytes(json: &TokenizerJson) -> Result<Pre, ConvertError> {
    for step in steps(&json.normalizer, "normalizers") {
        // llama.cpp leaves text as it is; nearly all text is in this form already.
        if kind(step) != "NFC" {
            return Err(refuse(format!("the normalizer {step} is not known with bytes; NFC is")));
        }
    }
    let steps = steps(&json.pre_tokenizer, "pretokenizers");
    let ignores_merges = json.model.ignore_merges;
    let name = match steps[..] {
        [bytes] if is_bytes(bytes, true) && !ignores_merges => Some("gpt-2"),
        [digits, bytes] if is_digits(digits) && is_bytes(bytes, true) && !ignores_merges => Some("smollm"),
        [split, bytes] if is_bytes(bytes, false) => pattern(split).and_then(|pattern| {
            let known = PATTERNS.iter().find(|known| (known.0, known.1) == (pattern, ignores_merges));
            known.map(|known| known.2)
        }),
        _ => None,
    };
    name.map(Pre::Bytes).ok_or_else(|| {
        let found = json.pre_tokenizer.as_ref().unwrap_or(&Value::Null);
        refuse(format!(
            "the pre-tokenizer {found} (ignore_merges {ignores_merges}) is not known; \
             those of GPT-2, SmolLM, Llama 3, DBRX, Qwen 2, Mistral's Tekken and GPT-4o are"
        ))
    })
}

fn is_bytes(step: &Value, splits: bool) -> bool {
    let splits_too = step["use_regex"].as_bool().unwrap_or(true);
    kind(step) == "ByteLevel" && step["add_prefix_space"] == Value::Bool(false) && splits_too == splits
}

fn is_digits(step: &Value) -> bool {
    kind(step) == "Digits" && step["individual_digits"] == Value::Bool(true)
}

/// The pattern of a step that splits text into what it matches and what lies between.
fn pattern(step: &Value) -> Option<&str> {
    let isolates = step["behavior"] == "Isolated" && step["invert"].as_bool() != Some(true)
        || step["behavior"] == "Removed" && step["invert"].as_bool() == Some(true);
    (kind(step) == "Split" && isolates).then(|| step["pattern"]["Regex"].as_str())?
}

/// What stands for a space.
pub(super) const MARK: &str = "▁";

fn marks(json: &TokenizerJson) -> Result<Pre, ConvertError> {
    if json.model.ignore_merges {
        return Err(refuse("ignore_merges is not known to llama.cpp with tokens for bytes".into()));
    }
    let is_prepend = |step: &Value| kind(step) == "Prepend" && step["prepend"] == MARK;
    let is_replace =
        |step: &Value| kind(step) == "Replace" && step["pattern"]["String"] == " " && step["content"] == MARK;
    // After its normalizer no space is left for this one to split at.
    let is_idle = |step: &Value| kind(step) == "Split" && step["pattern"]["String"] == " ";
    let metaspace = |step: &Value| {
        let fits =
            kind(step) == "Metaspace" && step["replacement"] == MARK && step["split"] == Value::Bool(false);
        match (fits, step["prepend_scheme"].as_str()) {
            (true, Some("first" | "always")) => Some(true),
            (true, Some("never")) => Some(false),
            _ => None,
        }
    };
    let normalizers = steps(&json.normalizer, "normalizers");
    let splitters = steps(&json.pre_tokenizer, "pretokenizers");
    let prefix = match (&normalizers[..], &splitters[..]) {
        ([prepend, replace], []) if is_prepend(prepend) && is_replace(replace) => Some(true),
        ([replace], []) if is_replace(replace) => Some(false),
        ([replace], [idle]) if is_replace(replace) && is_idle(idle) => Some(false),
        ([], [step]) => metaspace(step),
        _ => None,
    };
    prefix.map(|prefix| Pre::Marks { prefix }).ok_or_else(|| {
        let (normalizer, pre) = (&json.normalizer, &json.pre_tokenizer);
        let text = |step: &Option<Value>| step.as_ref().unwrap_or(&Value::Null).to_string();
        refuse(format!(
            "the normalizer {} with the pre-tokenizer {} is not known with tokens for bytes; \
             those of Llama 2, Mistral and Gemma are",
            text(normalizer),
            text(pre)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: &str, model: &str) -> Result<Pre, ConvertError> {
        let json =
            format!(r#"{{"added_tokens": [], {steps}, "model": {{"type": "BPE", "vocab": {{}}, {model}}}}}"#);
        Pre::of(&TokenizerJson::parse(json.as_bytes()).unwrap().0)
    }

    /// Each name stands for steps that a published tokenizer has.
    #[test]
    fn published_steps_are_recognised() {
        let bytes =
            r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
        let plain = bytes.replace("\"use_regex\": true", "\"use_regex\": false");
        let split = |pattern: &str| {
            let pattern = serde_json::to_string(pattern).unwrap();
            format!(
                r#""pre_tokenizer": {{"type": "Sequence", "pretokenizers": [{{"type": "Split", "pattern":
                {{"Regex": {pattern}}}, "behavior": "Isolated", "invert": false}}, {plain}]}}"#
            )
        };
        let keeps = r#""ignore_merges": false"#;
        let ignores = r#""ignore_merges": true"#;
        let gpt2 = format!(r#""pre_tokenizer": {bytes}"#);
        assert_eq!(of(&gpt2, keeps).unwrap(), Pre::Bytes("gpt-2"));
        let digits = r#"{"type": "Digits", "individual_digits": true}"#;
        let smollm =
            format!(r#""pre_tokenizer": {{"type": "Sequence", "pretokenizers": [{digits}, {bytes}]}}"#);
        assert_eq!(of(&smollm, keeps).unwrap(), Pre::Bytes("smollm"));
        assert_eq!(of(&split(LLAMA3), ignores).unwrap(), Pre::Bytes("llama-bpe"));
        assert_eq!(of(&split(LLAMA3), keeps).unwrap(), Pre::Bytes("dbrx"));
        let nfc = format!(r#""normalizer": {{"type": "NFC"}}, {}"#, split(QWEN2));
        assert_eq!(of(&nfc, keeps).unwrap(), Pre::Bytes("qwen2"));
        assert_eq!(of(&split(TEKKEN), ignores).unwrap(), Pre::Bytes("tekken"));

        let falls = r#""byte_fallback": true"#;
        let prepend = r#"{"type": "Prepend", "prepend": "▁"}"#;
        let replace = r#"{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}"#;
        let llama2 =
            format!(r#""normalizer": {{"type": "Sequence", "normalizers": [{prepend}, {replace}]}}"#);
        assert_eq!(of(&llama2, falls).unwrap(), Pre::Marks { prefix: true });
        let idle = r#"{"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}"#;
        let gemma = format!(r#""normalizer": {replace}, "pre_tokenizer": {idle}"#);
        assert_eq!(of(&gemma, falls).unwrap(), Pre::Marks { prefix: false });
        let first = r#""normalizer": null, "pre_tokenizer":
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}"#;
        assert_eq!(of(first, falls).unwrap(), Pre::Marks { prefix: true });
    }

    /// A guess would give other tokens and a perplexity that means nothing.
    #[test]
    fn anything_else_is_refused() {
        let prefixed =
            r#""pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}"#;
        let whitespace = r#""pre_tokenizer": {"type": "Whitespace"}"#;
        let lower = r#""normalizer": {"type": "Lowercase"}, "pre_tokenizer":
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#;
        let keeps = r#""ignore_merges": false"#;
        for (steps, model) in [
            (prefixed, keeps),
            (whitespace, keeps),
            (lower, keeps),
            (r#""pre_tokenizer": null"#, keeps),
            (r#""pre_tokenizer": {"type": "Sequence"}"#, keeps),
            (r#""pre_tokenizer": null"#, r#""byte_fallback": true"#),
            (lower, r#""byte_fallback": true"#),
        ] {
            let error = of(steps, model).unwrap_err().to_string();
            assert!(error.contains("is not known"), "{error}");
        }
    }
}
