//! config.json: settings by name, each believed only within what a model can have.

use serde_json::{Map, Value};

use super::ConvertError;

/// Far above any width, vocabulary or context; products of two still fit 64 bits.
const MAX_NUMBER: u64 = 1 << 31;

/// The settings of a model.
#[derive(Debug)]
pub(super) struct Config(Map<String, Value>);

impl Config {
    /// Parses the file.
    pub fn parse(json: &[u8]) -> Result<Config, ConvertError> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(settings)) => Ok(Config(settings)),
            Ok(_) => Err(wrong("expected a map of settings".into())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The settings of the language model, where the file has those of several in one.
    pub fn text(&self) -> Config {
        match self.0.get("text_config") {
            Some(Value::Object(inner)) => Config(inner.clone()),
            _ => Config(self.0.clone()),
        }
    }

    /// A setting that is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Whether a setting is there, and null.
    pub fn is_null(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(Value::is_null)
    }

    /// A count from 1, which must be there.
    pub fn count(&self, key: &str) -> Result<u64, ConvertError> {
        self.count_or(key, 0).and_then(|found| match found {
            0 => Err(wrong(format!("{key} is missing"))),
            found => Ok(found),
        })
    }

    /// A count from 1, or `otherwise` where it isn't there.
    pub fn count_or(&self, key: &str, otherwise: u64) -> Result<u64, ConvertError> {
        let Some(value) = self.get(key) else { return Ok(otherwise) };
        let count = value.as_u64().filter(|count| (1..=MAX_NUMBER).contains(count));
        count.ok_or_else(|| wrong(format!("{key}: expected a number from 1 to 2^31, found {value}")))
    }

    /// A finite number; none where it isn't there.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ConvertError> {
        number_in(&self.0, key)
    }

    /// A truth value, or `otherwise` where it isn't there.
    pub fn flag(&self, key: &str, otherwise: bool) -> Result<bool, ConvertError> {
        match self.get(key) {
            None => Ok(otherwise),
            Some(value) => {
                value.as_bool().ok_or_else(|| wrong(format!("{key}: expected true or false, found {value}")))
            }
        }
    }

    /// Refuses a setting that llama.cpp would not follow: it must be absent or one of `allowed`.
    pub fn only(&self, key: &str, allowed: &[Value]) -> Result<(), ConvertError> {
        match self.get(key) {
            Some(found) if !allowed.contains(found) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                let allowed = allowed.join(" or ");
                Err(wrong(format!("{key} is {found}, which llama.cpp does not follow; expected {allowed}")))
            }
            _ => Ok(()),
        }
    }
}

/// A finite number of a map of settings; none where it isn't there.
pub(super) fn number_in(settings: &Map<String, Value>, key: &str) -> Result<Option<f64>, ConvertError> {
    let Some(value) = settings.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_f64().filter(|number| number.is_finite()) {
        Some(number) => Ok(Some(number)),
        None => Err(wrong(format!("{key}: expected a number, found {value}"))),
    }
}

/// What is wrong with config.json.
pub(super) fn wrong(why: String) -> ConvertError {
    ConvertError::Config { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts decide what is allocated and what loops run over: each lie is an error that names its key.
    #[test]
    fn counts_are_checked() {
        let config = |json: &str| Config::parse(json.as_bytes());
        assert!(config("[]").is_err());
        assert!(config("{").is_err());
        for lie in ["0", "-1", "1.5", "\"8\"", "4294967296", "1e9", "[]"] {
            let found = config(&format!("{{\"n\": {lie}}}")).unwrap().count("n").unwrap_err();
            assert!(found.to_string().contains("n:") && found.to_string().contains("expected"), "{found}");
        }
        let fine = config(r#"{"n": 8, "none": null, "f": 1e-6}"#).unwrap();
        assert_eq!(fine.count("n").unwrap(), 8);
        assert!(fine.count("none").unwrap_err().to_string().contains("none is missing"));
        assert_eq!(fine.number("f").unwrap(), Some(1e-6));
        assert!(fine.number("none").unwrap().is_none());
        assert!(fine.only("n", &[9.into()]).unwrap_err().to_string().contains("n is 8"));
    }
}
