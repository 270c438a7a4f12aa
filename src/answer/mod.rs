//! Answers of models: of variants by the engine here, of endpoints over HTTP; and of two in a cascade.

mod endpoint;
mod local;

use serde::Serialize;

use crate::engine::EngineError;
pub use crate::engine::{Ended, Turn};
use crate::route::choice::Choice;
pub use endpoint::Endpoint;
pub use local::Local;

/// The longest answer that is taken from an endpoint, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub turns: Vec<Turn>,
    pub max_tokens: u32,
    /// 0 takes the most likely token each time.
    pub temperature: f32,
    pub top_p: f32,
    pub seed: u32,
    pub stop: Vec<String>,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub text: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// How sure it was: the probability of its least likely token, where that is known.
    pub confidence: Option<f64>,
    /// Whether it ended because it had said all, or as it was long enough.
    pub is_whole: bool,
}

/// What came of a choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// Who gave the answer that counts.
    pub model: String,
    #[serde(flatten)]
    pub answer: Answer,
    /// The answer of the first model, where it was not sure enough; it is paid all the same.
    pub wasted: Option<(String, Answer)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("{model}: {error}")]
    Engine { model: String, error: EngineError },
    #[error("{url}: {why}")]
    Endpoint { url: String, why: String },
    #[error("{0}")]
    Nobody(String),
    #[error("whoever asked is gone")]
    Gone,
}

/// Takes the text as it comes; false where nobody listens any more.
pub type Take<'a> = dyn FnMut(&str) -> bool + 'a;

/// Asks whom a choice names: one model, or a second where the first was not sure. `ask` asks one of them.
/// `begin` hears who answers, before `take` gets a word of it.
pub fn follow(
    choice: &Choice,
    ask: &mut dyn FnMut(&str, &mut Take) -> Result<Answer, AnswerError>,
    begin: &mut dyn FnMut(&str),
    take: &mut Take,
) -> Result<Answered, AnswerError> {
    let first = choice.chosen.clone().ok_or_else(|| AnswerError::Nobody(choice.reason.clone()))?;
    let Some(then) = &choice.then else {
        begin(&first);
        let answer = ask(&first, take)?;
        return Ok(Answered { model: first, answer, wasted: None });
    };
    // Nobody sees it before it is known whether it counts.
    let answer = ask(&first, &mut |_| true)?;
    if answer.confidence.is_some_and(|confidence| confidence >= then.threshold.confidence) {
        begin(&first);
        return match take(&answer.text) {
            true => Ok(Answered { model: first, answer, wasted: None }),
            false => Err(AnswerError::Gone),
        };
    }
    begin(&then.model);
    let wasted = Some((first, answer));
    let answer = ask(&then.model, take)?;
    Ok(Answered { model: then.model.clone(), answer, wasted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::cascade::Threshold;
    use crate::route::choice::Then;

    fn choice(cascade: bool) -> Choice {
        let threshold = Threshold { confidence: 0.5, passed_on: 0.3, quality: 0.9 };
        Choice {
            chosen: Some("weak".into()),
            then: cascade.then(|| Then { model: "strong".into(), threshold }),
            reason: "because".into(),
            cost_usd: None,
            saved_usd: None,
            options: vec![],
        }
    }

    fn followed(choice: &Choice, confidence: f64) -> (Answered, String) {
        let mut said = String::new();
        let mut ask = |name: &str, take: &mut Take| {
            assert!(take(name));
            let confidence = (name == "weak").then_some(confidence);
            Ok(Answer { text: name.into(), input_tokens: 1, output_tokens: 1, confidence, is_whole: true })
        };
        let mut begun = Vec::new();
        let answered = follow(choice, &mut ask, &mut |name| begun.push(name.to_owned()), &mut |text| {
            said.push_str(text);
            true
        });
        let answered = answered.expect("an answer");
        assert_eq!(begun, std::slice::from_ref(&answered.model));
        (answered, said)
    }

    /// Of a cascade, one answer is heard and never parts of two; the one that is thrown away is told.
    #[test]
    fn one_answer_of_a_cascade_is_heard() {
        let (sure, said) = followed(&choice(true), 0.6);
        assert_eq!((sure.model.as_str(), said.as_str(), sure.wasted), ("weak", "weak", None));
        let (unsure, said) = followed(&choice(true), 0.4);
        assert_eq!((unsure.model.as_str(), said.as_str()), ("strong", "strong"));
        assert_eq!(unsure.wasted.map(|(name, _)| name).as_deref(), Some("weak"));
        let (alone, said) = followed(&choice(false), 0.4);
        assert_eq!((alone.model.as_str(), said.as_str()), ("weak", "weak"));
    }

    /// Where no model meets the limits, nobody is asked.
    #[test]
    fn nobody_is_asked_where_nobody_was_chosen() {
        let nobody = Choice { chosen: None, ..choice(false) };
        let mut ask = |_: &str, _: &mut Take| -> Result<Answer, AnswerError> { panic!("asked") };
        let answered = follow(&nobody, &mut ask, &mut |_| {}, &mut |_| true);
        assert!(matches!(answered, Err(AnswerError::Nobody(why)) if why == "because"));
    }
}
