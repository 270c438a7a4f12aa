//! A decision as it is logged: all that it was taken from, so that it can be taken again.
//!
//! The prompt's text is not in it, only its features and its hash.

use serde::{Deserialize, Serialize};

use super::choice::{Choice, Learnt, Request};
use super::complexity::Complexity;
use super::features::Features;
use super::journal::Journal;
use super::offer::Offer;
use super::outcome::Outcome;
use crate::id::Oid;

/// One line of the log of decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// Seconds since 1970.
    pub at: u64,
    /// SHA-256 of the prompt.
    pub prompt: Oid,
    pub features: Features,
    pub complexity: Complexity,
    pub request: Request,
    /// How many lines the log of outcomes had, and their SHA-256.
    pub learnt_lines: usize,
    pub learnt_digest: String,
    pub offers: Vec<Offer>,
    pub choice: Choice,
}

/// What came of taking a decision again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    Same,
    /// The log of outcomes has fewer lines, or they are not those that were learnt then.
    OtherLog,
    Differs { logged: String, again: String },
}

impl Decision {
    /// Reads a line, and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Decision, String> {
        let decision: Decision = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !decision.features.are_sound() {
            return Err("features that no prompt has".into());
        }
        Ok(decision)
    }

    /// Takes the decision again, from the first lines of the log of outcomes.
    pub fn replayed(&self, outcomes: &Journal<Outcome>) -> Replayed {
        if outcomes.digest_of(self.learnt_lines).as_ref() != Some(&self.learnt_digest) {
            return Replayed::OtherLog;
        }
        let known = &outcomes.entries[..self.learnt_lines];
        let learnt = Learnt::of(known, &self.offers, &self.request.model);
        let again = learnt.choose(&self.request, &self.features, &self.offers);
        // Compared as they are written: a number that was read may differ from the one that was meant by
        // its last bit.
        let told = |choice: &Choice| {
            let value = serde_json::to_value(choice).expect("because its keys are strings");
            rounded(value).to_string()
        };
        let (logged, again) = (told(&self.choice), told(&again));
        if logged == again { Replayed::Same } else { Replayed::Differs { logged, again } }
    }
}

/// Numbers to nine digits after the point.
fn rounded(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            Value::from(format!("{number:.9}"))
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}
