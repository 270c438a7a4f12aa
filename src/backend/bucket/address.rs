//! Which bucket, and below which prefix: `s3://bucket/prefix`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest bucket name and prefix; servers take a name of 1,024 bytes, ours come behind the prefix.
const MAX_BUCKET: usize = 222;
const MAX_PREFIX: usize = 700;

/// Whose protocol a bucket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Amazon S3, and the many servers that speak as it does.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage; the bucket is a container.
    Az,
}

/// A place for a store in a bucket. It says nothing of servers or secrets: these are the user's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    pub scheme: Scheme,
    pub bucket: String,
    /// Without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
}

/// A text that names no bucket.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no bucket: expected s3://BUCKET/PREFIX, gs:// or az:// of letters, digits and -._~+=@")]
pub struct ParseAddressError(String);

impl Scheme {
    /// What stands before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let bad = || ParseAddressError(text.chars().take(120).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let scheme = [Scheme::S3, Scheme::Gs, Scheme::Az].into_iter().find(|it| it.name() == scheme);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // People type a slash at the end; it names the same place.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let fits = is_plain(bucket) && bucket.len() <= MAX_BUCKET && prefix.len() <= MAX_PREFIX;
        match (scheme, fits && (prefix.is_empty() || prefix.split('/').all(is_plain))) {
            (Some(scheme), true) => Ok(Address { scheme, bucket: bucket.into(), prefix: prefix.into() }),
            _ => Err(bad()),
        }
    }
}

/// Whether a part of a name means the same to every server, in every URL.
fn is_plain(part: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || "-._~+=@".contains(sign);
    !part.is_empty() && part.chars().all(sign) && !part.chars().all(|sign| sign == '.')
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme.name(), self.bucket)?;
        match self.prefix.is_empty() {
            true => Ok(()),
            false => write!(out, "/{}", self.prefix),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Address, ParseAddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address comes from a stranger's repository: what a URL could read otherwise is none.
    #[test]
    fn only_plain_names_are_addresses() {
        for text in ["s3://bucket", "s3://my.bucket-2/a/b_c/v1.0", "gs://b/p", "az://container/@x~y"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("s3://b/p/".parse::<Address>().unwrap().to_string(), "s3://b/p");
        let long = format!("s3://b/{}", "x".repeat(MAX_PREFIX + 1));
        for bad in [
            "",
            "s3:",
            "s3://",
            "s3:///p",
            "http://b/p",
            "s3://b//p",
            "s3://b/p//",
            "s3://b/../p",
            "s3://b/.",
            "s3://../p",
            "s3://b/p?x=1",
            "s3://b/p#x",
            "s3://u:p@h:9/p",
            "s3://b/%2e%2e",
            "s3://b/a b",
            "S3://b",
            "s3://b/\u{e4}",
            "s3://b\\p",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} passed");
        }
    }
}
