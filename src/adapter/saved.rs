//! How PEFT's file of weights is written: names, and the layout of safetensors.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::table::PREFIX;

/// Headers are filled up with spaces, so that tensors lie at multiples of it.
const ALIGNMENT: usize = 8;

/// The names of the factors A and B of a module.
pub fn names(module: &str, embedding: bool) -> [String; 2] {
    let [a, b] =
        if embedding { ["lora_embedding_A", "lora_embedding_B"] } else { ["lora_A.weight", "lora_B.weight"] };
    [format!("{PREFIX}{module}.{a}"), format!("{PREFIX}{module}.{b}")]
}

/// A file of f32 tensors, each with its shape.
pub fn safetensors(tensors: &BTreeMap<String, (Vec<u64>, Vec<f32>)>) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for (name, (shape, values)) in tensors {
        let end = at + values.len() * 4;
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(ALIGNMENT) - header.len()));
    let mut file = Vec::with_capacity(8 + header.len() + at);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header.as_bytes());
    for (_, values) in tensors.values() {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

/// The transpose of a matrix by rows.
pub fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}
