//! What the user's own configuration says of buckets: names and values, which may be secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::address::Scheme;

/// Variables as the environment has them (`AWS_REGION`), those of one scheme.
///
/// Whoever prints it sees the names: values may be keys.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those of `variables` that mean something for a bucket of this scheme; an empty one is none.
    pub fn of(scheme: Scheme, variables: impl Iterator<Item = (String, String)>) -> Settings {
        let (prefix, others): (_, &[&str]) = match scheme {
            Scheme::S3 => ("AWS_", &[]),
            Scheme::Gs => ("GOOGLE_", &["SERVICE_ACCOUNT"]),
            Scheme::Az => ("AZURE_", &["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]),
        };
        let counts = |name: &str, value: &str| {
            (name.starts_with(prefix) || others.contains(&name)) && !value.trim().is_empty()
        };
        Settings(variables.filter(|(name, value)| counts(name, value)).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets what is not set yet.
    pub fn or_set(&mut self, name: &str, value: &str) {
        self.0.entry(name.into()).or_insert_with(|| value.into());
    }

    /// Sets what may be set.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.into(), value);
    }

    /// What another program is told of the same configuration.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let named = self.0.iter().filter(|(name, _)| name.starts_with("AWS_"));
        named.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with its settings is printed in errors and logs: no key may stand there.
    #[test]
    fn values_are_not_printed() {
        let variables = [("AWS_SECRET_ACCESS_KEY", "canary"), ("GOOGLE_X", "other"), ("AWS_REGION", "")];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::of(Scheme::S3, variables);
        assert_eq!(format!("{settings:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
        assert_eq!(settings.get("AWS_SECRET_ACCESS_KEY"), Some("canary"));
    }
}
