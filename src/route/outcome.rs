//! How models did on a prompt: what the router learns from, and the lines of its log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::features::Features;

/// Models that one line may speak of.
const MOST_MODELS: usize = 64;
const LONGEST_NAME: usize = 256;

/// A prompt, and what the answers to it were worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub features: Features,
    /// By model, from 0 (wrong) to 1 (right).
    pub scores: BTreeMap<String, f32>,
    /// By model, how sure it was: the probability of its answer's least likely token.
    pub confidences: BTreeMap<String, f32>,
}

/// A line of the log. It has the prompt, or only its features where the text is nobody's business.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    pub scores: BTreeMap<String, Score>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub confidences: BTreeMap<String, f32>,
    /// The decision that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// What an answer was worth: right or wrong, or anything between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Score {
    Right(bool),
    Share(f32),
}

impl Outcome {
    /// Reads a line, and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Outcome, String> {
        Outcome::of(serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    /// The outcome that a line tells.
    pub fn of(line: Line) -> Result<Outcome, String> {
        let features = match (line.prompt, line.features) {
            (Some(prompt), _) => Features::of(&prompt),
            (None, Some(features)) if features.are_sound() => features,
            (None, Some(_)) => return Err("features that no prompt has".into()),
            (None, None) => return Err("neither a prompt nor its features".into()),
        };
        if line.scores.is_empty() || line.scores.len() > MOST_MODELS || line.confidences.len() > MOST_MODELS {
            return Err(format!("scores of {} models, expected 1 to {MOST_MODELS}", line.scores.len()));
        }
        let scores: BTreeMap<String, f32> =
            line.scores.into_iter().map(|(model, score)| (model, score.number())).collect();
        for (model, number) in scores.iter().chain(&line.confidences) {
            if model.is_empty() || model.len() > LONGEST_NAME {
                return Err(format!("a model's name of {} bytes, expected 1 to {LONGEST_NAME}", model.len()));
            }
            if !(0.0..=1.0).contains(number) {
                return Err(format!("{model}: {number} does not lie between 0 and 1"));
            }
        }
        Ok(Outcome { features, scores, confidences: line.confidences })
    }
}

impl Score {
    fn number(self) -> f32 {
        match self {
            Score::Right(right) => f32::from(u8::from(right)),
            Score::Share(share) => share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learnt decides what is asked: lines without sense are refused, and not taken for a zero.
    #[test]
    fn lines_without_sense_are_refused() {
        let good = r#"{"prompt": "hi", "scores": {"a": true, "b": 0.5}, "confidences": {"a": 0.25}}"#;
        let outcome = Outcome::parse(good).expect("an outcome");
        assert_eq!((outcome.scores["a"], outcome.scores["b"], outcome.confidences["a"]), (1.0, 0.5, 0.25));
        for bad in [
            "",
            "[]",
            r#"{"scores": {"a": true}}"#,
            r#"{"prompt": "hi", "scores": {}}"#,
            r#"{"prompt": "hi", "scores": {"a": 1.5}}"#,
            r#"{"prompt": "hi", "scores": {"a": "yes"}}"#,
            r#"{"prompt": "hi", "scores": {"": true}}"#,
            r#"{"prompt": "hi", "scores": {"a": true}, "confidences": {"a": -1}}"#,
            r#"{"features": {"terms": [[2, 1.0], [1, 1.0]], "shape": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}, "scores": {"a": true}}"#,
            r#"{"features": {"terms": [], "shape": [1e30,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}, "scores": {"a": true}}"#,
        ] {
            assert!(Outcome::parse(bad).is_err(), "{bad}");
        }
    }

    /// Feedback has no text: what is learnt of features is what would be learnt of the prompt.
    #[test]
    fn features_stand_for_their_prompt() {
        let prompt = "Translate to French: the 3 cats (all grey) sleep.";
        let line = |prompt: Option<&str>, features| Line {
            prompt: prompt.map(str::to_owned),
            features,
            scores: BTreeMap::from([("a".into(), Score::Right(true))]),
            ..Line::default()
        };
        let text = serde_json::to_string(&line(None, Some(Features::of(prompt)))).expect("JSON");
        assert_eq!(Outcome::parse(&text), Outcome::of(line(Some(prompt), None)));
    }
}
