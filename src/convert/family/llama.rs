//! Llama and those built like it: Mistral, SmolLM and SmolLM2, and SmolLM3 with its layers that don't turn.

use super::parts::{MATRICES, OPTIONAL_BIASES, OTHER_BIASES, TWO_NORMS};
use super::{Defaults, Family, Own};
use crate::convert::ConvertError;
use crate::convert::config::wrong;
use crate::convert::metadata::Metadata;

pub(super) const LLAMA: Family = Family {
    classes: &["LlamaForCausalLM", "MistralForCausalLM"],
    architecture: "llama",
    parts: &[MATRICES, TWO_NORMS, OPTIONAL_BIASES, OTHER_BIASES],
    norm_plus: 0.0,
    interleaves: true,
    activations: &["silu"],
    defaults: Defaults { base: 1e4, epsilon: 1e-6, tied: false, head: None },
    own: |_, _| Ok(()),
};

pub(super) const SMOLLM3: Family = Family {
    classes: &["SmolLM3ForCausalLM"],
    architecture: "smollm3",
    parts: &[MATRICES, TWO_NORMS, OPTIONAL_BIASES],
    norm_plus: 0.0,
    interleaves: true,
    activations: &["silu"],
    defaults: Defaults { base: 2e6, epsilon: 1e-6, tied: true, head: None },
    own: turning_layers,
};

/// llama.cpp leaves every fourth layer unturned, whatever config.json says.
fn turning_layers(own: &Own, _: &mut Metadata) -> Result<(), ConvertError> {
    own.config.only("no_rope_layer_interval", &[4.into()])?;
    let Some(layers) = own.config.get("no_rope_layers") else { return Ok(()) };
    let turns: Option<Vec<bool>> =
        layers.as_array().map(|layers| layers.iter().map(|layer| layer.as_u64() != Some(0)).collect());
    let expected: Vec<bool> = (1..=own.sizes.layers).map(|layer| layer % 4 != 0).collect();
    match turns {
        Some(turns) if turns == expected => Ok(()),
        _ => {
            Err(wrong(format!("no_rope_layers: llama.cpp turns all but every fourth layer, found {layers}")))
        }
    }
}
