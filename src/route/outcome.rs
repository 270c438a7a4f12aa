//! How models did on a prompt: what the router learns from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::features::Features;

/// A prompt, and what the answers to it were worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub features: Features,
    /// By model, from 0 (wrong) to 1 (right).
    pub scores: BTreeMap<String, f32>,
    /// By model, how sure it was of its tokens: the mean of their margins, from 0 to 1.
    pub margins: BTreeMap<String, f32>,
}
