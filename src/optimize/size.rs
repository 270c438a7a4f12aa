//! How large a model will be, before it is made: from the shapes of its tensors and their types.
//!
//! The sizes of blocks are those of `ggml` (llama.cpp, ggml/src/ggml-common.h). A GGUF file is its header, which
//! hardly changes, and its tensors at multiples of 32 bytes.

use serde::{Deserialize, Serialize};

/// A tensor's name and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    /// Weights in a row: what blocks are made of.
    pub columns: u64,
    pub rows: u64,
}

/// Where tensors begin in a GGUF file.
const ALIGNMENT: u64 = 32;

/// Weights in a block of a type, and its bytes. Names are read as llama.cpp writes them, in any case.
pub fn block(dtype: &str) -> Option<(u64, u64)> {
    Some(match dtype.to_ascii_uppercase().as_str() {
        "F32" => (1, 4),
        "F16" | "BF16" => (1, 2),
        "Q4_0" | "IQ4_NL" => (32, 18),
        "Q4_1" => (32, 20),
        "Q5_0" => (32, 22),
        "Q5_1" => (32, 24),
        "Q8_0" => (32, 34),
        "Q2_K" => (256, 84),
        "Q3_K" | "IQ3_S" => (256, 110),
        "Q4_K" => (256, 144),
        "Q5_K" => (256, 176),
        "Q6_K" => (256, 210),
        "IQ1_S" => (256, 50),
        "IQ1_M" => (256, 56),
        "IQ2_XXS" => (256, 66),
        "IQ2_XS" => (256, 74),
        "IQ2_S" => (256, 82),
        "IQ3_XXS" => (256, 98),
        "IQ4_XS" => (256, 136),
        "TQ1_0" => (256, 54),
        "TQ2_0" => (256, 66),
        _ => return None,
    })
}

/// The type that a tensor gets where its rows can't be divided into blocks of the one that was wanted:
/// what llama.cpp takes instead.
pub fn fallback(dtype: &str, columns: u64) -> Option<&'static str> {
    let (weights, _) = block(dtype)?;
    if columns.is_multiple_of(weights) {
        return None;
    }
    let instead = match dtype.to_ascii_uppercase().as_str() {
        "Q4_K" => "Q5_0",
        "Q5_K" => "Q5_1",
        "Q6_K" => "Q8_0",
        _ => "IQ4_NL",
    };
    Some(if columns.is_multiple_of(32) && weights == 256 { instead } else { "F16" })
}

/// Bytes of a tensor as a type; `None` where the type is not known, or its blocks do not fit.
pub fn tensor_bytes(tensor: &Tensor, dtype: &str) -> Option<u64> {
    let (weights, bytes) = block(dtype)?;
    let blocks = tensor.columns.is_multiple_of(weights).then(|| tensor.columns / weights)?;
    blocks.checked_mul(bytes)?.checked_mul(tensor.rows)
}

/// Bytes of the GGUF file with these tensors, of which each has the type beside it.
pub fn file_bytes<'a>(header: u64, tensors: impl IntoIterator<Item = (&'a Tensor, &'a str)>) -> Option<u64> {
    let padded = |bytes: u64| bytes.checked_next_multiple_of(ALIGNMENT);
    tensors.into_iter().try_fold(padded(header)?, |sum, (tensor, dtype)| {
        sum.checked_add(padded(tensor_bytes(tensor, dtype)?)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, columns: u64, rows: u64) -> Tensor {
        Tensor { name: name.into(), columns, rows }
    }

    /// SmolLM2-135M as the engine's presets write it, by its tensors: sizes of files that were really made.
    #[test]
    fn sizes_are_those_of_real_files() {
        let mut tensors =
            vec![tensor("token_embd.weight", 576, 49_152), tensor("output_norm.weight", 576, 1)];
        for layer in 0..30 {
            let named = |name: &str| format!("blk.{layer}.{name}.weight");
            for (name, columns, rows) in [
                ("attn_norm", 576, 1),
                ("ffn_norm", 576, 1),
                ("attn_q", 576, 576),
                ("attn_k", 576, 192),
                ("attn_v", 576, 192),
                ("attn_output", 576, 576),
                ("ffn_gate", 576, 1536),
                ("ffn_up", 576, 1536),
                ("ffn_down", 1536, 576),
            ] {
                tensors.push(tensor(&named(name), columns, rows));
            }
        }
        let header = 1_700_000;
        let size = |wanted: &dyn Fn(&Tensor) -> &'static str| {
            let typed =
                tensors.iter().map(|tensor| (tensor, if tensor.rows == 1 { "F32" } else { wanted(tensor) }));
            file_bytes(header, typed).unwrap()
        };
        let off = |found: u64, file: u64| (found as f64 / file as f64 - 1.0).abs();
        assert!(off(size(&|_| "F16"), 270_885_952) < 0.001);
        assert!(off(size(&|_| "Q8_0"), 144_811_072) < 0.001);
        let six = size(&|tensor| fallback("Q6_K", tensor.columns).unwrap_or("Q6_K"));
        assert!(off(six, 138_382_912) < 0.001, "{six}");
        assert!(size(&|_| "Q4_0") < size(&|_| "Q4_1"));
    }

    /// Rows that don't fit get what llama.cpp gives them; what is unknown is no size of 0.
    #[test]
    fn rows_that_do_not_fit_fall_back() {
        assert_eq!(fallback("Q4_K", 576), Some("Q5_0"));
        assert_eq!(fallback("q5_K", 576), Some("Q5_1"));
        assert_eq!(fallback("Q2_K", 576), Some("IQ4_NL"));
        assert_eq!(fallback("Q4_K", 1536), None);
        assert_eq!(fallback("Q8_0", 100), Some("F16"));
        assert_eq!(fallback("Q4_K", 100), Some("F16"));
        assert_eq!(tensor_bytes(&tensor("x", 576, 1), "Q4_K"), None);
        assert_eq!(tensor_bytes(&tensor("x", 512, 3), "q4_K"), Some(864));
        assert_eq!(tensor_bytes(&tensor("x", 512, 3), "Q9_9"), None);
        assert_eq!(tensor_bytes(&tensor("x", 1 << 60, u64::MAX), "F32"), None);
        assert_eq!(file_bytes(5, [(&tensor("x", 32, 1), "Q8_0")]), Some(32 + 64));
    }
}
