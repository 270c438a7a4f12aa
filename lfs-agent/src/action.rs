//! Where a batch server wants an object moved, with the credentials for it, which nothing here prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Where and how to reach an object, as a batch server said.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    /// The URL; signed ones are secrets.
    pub href: String,
    /// Headers to send along, usually credentials.
    pub header: BTreeMap<String, String>,
    /// Seconds until it expires, counted from the server's answer.
    pub expires_in: Option<i64>,
    /// The moment it expires (RFC 3339).
    pub expires_at: Option<String>,
}

impl<'de> Deserialize<'de> for Action {
    /// Goes through a `Value`, because serde's own errors would quote a misplaced credential.
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let action = Value::deserialize(input)?;
        Self::from_value(action).map_err(|field| D::Error::custom(format_args!("{field} is malformed")))
    }
}

impl Action {
    /// Takes the parts we know, or names the one that is wrong.
    fn from_value(action: Value) -> Result<Self, &'static str> {
        let Value::Object(mut parts) = action else { return Err("action") };
        Ok(Self {
            href: match parts.remove("href") {
                Some(Value::String(href)) => href,
                _ => return Err("action.href"),
            },
            header: match parts.remove("header") {
                None | Some(Value::Null) => BTreeMap::new(),
                Some(header) => serde_json::from_value(header).map_err(|_| "action.header")?,
            },
            expires_in: match parts.remove("expires_in") {
                None | Some(Value::Null) => None,
                Some(seconds) => Some(seconds.as_i64().ok_or("action.expires_in")?),
            },
            expires_at: match parts.remove("expires_at") {
                None | Some(Value::Null) => None,
                // git-lfs sends Go's zero time where the server gave none.
                Some(Value::String(time)) if time.starts_with("0001-01-01T") => None,
                Some(Value::String(time)) => Some(time),
                Some(_) => return Err("action.expires_at"),
            },
        })
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Action")
            .field("href", &without_secrets(&self.href))
            .field("header", &self.header.keys().map(|name| (name, "…")).collect::<BTreeMap<_, _>>())
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// A URL without its user, password and query, in which signatures hide.
pub(crate) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}
