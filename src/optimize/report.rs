//! What a run of `git sparse optimize` found: the document that lies beside the variant it chose.

use serde::{Deserialize, Serialize};

use crate::id::Oid;
pub use crate::statistics::Interval;
pub use crate::statistics::sequential::Verdict;

/// The schema that a report names.
pub const SCHEMA: &str = "git-sparse/optimize/1";

/// One run: a source, its candidates, what was measured of each, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub source: Source,
    /// The engine's build and what it uses of the processor.
    pub engine: String,
    pub hardware: Hardware,
    /// How quality was measured, such as `wikitext2-raw/llama.cpp-512`.
    pub protocol: String,
    /// SHA-256 of the text.
    pub text: Oid,
    /// What the engine's candidates learned from, where any did.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// Of the intervals and of the verdicts.
    pub confidence: f64,
    pub candidates: Vec<Candidate>,
    /// The name of the cheapest candidate that passes.
    pub chosen: Option<String>,
    /// Seconds since 1970.
    pub measured_at: u64,
}

/// The importance matrix that candidates were made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the text that it was computed from, which is another than that of the evaluation.
    pub text: Oid,
    /// Of that text, as many as were read.
    pub tokens: u64,
    /// SHA-256 of the matrix' file.
    pub matrix: Oid,
}

/// The model that candidates are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// As the user named it.
    pub name: String,
    /// SHA-256 of the file, or over the files' SHA-256s in their order.
    pub weights: Oid,
    pub bytes: u64,
    /// Of most of its bytes, such as `BF16`.
    pub dtype: String,
    /// The type whose grid its weights lie on, though they are stored in a wider one.
    pub dequantised_from: Option<String>,
}

/// Where latency was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The name of its profile.
    pub name: String,
    /// Processor, cores and memory.
    pub fingerprint: String,
    pub threads: u32,
}

/// One way to store the model, and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Such as `Q4_K_M`, `mixed-104MB` or `bnb_nf4`.
    pub name: String,
    /// The engine that serves it; figures of two engines are not compared.
    pub engine: String,
    /// Each tensor's type by preset and overrides, or a back end's own words.
    pub recipe: String,
    /// Of the file, measured or, before it was made, worked out.
    pub bytes: u64,
    /// SHA-256 of the file, once it was made.
    pub file: Option<Oid>,
    /// Bytes of the source for each byte of it.
    pub compression: f64,
    pub quality: Option<Quality>,
    pub speed: Option<Speed>,
    /// What its times come to on another machine, where one was named: never a ground for a verdict.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    pub peak_memory_bytes: Option<u64>,
    /// By measured times; of a machine that is not this one, by the estimate.
    pub cost: Option<Cost>,
    pub verdicts: Vec<Judged>,
    /// Whether no other candidate is better in everything.
    pub is_on_front: bool,
    /// Why it was left out or not measured further.
    pub note: Option<String>,
}

/// Quality against the source, on the same tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub perplexity: f64,
    /// By how much the perplexity grew, in percent, and between what it lies at the report's confidence.
    pub increase_percent: Interval,
    pub scored_tokens: u64,
    /// Mean Kullback-Leibler divergence from the source, in nats.
    pub divergence: Option<f64>,
    /// Share of tokens where both find the same one the most likely.
    pub same_top: Option<f64>,
}

/// How long things take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// To the first token of an answer.
    pub first_token_ms: Quantiles,
    /// Each token after it.
    pub token_ms: Quantiles,
    /// Tokens read a second.
    pub prefill_tps: f64,
    /// Tokens written a second, one answer at a time.
    pub decode_tps: f64,
    pub samples: u64,
    /// Why these figures are no ground for a verdict: the machine was busy.
    pub unreliable: Option<String>,
}

/// Times on a machine where nothing was measured, worked out from those of this one and what both can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Its name in the price file.
    pub machine: String,
    /// Medians.
    pub first_token_ms: f64,
    pub token_ms: f64,
    pub prefill_tps: f64,
    pub decode_tps: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: Interval,
    pub p95: Interval,
    pub p99: Interval,
}

/// By a user's price file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub input_usd_per_mtok: f64,
    pub output_usd_per_mtok: f64,
}

/// What a limit says of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The limit as the user gave it, such as `--max-ppl-delta 2`.
    pub limit: String,
    pub verdict: Verdict,
    /// What was found, in words.
    pub because: String,
}
