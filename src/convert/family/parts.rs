//! The tensors of a layer, as most families have them.

/// A tensor of a layer.
#[derive(Debug, Clone, Copy)]
pub(in crate::convert) struct Part {
    /// Its name in a checkpoint, behind `model.layers.N.`.
    pub from: &'static str,
    /// Its name in a GGUF file, behind `blk.N.`.
    pub to: &'static str,
    /// Outermost dimension first.
    pub shape: &'static [Size],
    pub change: Change,
    /// Whether a model without it is broken.
    pub is_needed: bool,
}

/// A dimension that config.json gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::convert) enum Size {
    /// Of what goes from layer to layer.
    Width,
    /// Of the gated network.
    Inner,
    /// Of one head.
    Head,
    /// Of all queries.
    Queries,
    /// Of all keys, and of all values.
    Keys,
}

/// What happens to a tensor on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::convert) enum Change {
    None,
    /// Its rows are turned by the rotary embedding, so that their order counts.
    Rotary,
    /// The family's norms may be stored as differences.
    Norm,
}

use Change::{None as Kept, Norm, Rotary};
use Size::{Head, Inner, Keys, Queries, Width};

const fn needed(from: &'static str, to: &'static str, shape: &'static [Size], change: Change) -> Part {
    Part { from, to, shape, change, is_needed: true }
}

const fn optional(from: &'static str, to: &'static str, shape: &'static [Size], change: Change) -> Part {
    Part { from, to, shape, change, is_needed: false }
}

/// Attention and the gated network.
pub(super) const MATRICES: &[Part] = &[
    needed("input_layernorm.weight", "attn_norm.weight", &[Width], Norm),
    needed("self_attn.q_proj.weight", "attn_q.weight", &[Queries, Width], Rotary),
    needed("self_attn.k_proj.weight", "attn_k.weight", &[Keys, Width], Rotary),
    needed("self_attn.v_proj.weight", "attn_v.weight", &[Keys, Width], Kept),
    needed("self_attn.o_proj.weight", "attn_output.weight", &[Width, Queries], Kept),
    needed("mlp.gate_proj.weight", "ffn_gate.weight", &[Inner, Width], Kept),
    needed("mlp.up_proj.weight", "ffn_up.weight", &[Inner, Width], Kept),
    needed("mlp.down_proj.weight", "ffn_down.weight", &[Width, Inner], Kept),
];

/// One norm before each of the two.
pub(super) const TWO_NORMS: &[Part] =
    &[needed("post_attention_layernorm.weight", "ffn_norm.weight", &[Width], Norm)];

/// Norms before and after each of the two. What others call the second norm is here the first one's other half.
pub(super) const FOUR_NORMS: &[Part] = &[
    needed("post_attention_layernorm.weight", "post_attention_norm.weight", &[Width], Norm),
    needed("pre_feedforward_layernorm.weight", "ffn_norm.weight", &[Width], Norm),
    needed("post_feedforward_layernorm.weight", "post_ffw_norm.weight", &[Width], Norm),
];

/// Norms of each head's queries and keys. Never with [`Change::Rotary`] in an interleaving family.
pub(super) const HEAD_NORMS: &[Part] = &[
    needed("self_attn.q_norm.weight", "attn_q_norm.weight", &[Head], Norm),
    needed("self_attn.k_norm.weight", "attn_k_norm.weight", &[Head], Norm),
];

/// Biases of queries, keys and values that every model of the family has.
pub(super) const BIASES: &[Part] = &[
    needed("self_attn.q_proj.bias", "attn_q.bias", &[Queries], Rotary),
    needed("self_attn.k_proj.bias", "attn_k.bias", &[Keys], Rotary),
    needed("self_attn.v_proj.bias", "attn_v.bias", &[Keys], Kept),
];

/// The same where only some have them.
pub(super) const OPTIONAL_BIASES: &[Part] = &[
    optional("self_attn.q_proj.bias", "attn_q.bias", &[Queries], Rotary),
    optional("self_attn.k_proj.bias", "attn_k.bias", &[Keys], Rotary),
    optional("self_attn.v_proj.bias", "attn_v.bias", &[Keys], Kept),
];

/// The other biases that llama.cpp has a place for, in the architecture `llama` alone.
pub(super) const OTHER_BIASES: &[Part] = &[
    optional("self_attn.o_proj.bias", "attn_output.bias", &[Width], Kept),
    optional("mlp.gate_proj.bias", "ffn_gate.bias", &[Inner], Kept),
    optional("mlp.up_proj.bias", "ffn_up.bias", &[Inner], Kept),
    optional("mlp.down_proj.bias", "ffn_down.bias", &[Width], Kept),
];
