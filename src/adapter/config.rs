//! `adapter_config.json`: rank and scale of each module, and what is refused because it merges otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::pattern::Patterns;

/// Settings that do not change what a merge gives, whatever they say.
const HARMLESS: [&str; 19] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// Ways to start the training that leave the base as it is; others take a part of it away.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("peft_type is {}: only LORA is supported", brief(.found))]
    Kind { found: String },
    #[error("bias is {}: only \"none\" is supported", brief(.found))]
    Bias { found: Value },
    #[error("{} is {}: that is more than plain LoRA, and merges otherwise", brief(.key), brief(.found))]
    Setting { key: String, found: Value },
    #[error(
        "init_lora_weights is {}: such an adapter belongs to a changed base; convert it to plain LoRA first (PEFT's path_initial_model_for_weight_conversion)",
        brief(.found)
    )]
    Start { found: Value },
    #[error(
        "{module}: a rank of {rank} and an alpha of {alpha}: expected a rank from 1 to {MAX_RANK} and a finite alpha"
    )]
    Scale { module: String, rank: f64, alpha: f64 },
}

/// Longest value that an error repeats, in characters.
const MOST_REPEATED: usize = 60;

/// What a configuration says, as far as it fits into a line.
fn brief(value: &impl ToString) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MOST_REPEATED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// No layer is wider.
const MAX_RANK: u64 = 1 << 20;

/// What of a configuration a merge needs.
#[derive(Debug, Deserialize)]
pub struct Config {
    peft_type: String,
    #[serde(default = "eight")]
    r: f64,
    #[serde(default = "eight")]
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: Patterns,
    #[serde(default)]
    alpha_pattern: Patterns,
    #[serde(default)]
    pub fan_in_fan_out: bool,
    #[serde(default)]
    bias: Value,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// PEFT's own default of `r` and `lora_alpha`.
fn eight() -> f64 {
    8.0
}

impl Config {
    /// Reads a configuration of plain LoRA.
    ///
    /// # Errors
    /// Another method, and every setting that asks for more than plain LoRA, known to us or not.
    pub fn read(json: &[u8]) -> Result<Config, ConfigError> {
        let config: Config = serde_json::from_slice(json)?;
        if config.peft_type != "LORA" {
            return Err(ConfigError::Kind { found: config.peft_type });
        }
        if !matches!(config.bias.as_str(), Some("none")) && !config.bias.is_null() {
            return Err(ConfigError::Bias { found: config.bias });
        }
        if let Value::String(start) = &config.init_lora_weights
            && !HARMLESS_STARTS.contains(&start.to_lowercase().as_str())
        {
            return Err(ConfigError::Start { found: config.init_lora_weights });
        }
        let asks = |(key, value): &(&String, &Value)| !HARMLESS.contains(&key.as_str()) && !is_off(value);
        match config.others.iter().find(asks) {
            Some((key, found)) => Err(ConfigError::Setting { key: key.clone(), found: found.clone() }),
            None => Ok(config),
        }
    }

    /// Rank of a module, and what its product is multiplied with.
    ///
    /// # Errors
    /// A rank that is no positive whole number, an alpha that is infinite.
    pub fn scaling(&self, module: &str) -> Result<(u64, f32), ConfigError> {
        let rank = self.rank_pattern.get(module).unwrap_or(self.r);
        let alpha = self.alpha_pattern.get(module).unwrap_or(self.lora_alpha);
        let known = rank.fract() == 0.0 && (1.0..=MAX_RANK as f64).contains(&rank) && alpha.is_finite();
        if !known {
            return Err(ConfigError::Scale { module: module.to_owned(), rank, alpha });
        }
        let scale = if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank };
        Ok((rank as u64, scale as f32))
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &str) -> Result<Config, ConfigError> {
        Config::read(format!("{{\"peft_type\": \"LORA\"{settings}}}").as_bytes())
    }

    /// What PEFT would merge otherwise must not pass for plain LoRA: each kind is refused by its name.
    #[test]
    fn other_methods_are_refused_by_name() {
        let kinds = ["IA3", "PROMPT_TUNING", "LOHA", "LOKR", "ADALORA", "VERA", "OFT"];
        for kind in kinds {
            let refused = Config::read(format!("{{\"peft_type\": \"{kind}\"}}").as_bytes());
            assert!(refused.unwrap_err().to_string().contains(kind), "{kind}");
        }
        let settings = [
            ("use_dora", "true"),
            ("lora_bias", "true"),
            ("bias", "\"lora_only\""),
            ("layer_replication", "[[0, 4]]"),
            ("trainable_token_indices", "[1]"),
            ("target_parameters", "[\"x\"]"),
            ("use_qalora", "true"),
            ("alora_invocation_tokens", "[1]"),
            ("init_lora_weights", "\"pissa_niter_4\""),
            ("a_setting_of_tomorrow", "1"),
        ];
        for (key, value) in settings {
            let refused = read(&format!(", \"{key}\": {value}"));
            assert!(refused.as_ref().is_err_and(|it| it.to_string().contains(key)), "{key}: {refused:?}");
        }
        read(r#", "use_dora": false, "layer_replication": null, "loftq_config": {"loftq_bits": 4}"#).unwrap();
        read(r#", "bias": "none", "init_lora_weights": "gaussian""#).unwrap();
    }

    /// A setting may be of any length; an error is a line.
    #[test]
    fn errors_repeat_no_long_values() {
        let long = format!(r#", "a_setting": "{}""#, "é".repeat(1 << 20));
        let refused = read(&long).unwrap_err().to_string();
        assert!(
            refused.len() < 300 && refused.starts_with("a_setting is \"é") && refused.contains('…'),
            "{refused}"
        );
    }

    /// Scales are what an adapter is worth: rank and alpha of a module, by its patterns.
    #[test]
    fn scales_follow_rank_and_alpha() {
        let scale = |settings: &str| read(settings).unwrap().scaling("model.q").unwrap();
        assert_eq!(scale(""), (8, 1.0));
        assert_eq!(scale(r#", "r": 4, "lora_alpha": 6"#), (4, 1.5));
        assert_eq!(scale(r#", "r": 16, "lora_alpha": 6, "use_rslora": true"#), (16, 1.5));
        assert_eq!(scale(r#", "rank_pattern": {"q": 2}, "alpha_pattern": {"model.q": 3}"#), (2, 1.5));
        for nonsense in [r#", "r": 0"#, r#", "r": 1.5"#, r#", "r": -4"#, r#", "r": 1e300"#] {
            let refused = read(nonsense).unwrap().scaling("q");
            assert!(matches!(refused, Err(ConfigError::Scale { .. })), "{nonsense}");
        }
    }
}
