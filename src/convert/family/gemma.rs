//! Gemma: norms stored as differences to 1, an output that is the embedding, and, from the second on, norms on both
//! sides and layers that see only a window.

use serde_json::Value as Json;

use super::parts::{FOUR_NORMS, HEAD_NORMS, MATRICES, TWO_NORMS};
use super::{Defaults, Family, Own};
use crate::convert::ConvertError;
use crate::convert::config::wrong;
use crate::convert::metadata::{Metadata, Value};
use crate::convert::rope::{Layers, Rope, Scaling};

/// Two names of one function.
const ACTIVATIONS: &[&str] = &["gelu_pytorch_tanh", "gelu_tanh"];

pub(super) const GEMMA: Family = Family {
    classes: &["GemmaForCausalLM"],
    architecture: "gemma",
    parts: &[MATRICES, TWO_NORMS],
    norm_plus: 1.0,
    interleaves: false,
    // Its first files say `gelu`, which was meant as the other, and which `transformers` corrects.
    activations: &["gelu_pytorch_tanh", "gelu_tanh", "gelu"],
    defaults: Defaults { base: 1e4, epsilon: 1e-6, tied: true, head: Some(256) },
    own: |own, _| needs_tied(own),
};

pub(super) const GEMMA2: Family = Family {
    classes: &["Gemma2ForCausalLM"],
    architecture: "gemma2",
    parts: &[MATRICES, FOUR_NORMS],
    norm_plus: 1.0,
    interleaves: false,
    activations: ACTIVATIONS,
    defaults: Defaults { base: 1e4, epsilon: 1e-6, tied: true, head: Some(256) },
    own: |own, out| {
        needs_tied(own)?;
        query_scale(own, 46)?;
        tell_windows(own, out, 2, 4096)?;
        tell_cap(own, out, "attn_logit_softcapping", 50.0)?;
        tell_cap(own, out, "final_logit_softcapping", 30.0)
    },
};

pub(super) const GEMMA3: Family = Family {
    classes: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
    architecture: "gemma3",
    parts: &[MATRICES, FOUR_NORMS, HEAD_NORMS],
    norm_plus: 1.0,
    interleaves: false,
    activations: ACTIVATIONS,
    defaults: Defaults { base: 1e6, epsilon: 1e-6, tied: true, head: Some(256) },
    own: |own, out| {
        query_scale(own, 62)?;
        tell_windows(own, out, 6, 4096)?;
        if own.config.flag("use_bidirectional_attention", false)? {
            return Err(wrong("use_bidirectional_attention: an embedding model, not one that writes".into()));
        }
        if own.config.number("attn_logit_softcapping")?.is_some() {
            return Err(wrong("attn_logit_softcapping: llama.cpp has none for Gemma 3".into()));
        }
        if own.config.number("final_logit_softcapping")?.is_some() {
            tell_cap(own, out, "final_logit_softcapping", 0.0)?;
        }
        let local = Rope::of(own.config, Layers::Sliding, 1e4)?;
        if local.scaling != Scaling::None {
            return Err(wrong("rope_parameters: llama.cpp does not stretch layers with a window".into()));
        }
        out.add(own.key("rope.freq_base_swa"), Value::F32(local.base as f32));
        Ok(())
    },
};

fn needs_tied(own: &Own) -> Result<(), ConvertError> {
    match own.family.is_tied(own.config)? {
        true => Ok(()),
        false => {
            Err(wrong("tie_word_embeddings: llama.cpp has no other output for this architecture".into()))
        }
    }
}

/// llama.cpp divides queries by the root of a head's size, and in the largest model, which it tells by its number
/// of layers, by that of each head's share of the width.
fn query_scale(own: &Own, largest: u64) -> Result<(), ConvertError> {
    let sizes = own.sizes;
    let expected = if sizes.layers == largest { sizes.width / sizes.heads } else { sizes.head } as f64;
    match own.config.number("query_pre_attn_scalar")?.unwrap_or(256.0) {
        found if found == expected => Ok(()),
        found => Err(wrong(format!("query_pre_attn_scalar: llama.cpp takes {expected}, found {found}"))),
    }
}

/// Which layers see only a window: as listed, or all but each `period`th.
fn tell_windows(own: &Own, out: &mut Metadata, period: u64, window: u64) -> Result<(), ConvertError> {
    let config = own.config;
    let period = match config.count_or("_sliding_window_pattern", 0)? {
        0 => config.count_or("sliding_window_pattern", period)?,
        found => found,
    };
    let slides: Vec<bool> = match config.get("layer_types").and_then(Json::as_array) {
        Some(kinds) => kinds.iter().map(|kind| kind == "sliding_attention").collect(),
        None => (1..=own.sizes.layers).map(|layer| layer % period != 0).collect(),
    };
    out.count(own.key("attention.sliding_window"), config.count_or("sliding_window", window)?);
    out.add(own.key("attention.sliding_window_pattern"), Value::Bools(slides));
    Ok(())
}

/// A bound that logits are bent to; `usual` where config.json doesn't say.
fn tell_cap(own: &Own, out: &mut Metadata, name: &str, usual: f64) -> Result<(), ConvertError> {
    match own.config.number(name)? {
        None if own.config.is_null(name) => {
            return Err(wrong(format!(
                "{name} is null: llama.cpp always bends the logits of this architecture"
            )));
        }
        Some(cap) if cap <= 0.0 => {
            return Err(wrong(format!("{name}: expected a positive number, found {cap}")));
        }
        cap => out.add(own.key(name), Value::F32(cap.unwrap_or(usual) as f32)),
    }
    Ok(())
}
