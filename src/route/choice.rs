//! Which of the offered models answers: the cheapest that meets every limit, or the reference itself.
//!
//! A decision is a function of what stands in its arguments and of nothing else, so that a log of
//! decisions can be recomputed. Each model that is not chosen says which limit it fails.

use serde::{Deserialize, Serialize};

use super::cascade::{Calibration, Threshold};
use super::evidence::{self, Basis, Estimate, Evidence};
use super::features::Features;
use super::offer::Offer;
use super::outcome::Outcome;

/// What is asked of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The reference: the model that answers where nothing speaks for another one.
    pub model: String,
    /// How likely an answer must be no worse than the reference's, from 0 to 1.
    pub quality_threshold: f64,
    pub max_latency_p99_ms: Option<f64>,
    /// US dollars for this request.
    pub max_cost_usd: Option<f64>,
    pub prioritize_latency: bool,
    pub input_tokens: u64,
    /// Tokens of the answer at most; what costs and latencies are worked out for.
    pub max_tokens: u64,
}

/// A log of outcomes, and what follows from it for the models that are offered.
#[derive(Debug, Clone)]
pub struct Learnt {
    evidence: Evidence,
    /// By model, of those that are cheap enough to be asked first.
    calibrations: Vec<(String, Calibration)>,
}

/// Who answers, why, and why nobody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// None where no model meets the limits.
    pub chosen: Option<String>,
    /// Who is asked if the chosen one was not sure.
    pub then: Option<Then>,
    pub reason: String,
    /// Dollars for this request, expected; none where the chosen one has no price.
    pub cost_usd: Option<f64>,
    /// Dollars less than the reference, for the same tokens.
    pub saved_usd: Option<f64>,
    pub options: Vec<Weighed>,
}

/// The second step of a cascade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Then {
    pub model: String,
    pub threshold: Threshold,
}

/// One model against the limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    pub name: String,
    pub quality: Quality,
    pub cost_usd: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    /// The limits that it fails, in words; none of an eligible one.
    pub fails: Vec<String>,
}

/// What is known of the quality of a model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// It is the model that others are compared with.
    Reference,
    Outcomes(Estimate),
    /// Same most likely token as the reference, by the measurement of a variant: of each token, not of an answer.
    Tokens {
        share: f64,
        low: f64,
        tokens: u64,
    },
    Unknown,
}

impl Quality {
    /// How likely an answer is no worse, at least.
    pub fn low(&self) -> Option<f64> {
        match self {
            Quality::Reference => Some(1.0),
            Quality::Outcomes(estimate) => Some(estimate.low),
            Quality::Tokens { low, .. } => Some(*low),
            Quality::Unknown => None,
        }
    }
}

impl Learnt {
    /// What a log says of the offered models against a reference.
    pub fn of(log: &[Outcome], offers: &[Offer], model: &str) -> Learnt {
        let others = || offers.iter().filter(|offer| offer.name != model);
        let pairs: Vec<_> = others().map(|offer| (offer.name.clone(), model.to_owned())).collect();
        let sure = others().filter(|offer| offer.tells_confidence());
        let calibrated =
            |offer: &Offer| Some((offer.name.clone(), Calibration::of(log, &offer.name, model)?));
        Learnt { evidence: Evidence::of(log, &pairs), calibrations: sure.filter_map(calibrated).collect() }
    }

    /// Decides one request.
    pub fn choose(&self, request: &Request, prompt: &Features, offers: &[Offer]) -> Choice {
        let near = self.evidence.near(prompt);
        let reference = offers.iter().find(|offer| offer.name == request.model);
        let mut options: Vec<Weighed> = offers
            .iter()
            .map(|offer| {
                let estimate = self.evidence.estimate(prompt, &near, &offer.name, &request.model);
                weighed(request, offer, quality(offer, reference, &request.model, estimate))
            })
            .collect();
        options.sort_by(|a, b| {
            rank(request, a).total_cmp(&rank(request, b)).then_with(|| {
                let key = |option: &Weighed| (option.name != request.model, option.name.clone());
                key(a).cmp(&key(b))
            })
        });
        let own = options.iter().find(|option| option.name == request.model);
        let own_usd = own.and_then(|option| option.cost_usd);
        let best = options.iter().find(|option| option.fails.is_empty());
        let cascade = if request.prioritize_latency { None } else { self.cascade(request, &options, best) };
        let (chosen, then, cost_usd) = match (&cascade, best) {
            (Some((first, then, usd)), _) => (Some(first.clone()), Some(then.clone()), Some(*usd)),
            (None, Some(best)) => (Some(best.name.clone()), None, best.cost_usd),
            (None, None) => (None, None, None),
        };
        let reason = reason(request, &options, chosen.as_deref(), then.as_ref());
        let saved_usd = own_usd.zip(cost_usd).map(|(own, cost)| own - cost);
        Choice { chosen, then, reason, cost_usd, saved_usd, options }
    }

    /// The cheapest cascade of a model that fails by its quality alone, if it costs less than the best one.
    fn cascade(
        &self,
        request: &Request,
        options: &[Weighed],
        best: Option<&Weighed>,
    ) -> Option<(String, Then, f64)> {
        let own = options.iter().find(|option| option.name == request.model)?;
        let (own_usd, best_usd) = (own.cost_usd?, best?.cost_usd?);
        if !own.fails.is_empty() {
            return None;
        }
        let planned = self.calibrations.iter().filter_map(|(name, calibration)| {
            let first = options.iter().find(|option| option.name == *name)?;
            let threshold = calibration.threshold(request.quality_threshold);
            let fits_latency = request.max_latency_p99_ms.is_none_or(|limit| {
                let both = first.latency_p99_ms.zip(own.latency_p99_ms);
                both.is_some_and(|(first, own)| first + own <= limit)
            });
            let is_worst = request
                .max_cost_usd
                .is_none_or(|limit| first.cost_usd.is_some_and(|usd| usd + own_usd <= limit));
            let only_quality = first.fails.len() == 1
                && first.quality.low().is_none_or(|low| low < request.quality_threshold);
            let usd = threshold.expected_usd(first.cost_usd?, own_usd);
            let then = Then { model: request.model.clone(), threshold };
            (only_quality && fits_latency && is_worst && usd < best_usd).then(|| (name.clone(), then, usd))
        });
        planned.min_by(|a, b| a.2.total_cmp(&b.2).then_with(|| a.0.cmp(&b.0)))
    }
}

fn quality(offer: &Offer, reference: Option<&Offer>, model: &str, estimate: Option<Estimate>) -> Quality {
    if offer.name == model {
        return Quality::Reference;
    }
    if let Some(estimate) = estimate {
        return Quality::Outcomes(estimate);
    }
    let weights = reference.and_then(|reference| reference.weights);
    match &offer.agreement {
        Some(it) if Some(it.with) == weights => {
            let low = evidence::lower_bound(it.same_top, it.tokens as f64);
            Quality::Tokens { share: it.same_top, low, tokens: it.tokens }
        }
        _ => Quality::Unknown,
    }
}

fn weighed(request: &Request, offer: &Offer, quality: Quality) -> Weighed {
    let mut fails = Vec::new();
    match quality.low() {
        Some(low) if low >= request.quality_threshold => {}
        Some(low) => {
            let limit = request.quality_threshold;
            fails.push(format!(
                "quality: no worse with a probability of at least {low:.3}, {limit} is asked for"
            ));
        }
        None => fails.push(format!("quality: no evidence against {}", request.model)),
    }
    let latency = offer.latency.as_ref().map(|latency| latency.request_p99_ms(request.max_tokens));
    match (&latency, request.max_latency_p99_ms) {
        (Ok(found), Some(limit)) if *found > limit => {
            fails.push(format!("latency: p99 {found:.0} ms, at most {limit} ms"));
        }
        (Err(why), Some(_)) => fails.push(format!("latency: {why}")),
        _ => {}
    }
    let cost = offer.rates.as_ref().map(|rates| rates.request_usd(request.input_tokens, request.max_tokens));
    match (&cost, request.max_cost_usd) {
        (Ok(found), Some(limit)) if *found > limit => {
            fails.push(format!("cost: {found:.6} USD, at most {limit} USD"));
        }
        // The reference is where nothing else is known; any other must be shown to be cheaper.
        (Err(why), limit) if limit.is_some() || offer.name != request.model => {
            fails.push(format!("cost: {why}"))
        }
        _ => {}
    }
    Weighed { name: offer.name.clone(), quality, cost_usd: cost.ok(), latency_p99_ms: latency.ok(), fails }
}

/// What models are sorted by: dollars or milliseconds; what is not known comes last, the reference before its equals.
fn rank(request: &Request, option: &Weighed) -> f64 {
    let number = if request.prioritize_latency { option.latency_p99_ms } else { option.cost_usd };
    number.unwrap_or(f64::INFINITY)
}

fn reason(request: &Request, options: &[Weighed], chosen: Option<&str>, then: Option<&Then>) -> String {
    let model = &request.model;
    let Some(chosen) = chosen else { return "no model meets all limits".into() };
    if let Some(then) = then {
        let share = 100.0 * then.threshold.passed_on;
        return format!(
            "cascade: {chosen} first, {model} where its confidence is below {:.3} ({share:.0} % of the log); no worse with a probability of at least {:.3}",
            then.threshold.confidence, then.threshold.quality
        );
    }
    let others = options.iter().filter(|option| option.name != *model);
    if chosen == model {
        let known = others.clone().filter(|option| option.quality != Quality::Unknown).count();
        return match (others.count(), known) {
            (0, _) => "no other model is offered".into(),
            (_, 0) => format!("no evidence: the log has too few outcomes of {model} and another model"),
            _ if request.prioritize_latency => "no model that meets all limits is faster".into(),
            _ if options.iter().any(|option| option.name == *model && option.cost_usd.is_none()) => {
                format!("no fresh price of {model} is known, so that nothing is known to be cheaper")
            }
            _ => "no model that meets all limits is cheaper".into(),
        };
    }
    let word = if request.prioritize_latency { "fastest" } else { "cheapest" };
    let quality = options.iter().find(|option| option.name == chosen).map(|option| &option.quality);
    let because = match quality {
        Some(Quality::Outcomes(it)) => {
            let by = match it.basis {
                Basis::Neighbours => "like prompts in the log",
                Basis::Shape => "the shape of the prompt (the log has none like it)",
            };
            format!(
                "no worse than {model} with a probability of {:.3}, at least {:.3}, by {by}",
                it.no_worse, it.low
            )
        }
        Some(Quality::Tokens { share, tokens, .. }) => {
            format!("same most likely token as {model} at {:.1} % of {tokens} tokens", 100.0 * share)
        }
        _ => String::new(),
    };
    format!("the {word} that meets all limits: {because}")
}
