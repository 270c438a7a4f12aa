//! The catalogue: which models may answer, and where facts about them stand. A file that its user writes.
//!
//! ```toml
//! prices = "prices.toml"
//! outcomes = "outcomes.jsonl"
//! decisions = "decisions.jsonl"
//!
//! [variant.q4]
//! report = "smol/report.json"      # of git sparse optimize
//! candidate = "Q4_K_M"             # without it, the source itself
//! file = "smol/Q4_K_M.gguf"
//!
//! [endpoint."gpt-x"]
//! url = "https://api.example.com/v1"
//! model = "gpt-x-2026"             # what the server calls it, if not the same
//! key_env = "EXAMPLE_API_KEY"      # the variable that holds the key
//! first_token_p99_ms = 900.0       # as you measured it
//! token_p99_ms = 25.0
//! logprobs = true                  # it gives them: it may be the first of a cascade
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::offer::{Agreement, Kind, Latency, Offer};
use crate::optimize::report::{self, Report};
use crate::prices::{self, Prices, PricesError, Today};

/// The largest catalogue and the largest report, in bytes.
const MAX_BYTES: u64 = 16 << 20;
const MOST_OFFERS: usize = 64;

/// A catalogue that was read; paths in it are as they are found from here.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub prices: Option<PathBuf>,
    pub outcomes: PathBuf,
    pub decisions: PathBuf,
    pub variants: BTreeMap<String, Variant>,
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// A file that the engine can run, and the report that measured it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub report: PathBuf,
    pub candidate: Option<String>,
    pub file: PathBuf,
}

/// A server that speaks OpenAI's protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Up to and with `/v1`.
    pub url: String,
    pub model: Option<String>,
    pub key_env: Option<String>,
    first_token_p99_ms: Option<f64>,
    token_p99_ms: Option<f64>,
    /// Whether it is asked for the probabilities of tokens; not every server takes that.
    #[serde(default)]
    pub logprobs: bool,
}

/// Why a catalogue can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: more than {most} bytes", path.display())]
    Large { path: PathBuf, most: u64 },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error("{}: {error}", path.display())]
    Prices { path: PathBuf, error: PricesError },
}

impl Catalog {
    /// Reads a catalogue; its paths start where it lies.
    pub fn read(path: &Path) -> Result<Catalog, CatalogError> {
        let wrong = |why: String| CatalogError::Content { path: path.to_owned(), why };
        let file: CatalogFile =
            toml::from_str(&text(path, MAX_BYTES)?).map_err(|error| wrong(error.to_string()))?;
        let count = file.variant.len() + file.endpoint.len();
        if count > MOST_OFFERS {
            return Err(wrong(format!("{count} models, at most {MOST_OFFERS}")));
        }
        if let Some(name) = file.variant.keys().find(|name| file.endpoint.contains_key(*name)) {
            return Err(wrong(format!("{name:?} is both a variant and an endpoint")));
        }
        for (name, endpoint) in &file.endpoint {
            endpoint.check().map_err(|why| wrong(format!("[endpoint.{name}]: {why}")))?;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let variants = file.variant.into_iter().map(|(name, variant)| (name, variant.below(folder)));
        Ok(Catalog {
            prices: file.prices.map(|prices| folder.join(prices)),
            outcomes: folder.join(file.outcomes.unwrap_or("outcomes.jsonl".into())),
            decisions: folder.join(file.decisions.unwrap_or("decisions.jsonl".into())),
            variants: variants.collect(),
            endpoints: file.endpoint,
        })
    }

    /// The names of all models, variants first.
    pub fn names(&self) -> Vec<&str> {
        self.variants.keys().chain(self.endpoints.keys()).map(String::as_str).collect()
    }

    /// What is offered, with the prices and the latencies that count today.
    pub fn offers(&self, today: Today) -> Result<Vec<Offer>, CatalogError> {
        let prices = match &self.prices {
            Some(path) => {
                let text = text(path, prices::MAX_BYTES)?;
                Prices::parse(&text).map_err(|error| CatalogError::Prices { path: path.clone(), error })?
            }
            None => Prices::default(),
        };
        let mut offers = Vec::new();
        for (name, variant) in &self.variants {
            offers.push(variant.offer(name, &prices, today)?);
        }
        offers.extend(self.endpoints.iter().map(|(name, endpoint)| endpoint.offer(name, &prices, today)));
        Ok(offers)
    }
}

impl Variant {
    fn below(self, folder: &Path) -> Variant {
        Variant { report: folder.join(self.report), file: folder.join(self.file), ..self }
    }

    fn offer(&self, name: &str, prices: &Prices, today: Today) -> Result<Offer, CatalogError> {
        let wrong = |why: String| CatalogError::Content { path: self.report.clone(), why };
        let read: Report = serde_json::from_str(&text(&self.report, MAX_BYTES)?)
            .map_err(|error| wrong(format!("no report of git sparse optimize: {error}")))?;
        if read.schema != report::SCHEMA {
            return Err(wrong(format!("schema {:?}, expected {:?}", read.schema, report::SCHEMA)));
        }
        let candidate = match &self.candidate {
            None => None,
            Some(named) => match read.candidates.iter().find(|candidate| candidate.name == *named) {
                Some(candidate) => Some(candidate),
                None => {
                    let known: Vec<_> = read.candidates.iter().map(|it| it.name.as_str()).collect();
                    return Err(wrong(format!("no candidate {named:?}; it has {}", known.join(", "))));
                }
            },
        };
        let speed = candidate.and_then(|candidate| candidate.speed.as_ref());
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let latency = match speed {
            None => Err("its latency was not measured".to_owned()),
            Some(speed) => match &speed.unreliable {
                Some(why) => Err(format!("its latency is unreliable: {why}")),
                None => Ok(Latency {
                    first_token_p99_ms: speed.first_token_ms.p99.value,
                    token_p99_ms: speed.token_ms.p99.value,
                }),
            },
        };
        let latency = latency.and_then(|latency| {
            let fits = positive(latency.first_token_p99_ms) && positive(latency.token_p99_ms);
            if fits { Ok(latency) } else { Err("its report has a latency that is no number above 0".into()) }
        });
        let rates = match speed {
            Some(speed) if positive(speed.prefill_tps) && positive(speed.decode_tps) => prices
                .hardware(&read.hardware.name, today)
                .map(|hourly| hourly.rates(speed.prefill_tps, speed.decode_tps))
                .map_err(|error| error.to_string()),
            _ => Err("no price: its speed was not measured".into()),
        };
        let agreement = candidate.and_then(|candidate| candidate.quality.as_ref()).and_then(|quality| {
            let same_top = quality.same_top.filter(|share| (0.0..=1.0).contains(share))?;
            Some(Agreement { with: read.source.weights, same_top, tokens: quality.scored_tokens })
        });
        let weights = match candidate {
            Some(candidate) => candidate.file,
            None => Some(read.source.weights),
        };
        let (name, kind) = (name.into(), Kind::Variant);
        Ok(Offer { name, kind, rates, latency, weights, agreement, logprobs: false })
    }
}

impl Endpoint {
    fn check(&self) -> Result<(), String> {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err(format!("url is {:?}, expected http://… or https://…", self.url));
        }
        for (field, number) in
            [("first_token_p99_ms", self.first_token_p99_ms), ("token_p99_ms", self.token_p99_ms)]
        {
            if let Some(number) = number.filter(|number| !number.is_finite() || *number <= 0.0) {
                return Err(format!("{field} is {number}, expected a number above 0"));
            }
        }
        Ok(())
    }

    fn offer(&self, name: &str, prices: &Prices, today: Today) -> Offer {
        let declared = self.first_token_p99_ms.zip(self.token_p99_ms);
        let latency = declared
            .map(|(first_token_p99_ms, token_p99_ms)| Latency { first_token_p99_ms, token_p99_ms })
            .ok_or_else(|| "the catalogue declares no first_token_p99_ms and token_p99_ms".to_owned());
        let rates = prices.endpoint(name, today).map_err(|error| error.to_string());
        let (name, kind, logprobs) = (name.into(), Kind::Endpoint, self.logprobs);
        Offer { name, kind, rates, latency, weights: None, agreement: None, logprobs }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    prices: Option<PathBuf>,
    outcomes: Option<PathBuf>,
    decisions: Option<PathBuf>,
    #[serde(default)]
    variant: BTreeMap<String, Variant>,
    #[serde(default)]
    endpoint: BTreeMap<String, Endpoint>,
}

/// The text of a file of a bounded size.
pub fn text(path: &Path, most: u64) -> Result<String, CatalogError> {
    let failed = |error| CatalogError::Io { path: path.to_owned(), error };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(most + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > most {
        return Err(CatalogError::Large { path: path.to_owned(), most });
    }
    Ok(text)
}
