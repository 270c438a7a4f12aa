//! One chat request: decided, logged, answered by whom the decision names, whole or piece by piece.

use std::io::Write;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::oneshot;

use super::super::bodies::{self, Sender};
use super::super::replies::Reply;
use super::Chat;
use super::asked::Asked;
use super::told::{self, AUTO, Head};
use crate::answer::{self, Answer, AnswerError, Answered, Take};
use crate::route::choice::{Choice, Request};
use crate::route::decision::Decision;
use crate::route::features::BYTES_PER_TOKEN;
use crate::route::journal;
use crate::route::offer::Offer;

/// Who is to answer, what that was decided from, and the request's name.
struct Decided {
    id: String,
    created: u64,
    choice: Choice,
    offers: Vec<Offer>,
    /// None where the client named a model itself.
    decision: Option<String>,
}

/// A status, and words for whoever asked.
type Refused = (StatusCode, String);

pub async fn answer(chat: Arc<Chat>, body: &[u8]) -> Reply {
    let asked = match Asked::parse(body, chat.request.max_tokens) {
        Ok(asked) => asked,
        Err(why) => return told::error(StatusCode::BAD_REQUEST, &why),
    };
    let refused = if asked.stream { streamed(chat, asked).await } else { whole(chat, asked).await };
    refused.unwrap_or_else(|(status, why)| told::error(status, &why))
}

async fn whole(chat: Arc<Chat>, asked: Asked) -> Result<Reply, Refused> {
    let known = chat.known();
    let work = tokio::task::spawn_blocking(move || {
        let decided = decide(&chat, &known, &asked)?;
        let mut one = |name: &str, take: &mut Take| ask(&chat, name, &asked, take);
        let answered = answer::follow(&decided.choice, &mut one, &mut |_| {}, &mut |_| true);
        let answered = answered.map_err(|error| refusal(&error))?;
        Ok((decided, answered))
    });
    let (decided, answered) = work.await.map_err(|_| broken())??;
    let model = &answered.model;
    let mut reply =
        told::json(StatusCode::OK, &told::completion(&decided.id, decided.created, model, &answered.answer));
    decided.head(model, spent(&decided.offers, &answered)).write(&mut reply);
    Ok(reply)
}

async fn streamed(chat: Arc<Chat>, asked: Asked) -> Result<Reply, Refused> {
    let known = chat.known();
    let (pieces, sent) = bodies::pipe(bodies::SILENCE);
    let mut events = Events { to: Sender::new(pieces), head: None, decided: None, model: String::new() };
    let (head, begun) = oneshot::channel();
    events.head = Some(head);
    tokio::task::spawn_blocking(move || {
        let decided = match decide(&chat, &known, &asked) {
            Ok(decided) => decided,
            Err(refused) => return events.refuse(refused),
        };
        let choice = decided.choice.clone();
        events.decided = Some(decided);
        let model = std::cell::RefCell::new(String::new());
        let mut one = |name: &str, take: &mut Take| ask(&chat, name, &asked, take);
        let answered = answer::follow(
            &choice,
            &mut one,
            &mut |name| name.clone_into(&mut model.borrow_mut()),
            &mut |text| {
                events.model.clone_from(&model.borrow());
                events.piece(text)
            },
        );
        match answered {
            Ok(answered) => {
                events.model.clone_from(&answered.model);
                events.end(&answered.answer, asked.usage);
            }
            Err(error) => events.refuse(refusal(&error)),
        }
    });
    let head: Head = begun.await.map_err(|_| broken())??;
    let mut reply = Response::new(sent.boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    head.write(&mut reply);
    Ok(reply)
}

/// A stream under way: its head goes out with the first piece, so that what fails before has a status.
struct Events {
    to: Sender,
    head: Option<oneshot::Sender<Result<Head, Refused>>>,
    decided: Option<Decided>,
    model: String,
}

impl Events {
    /// False where nobody listens.
    fn piece(&mut self, text: &str) -> bool {
        self.begin() && self.event(&serde_json::json!({ "content": text }), None)
    }

    fn begin(&mut self) -> bool {
        let Some(head) = self.head.take() else { return true };
        let Some(decided) = &self.decided else { return false };
        let told = decided.head(&self.model, decided.choice.cost_usd);
        head.send(Ok(told)).is_ok()
            && self.event(&serde_json::json!({ "role": "assistant", "content": "" }), None)
    }

    fn event(&mut self, delta: &serde_json::Value, ended: Option<&str>) -> bool {
        let Some(decided) = &self.decided else { return false };
        let chunk = told::chunk(&decided.id, decided.created, &self.model, delta, ended);
        self.send(&chunk.to_string())
    }

    fn send(&mut self, data: &str) -> bool {
        write!(self.to, "data: {data}\n\n").and_then(|()| self.to.flush()).is_ok()
    }

    fn end(mut self, answer: &Answer, usage: bool) {
        let mut heard = self.begin() && self.event(&serde_json::json!({}), Some(told::ended(answer)));
        if let Some(decided) = self.decided.as_ref().filter(|_| usage && heard) {
            let mut chunk =
                told::chunk(&decided.id, decided.created, &self.model, &serde_json::json!({}), None);
            chunk["choices"] = serde_json::json!([]);
            chunk["usage"] = told::usage(answer);
            heard = self.send(&chunk.to_string());
        }
        if heard && self.send("[DONE]") {
            // Who is gone does not hear the end.
            let _ = self.to.finish();
        }
    }

    /// Before the head it is a status; after it an event, and the stream is cut.
    fn refuse(mut self, refused: Refused) {
        match self.head.take() {
            Some(head) => drop(head.send(Err(refused))),
            None => {
                let error = serde_json::json!({ "error": { "message": refused.1, "type": "server_error" } });
                self.send(&error.to_string());
            }
        }
    }
}

impl Decided {
    fn head(&self, model: &str, cost_usd: Option<f64>) -> Head {
        let (reason, decision) = (self.choice.reason.clone(), self.decision.clone());
        Head { model: model.into(), reason, cost_usd, decision }
    }
}

/// Decides who answers and logs it; a model that the client names is not decided about.
fn decide(chat: &Chat, known: &crate::route::decision::Known, asked: &Asked) -> Result<Decided, Refused> {
    let input_tokens = (asked.bytes() as f64 / BYTES_PER_TOKEN).ceil() as u64;
    let max_tokens = u64::from(asked.ask.max_tokens);
    let request = Request { input_tokens, max_tokens, ..chat.request.clone() };
    let now = (chat.now)();
    let Decision { id, at, choice, offers, .. } = if asked.model == AUTO {
        let decision = known.decide(asked.prompt(), request, now);
        let logged = journal::append(&chat.catalog.decisions, std::slice::from_ref(&decision));
        logged.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        decision
    } else {
        let named = known.decide(asked.prompt(), request, now);
        let Some(offer) = named.choice.options.iter().find(|option| option.name == asked.model) else {
            let names = chat.catalog.names().join(", ");
            let why = format!("no model {:?}; there are {AUTO}, {names}", asked.model);
            return Err((StatusCode::NOT_FOUND, why));
        };
        let choice = Choice {
            chosen: Some(asked.model.clone()),
            then: None,
            reason: "named by the client".into(),
            cost_usd: offer.cost_usd,
            saved_usd: None,
            options: Vec::new(),
        };
        Decision { choice, ..named }
    };
    if choice.chosen.is_none() {
        let fails =
            choice.options.iter().map(|option| format!("{}: {}", option.name, option.fails.join("; ")));
        let why = format!("{}: {}", choice.reason, fails.collect::<Vec<_>>().join(" | "));
        return Err((StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let decision = (asked.model == AUTO).then(|| id.clone());
    Ok(Decided { id, created: at, choice, offers, decision })
}

fn ask(chat: &Chat, name: &str, asked: &Asked, take: &mut Take) -> Result<Answer, AnswerError> {
    if let Some(endpoint) = chat.endpoints.get(name) {
        return endpoint.answer(&asked.ask, take);
    }
    let nobody = || AnswerError::Nobody(format!("{name} is not in the catalogue"));
    let variant = chat.catalog.variants.get(name).ok_or_else(nobody)?;
    // One answer at a time: the engine has one of everything.
    let mut local = chat.local.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    local.as_mut().ok_or_else(nobody)?.answer(name, &variant.file, &asked.ask, take)
}

/// What was really spent, by the tokens that came; none where a price is missing.
fn spent(offers: &[Offer], answered: &Answered) -> Option<f64> {
    let usd = |name: &str, answer: &Answer| {
        let offer = offers.iter().find(|offer| offer.name == name)?;
        Some(offer.rates.as_ref().ok()?.request_usd(answer.input_tokens, answer.output_tokens))
    };
    let wasted = match &answered.wasted {
        Some((name, answer)) => usd(name, answer)?,
        None => 0.0,
    };
    Some(wasted + usd(&answered.model, &answered.answer)?)
}

fn refusal(error: &AnswerError) -> Refused {
    let status = match error {
        AnswerError::Endpoint { .. } => StatusCode::BAD_GATEWAY,
        AnswerError::Engine { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        AnswerError::Nobody(_) | AnswerError::Gone => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, error.to_string())
}

fn broken() -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, "the request was not done".into())
}
