//! The rotary embedding: its base, how it is stretched for longer texts, and what llama.cpp wants to know of it.

use std::f64::consts::PI;

use serde_json::{Map, Value};

use super::ConvertError;
use super::config::{Config, number_in, wrong};

/// How one kind of layer turns its heads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub base: f64,
    pub scaling: Scaling,
}

/// How positions are stretched.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    None,
    /// All frequencies divided by a factor.
    Linear(f64),
    /// Low frequencies divided by `factor`, high ones kept, smoothly between, as Llama 3.1 does.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// Arxiv 2309.00071.
    Yarn {
        factor: f64,
        original: f64,
    },
}

/// Which layers are asked about: where a model has windows, their layers may turn otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layers {
    Full,
    Sliding,
}

impl Rope {
    /// As config.json says: `rope_parameters`, for all layers or by their kind, or the older `rope_theta` and
    /// `rope_scaling`. Where it says no base it is `base`.
    pub fn of(config: &Config, layers: Layers, base: f64) -> Result<Rope, ConvertError> {
        config.only("partial_rotary_factor", &[1.into(), 1.0.into()])?;
        let rope = match config.get("rope_parameters") {
            Some(Value::Object(all)) => {
                let kind = if layers == Layers::Full { "full_attention" } else { "sliding_attention" };
                let own = all.get(kind).and_then(Value::as_object).unwrap_or(all);
                Rope { base: number_in(own, "rope_theta")?.unwrap_or(base), scaling: scaling(own, config)? }
            }
            Some(other) => return Err(wrong(format!("rope_parameters: expected a map, found {other}"))),
            None if layers == Layers::Sliding => {
                let base = config.number("rope_local_base_freq")?.unwrap_or(base);
                Rope { base, scaling: Scaling::None }
            }
            None => {
                let scaling = match config.get("rope_scaling") {
                    Some(Value::Object(own)) => scaling(own, config)?,
                    Some(other) => return Err(wrong(format!("rope_scaling: expected a map, found {other}"))),
                    None => Scaling::None,
                };
                Rope { base: config.number("rope_theta")?.unwrap_or(base), scaling }
            }
        };
        if rope.base <= 0.0 {
            return Err(wrong(format!("rope_theta: expected a positive number, found {}", rope.base)));
        }
        Ok(rope)
    }

    /// What each frequency of a head of `head` numbers is divided by, where that differs between them.
    ///
    /// Source: the definition of the scaling `llama3` in `transformers`.
    pub fn divisors(&self, head: u64) -> Option<Vec<f32>> {
        let Scaling::Llama3 { factor, low, high, original } = self.scaling else { return None };
        let divisor = |pair: u64| {
            let wavelength = 2.0 * PI * self.base.powf(2.0 * pair as f64 / head as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some((0..head / 2).map(|pair| divisor(pair) as f32).collect())
    }
}

fn scaling(own: &Map<String, Value>, config: &Config) -> Result<Scaling, ConvertError> {
    let kind = own.get("rope_type").or_else(|| own.get("type")).and_then(Value::as_str).unwrap_or("default");
    let positive = |key: &str| match number_in(own, key)? {
        Some(number) if number > 0.0 => Ok(number),
        Some(number) => Err(wrong(format!("{key}: expected a positive number, found {number}"))),
        None => Err(wrong(format!("the rotary scaling {kind} has no {key}"))),
    };
    if number_in(own, "partial_rotary_factor")?.is_some_and(|share| share != 1.0) {
        return Err(wrong("partial_rotary_factor is not 1, which llama.cpp does not follow here".into()));
    }
    match kind {
        "default" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear(positive("factor")?)),
        "llama3" => {
            let (low, high) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
            let (factor, original) = (positive("factor")?, positive("original_max_position_embeddings")?);
            if low >= high {
                return Err(wrong(format!("low_freq_factor {low} is not below high_freq_factor {high}")));
            }
            Ok(Scaling::Llama3 { factor, low, high, original })
        }
        "yarn" => {
            // llama.cpp takes the paper's values; a file may name them, but no others.
            for (key, usual) in [("beta_fast", 32.0), ("beta_slow", 1.0)] {
                if let Some(found) = number_in(own, key)?.filter(|found| *found != usual) {
                    return Err(wrong(format!(
                        "the rotary scaling yarn has {key} {found}, expected {usual}"
                    )));
                }
            }
            for key in ["attention_factor", "mscale", "mscale_all_dim"] {
                if number_in(own, key)?.is_some() {
                    return Err(wrong(format!("the rotary scaling yarn with {key} is not known")));
                }
            }
            let original = number_in(own, "original_max_position_embeddings")?;
            let original = original.or(config.number("max_position_embeddings")?);
            let original = original.filter(|length| *length >= 1.0);
            let original =
                original.ok_or_else(|| wrong("the rotary scaling yarn has no original length".into()))?;
            Ok(Scaling::Yarn { factor: positive("factor")?, original })
        }
        other => {
            let known = "default, linear, llama3, yarn";
            Err(wrong(format!("the rotary scaling {other} is not known; these are: {known}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        Config::parse(json.as_bytes()).unwrap()
    }

    /// Both ways to write it down mean the same, and a layer's own parameters count for that layer.
    #[test]
    fn old_and_new_settings_agree() {
        let old = config(r#"{"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 8}}"#);
        let new = r#"{"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 8.0}}"#;
        let expected = Rope { base: 5e5, scaling: Scaling::Linear(8.0) };
        assert_eq!(Rope::of(&old, Layers::Full, 1e4).unwrap(), expected);
        assert_eq!(Rope::of(&config(new), Layers::Full, 1e4).unwrap(), expected);
        let both = config(
            r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8},
                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}}"#,
        );
        let sliding = Rope::of(&both, Layers::Sliding, 7.0).unwrap();
        assert_eq!(sliding, Rope { base: 1e4, scaling: Scaling::None });
        assert_eq!(Rope::of(&both, Layers::Full, 7.0).unwrap().base, 1e6);
        assert_eq!(Rope::of(&config("{}"), Layers::Full, 7.0).unwrap().base, 7.0);
    }

    /// What llama.cpp would ignore is refused, by its name.
    #[test]
    fn what_is_not_known_is_refused() {
        for (json, named) in [
            (r#"{"rope_scaling": {"type": "dynamic", "factor": 2}}"#, "dynamic"),
            (r#"{"rope_scaling": {"rope_type": "yarn", "factor": 2, "mscale": 0.7}}"#, "mscale"),
            (r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8}}"#, "low_freq_factor"),
            (r#"{"rope_scaling": {"rope_type": "linear", "factor": -1}}"#, "factor"),
            (r#"{"rope_scaling": 4}"#, "rope_scaling"),
            (r#"{"rope_theta": 0}"#, "rope_theta"),
            (r#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
        ] {
            let error = Rope::of(&config(json), Layers::Full, 1e4).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    /// High frequencies are kept and low ones divided by the whole factor, as Llama 3.1 was trained.
    #[test]
    fn llama3_keeps_high_frequencies() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let divisors = Rope { base: 5e5, scaling }.divisors(128).unwrap();
        assert_eq!((divisors.len(), divisors[0], divisors[63]), (64, 1.0, 8.0));
        assert!(divisors.is_sorted());
        assert!(divisors.iter().any(|divisor| (1.5..7.5).contains(divisor)), "a smooth part");
    }
}
