//! The body of a chat request, as far as it can be done here; the rest is refused by name.

use serde::Deserialize;

use crate::answer::{Ask, Turn};

/// The most turns of a conversation.
const MOST_TURNS: usize = 1000;
const MOST_STOPS: usize = 4;
const MOST_TOKENS: u64 = 1_000_000;

/// What is asked, of whom, and how the answer is wanted.
#[derive(Debug, PartialEq)]
pub struct Asked {
    pub model: String,
    pub ask: Ask,
    /// As a stream of events.
    pub stream: bool,
    /// With a count of tokens at its end.
    pub usage: bool,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    messages: Vec<Message>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    stop: Option<Texts>,
    n: Option<u64>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<Options>,
    tools: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Texts,
}

/// One text, or several; parts of a message have a type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl Asked {
    /// Reads a body, or says what is wrong with it.
    pub fn parse(body: &[u8], max_tokens: u64) -> Result<Asked, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| format!("no chat request: {error}"))?;
        if body.n.is_some_and(|n| n != 1) {
            return Err("n: only one answer is given".into());
        }
        if body.tools.is_some_and(|tools| !tools.is_empty()) {
            return Err("tools: they are not supported here".into());
        }
        if body.messages.is_empty() || body.messages.len() > MOST_TURNS {
            return Err(format!("messages: {}, expected 1 to {MOST_TURNS}", body.messages.len()));
        }
        let turns = body.messages.into_iter().map(turn).collect::<Result<Vec<_>, _>>()?;
        let tokens = body.max_completion_tokens.or(body.max_tokens).unwrap_or(max_tokens);
        if !(1..=MOST_TOKENS).contains(&tokens) {
            return Err(format!("max_tokens is {tokens}, expected 1 to {MOST_TOKENS}"));
        }
        let between = |name: &str, number: Option<f32>, most: f32| match number.unwrap_or(1.0) {
            number if (0.0..=most).contains(&number) => Ok(number),
            number => Err(format!("{name} is {number}, expected 0 to {most}")),
        };
        let stop = match body.stop {
            None => Vec::new(),
            Some(Texts::One(text)) => vec![text],
            Some(Texts::Many(texts)) if texts.len() <= MOST_STOPS => texts,
            Some(_) => return Err(format!("stop: expected a text, or up to {MOST_STOPS}")),
        };
        let ask = Ask {
            turns,
            max_tokens: tokens as u32,
            temperature: between("temperature", body.temperature, 2.0)?,
            top_p: between("top_p", body.top_p, 1.0)?,
            seed: body.seed.unwrap_or_default() as u32,
            stop: stop.into_iter().filter(|text| !text.is_empty()).collect(),
        };
        let usage = body.stream_options.is_some_and(|options| options.include_usage);
        Ok(Asked { model: body.model, ask, stream: body.stream, usage })
    }

    /// What the router looks at: the last thing that the user said.
    pub fn prompt(&self) -> &str {
        let turns = &self.ask.turns;
        let last = turns.iter().rev().find(|turn| turn.role == "user").or(turns.last());
        last.map_or("", |turn| &turn.content)
    }

    /// Bytes of the whole conversation.
    pub fn bytes(&self) -> usize {
        self.ask.turns.iter().map(|turn| turn.content.len()).sum()
    }
}

fn turn(message: Message) -> Result<Turn, String> {
    let role = match message.role.as_str() {
        "developer" | "system" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => return Err(format!("a message of role {other:?}, expected system, user or assistant")),
    };
    let content = match message.content {
        Texts::One(text) => text,
        Texts::Many(texts) => texts.concat(),
        Texts::Parts(parts) => parts
            .into_iter()
            .map(|part| match part.text {
                Some(text) if part.kind == "text" => Ok(text),
                _ => Err(format!("a part of type {:?}, only text can be read", part.kind)),
            })
            .collect::<Result<String, String>>()?,
    };
    Ok(Turn { role: role.into(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients send many shapes of one thing: those that can be done are, others are refused and not ignored.
    #[test]
    fn what_cannot_be_done_is_refused() {
        let parse = |text: &str| Asked::parse(text.as_bytes(), 256);
        let asked = parse(
            r#"{"model": "m", "messages": [{"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "you"}]}],
                "stop": "x", "max_completion_tokens": 5, "stream": true, "unknown": {}}"#,
        );
        let asked = asked.expect("a request");
        assert_eq!((asked.prompt(), asked.ask.max_tokens, asked.stream), ("hi you", 5, true));
        assert_eq!(asked.ask.turns[0].role, "system");
        for bad in [
            "",
            "{}",
            r#"{"model": "m", "messages": []}"#,
            r#"{"model": "m", "messages": [{"role": "tool", "content": "x"}]}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": -1}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{}]}"#,
            r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "stop": ["a","b","c","d","e"]}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
