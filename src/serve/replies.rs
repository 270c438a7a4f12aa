//! Answers: status, headers, and errors as git-lfs shows them.

use std::io;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The type of everything that the Git LFS API says.
pub const LFS_JSON: &str = "application/vnd.git-lfs+json";
const AUTHENTICATE: HeaderName = HeaderName::from_static("lfs-authenticate");
const REALM: &str = r#"Basic realm="git-sparse hub", charset="UTF-8""#;

/// Why a request is not done: a status, and words for whoever sees them.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// What went wrong here, for the log alone: it may tell of other things.
    pub cause: Option<String>,
    /// Seconds after which it is worth the while to ask again.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), cause: None, retry_after: None }
    }

    /// The same words for what is not there and what may not be known.
    pub fn not_found() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "no such repository, or you have no right to see it")
    }

    pub fn unauthorized() -> Refusal {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this needs a token: any user name, and the token as the password",
        )
    }

    pub fn bad_link() -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "this link is not good, or not any more; try again")
    }

    /// What is asked for is not known yet.
    pub fn later(seconds: u64) -> Refusal {
        let words = "the hub is still reading what this repository has; try again in a while";
        Refusal { retry_after: Some(seconds), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words) }
    }

    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// Something here went wrong. What it was stands in the log.
    pub fn internal(error: impl std::fmt::Display) -> Refusal {
        let words = "something went wrong at the hub; its log says what";
        Refusal { cause: Some(error.to_string()), ..Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words) }
    }

    pub fn reply(&self) -> Reply {
        let mut reply = json(self.status, &serde_json::json!({ "message": self.message }));
        let headers = reply.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(AUTHENTICATE, HeaderValue::from_static(REALM));
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(REALM));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS || self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after.unwrap_or(1)));
        }
        reply
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(value).expect("because it is plain data");
    with(status, LFS_JSON, Full::new(Bytes::from(text)).map_err(|never| match never {}))
}

/// An answer in a few words.
pub fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    let body = Full::new(Bytes::from(text.into())).map_err(|never| match never {});
    with(status, "text/plain; charset=utf-8", body)
}

/// A page, which may load nothing and stand in no other page.
pub fn html(page: String) -> Reply {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                          frame-ancestors 'none'";
    let body = Full::new(Bytes::from(page)).map_err(|never| match never {});
    let mut reply = with(StatusCode::OK, "text/html; charset=utf-8", body);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// An answer of bytes that are at hand.
pub fn bytes(bytes: Vec<u8>) -> Reply {
    stream(Full::new(Bytes::from(bytes)).map_err(|never| match never {}))
}

/// An answer of bytes that are still to come.
pub fn stream(body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> Reply {
    with(StatusCode::OK, "application/octet-stream", body)
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}

fn with(
    status: StatusCode,
    kind: &'static str,
    body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static,
) -> Reply {
    let mut reply = Response::new(body.boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // What is here belongs to somebody.
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-transform"));
    reply
}
