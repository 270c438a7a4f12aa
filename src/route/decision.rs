//! A decision as it is logged: all that it was taken from, so that it can be taken again.
//!
//! The prompt's text is not in it, only its features and its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::choice::{Choice, Learnt, Request};
use super::complexity::Complexity;
use super::features::Features;
use super::journal::Journal;
use super::offer::Offer;
use super::outcome::{Line, Outcome, Score};
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

/// What decisions are taken from: a log, what follows from it, and who is offered.
pub struct Known {
    learnt: Learnt,
    pub offers: Vec<Offer>,
    lines: usize,
    digest: String,
}

impl Known {
    /// What is known of the offered models against a reference.
    pub fn of(outcomes: &Journal<Outcome>, offers: Vec<Offer>, model: &str) -> Known {
        let learnt = Learnt::of(&outcomes.entries, &offers, model);
        Known { learnt, offers, lines: outcomes.entries.len(), digest: outcomes.digest() }
    }

    /// Decides who answers a prompt, at a point in time that the caller knows. `input_tokens` are those of
    /// what comes before the prompt and of itself; at least its own are counted.
    pub fn decide(&self, prompt: &str, request: Request, now: Duration) -> Decision {
        let features = Features::of(prompt);
        let input_tokens = features.tokens().max(request.input_tokens);
        let request = Request { input_tokens, ..request };
        let choice = self.learnt.choose(&request, &features, &self.offers);
        let hash = Oid::of(prompt.as_bytes());
        let mut name = Sha256::new();
        name.update(now.as_nanos().to_le_bytes());
        name.update(hash.as_bytes());
        Decision {
            id: name.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            at: now.as_secs(),
            prompt: hash,
            complexity: Complexity::of(&features),
            features,
            request,
            learnt_lines: self.lines,
            learnt_digest: self.digest.clone(),
            offers: self.offers.clone(),
            choice,
        }
    }
}

/// What came of taking a decision again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    Same,
    /// The log of outcomes has fewer lines, or they are not those that were learnt then.
    OtherLog,
    Differs(Vec<Difference>),
}

/// One field of a choice that is no longer what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its place in the document, such as `options.0.cost_usd`.
    pub field: String,
    pub logged: String,
    pub again: String,
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

    /// What is learnt of a user's verdict on the answer; none where nobody was chosen.
    ///
    /// A good answer of another model is no worse than the reference's, whatever that would have been. Of a
    /// bad one it is supposed that the reference's would have been good: to be wrong that way costs money,
    /// the other way quality. A verdict on the reference itself says nothing of others.
    pub fn judged(&self, good: bool) -> Option<Line> {
        let chosen = self.choice.chosen.clone()?;
        let mut scores = BTreeMap::from([(chosen.clone(), Score::Right(good))]);
        if chosen != self.request.model {
            scores.insert(self.request.model.clone(), Score::Right(true));
        }
        let (features, decision) = (Some(self.features.clone()), Some(self.id.clone()));
        Some(Line { features, scores, decision, ..Line::default() })
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
            let mut fields = BTreeMap::new();
            flatten("", &value, &mut fields);
            fields
        };
        let (logged, again) = (told(&self.choice), told(&again));
        let names: BTreeSet<&String> = logged.keys().chain(again.keys()).collect();
        let of = |fields: &BTreeMap<String, String>, name: &String| {
            fields.get(name).cloned().unwrap_or_else(|| "nothing".to_owned())
        };
        let difference = |field: &String| Difference {
            field: field.clone(),
            logged: of(&logged, field),
            again: of(&again, field),
        };
        let differences: Vec<_> =
            names.into_iter().map(difference).filter(|field| field.logged != field.again).collect();
        if differences.is_empty() { Replayed::Same } else { Replayed::Differs(differences) }
    }
}

/// What stands at each place of a document; numbers to nine digits after the point.
fn flatten(place: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
    use serde_json::Value;
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            into.insert(place.to_owned(), format!("{number:.9}"));
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                flatten(&below(&at.to_string()), value, into);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&below(name), value, into);
            }
        }
        other => {
            into.insert(place.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::Rates;
    use crate::route::choice::Quality;
    use crate::route::offer::{Kind, Latency};

    fn offer(name: &str, usd: f64) -> Offer {
        Offer {
            name: name.into(),
            kind: Kind::Variant,
            rates: Ok(Rates { input_usd_per_mtok: usd, output_usd_per_mtok: usd }),
            latency: Ok(Latency { first_token_p99_ms: 10.0 * usd, token_p99_ms: usd }),
            weights: None,
            agreement: None,
            logprobs: false,
        }
    }

    fn request() -> Request {
        Request {
            model: "strong".into(),
            quality_threshold: 0.85,
            max_latency_p99_ms: None,
            max_cost_usd: None,
            prioritize_latency: false,
            input_tokens: 0,
            max_tokens: 100,
        }
    }

    fn line(prompt: &str, weak: f32, confidence: f32) -> Outcome {
        let scores = BTreeMap::from([("weak".to_owned(), weak), ("strong".to_owned(), 1.0)]);
        let confidences = BTreeMap::from([("weak".to_owned(), confidence)]);
        Outcome { features: Features::of(prompt), scores, confidences }
    }

    fn log(outcomes: Vec<Outcome>) -> Journal<Outcome> {
        let digests = (0..=outcomes.len()).map(|at| [at as u8; 32]).collect();
        Journal { entries: outcomes, digests }
    }

    /// Translations are easy, proofs are not; confidences tell within what is not known.
    fn experience() -> Journal<Outcome> {
        let pair = |at: usize| {
            let proved = f32::from(u8::from(at.is_multiple_of(4)));
            [
                line(&format!("translate the sentence {at} into french"), 1.0, 0.9),
                line(&format!("prove the theorem {at} about groups"), proved, 0.2 + 0.6 * proved),
            ]
        };
        log((0..120).flat_map(pair).collect())
    }

    fn decide(outcomes: &Journal<Outcome>, offers: Vec<Offer>, prompt: &str, request: Request) -> Decision {
        Known::of(outcomes, offers, "strong").decide(prompt, request, Duration::from_secs(7))
    }

    const EASY: &str = "translate the sentence above into french";
    const HARD: &str = "prove the theorem above about groups";

    /// The whole point: the cheap model where it will do, a cascade where only its confidence can tell, and the
    /// reference where nothing is known.
    #[test]
    fn the_prompt_and_the_log_decide() {
        let offers = || vec![offer("weak", 1.0), offer("strong", 10.0)];
        let easy = decide(&experience(), offers(), EASY, request()).choice;
        assert_eq!((easy.chosen.as_deref(), &easy.then), (Some("weak"), &None), "{easy:?}");
        let saved = easy.saved_usd.expect("both have a price");
        assert!((saved - 9.0 * easy.cost_usd.expect("a price")).abs() < 1e-12);

        let hard = decide(&experience(), offers(), HARD, request()).choice;
        let then = hard.then.expect("a cascade");
        assert_eq!((hard.chosen.as_deref(), then.model.as_str()), (Some("weak"), "strong"));
        assert!(then.threshold.confidence > 0.2 && then.threshold.quality >= 0.85, "{then:?}");
        // The first answer is paid whatever comes of it.
        let tokens = (Features::of(HARD).tokens() + 100) as f64;
        let expected = tokens * (1.0 + 10.0 * then.threshold.passed_on) / 1e6;
        assert!((hard.cost_usd.expect("a price") - expected).abs() < 1e-12);

        let cold = decide(&log(vec![]), offers(), EASY, request()).choice;
        assert_eq!(cold.chosen.as_deref(), Some("strong"));
        assert!(cold.reason.contains("no evidence"), "{}", cold.reason);
        assert!(
            cold.options
                .iter()
                .any(|it| it.name == "weak" && it.quality == Quality::Unknown && it.fails.len() == 1)
        );
    }

    /// A server goes first only where it tells how sure it was.
    #[test]
    fn endpoints_go_first_where_they_give_logprobs() {
        let chosen = |logprobs: bool| {
            let weak = Offer { kind: Kind::Endpoint, logprobs, ..offer("weak", 1.0) };
            decide(&experience(), vec![weak, offer("strong", 10.0)], HARD, request()).choice
        };
        let (with, without) = (chosen(true), chosen(false));
        assert_eq!((with.chosen.as_deref(), with.then.is_some()), (Some("weak"), true), "{with:?}");
        assert_eq!(
            (without.chosen.as_deref(), without.then.is_some()),
            (Some("strong"), false),
            "{without:?}"
        );
    }

    /// Each limit that a model fails is told of it, and nobody is chosen where all fail.
    #[test]
    fn limits_are_held_and_named() {
        let offers = || vec![offer("weak", 1.0), offer("strong", 10.0)];
        let fails = |request: Request, name: &str| {
            let choice = decide(&experience(), offers(), EASY, request).choice;
            let option = choice.options.iter().find(|it| it.name == name).expect("an option").clone();
            (choice.chosen, option.fails.join("; "))
        };
        let (chosen, why) = fails(Request { max_latency_p99_ms: Some(500.0), ..request() }, "strong");
        assert!(chosen.as_deref() == Some("weak") && why == "latency: p99 1090 ms, at most 500 ms", "{why}");
        let (chosen, why) = fails(Request { max_cost_usd: Some(1e-6), ..request() }, "weak");
        assert!(chosen.is_none() && why.starts_with("cost: 0.000110 USD"), "{why}");
        let (chosen, why) = fails(Request { quality_threshold: 0.999, ..request() }, "weak");
        assert!(chosen.as_deref() == Some("strong") && why.starts_with("quality: "), "{why}");
    }

    /// A price that is missing must not win, neither as a model's own nor against one that has a price.
    #[test]
    fn a_missing_price_cannot_win() {
        let free = Offer {
            rates: Err("no price: [endpoint.weak] is not in the price file".into()),
            ..offer("weak", 1.0)
        };
        let choice = decide(&experience(), vec![free, offer("strong", 10.0)], EASY, request()).choice;
        assert_eq!(choice.chosen.as_deref(), Some("strong"));
        assert!(choice.options.iter().any(|it| it.fails.iter().any(|why| why.contains("no price"))));
        let unknown = Offer { rates: Err("stale price".into()), ..offer("strong", 10.0) };
        let choice = decide(&experience(), vec![offer("weak", 1.0), unknown], EASY, request()).choice;
        assert_eq!((choice.chosen.as_deref(), choice.saved_usd), (Some("weak"), None));
    }

    /// A log that can't be recomputed is a story: what was written and read again gives the same decision,
    /// a changed one is found, and so is another log of outcomes.
    #[test]
    fn decisions_can_be_taken_again() {
        let mut outcomes = experience();
        for prompt in [EASY, HARD, "something else entirely"] {
            let decision =
                decide(&outcomes, vec![offer("weak", 1.0), offer("strong", 10.0)], prompt, request());
            let text = serde_json::to_string(&decision).expect("JSON");
            let mut read = Decision::parse(&text).expect("a decision");
            assert_eq!(read.replayed(&outcomes), Replayed::Same);
            read.choice.cost_usd = read.choice.cost_usd.map(|usd| usd * 1.01);
            let Replayed::Differs(fields) = read.replayed(&outcomes) else { panic!("a difference") };
            assert!(matches!(&fields[..], [only] if only.field == "cost_usd"), "{fields:?}");
        }
        let decision = decide(&outcomes, vec![offer("weak", 1.0), offer("strong", 10.0)], EASY, request());
        outcomes.entries.push(line("more", 1.0, 0.5));
        outcomes.digests.push([9; 32]);
        assert_eq!(decision.replayed(&outcomes), Replayed::Same);
        outcomes.digests[decision.learnt_lines] = [77; 32];
        assert_eq!(decision.replayed(&outcomes), Replayed::OtherLog);
    }

    /// What users say is learnt of the pair, so that bad answers end what they speak of.
    #[test]
    fn verdicts_are_learnt_of_both_models() {
        let mut outcomes = experience();
        let offers = || vec![offer("weak", 1.0), offer("strong", 10.0)];
        let decision = decide(&outcomes, offers(), EASY, request());
        let line = decision.judged(false).expect("an answer");
        for _ in 0..150 {
            outcomes.entries.push(Outcome::of(line.clone()).expect("an outcome"));
            outcomes.digests.push([1; 32]);
        }
        let now = decide(&outcomes, offers(), EASY, request()).choice;
        assert!(now.then.is_some() || now.chosen.as_deref() == Some("strong"), "{now:?}");
    }
}
