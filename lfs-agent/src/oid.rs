//! The name git-lfs gives an object, checked once at the door.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A wrong oid is quoted up to this many characters: enough for a whole one and the mistake in it.
const MAX_QUOTE_CHARS: usize = 72;

/// The name of an object: SHA-256 as 64 lower-case hexadecimal digits. Safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(String);

impl Oid {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not an oid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOidError {
    text: String,
}

impl fmt::Display for ParseOidError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "oid {:?}: expected 64 lower-case hexadecimal digits", self.text)
    }
}

impl Error for ParseOidError {}

impl TryFrom<String> for Oid {
    type Error = ParseOidError;

    fn try_from(text: String) -> Result<Self, ParseOidError> {
        let is_oid = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_oid {
            Ok(Self(text))
        } else {
            Err(ParseOidError { text: text.chars().take(MAX_QUOTE_CHARS).collect() })
        }
    }
}

impl FromStr for Oid {
    type Err = ParseOidError;

    fn from_str(text: &str) -> Result<Self, ParseOidError> {
        text.to_owned().try_into()
    }
}

impl<'de> Deserialize<'de> for Oid {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.try_into().map_err(D::Error::custom)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
