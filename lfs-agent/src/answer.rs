//! What we say to git-lfs: four kinds of lines.

use std::error::Error;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::oid::Oid;
use crate::throttle::Step;

/// The code of a failure because git-lfs could not read our answer, as HTTP would number it.
const UNPROCESSABLE: i32 = 422;

/// Why an object, or the whole session, failed. The user sees the message and little else, so it should say
/// what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A number for programs; git-lfs prints it in brackets before the message.
    pub code: i32,
    /// Words for the user.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{}] {}", self.code, self.message)
    }
}

impl Error for Failure {}

/// One line to git-lfs.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer<'a> {
    /// `{}` lets the session begin; with an error it ends.
    Session {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Failure>,
    },
    Object(ObjectAnswer<'a>),
}

/// An answer about one object.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum ObjectAnswer<'a> {
    #[serde(rename_all = "camelCase")]
    Progress { oid: &'a str, bytes_so_far: u64, bytes_since_last: u64 },
    Complete {
        oid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Failure>,
    },
}

impl<'a> Answer<'a> {
    /// The session may begin.
    pub fn ready() -> Self {
        Self::Session { error: None }
    }

    /// The session is over.
    pub fn refusal(failure: &'a Failure) -> Self {
        Self::Session { error: Some(failure) }
    }

    pub fn progress(oid: &'a Oid, step: Step) -> Self {
        let Step { bytes_so_far, bytes_since_last } = step;
        Self::Object(ObjectAnswer::Progress { oid: oid.as_str(), bytes_so_far, bytes_since_last })
    }

    /// The object is uploaded (no path) or lies at this path.
    pub fn complete(oid: &'a Oid, path: Option<&'a str>) -> Self {
        Self::Object(ObjectAnswer::Complete { oid: oid.as_str(), path, error: None })
    }

    /// The object failed; the next may follow.
    pub fn failed(oid: &'a str, failure: &'a Failure) -> Self {
        Self::Object(ObjectAnswer::Complete { oid, path: None, error: Some(failure) })
    }

    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers always serialise");
        line.push(b'\n');
        line
    }
}

/// The path as git-lfs can receive it: JSON holds UTF-8 only.
pub(crate) fn path_text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        Failure::new(
            UNPROCESSABLE,
            format!("download path {path:?} is not UTF-8, which git-lfs cannot receive"),
        )
    })
}
