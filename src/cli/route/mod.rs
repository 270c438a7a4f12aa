//! `git sparse route`: which model answers a prompt, and why not another one.

mod answer;
mod logs;
mod money;
mod told;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::daemon::message::{Failure, Kind};
use crate::prices::Today;
use crate::route::catalog::{Catalog, CatalogError};
use crate::route::choice::Request;
use crate::route::decision::{Decision, Known};
use crate::route::journal::{self, Journal};
use crate::route::offer::{Kind as OfferKind, Offer};
use crate::route::outcome::Outcome;
use clap::{Args, Subcommand};

/// Where the catalogue is without --catalog.
const CATALOG: &str = "route.toml";
/// The largest prompt and the largest batch, in bytes.
const MAX_PROMPT_BYTES: u64 = 16 << 20;
const DAY_S: u64 = 86_400;

/// Choose which model answers a prompt: the cheapest that is likely no worse than MODEL
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Route {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The reference: the model that answers where nothing speaks for another one
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// What is asked; `-` reads it from standard input
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// How likely an answer must be no worse than MODEL's, from 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.85, value_parser = probability, allow_hyphen_values = true)]
    quality_threshold: f64,
    /// Milliseconds that 99 of 100 answers may take at most
    #[arg(long, value_name = "MS", value_parser = above_zero, allow_hyphen_values = true)]
    max_latency_p99_ms: Option<f64>,
    /// US dollars that this request may cost at most
    #[arg(long, value_name = "USD", value_parser = above_zero, allow_hyphen_values = true)]
    max_cost: Option<f64>,
    /// Take the fastest that meets the limits, not the cheapest
    #[arg(long)]
    prioritize_latency: bool,
    /// Tokens of the answer at most; costs and latencies are worked out for so many
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count, allow_hyphen_values = true)]
    max_tokens: u64,
    /// The file that names models, prices and logs (docs/route.md) [default: route.toml]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Decide for each line of a file: a prompt, or a JSON object with one
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    batch: Option<PathBuf>,
    /// Tell what the estimates rest on
    #[arg(long)]
    explain: bool,
    /// Let the chosen model answer
    #[arg(long)]
    run: bool,
    /// Count prices that are older than 90 days, too
    #[arg(long)]
    allow_stale: bool,
    /// Take each decision of a log again and compare
    #[arg(long, value_name = "LOG", conflicts_with_all = ["model", "batch", "run"])]
    replay: Option<PathBuf>,
    /// Say whether the answer of a decision was good or bad
    #[arg(long, num_args = 2, value_names = ["ID", "good|bad"], conflicts_with_all = ["model", "batch", "run", "replay"])]
    feedback: Option<Vec<String>>,
    /// Learn the outcomes of a file: JSON lines with `prompt` and `scores`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "batch", "run", "replay", "feedback"])]
    import: Option<PathBuf>,
    /// With --import: the field of a line that is the score of a model
    #[arg(long, value_name = "FIELD=MODEL", requires = "import")]
    score: Vec<String>,
    /// Serve OpenAI's chat protocol, and let model `sparse/auto` be chosen for each request
    #[arg(long, conflicts_with_all = ["prompt", "batch", "run", "replay", "feedback", "import"])]
    serve: bool,
    /// With --serve: the address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8418", requires = "serve")]
    listen: std::net::SocketAddr,
    /// Threads of the engine [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = super::engine::thread_count)]
    threads: Option<u32>,
    /// Print one JSON document (schema git-sparse/route/1)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Savings(money::Savings),
    Prices(money::Import),
}

/// What decisions are taken from.
struct Grounds {
    /// None without a catalogue: then there is nothing to choose from.
    catalog: Option<Catalog>,
    offers: Vec<Offer>,
    outcomes: Journal<Outcome>,
}

impl Route {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match &self.verb {
            Some(Verb::Savings(savings)) => return savings.run(),
            Some(Verb::Prices(import)) => return import.run(),
            None => {}
        }
        if let Some(log) = &self.replay {
            return logs::replay(log, &self.catalog()?, self.json);
        }
        if let Some(words) = &self.feedback {
            return logs::feedback(&words[0], &words[1], &self.catalog()?);
        }
        if let Some(file) = &self.import {
            return logs::import(file, &self.score, &self.catalog()?);
        }
        let Some(model) = self.model.clone() else {
            return Err(Failure::new(Kind::Usage, "no model is named")
                .fix("git sparse route MODEL PROMPT; MODEL is a name in the catalogue"));
        };
        let grounds = self.grounds(&model)?;
        if self.serve {
            return answer::serve(&self, model, grounds);
        }
        let prompts = self.prompts()?;
        let decisions = self.decide(&model, &prompts, &grounds);
        if let Some(catalog) = &grounds.catalog {
            journal::append(&catalog.decisions, &decisions).map_err(|error| logs::failed(&error))?;
        }
        let mut fits = decisions.iter().all(|decision| decision.choice.chosen.is_some());
        if self.run {
            let answers = answer::all(&self, &prompts, &decisions, &grounds)?;
            told::answers(&self, &decisions, &answers);
            fits &= answers.iter().all(Result::is_ok);
        } else {
            told::decisions(&self, &prompts, &decisions, grounds.catalog.is_some());
        }
        Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The catalogue, where one is needed.
    fn catalog(&self) -> Result<Catalog, Failure> {
        let path = self.catalog.clone().unwrap_or_else(|| CATALOG.into());
        Catalog::read(&path).map_err(|error| unreadable(&error))
    }

    fn grounds(&self, model: &str) -> Result<Grounds, Failure> {
        if self.catalog.is_none() && !Path::new(CATALOG).exists() {
            let outcomes =
                Journal::read(Path::new(""), Outcome::parse).map_err(|error| logs::failed(&error))?;
            return Ok(Grounds { catalog: None, offers: vec![alone(model)], outcomes });
        }
        let catalog = self.catalog()?;
        if !catalog.names().contains(&model) {
            let names = catalog.names().join(", ");
            let names = if names.is_empty() { "none".into() } else { names };
            return Err(Failure::new(Kind::NotFound, format!("{model:?} is not in the catalogue"))
                .fix(format!("name one that is there ({names}), or add it: docs/route.md")));
        }
        let (now, allow_stale) = (since_1970().as_secs(), self.allow_stale);
        let today = Today { day: (now / DAY_S) as i64, allow_stale };
        let offers = catalog.offers(today).map_err(|error| unreadable(&error))?;
        let outcomes =
            Journal::read(&catalog.outcomes, Outcome::parse).map_err(|error| logs::failed(&error))?;
        Ok(Grounds { catalog: Some(catalog), offers, outcomes })
    }

    fn prompts(&self) -> Result<Vec<String>, Failure> {
        let Some(path) = &self.batch else {
            let prompt = match self.prompt.as_deref() {
                Some("-") => read(None)?,
                Some(prompt) => prompt.to_owned(),
                None => String::new(),
            };
            return match prompt.trim() {
                "" => Err(Failure::new(Kind::Usage, "there is no prompt")
                    .fix("say it after MODEL, or name a file with one a line: --batch FILE")),
                _ => Ok(vec![prompt]),
            };
        };
        let text = read(Some(path).filter(|path| path.as_os_str() != "-"))?;
        let prompts = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let prompts = prompts.map(|(at, line)| {
            let wrong = |why: &str| {
                Failure::new(Kind::Usage, format!("{}: line {}: {why}", path.display(), at + 1))
                    .fix("a line is a prompt, or a JSON object with a field \"prompt\"")
            };
            if !line.starts_with('{') {
                return Ok(line.to_owned());
            }
            let value: serde_json::Value =
                serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
            let prompt = value.get("prompt").and_then(|prompt| prompt.as_str());
            prompt.map(str::to_owned).ok_or_else(|| wrong("no prompt in it"))
        });
        let prompts: Vec<String> = prompts.collect::<Result<_, _>>()?;
        if prompts.is_empty() {
            return Err(Failure::new(Kind::Usage, format!("{}: no prompt in it", path.display()))
                .fix("a line is a prompt, or a JSON object with a field \"prompt\""));
        }
        Ok(prompts)
    }

    fn request(&self, model: &str) -> Request {
        Request {
            model: model.to_owned(),
            quality_threshold: self.quality_threshold,
            max_latency_p99_ms: self.max_latency_p99_ms,
            max_cost_usd: self.max_cost,
            prioritize_latency: self.prioritize_latency,
            input_tokens: 0,
            max_tokens: self.max_tokens,
        }
    }

    fn decide(&self, model: &str, prompts: &[String], grounds: &Grounds) -> Vec<Decision> {
        let known = Known::of(&grounds.outcomes, grounds.offers.clone(), model);
        prompts.iter().map(|prompt| known.decide(prompt, self.request(model), since_1970())).collect()
    }
}

/// A model that nothing is known of, where there is no catalogue.
fn alone(name: &str) -> Offer {
    let nothing = || "there is no catalogue (route.toml)".to_owned();
    Offer {
        name: name.into(),
        kind: OfferKind::Variant,
        rates: Err(nothing()),
        latency: Err(nothing()),
        weights: None,
        agreement: None,
        logprobs: false,
    }
}

fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The text of a file, or of standard input.
fn read(path: Option<&PathBuf>) -> Result<String, Failure> {
    if let Some(path) = path {
        return crate::route::catalog::text(path, MAX_PROMPT_BYTES).map_err(|error| unreadable(&error));
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_PROMPT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::new(Kind::Usage, format!("standard input: {error}")).fix("give UTF-8 text")
    })?;
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(Failure::new(Kind::Usage, format!("standard input: more than {MAX_PROMPT_BYTES} bytes"))
            .fix("split it"));
    }
    Ok(text)
}

fn unreadable(error: &CatalogError) -> Failure {
    let kind = match error {
        CatalogError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
        _ => Kind::Usage,
    };
    Failure::new(kind, error.to_string())
        .fix("docs/route.md shows a catalogue and a price file; --catalog FILE names one")
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn probability(text: &str) -> Result<f64, String> {
    let fits = number(text).filter(|number| *number > 0.0 && *number <= 1.0);
    fits.ok_or_else(|| "expected a probability above 0 and up to 1, as 0.85".into())
}

fn above_zero(text: &str) -> Result<f64, String> {
    number(text).filter(|number| *number > 0.0).ok_or_else(|| "expected a number above 0".into())
}

fn count(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| "expected a whole number from 1 to 1000000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit of zero or below would let nothing or everything pass: it is refused, with what to say.
    #[test]
    fn limits_without_sense_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "", "x"] {
            assert!(
                probability(text).is_err() && above_zero(text).is_err() && count(text).is_err(),
                "{text}"
            );
        }
        assert!(probability("1.01").is_err() && probability("1").is_ok() && count("1.5").is_err());
    }
}
