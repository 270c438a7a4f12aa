//! Answers of endpoints that speak OpenAI's chat protocol, as a stream of events, or whole where one does not stream.
//!
//! What they say is bounded, and nothing of it is believed but text and counts. No redirect is followed:
//! the key is for the server that the catalogue names.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;

use super::{Answer, AnswerError, Ask, MAX_ANSWER_BYTES, Take};
use crate::web;

/// For the head of an answer, and for each piece of it.
const SILENCE: Duration = Duration::from_secs(120);
/// What is shown of an error's body.
const MAX_ERROR_BYTES: u64 = 500;

/// A server, what it calls the model, and the key to it.
pub struct Endpoint {
    url: String,
    model: String,
    key: Option<String>,
    agent: Agent,
    /// Whether it is asked how likely each token was.
    pub logprobs: bool,
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    max_tokens: u32,
    temperature: f32,
    top_p: f32,
    seed: u32,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logprobs: bool,
    stream: bool,
    stream_options: Options,
}

#[derive(Serialize)]
struct Options {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    choices: Vec<Part>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Part {
    delta: Delta,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

/// An answer that was asked for as a stream, and came whole.
#[derive(Deserialize)]
struct Whole {
    choices: Vec<Said>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Said {
    message: Delta,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

/// How likely tokens were.
#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Likely>>,
}

#[derive(Deserialize)]
struct Likely {
    logprob: f64,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Endpoint {
    /// A server at `url` (up to and with `/v1`); `certificates` (PEM) stand in place of the built-in ones.
    pub fn new(
        url: &str,
        model: &str,
        key: Option<String>,
        certificates: Option<&[u8]>,
    ) -> Result<Endpoint, AnswerError> {
        let url = format!("{}/chat/completions", url.trim_end_matches('/'));
        let wrong = |why: &str| AnswerError::Endpoint { url: url.clone(), why: why.into() };
        if key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|sign| sign.is_ascii_graphic()))
        {
            return Err(wrong("its key is empty, or has characters that can't be in one"));
        }
        let trusted = |pem| web::trusted(pem).ok_or_else(|| wrong("SSL_CERT_FILE holds no certificate"));
        let agent = web::config(certificates.map(trusted).transpose()?, SILENCE).into();
        Ok(Endpoint { model: model.into(), key, agent, url, logprobs: false })
    }

    /// Asks it.
    pub fn answer(&self, ask: &Ask, take: &mut Take) -> Result<Answer, AnswerError> {
        let question = Question {
            model: &self.model,
            messages: ask
                .turns
                .iter()
                .map(|turn| Message { role: &turn.role, content: &turn.content })
                .collect(),
            max_tokens: ask.max_tokens,
            temperature: ask.temperature,
            top_p: ask.top_p,
            seed: ask.seed,
            stop: &ask.stop,
            logprobs: self.logprobs,
            stream: true,
            stream_options: Options { include_usage: true },
        };
        let body = serde_json::to_vec(&question).map_err(|error| self.wrong(error))?;
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = request.send(&body[..]).map_err(|error| self.wrong(error))?;
        let status = response.status().as_u16();
        let body = response.into_body().into_reader();
        if status != 200 {
            let mut said = Vec::new();
            let _ = body.take(MAX_ERROR_BYTES).read_to_end(&mut said);
            let said = String::from_utf8_lossy(&said);
            return Err(self.wrong(format!("it answered {status}: {}", said.trim())));
        }
        self.heard(body, ask, take)
    }

    /// Reads an answer.
    fn heard(&self, body: impl Read, ask: &Ask, take: &mut Take) -> Result<Answer, AnswerError> {
        let mut body = BufReader::new(body.take(MAX_ANSWER_BYTES));
        let start = body.fill_buf().map_err(|error| self.wrong(error))?;
        let (answer, pieces, usage) = match start.trim_ascii_start().first() {
            Some(b'{') => self.whole(body, take)?,
            _ => self.events(body, take)?,
        };
        // A server that does not count: a piece is a token, mostly.
        let bytes: usize = ask.turns.iter().map(|turn| turn.content.len()).sum();
        let guessed = Usage { prompt_tokens: bytes.div_ceil(4) as u64, completion_tokens: pieces };
        let usage = usage.unwrap_or(guessed);
        Ok(Answer { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens, ..answer })
    }

    /// One document, its text as one piece.
    fn whole(&self, body: impl Read, take: &mut Take) -> Result<(Answer, u64, Option<Usage>), AnswerError> {
        let whole: Whole = serde_json::from_reader(body)
            .map_err(|error| self.wrong(format!("no answer of a chat, or one that is too long: {error}")))?;
        let said = whole.choices.into_iter().next().ok_or_else(|| self.wrong("it answered nothing"))?;
        let text = said.message.content.unwrap_or_default();
        if !text.is_empty() && !take(&text) {
            return Err(AnswerError::Gone);
        }
        let tokens = text.len().div_ceil(4) as u64;
        let (is_whole, confidence) = (is_end(said.finish_reason), least(said.logprobs, None));
        Ok((Answer { text, is_whole, confidence, ..silence() }, tokens, whole.usage))
    }

    /// Events, a piece of the text each.
    fn events(
        &self,
        mut lines: impl BufRead,
        take: &mut Take,
    ) -> Result<(Answer, u64, Option<Usage>), AnswerError> {
        let (mut answer, mut pieces, mut usage, mut line) = (silence(), 0, None, String::new());
        loop {
            line.clear();
            if lines.read_line(&mut line).map_err(|error| self.wrong(error))? == 0 {
                return Err(self.wrong("the answer broke off, or is too long"));
            }
            let Some(data) = line.trim().strip_prefix("data:").map(str::trim) else { continue };
            if data == "[DONE]" {
                return Ok((answer, pieces, usage));
            }
            let event: Event = serde_json::from_str(data)
                .map_err(|error| self.wrong(format!("no event of a chat: {error}")))?;
            usage = event.usage.or(usage);
            let Some(part) = event.choices.into_iter().next() else { continue };
            answer.confidence = least(part.logprobs, answer.confidence);
            if let Some(text) = part.delta.content.filter(|text| !text.is_empty()) {
                pieces += 1;
                answer.text.push_str(&text);
                if !take(&text) {
                    return Err(AnswerError::Gone);
                }
            }
            answer.is_whole |= is_end(part.finish_reason);
        }
    }

    fn wrong(&self, why: impl std::fmt::Display) -> AnswerError {
        AnswerError::Endpoint { url: self.url.clone(), why: why.to_string() }
    }
}

/// An answer before its first word.
fn silence() -> Answer {
    Answer { text: String::new(), input_tokens: 0, output_tokens: 0, confidence: None, is_whole: false }
}

/// The probability of the least likely token, of these and of those before.
fn least(logprobs: Option<Logprobs>, before: Option<f64>) -> Option<f64> {
    let tokens = logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
    let known = tokens.iter().map(|token| token.logprob.exp()).filter(|p| (0.0..=1.0).contains(p));
    known.chain(before).reduce(f64::min)
}

/// Whether an answer ended because it had said all.
fn is_end(reason: Option<String>) -> bool {
    reason.as_deref() == Some("stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(body: &str) -> Result<Answer, AnswerError> {
        let endpoint = Endpoint::new("http://localhost/v1", "m", None, None).expect("an endpoint");
        let ask = Ask { turns: vec![], max_tokens: 9, temperature: 0.0, top_p: 1.0, seed: 0, stop: vec![] };
        endpoint.heard(body.as_bytes(), &ask, &mut |_| true)
    }

    /// A cascade goes by the least likely token of all; what is no probability is none.
    #[test]
    fn the_least_likely_token_counts() {
        let piece = |logprob: &str| {
            let likely = format!(r#"{{"content":[{{"token":"a","logprob":{logprob}}}]}}"#);
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}},\"logprobs\":{likely}}}]}}\n\n")
        };
        let said = |pieces: &[&str]| {
            let pieces: String = pieces.iter().map(|logprob| piece(logprob)).collect();
            heard(&format!("{pieces}data: [DONE]\n\n")).expect("an answer").confidence
        };
        assert_eq!(said(&["-0.5", "-2", "0"]), Some((-2f64).exp()));
        assert_eq!(said(&["3", "-1"]), Some((-1f64).exp()));
        assert_eq!(said(&["3"]), None);
        assert_eq!(said(&[]), None);
        let whole = heard(
            r#"{"choices":[{"message":{"content":"a"},"logprobs":{"content":[{"logprob":-1},{"logprob":-3}]}}]}"#,
        );
        assert_eq!(whole.expect("an answer").confidence, Some((-3f64).exp()));
        let none = heard(r#"{"choices":[{"message":{"content":"a"},"logprobs":null}]}"#);
        assert_eq!(none.expect("an answer").confidence, None);
    }

    /// Some servers do not stream, whatever they were asked; what they say counts all the same.
    #[test]
    fn an_answer_may_come_whole() {
        let said = |usage: &str| {
            let body = format!(
                r#" {{"choices":[{{"message":{{"role":"assistant","content":"abab"}},"finish_reason":"stop"}}]{usage}}}"#
            );
            heard(&body).expect("an answer")
        };
        let counted = said(r#","usage":{"prompt_tokens":3,"completion_tokens":2}"#);
        assert_eq!((counted.text.as_str(), counted.input_tokens, counted.output_tokens), ("abab", 3, 2));
        assert!(counted.is_whole);
        assert_eq!(said("").output_tokens, 1);
    }

    /// Servers lie and break off: a part of an answer must not pass for the whole.
    #[test]
    fn answers_that_break_off_are_no_answers() {
        let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"ab\"},\"finish_reason\":null}]}\n\n";
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
        let whole =
            heard(&format!(": hello\n\n{piece}{piece}{end}{usage}data: [DONE]\n\n")).expect("an answer");
        assert_eq!((whole.text.as_str(), whole.input_tokens, whole.output_tokens), ("abab", 3, 2));
        assert!(whole.is_whole);
        for bad in
            ["", piece, "{", "{\"choices\":[]}", "data: {]\n\n", "data: {\"choices\": 3}\n\n", "<html>"]
        {
            assert!(heard(bad).is_err(), "{bad}");
        }
        for key in ["", "a b", "a\nb"] {
            assert!(Endpoint::new("http://localhost/v1", "m", Some(key.into()), None).is_err());
        }
    }
}
