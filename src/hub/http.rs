//! Requests to a hub: redirects, retries, and the token, which no other host may see.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, Uri};

use crate::progress::{Cancelled, Progress};
use crate::web;

/// Longest wait that a hub may ask for; who is told to wait longer does it without us.
const MAX_WAIT_S: u64 = 120;
const MAX_REDIRECTS: usize = 10;
/// For the head of an answer, and for each piece of its body.
const SILENCE: Duration = Duration::from_secs(30);

/// A hub and who asks it.
#[derive(Clone)]
pub struct Hub {
    /// `https://…`, without a slash at the end.
    pub endpoint: String,
    pub token: Option<String>,
    /// Certificates (PEM) to trust in place of the built-in ones.
    pub certificates: Option<Vec<u8>>,
}

/// Why a hub gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{0:?} is no address of a hub: expected http://… or https://…")]
    Endpoint(String),
    #[error("the token is no token: it has characters that can't be in one")]
    Token,
    #[error("{0}: no certificate is in it")]
    Certificates(&'static str),
    #[error("{host} can't be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("{url}: the hub answered {status}{}", told(.code.as_deref(), .message.as_deref()))]
    Status {
        url: String,
        status: u16,
        /// The hub's own word for it, such as `RepoNotFound`.
        code: Option<String>,
        message: Option<String>,
        /// Seconds that it asks to wait.
        retry_after: Option<u64>,
    },
    #[error("{url}: it leads to {location:?}, and that can't be followed")]
    Redirect { url: String, location: String },
    #[error("{url}: more than {MAX_REDIRECTS} redirects")]
    Redirects { url: String },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

fn told(code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (_, Some(message)) => format!(": {message}"),
        (Some(code), None) => format!(" ({code})"),
        (None, None) => String::new(),
    }
}

/// What a hub answered, with the body still to come.
pub(super) struct Answer {
    response: Response<ureq::Body>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok().map(str::trim)
    }

    pub fn into_body(self) -> impl Read {
        self.response.into_body().into_reader()
    }

    fn is_redirect(&self) -> bool {
        matches!(self.status(), 301 | 302 | 303 | 307 | 308)
    }

    fn may_pass(&self) -> bool {
        matches!(self.status(), 429 | 500 | 502 | 503 | 504)
    }

    fn wait_s(&self) -> Option<u64> {
        self.header("retry-after")?.parse().ok()
    }

    fn failure(&self, url: &str) -> HttpError {
        let text = |name| self.header(name).map(|text| text.chars().take(200).collect());
        HttpError::Status {
            url: url.into(),
            status: self.status(),
            code: text("x-error-code"),
            message: text("x-error-message"),
            retry_after: self.wait_s(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Head,
    /// The body from this byte on.
    Body(u64),
}

/// Asks one hub, in one connection where that serves.
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    /// # Errors
    /// An endpoint, a token or certificates that are none. Nothing is sent yet.
    pub fn new(hub: &Hub) -> Result<Client, HttpError> {
        origin(&hub.endpoint).ok_or_else(|| HttpError::Endpoint(hub.endpoint.clone()))?;
        let visible = |token: &String| token.bytes().all(|sign| sign.is_ascii_graphic());
        if !hub.token.as_ref().is_none_or(visible) {
            return Err(HttpError::Token);
        }
        let trusted = |pem: &Vec<u8>| web::trusted(pem).ok_or(HttpError::Certificates("SSL_CERT_FILE"));
        let agent = web::config(hub.certificates.as_ref().map(trusted).transpose()?, SILENCE).into();
        Ok(Client { agent, endpoint: hub.endpoint.clone(), token: hub.token.clone() })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether requests say who asks.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The head of the answer of the hub itself: that of a redirect, where it leads to another host.
    pub(super) fn head(&self, url: &str, progress: &Progress<'_>) -> Result<Answer, HttpError> {
        self.ask(url, Want::Head, progress)
    }

    /// An answer whose body begins at `from`, or at 0 where the server takes no notice of that.
    pub(super) fn get(&self, url: &str, from: u64, progress: &Progress<'_>) -> Result<Answer, HttpError> {
        self.ask(url, Want::Body(from), progress)
    }

    fn ask(&self, url: &str, want: Want, progress: &Progress<'_>) -> Result<Answer, HttpError> {
        for pause_ms in web::PAUSES_MS {
            let wait = match self.follow(url, want) {
                Ok(answer) if !answer.may_pass() => return accepted(answer, url, want),
                Ok(answer) => match answer.wait_s() {
                    Some(seconds) if seconds > MAX_WAIT_S => return Err(answer.failure(url)),
                    asked => asked.map_or(Duration::from_millis(pause_ms), Duration::from_secs),
                },
                Err((_, error)) if may_pass(&error) => Duration::from_millis(pause_ms),
                Err((at, error)) => return Err(unreachable(&at, error)),
            };
            web::pause(wait, progress)?;
        }
        let answer = self.follow(url, want).map_err(|(at, error)| unreachable(&at, error))?;
        accepted(answer, url, want)
    }

    /// The first answer that is no redirect, or leads where the question may not go.
    fn follow(&self, url: &str, want: Want) -> Result<Answer, (String, Failed)> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let answer = self.once(&url, want).map_err(|error| (url.clone(), Failed::Sent(error)))?;
            if !answer.is_redirect() {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            let Some(next) = resolved(&url, location) else {
                let error = HttpError::Redirect { url: url.clone(), location: location.into() };
                return Err((url, Failed::Led(error)));
            };
            if want == Want::Head && !same_origin(&url, &next) {
                return Ok(answer);
            }
            url = next;
        }
        Err((url.clone(), Failed::Led(HttpError::Redirects { url })))
    }

    fn once(&self, url: &str, want: Want) -> Result<Answer, ureq::Error> {
        let mut request = if want == Want::Head { self.agent.head(url) } else { self.agent.get(url) };
        // Etag and length are those of the file, not of a compressed one.
        request = request.header("accept-encoding", "identity");
        if let Want::Body(from @ 1..) = want {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| same_origin(&self.endpoint, url)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Ok(Answer { response: request.call()? })
    }
}

/// Why a question had no answer.
enum Failed {
    Sent(ureq::Error),
    Led(HttpError),
}

fn may_pass(error: &Failed) -> bool {
    matches!(error, Failed::Sent(error) if web::may_pass(error))
}

fn unreachable(url: &str, error: Failed) -> HttpError {
    match error {
        Failed::Led(error) => error,
        Failed::Sent(error) => {
            HttpError::Unreachable { host: origin(url).unwrap_or_default(), why: web::in_words(&error) }
        }
    }
}

/// An answer with what was asked for. Past the end (416) is for the caller to know: it may have too much.
fn accepted(answer: Answer, url: &str, want: Want) -> Result<Answer, HttpError> {
    let good = match want {
        Want::Head => answer.status() == 200 || answer.is_redirect(),
        Want::Body(0) => answer.status() == 200,
        Want::Body(_) => matches!(answer.status(), 200 | 206 | 416),
    };
    if good { Ok(answer) } else { Err(answer.failure(url)) }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    let host = uri.host()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(format!("{scheme}://{host}:{port}"))
}

fn same_origin(one: &str, other: &str) -> bool {
    origin(one).is_some_and(|one| Some(one) == origin(other))
}

/// Where a redirect leads. From https to http none does.
fn resolved(from: &str, location: &str) -> Option<String> {
    let (scheme, _) = from.split_once("://")?;
    let next = match location {
        rooted if rooted.starts_with("//") => format!("{scheme}:{rooted}"),
        path if path.starts_with('/') => format!("{}{path}", origin(from)?),
        whole => whole.to_owned(),
    };
    let is_worse = scheme == "https" && !next.starts_with("https://");
    origin(&next).filter(|_| !is_worse).map(|_| next)
}

/// A path or revision as one segment of an address.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A redirect decides who sees the token: what is the same host, and what is not, must be exact.
    #[test]
    fn redirects_lead_where_they_say() {
        let from = "https://hub.example/a/b";
        assert_eq!(resolved(from, "/c?d").as_deref(), Some("https://hub.example:443/c?d"));
        assert_eq!(resolved(from, "//cdn.example/c").as_deref(), Some("https://cdn.example/c"));
        assert_eq!(resolved(from, "https://cdn.example/c").as_deref(), Some("https://cdn.example/c"));
        for bad in ["http://hub.example/c", "c", "", "ftp://hub.example/c", "file:///etc/passwd"] {
            assert_eq!(resolved(from, bad), None, "{bad}");
        }
        assert!(same_origin("https://HUB.example", "https://hub.example:443/x"));
        for other in ["http://hub.example", "https://hub.example:8443", "https://hub.example.evil.example"] {
            assert!(!same_origin("https://hub.example", other), "{other}");
        }
    }

    /// Slashes of a revision are part of its name, and nothing in a name may begin a query.
    #[test]
    fn a_segment_stays_one() {
        assert_eq!(quoted("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(quoted("a b?c#ü%"), "a%20b%3Fc%23%C3%BC%25");
    }
}
