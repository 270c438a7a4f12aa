//! Qwen 2 with biases of queries, keys and values; Qwen 3 with norms of queries and keys.

use super::parts::{BIASES, HEAD_NORMS, MATRICES, OPTIONAL_BIASES, TWO_NORMS};
use super::{Defaults, Family};
use crate::convert::config::wrong;

pub(super) const QWEN2: Family = Family {
    classes: &["Qwen2ForCausalLM"],
    architecture: "qwen2",
    parts: &[MATRICES, TWO_NORMS, BIASES],
    norm_plus: 0.0,
    interleaves: false,
    activations: &["silu"],
    defaults: Defaults { base: 1e4, epsilon: 1e-6, tied: false, head: None },
    own: |own, _| match own.sizes.head * own.sizes.heads == own.sizes.width {
        true => Ok(()),
        false => Err(wrong("head_dim: llama.cpp shares hidden_size among the heads of Qwen 2".into())),
    },
};

pub(super) const QWEN3: Family = Family {
    classes: &["Qwen3ForCausalLM"],
    architecture: "qwen3",
    parts: &[MATRICES, TWO_NORMS, HEAD_NORMS, OPTIONAL_BIASES],
    norm_plus: 0.0,
    interleaves: false,
    activations: &["silu"],
    defaults: Defaults { base: 1e4, epsilon: 1e-6, tied: false, head: Some(128) },
    own: |_, _| Ok(()),
};
