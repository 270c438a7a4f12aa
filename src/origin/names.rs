//! What tensors of a GGUF file are called where it was converted from.
//!
//! Source: the GGUF specification ("Standardized tensor names") and the names that Hugging Face transformers
//! gives the same layers in its Llama, Qwen, Mistral and Gemma families.

/// The part of a name behind its layer: in GGUF, and in transformers; of several the first that is there.
const LAYER: [(&str, &[&str]); 14] = [
    ("attn_norm", &["input_layernorm"]),
    ("attn_q", &["self_attn.q_proj"]),
    ("attn_k", &["self_attn.k_proj"]),
    ("attn_v", &["self_attn.v_proj"]),
    ("attn_output", &["self_attn.o_proj"]),
    ("attn_q_norm", &["self_attn.q_norm"]),
    ("attn_k_norm", &["self_attn.k_norm"]),
    ("ffn_norm", &["pre_feedforward_layernorm", "post_attention_layernorm"]),
    ("post_attention_norm", &["post_attention_layernorm"]),
    ("post_ffw_norm", &["post_feedforward_layernorm"]),
    ("ffn_gate", &["mlp.gate_proj"]),
    ("ffn_up", &["mlp.up_proj"]),
    ("ffn_down", &["mlp.down_proj"]),
    ("ffn_gate_inp", &["mlp.gate", "block_sparse_moe.gate"]),
];

/// The names that a tensor may have had, its own first.
pub(super) fn before(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    match name {
        "token_embd.weight" => names.push("model.embed_tokens.weight".into()),
        "output_norm.weight" => names.push("model.norm.weight".into()),
        // Where both ends of the model are one tensor, GGUF may still have two.
        "output.weight" => names.extend(["lm_head.weight", "model.embed_tokens.weight"].map(str::to_owned)),
        _ => names.extend(layer(name).unwrap_or_default()),
    }
    names
}

fn layer(name: &str) -> Option<Vec<String>> {
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (stem, kind) = rest.rsplit_once('.')?;
    let (_, stems) = LAYER.iter().find(|(gguf, _)| *gguf == stem)?;
    Some(stems.iter().map(|stem| format!("model.layers.{number}.{stem}.{kind}")).collect())
}

/// Whether the rows of a tensor of this name may have been interleaved (see `derive::Converted`).
pub(super) fn has_heads(name: &str) -> bool {
    ["attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong pair costs a rule that is none.
    #[test]
    fn names_are_found() {
        let last = |name: &str| before(name).pop().unwrap();
        assert_eq!(last("blk.11.attn_q.weight"), "model.layers.11.self_attn.q_proj.weight");
        assert_eq!(last("blk.0.attn_v.bias"), "model.layers.0.self_attn.v_proj.bias");
        assert_eq!(last("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(before("output.weight")[1..], ["lm_head.weight", "model.embed_tokens.weight"]);
        assert_eq!(before("blk.3.unknown.weight"), ["blk.3.unknown.weight"]);
        assert_eq!(before("model.norm.weight"), ["model.norm.weight"]);
    }
}
