//! `git sparse route --run` and `--serve`: the chosen model answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use super::{Grounds, Route, since_1970};
use crate::answer::{self, Answer, AnswerError, Ask, Endpoint, Local, Take, Turn};
use crate::cli::{engine, report, subject};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::route::catalog::Catalog;
use crate::route::decision::Decision;
use crate::route::offer::Offer;
use crate::serve::chat;

/// Certificates (PEM) in place of the built-in ones.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Who answers, by name.
pub struct Models {
    catalog: Catalog,
    local: Option<Local>,
    endpoints: BTreeMap<String, Endpoint>,
}

/// Lets the chosen models answer, one prompt after another; none where nobody was chosen. An answer that
/// fails is an error where it is the only one; of a batch the others go on.
pub fn all(
    route: &Route,
    prompts: &[String],
    decisions: &[Decision],
    grounds: &Grounds,
) -> Result<Vec<Result<Option<answer::Answered>, Failure>>, Failure> {
    let named = decisions.iter().flat_map(|decision| {
        let then = decision.choice.then.as_ref().map(|then| then.model.clone());
        decision.choice.chosen.clone().into_iter().chain(then)
    });
    let mut models = Models::open(grounds, named.collect(), route.threads)?;
    let mut answers = Vec::new();
    for (prompt, decision) in prompts.iter().zip(decisions) {
        if decision.choice.chosen.is_none() {
            answers.push(Ok(None));
            continue;
        }
        let ask = Ask {
            turns: vec![Turn { role: "user".into(), content: prompt.clone() }],
            max_tokens: route.max_tokens as u32,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
        };
        let shown = !route.json && route.batch.is_none();
        let mut say = |text: &str| {
            if shown {
                report::piece(text);
            }
            true
        };
        let mut one = |name: &str, take: &mut Take| models.answer(name, &ask, take);
        let answered = answer::follow(&decision.choice, &mut one, &mut |_| {}, &mut say);
        match answered.map_err(|error| failed(&error)) {
            Err(failure) if route.batch.is_none() => return Err(failure),
            answered => answers.push(answered.map(Some)),
        }
        if shown {
            report::say("");
        }
    }
    Ok(answers)
}

/// Serves until it is told to stop.
pub fn serve(route: &Route, model: String, grounds: Grounds) -> Result<ExitCode, Failure> {
    let names = grounds.offers.iter().map(|offer| offer.name.clone()).collect();
    let Models { catalog, local, endpoints } = Models::open(&grounds, names, route.threads)?;
    let config = chat::Config {
        listen: route.listen,
        request: route.request(&model),
        catalog,
        allow_stale: route.allow_stale,
        local,
        endpoints,
        now: Box::new(since_1970),
    };
    let ready = |url: &str| {
        report::say(&format!("serving {model} and what is cheaper at {url}/v1, model sparse/auto"))
    };
    chat::run(config, ready).map_err(|error| {
        Failure::new(Kind::Fatal, error.to_string()).fix("take another address: --listen ADDRESS")
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Models {
    /// Makes those ready that may be asked: keys are read, the engine is found, files are what was measured.
    fn open(grounds: &Grounds, names: BTreeSet<String>, threads: Option<u32>) -> Result<Models, Failure> {
        let Some(catalog) = &grounds.catalog else {
            return Err(Failure::new(Kind::Usage, "there is no catalogue: it says how models are run")
                .fix("write route.toml, as docs/route.md shows, or name one: --catalog FILE"));
        };
        let certificates = match std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) {
            Some(path) => Some(std::fs::read(&path).map_err(|error| words::file(Path::new(&path), &error))?),
            None => None,
        };
        let mut endpoints = BTreeMap::new();
        let mut local = None;
        for name in names {
            let Some(endpoint) = catalog.endpoints.get(&name) else {
                if local.is_none() {
                    local = Some(Local::new(engine::program()?, engine::threads(threads)));
                }
                check(&name, catalog, &grounds.offers)?;
                continue;
            };
            let key = match &endpoint.key_env {
                Some(variable) => Some(std::env::var(variable).map_err(|_| {
                    Failure::new(Kind::Usage, format!("{name}: the key in {variable} is not set"))
                        .fix(format!("export {variable}=…, or take key_env out of the catalogue"))
                })?),
                None => None,
            };
            let model = endpoint.model.as_deref().unwrap_or(&name);
            let opened = Endpoint::new(&endpoint.url, model, key, certificates.as_deref());
            let mut opened = opened.map_err(|error| failed(&error))?;
            opened.logprobs = endpoint.logprobs;
            endpoints.insert(name.clone(), opened);
        }
        Ok(Models { catalog: catalog.clone(), local, endpoints })
    }

    fn answer(&mut self, name: &str, ask: &Ask, take: &mut Take) -> Result<Answer, AnswerError> {
        if let Some(endpoint) = self.endpoints.get(name) {
            return endpoint.answer(ask, take);
        }
        match (self.catalog.variants.get(name), &mut self.local) {
            (Some(variant), Some(local)) => local.answer(name, &variant.file, ask, take),
            _ => Err(AnswerError::Nobody(format!("{name} is not in the catalogue"))),
        }
    }
}

/// Whether a variant's file is the one that its report measured: others would answer with its evidence.
fn check(name: &str, catalog: &Catalog, offers: &[Offer]) -> Result<(), Failure> {
    let variant = catalog.variants.get(name).filter(|variant| variant.candidate.is_some());
    let measured = offers.iter().find(|offer| offer.name == name).and_then(|offer| offer.weights);
    let Some((variant, measured)) = variant.zip(measured) else { return Ok(()) };
    let found = subject::hash(&variant.file)?;
    if found == measured {
        return Ok(());
    }
    let message = format!(
        "{name}: {} is not the file that was measured: its SHA-256 is {}, not {}",
        variant.file.display(),
        report::short(&found),
        report::short(&measured)
    );
    Err(Failure::new(Kind::Refused, message)
        .fix("make it again (git sparse optimize … --apply), or name its own report in the catalogue"))
}

fn failed(error: &AnswerError) -> Failure {
    match error {
        AnswerError::Engine { model, error } => {
            let failure = engine::failed(error);
            Failure { message: format!("{model}: {}", failure.message), ..failure }
        }
        AnswerError::Endpoint { .. } => Failure::new(Kind::Remote, error.to_string())
            .fix("check its url, its key and its model in the catalogue"),
        AnswerError::Nobody(_) | AnswerError::Gone => {
            Failure::new(Kind::NotFound, error.to_string()).fix("add it to the catalogue: docs/route.md")
        }
    }
}
