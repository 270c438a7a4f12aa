//! Why a request could not be done.

use engine_messages::{Failed, Reply};

/// A request that failed; the engine lives on.
#[derive(Debug, PartialEq)]
pub struct Failure {
    pub kind: Failed,
    pub message: String,
}

impl Failure {
    pub fn request(message: impl Into<String>) -> Failure {
        Failure { kind: Failed::Request, message: message.into() }
    }

    pub fn model(message: impl Into<String>) -> Failure {
        Failure { kind: Failed::Model, message: message.into() }
    }

    pub fn engine(message: impl Into<String>) -> Failure {
        Failure { kind: Failed::Engine, message: message.into() }
    }

    pub fn full(message: impl Into<String>) -> Failure {
        Failure { kind: Failed::Full, message: message.into() }
    }

    pub fn not_finite(message: impl Into<String>) -> Failure {
        Failure { kind: Failed::NotFinite, message: message.into() }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        Reply::Failed { kind: failure.kind, message: failure.message }
    }
}
