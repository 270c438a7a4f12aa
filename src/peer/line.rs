//! Requests to a hub, over HTTP or ssh: tried again where that can help, in one connection where that serves.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::RootCerts;

use super::ssh::{NoResolver, SshConnector, SshPlace};
use crate::progress::{Cancelled, Progress};
use crate::web;

/// Longest wait that a hub may ask for.
const MAX_WAIT_S: u64 = 60;
/// For the head of an answer, and for each piece of its body. The hub says something every few seconds.
const SILENCE: Duration = Duration::from_secs(90);
const MAX_ERROR_BYTES: u64 = 16 << 10;

/// A text that no message and no log may show.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// Where a hub serves one repository by transfer `sparse`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubPlace {
    Http {
        /// `https://hub.example/org/model.git/info/lfs/sparse/1`.
        url: String,
        /// What is added to every address, and proves what this client may do.
        query: Secret,
        /// The header that says who asks, where no link does.
        authorization: Option<Secret>,
        /// Certificates (PEM) to trust in place of the system's.
        certificates: Option<PathBuf>,
    },
    Ssh(SshPlace),
}

/// A hub that can be asked.
pub struct Line {
    agent: Agent,
    base: String,
    query: String,
    authorization: Option<String>,
    name: String,
}

/// Why a hub gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("hub {hub} can't be reached: {why}")]
    Unreachable { hub: String, why: String },
    #[error("hub {hub} answered {status}: {message}")]
    Status { hub: String, status: u16, message: String },
    #[error("{place}: {why}")]
    Certificates { place: String, why: String },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// What is sent.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Get,
    Post(&'a [u8]),
    Put(&'a [u8]),
}

impl HubPlace {
    /// Its address, without what is secret in it.
    pub fn name(&self) -> String {
        match self {
            HubPlace::Http { url, .. } => url.split("/info/lfs").next().unwrap_or(url).to_owned(),
            HubPlace::Ssh(place) => place.name(),
        }
    }
}

impl Line {
    pub fn to(place: &HubPlace) -> Result<Line, LineError> {
        let name = place.name();
        Ok(match place {
            HubPlace::Http { url, query, authorization, certificates } => Line {
                agent: config(certificates.as_deref())?.into(),
                base: url.clone(),
                query: query.0.clone(),
                authorization: authorization.as_ref().map(|header| header.0.clone()),
                name,
            },
            HubPlace::Ssh(place) => {
                let base = format!("http://repository/repository.git/info/lfs/sparse/{}", super::VERSION);
                let agent = Agent::with_parts(config(None)?, SshConnector(place.clone()), NoResolver);
                Line { agent, base, query: String::new(), authorization: None, name }
            }
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// None where the hub does not have it.
    pub(super) fn get(
        &self,
        path: &str,
        progress: &Progress<'_>,
    ) -> Result<Option<impl Read + use<>>, LineError> {
        match self.ask(path, Ask::Get, progress) {
            Err(LineError::Status { status: 404, .. }) => Ok(None),
            body => body.map(Some),
        }
    }

    pub(super) fn post(
        &self,
        path: &str,
        body: &[u8],
        progress: &Progress<'_>,
    ) -> Result<impl Read + use<>, LineError> {
        self.ask(path, Ask::Post(body), progress)
    }

    pub(super) fn put(
        &self,
        path: &str,
        body: &[u8],
        progress: &Progress<'_>,
    ) -> Result<impl Read + use<>, LineError> {
        self.ask(path, Ask::Put(body), progress)
    }

    /// Every request may be sent twice: what it asks for is there then, or is stored already.
    fn ask(&self, path: &str, ask: Ask<'_>, progress: &Progress<'_>) -> Result<impl Read + use<>, LineError> {
        let mut pauses = web::PAUSES_MS.iter();
        loop {
            progress(0)?;
            let asked = self.once(path, ask);
            let pause = pauses.next().map(|pause| Duration::from_millis(*pause));
            let wait = match (asked, pause) {
                (Ok(answer), _) if answer.status().is_success() => {
                    return Ok(answer.into_body().into_reader());
                }
                (Ok(answer), Some(pause)) if matches!(answer.status().as_u16(), 429 | 502 | 503 | 504) => {
                    wait_of(&answer).unwrap_or(pause)
                }
                (Ok(answer), _) => return Err(self.refused(answer)),
                (Err(error), Some(pause)) if web::may_pass(&error) => pause,
                (Err(error), _) => {
                    let why = web::in_words(&error);
                    return Err(LineError::Unreachable { hub: self.name.clone(), why });
                }
            };
            web::pause(wait, progress)?;
        }
    }

    fn once(&self, path: &str, ask: Ask<'_>) -> Result<Response<ureq::Body>, ureq::Error> {
        let url = match self.query.as_str() {
            "" => format!("{}/{path}", self.base),
            query => format!("{}/{path}?{query}", self.base),
        };
        let authorization = self.authorization.as_deref().map(|header| ("authorization", header));
        match ask {
            Ask::Get => with(self.agent.get(url), authorization).call(),
            Ask::Post(body) => with(self.agent.post(url), authorization).send(body),
            Ask::Put(body) => with(self.agent.put(url), authorization).send(body),
        }
    }

    fn refused(&self, answer: Response<ureq::Body>) -> LineError {
        #[derive(Deserialize)]
        struct Words {
            message: String,
        }
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        let _ = answer.into_body().into_reader().take(MAX_ERROR_BYTES).read_to_end(&mut text);
        let words = serde_json::from_slice::<Words>(&text).map(|words| words.message);
        let words = words.unwrap_or_else(|_| match status {
            300..400 => "it points to another address, which is not followed".into(),
            _ => "it gave no reason".into(),
        });
        let message = words.chars().filter(|sign| !sign.is_control()).take(500).collect();
        LineError::Status { hub: self.name.clone(), status, message }
    }
}

fn with<B>(request: ureq::RequestBuilder<B>, header: Option<(&str, &str)>) -> ureq::RequestBuilder<B> {
    match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    }
}

fn config(certificates: Option<&Path>) -> Result<ureq::config::Config, LineError> {
    let roots = match certificates {
        None => RootCerts::PlatformVerifier,
        Some(file) => trusted(file)?,
    };
    Ok(web::config(Some(roots), SILENCE))
}

fn trusted(file: &Path) -> Result<RootCerts, LineError> {
    let wrong = |why: String| LineError::Certificates { place: file.display().to_string(), why };
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    web::trusted(&pem).ok_or_else(|| wrong("no certificate is in it".into()))
}

fn wait_of(answer: &Response<ureq::Body>) -> Option<Duration> {
    let seconds: u64 = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_WAIT_S)))
}
