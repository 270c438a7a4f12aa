//! A model that may answer, and what is known of it: facts that others measured or declared.

use serde::{Deserialize, Serialize};

use crate::id::Oid;
use crate::prices::Rates;

/// One model, as the catalogue and the price file have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub name: String,
    pub kind: Kind,
    /// Or why there is no price.
    pub rates: Result<Rates, String>,
    /// Or why there is no latency.
    pub latency: Result<Latency, String>,
    /// SHA-256 of its weights, where they are at hand.
    pub weights: Option<Oid>,
    pub agreement: Option<Agreement>,
    /// A server that tells how likely each token of an answer was; files that are run here always do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
}

impl Offer {
    /// Whether it is seen how sure an answer is, before it is given.
    pub fn tells_confidence(&self) -> bool {
        self.kind == Kind::Variant || self.logprobs
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file that the engine runs here.
    Variant,
    /// A server elsewhere.
    Endpoint,
}

/// How long a request takes in 99 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub first_token_p99_ms: f64,
    pub token_p99_ms: f64,
}

impl Latency {
    /// For an answer of so many tokens: no more than this, as all of them are slow ones.
    pub fn request_p99_ms(self, tokens: u64) -> f64 {
        self.first_token_p99_ms + self.token_p99_ms * tokens.saturating_sub(1) as f64
    }
}

/// How often a variant finds the same token the most likely as the model it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// SHA-256 of that model's weights.
    pub with: Oid,
    pub same_top: f64,
    pub tokens: u64,
}
