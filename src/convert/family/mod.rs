//! What sets one family of models apart from another: names, shapes, and what llama.cpp must be told.
//!
//! All here are decoders of the same plan: an embedding, layers of attention and a gated network, a norm, an
//! output. So a family is a table: which tensors a layer has, how its norms and heads are stored, and a check of
//! the settings that only it has.

mod gemma;
mod llama;
mod parts;
mod qwen;

use serde_json::Value as Json;

use super::ConvertError;
use super::config::{Config, wrong};
use super::metadata::{Metadata, Value};
use super::rope::{Layers, Rope, Scaling};

pub(super) use parts::{Change, Part, Size};

/// Most layers that llama.cpp has room for.
const MAX_LAYERS: u64 = 512;
/// Published heads have at most 512 numbers.
const MAX_HEAD: u64 = 1 << 16;

/// A family of models.
pub(super) struct Family {
    /// What config.json calls its models.
    pub classes: &'static [&'static str],
    /// What llama.cpp calls it.
    pub architecture: &'static str,
    /// The tensors of a layer.
    pub parts: &'static [&'static [Part]],
    /// What its norms are added to: Gemma stores them as differences to 1.
    pub norm_plus: f32,
    /// Whether llama.cpp turns neighbours in a head, so that the halves of queries and keys are interleaved.
    pub interleaves: bool,
    /// What the gated network may use, as config.json calls it.
    pub activations: &'static [&'static str],
    /// Where config.json leaves out what its class has a default for.
    pub defaults: Defaults,
    /// Settings that are the family's own: refused where llama.cpp would not follow, else told.
    pub own: fn(&Own, &mut Metadata) -> Result<(), ConvertError>,
}

/// Defaults of a class in `transformers`.
pub(super) struct Defaults {
    pub base: f64,
    pub epsilon: f64,
    pub tied: bool,
    /// Numbers of a head; none where they are the width shared among the heads.
    pub head: Option<u64>,
}

/// What a family's own check looks at.
pub(super) struct Own<'a> {
    pub config: &'a Config,
    pub sizes: &'a Sizes,
    pub family: &'a Family,
}

impl Own<'_> {
    /// A key of the family's.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.architecture)
    }
}

const FAMILIES: [&Family; 7] = [
    &llama::LLAMA,
    &llama::SMOLLM3,
    &qwen::QWEN2,
    &qwen::QWEN3,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
];

impl Family {
    /// The family that config.json names.
    pub fn of(config: &Config) -> Result<&'static Family, ConvertError> {
        let class = config.get("architectures").and_then(|classes| classes.get(0)).and_then(Json::as_str);
        let found = class.unwrap_or("(none)");
        let family = FAMILIES.into_iter().find(|family| family.classes.contains(&found));
        family.ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.classes).copied().collect();
            ConvertError::Architecture { found: found.into(), known: known.join(", ") }
        })
    }

    /// What the file says of the model: all but its tokenizer.
    pub fn metadata(&self, config: &Config, sizes: &Sizes) -> Result<Metadata, ConvertError> {
        let own = Own { config, sizes, family: self };
        let allowed: Vec<Json> = self.activations.iter().map(|name| (*name).into()).collect();
        config.only("hidden_act", &allowed)?;
        config.only("hidden_activation", &allowed)?;
        let mut out = Metadata::default();
        out.add("general.architecture", Value::Text(self.architecture.into()));
        out.add("general.type", Value::Text("model".into()));
        out.count(own.key("context_length"), context(config, sizes)?);
        out.count(own.key("embedding_length"), sizes.width);
        out.count(own.key("block_count"), sizes.layers);
        out.count(own.key("feed_forward_length"), sizes.inner);
        out.count(own.key("attention.head_count"), sizes.heads);
        out.count(own.key("attention.head_count_kv"), sizes.key_heads);
        out.count(own.key("attention.key_length"), sizes.head);
        out.count(own.key("attention.value_length"), sizes.head);
        let epsilon = config.number("rms_norm_eps")?.unwrap_or(self.defaults.epsilon);
        out.add(own.key("attention.layer_norm_rms_epsilon"), Value::F32(epsilon as f32));
        out.count(own.key("vocab_size"), sizes.vocabulary);
        out.count(own.key("rope.dimension_count"), sizes.head);
        self.tell_rope(&own, &mut out)?;
        (self.own)(&own, &mut out)?;
        Ok(out)
    }

    fn tell_rope(&self, own: &Own, out: &mut Metadata) -> Result<(), ConvertError> {
        let rope = self.rope(own.config)?;
        out.add(own.key("rope.freq_base"), Value::F32(rope.base as f32));
        let (kind, factor) = match rope.scaling {
            // The factors of Llama 3 are a tensor.
            Scaling::None | Scaling::Llama3 { .. } => return Ok(()),
            Scaling::Linear(factor) => ("linear", factor),
            Scaling::Yarn { factor, .. } => ("yarn", factor),
        };
        out.add(own.key("rope.scaling.type"), Value::Text(kind.into()));
        out.add(own.key("rope.scaling.factor"), Value::F32(factor as f32));
        if let Scaling::Yarn { original, .. } = rope.scaling {
            out.count(own.key("rope.scaling.original_context_length"), original.min(1e9) as u64);
        }
        Ok(())
    }

    /// How the layers turn that see all of a text.
    pub fn rope(&self, config: &Config) -> Result<Rope, ConvertError> {
        Rope::of(config, Layers::Full, self.defaults.base)
    }

    /// Whether the output is the embedding once more.
    pub fn is_tied(&self, config: &Config) -> Result<bool, ConvertError> {
        config.flag("tie_word_embeddings", self.defaults.tied)
    }
}

/// How long a text the file may claim to be for.
///
/// Where layers see only a window, and llama.cpp has no windows for the architecture, no longer than the window:
/// within it, the two are the same. Gemma 2 and 3 have windows there.
fn context(config: &Config, sizes: &Sizes) -> Result<u64, ConvertError> {
    let context = config.count("max_position_embeddings")?;
    Ok(match sizes.window {
        Some(window) if !sizes.has_windows => context.min(window),
        _ => context,
    })
}

/// How large the parts of a model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    pub layers: u64,
    pub width: u64,
    pub inner: u64,
    pub heads: u64,
    pub key_heads: u64,
    /// Numbers of a head.
    pub head: u64,
    pub vocabulary: u64,
    /// How far back layers see that don't see all.
    pub window: Option<u64>,
    /// Whether llama.cpp has windows for this architecture.
    has_windows: bool,
}

impl Sizes {
    /// As config.json says.
    pub fn of(config: &Config, family: &Family) -> Result<Sizes, ConvertError> {
        let (width, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        let head = config.count_or("head_dim", family.defaults.head.unwrap_or(width / heads))?;
        let key_heads = config.count_or("num_key_value_heads", heads)?;
        let layers = config.count("num_hidden_layers")?;
        if layers > MAX_LAYERS {
            return Err(wrong(format!(
                "num_hidden_layers: llama.cpp has room for {MAX_LAYERS}, found {layers}"
            )));
        }
        if head == 0 || head > MAX_HEAD || head % 2 == 1 || heads % key_heads != 0 {
            let why =
                format!("heads of {head} numbers, {heads} of them on {key_heads} of keys, are not possible");
            return Err(wrong(why));
        }
        Ok(Sizes {
            layers,
            width,
            inner: config.count("intermediate_size")?,
            heads,
            key_heads,
            head,
            vocabulary: config.count("vocab_size")?,
            window: window(config, layers)?,
            has_windows: [gemma::GEMMA2.architecture, gemma::GEMMA3.architecture]
                .contains(&family.architecture),
        })
    }

    /// What a part's dimension comes to.
    pub fn of_part(&self, size: Size) -> u64 {
        match size {
            Size::Width => self.width,
            Size::Inner => self.inner,
            Size::Head => self.head,
            Size::Queries => self.heads * self.head,
            Size::Keys => self.key_heads * self.head,
        }
    }
}

/// How far back layers see, where some don't see all.
fn window(config: &Config, layers: u64) -> Result<Option<u64>, ConvertError> {
    let is_used = match config.get("layer_types").and_then(Json::as_array) {
        Some(kinds) if kinds.len() as u64 != layers => {
            return Err(wrong(format!("layer_types: expected {layers}, found {}", kinds.len())));
        }
        Some(kinds) => kinds.iter().any(|kind| kind == "sliding_attention"),
        None => config.flag("use_sliding_window", true)?,
    };
    Ok(if is_used { Some(config.count_or("sliding_window", 0)?).filter(|window| *window > 0) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user must learn what is known, not only that something is not.
    #[test]
    fn unknown_architectures_are_told_the_known_ones() {
        let config = Config::parse(br#"{"architectures": ["MambaForCausalLM"]}"#).unwrap();
        let error = Family::of(&config).err().unwrap().to_string();
        assert!(error.contains("MambaForCausalLM") && error.contains("Qwen3ForCausalLM"), "{error}");
        assert!(Family::of(&Config::parse(b"{}").unwrap()).is_err());
    }

    /// Sizes go into products, loops and llama.cpp's assertions.
    #[test]
    fn impossible_sizes_are_refused() {
        let fine = r#""hidden_size": 64, "intermediate_size": 96, "vocab_size": 300"#;
        let of = |rest: &str| {
            let config = Config::parse(format!("{{{fine}, {rest}}}").as_bytes()).unwrap();
            Sizes::of(&config, &llama::LLAMA)
        };
        let sizes = of(r#""num_attention_heads": 4, "num_hidden_layers": 2, "sliding_window": 9"#).unwrap();
        assert_eq!((sizes.head, sizes.key_heads, sizes.window), (16, 4, Some(9)));
        for lie in [
            r#""num_attention_heads": 4, "num_hidden_layers": 513"#,
            r#""num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 3"#,
            r#""num_attention_heads": 65, "num_hidden_layers": 2"#,
            r#""num_attention_heads": 4, "num_hidden_layers": 2, "head_dim": 7"#,
            r#""num_attention_heads": 4, "num_hidden_layers": 2, "head_dim": 2147483648"#,
            r#""num_attention_heads": 4, "num_hidden_layers": 2, "layer_types": ["full_attention"]"#,
        ] {
            assert!(of(lie).is_err(), "{lie}");
        }
    }
}
