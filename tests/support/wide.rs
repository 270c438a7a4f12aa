//! A trained model whose rows are long enough for all types of llama.cpp: `tiny-sft` with each of its channels twice.
//!
//! It computes what `tiny-sft` computes: matrices that read the doubled channels have half the weights, twice; heads and
//! inner channels beyond those of the original are zeros.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::engine::model;

/// What the channels, heads, keys and inner channels of the original become: 128, 128, 64 and 344.
const HIDDEN: usize = 256;
const HEADS: usize = 256;
const KEYS: usize = 128;
const INNER: usize = 512;

/// Writes the checkpoint into a directory, as 32-bit floats.
pub fn write(target: &Path) {
    fs::create_dir_all(target).unwrap();
    let source = model("tiny-sft");
    let source = Path::new(&source);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(source.join(name), target.join(name)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&fs::read(source.join("config.json")).unwrap()).unwrap();
    for (name, value) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INNER),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
    ] {
        config[name] = value.into();
    }
    config["dtype"] = "float32".into();
    fs::write(target.join("config.json"), config.to_string()).unwrap();
    let bytes = fs::read(source.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let wide: BTreeMap<String, (Vec<usize>, Vec<u8>)> =
        tensors.tensors().into_iter().map(|(name, tensor)| (name.clone(), widened(&name, &tensor))).collect();
    let views = wide.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &target.join("model.safetensors")).unwrap();
}

fn widened(name: &str, tensor: &TensorView<'_>) -> (Vec<usize>, Vec<u8>) {
    assert_eq!(tensor.dtype(), Dtype::BF16, "{name}");
    let values: Vec<f32> = tensor
        .data()
        .chunks_exact(2)
        .map(|pair| f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16))
        .collect();
    let role = name.rsplit('.').nth(1).unwrap();
    let halved = |row: &[f32]| twice(row).iter().map(|value| value / 2.0).collect::<Vec<f32>>();
    let (shape, wide) = match *tensor.shape() {
        // The last norm stands before the embedding, whose rows are twice as long, too.
        [_] if role == "norm" => (vec![HIDDEN], halved(&values)),
        [_] => (vec![HIDDEN], twice(&values)),
        [_, columns] => {
            let rows = values.chunks_exact(columns);
            let (rows_to, columns_to, mut wide) = match role {
                "embed_tokens" => (values.len() / columns, HIDDEN, rows.flat_map(twice).collect()),
                "o_proj" => {
                    (HIDDEN, HEADS, twice(&rows.flat_map(|row| padded(row, HEADS)).collect::<Vec<_>>()))
                }
                "down_proj" => {
                    (HIDDEN, INNER, twice(&rows.flat_map(|row| padded(row, INNER)).collect::<Vec<_>>()))
                }
                "q_proj" => (HEADS, HIDDEN, rows.flat_map(halved).collect()),
                "k_proj" | "v_proj" => (KEYS, HIDDEN, rows.flat_map(halved).collect()),
                "gate_proj" | "up_proj" => (INNER, HIDDEN, rows.flat_map(halved).collect()),
                _ => panic!("{name}"),
            };
            wide.resize(rows_to * columns_to, 0.0);
            (vec![rows_to, columns_to], wide)
        }
        ref shape => panic!("{name}: {shape:?}"),
    };
    (shape, wide.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn twice(values: &[f32]) -> Vec<f32> {
    [values, values].concat()
}

fn padded(values: &[f32], len: usize) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(len, 0.0);
    padded
}
