//! Answers in OpenAI's shapes: completions, chunks of a stream, lists of models, errors.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::super::replies::Reply;
use crate::answer::Answer;

/// The model that is chosen for each request.
pub const AUTO: &str = "sparse/auto";

/// Who answered and why, for the headers.
#[derive(Debug, Clone)]
pub struct Head {
    pub model: String,
    pub reason: String,
    pub cost_usd: Option<f64>,
    pub decision: Option<String>,
}

impl Head {
    pub fn write(&self, reply: &mut Reply) {
        let cost = self.cost_usd.map(|usd| format!("{usd:.9}"));
        let fields = [
            ("x-sparse-model", Some(&self.model)),
            ("x-sparse-reason", Some(&self.reason)),
            ("x-sparse-cost-usd", cost.as_ref()),
            ("x-sparse-decision", self.decision.as_ref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&ascii(value)).ok()) {
                reply.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Names may be in any script; headers may not.
fn ascii(text: &str) -> String {
    text.chars().map(|sign| if (' '..='~').contains(&sign) { sign } else { '?' }).collect()
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(value).expect("because it is plain data");
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub fn error(status: StatusCode, why: &str) -> Reply {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    json(
        status,
        &serde_json::json!({ "error": { "message": why, "type": kind, "param": null, "code": null } }),
    )
}

pub fn models(names: &[&str]) -> Reply {
    let model = |name: &&str| serde_json::json!({ "id": name, "object": "model", "created": 0, "owned_by": "git-sparse" });
    let all: Vec<_> = [AUTO].iter().chain(names).map(model).collect();
    json(StatusCode::OK, &serde_json::json!({ "object": "list", "data": all }))
}

/// A whole answer.
pub fn completion(id: &str, created: u64, model: &str, answer: &Answer) -> serde_json::Value {
    serde_json::json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": answer.text },
            "finish_reason": ended(answer),
        }],
        "usage": usage(answer),
    })
}

pub fn usage(answer: &Answer) -> serde_json::Value {
    let Answer { input_tokens, output_tokens, .. } = answer;
    serde_json::json!({
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens.saturating_add(*output_tokens),
    })
}

pub fn ended(answer: &Answer) -> &'static str {
    if answer.is_whole { "stop" } else { "length" }
}

/// One event of a stream: what is new, and how it ended if it did.
pub fn chunk(
    id: &str,
    created: u64,
    model: &str,
    delta: &serde_json::Value,
    ended: Option<&str>,
) -> serde_json::Value {
    serde_json::json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": ended }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model may be called anything; a name must not become a header of its own.
    #[test]
    fn headers_hold_one_line_of_ascii() {
        let head = Head {
            model: "mäx\r\nset-cookie: a".into(),
            reason: "x".into(),
            cost_usd: Some(1e-6),
            decision: None,
        };
        let mut reply = error(StatusCode::OK, "");
        head.write(&mut reply);
        assert_eq!(reply.headers()["x-sparse-model"], "m?x??set-cookie: a");
        assert_eq!(reply.headers()["x-sparse-cost-usd"], "0.000001000");
        assert!(!reply.headers().contains_key("set-cookie"));
    }
}
