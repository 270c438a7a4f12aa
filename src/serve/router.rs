//! One request: who asks, may they, and which function answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::access::{AccessError, Caller, Gate, May};
use super::bodies::{BodyReader, Budget, CollectError, Held, collect};
use super::config::{Config, Limits};
use super::front;
use super::learning::Tell;
use super::login;
use super::memory::{JOB_BYTES, Memory, REBUILD_BYTES, Share};
use super::metrics::{Counted, Metrics};
use super::rate::Rate;
use super::rebuilt::Rebuilt;
use super::replies::{Refusal, Reply, empty, text};
use super::repos::{Repo, RepoName, Repos};
use super::route::{Endpoint, Route, route};
use super::signature::{Claim, Keys, Purpose};

/// Everything that requests share.
pub struct Hub {
    pub repos: Repos,
    pub gate: Gate,
    pub keys: Keys,
    pub rebuilt: Arc<Rebuilt>,
    pub metrics: Metrics,
    pub limits: Limits,
    /// What links begin with.
    pub url: String,
    /// Where uploads lie until they are stored.
    pub uploads: std::path::PathBuf,
    rate: Rate,
    /// How many threads may read stores.
    pub workers: Arc<Semaphore>,
    /// What bounds those that decode or encode.
    pub memory: Memory,
    /// The same for small files, which need not wait for large ones.
    pub small: Memory,
    held: Budget,
    /// What the front page counted.
    pub counted: front::Counted,
    /// The one repository of a hub that speaks to one client, whatever name is asked for.
    only: Option<Arc<Repo>>,
    log: Tell,
}

/// Where lines of the log go.
pub type Log = Box<dyn Fn(&str) + Send + Sync>;

/// Repositories whose indexes are made at the start.
const MOST_NAMES: usize = 10_000;

/// A request that came through the gate.
pub struct Asked {
    pub hub: Arc<Hub>,
    pub repo: RepoName,
    pub caller: Caller,
    /// Whose requests share what one client may take: a token's name, or an address.
    pub client: String,
    pub may: Option<May>,
    pub head: Parts,
    pub from: Option<IpAddr>,
    body: Option<Incoming>,
}

/// Why a hub can't begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Access(#[from] AccessError),
    #[error("{place}: {error}")]
    Io { place: String, error: std::io::Error },
}

impl Hub {
    pub fn open(config: Config, url: String, log: Log) -> Result<Hub, OpenError> {
        let at = |place: &std::path::Path| {
            let place = place.display().to_string();
            move |error| OpenError::Io { place, error }
        };
        let uploads = config.cache.join("uploads");
        // What lies here was never acknowledged.
        let _ = std::fs::remove_dir_all(&uploads);
        std::fs::create_dir_all(&uploads).map_err(at(&uploads))?;
        let files = config.cache.join("files");
        let rebuilt = Rebuilt::new(files.clone(), config.cache_bytes).map_err(at(&files))?;
        let log: Tell = log.into();
        Ok(Hub {
            repos: Repos::new(&config.root, config.stores, &config.cache, log.clone()),
            gate: Gate::new(&config.access, config.anonymous)?,
            keys: Keys::open(&config.key).map_err(at(&config.key))?,
            rebuilt: Arc::new(rebuilt),
            metrics: Metrics::default(),
            url,
            uploads,
            rate: Rate::new(config.limits.rate),
            workers: Arc::new(Semaphore::new(config.limits.workers)),
            memory: Memory::of(config.limits.decode_bytes),
            small: Memory::of(REBUILD_BYTES),
            held: Budget::of(config.limits.held_bytes),
            counted: front::Counted::default(),
            limits: config.limits,
            only: None,
            log,
        })
    }

    /// The same for one repository and one client, who was let in elsewhere.
    pub fn of_one(self, repo: Repo) -> Hub {
        Hub { only: Some(Arc::new(repo)), ..self }
    }

    /// Has the indexes of all repositories learn what they don't know, one after the other.
    pub async fn learn(self: Arc<Hub>) {
        let hub = self.clone();
        let names = run(move || hub.repos.names(MOST_NAMES)).await.unwrap_or_default();
        for name in names {
            let hub = self.clone();
            if let Ok(Some(repo)) = run(move || hub.repos.find(&name)).await {
                repo.learning.end().await;
            }
        }
    }

    /// Answers a request and writes a line about it.
    pub async fn answer(self: Arc<Hub>, request: Request<Incoming>, from: Option<IpAddr>) -> Reply {
        let start = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (reply, who) = self.clone().find(request, from).await;
        let took = start.elapsed();
        self.metrics.answered(reply.status().as_u16(), took);
        let bytes = reply.body().size_hint().exact();
        let from = from.map_or("-".into(), |address| address.to_string());
        let bytes = bytes.map_or("-".into(), |bytes| bytes.to_string());
        // Never the query, nor a header: they may hold secrets.
        let path: String = path.chars().filter(|sign| !sign.is_control()).take(400).collect();
        let status = reply.status().as_u16();
        (self.log)(&format!("{from} {who} {method} {path} {status} {bytes} {:.3}", took.as_secs_f64()));
        let counter = self.metrics.sent_bytes.clone();
        reply.map(|body| Counted { body, counter }.boxed_unsync())
    }

    async fn find(self: Arc<Hub>, request: Request<Incoming>, from: Option<IpAddr>) -> (Reply, String) {
        let route = route(request.uri().path());
        let secret = secret(request.headers());
        let repo = if let Some(Route::Of(repo, _)) = &route { Some(repo.clone()) } else { None };
        let login = secret.as_deref().zip(repo.as_ref());
        let (caller, may) = match login.and_then(|(secret, repo)| login::prove(&self.keys, secret, repo)) {
            Some((user, may)) => (Caller::Token(user), Some(may)),
            None => self.gate.ask(secret.as_deref(), repo.as_ref()),
        };
        let may = if self.only.is_some() { Some(May::Admin) } else { may };
        let who = match &caller {
            Caller::Token(name) => name.clone(),
            Caller::Unknown => "?".into(),
            Caller::Anonymous => "-".into(),
        };
        let client = if let Caller::Token(name) = &caller { name.clone() } else { format!("{from:?}") };
        if !self.rate.allows(&client, Instant::now()) {
            let words = "too many requests from you; wait a moment";
            return (Refusal::new(StatusCode::TOO_MANY_REQUESTS, words).reply(), who);
        }
        let reply = match route {
            // Whoever looks at a page must not be made to ask what only they may.
            _ if request.headers().contains_key(header::ORIGIN) => {
                Refusal::new(StatusCode::FORBIDDEN, "this is not for web pages").reply()
            }
            None => Refusal::not_found().reply(),
            Some(Route::Front) => self.front(front::Visit::of(&request), secret, caller).await,
            Some(Route::Document) => text(StatusCode::OK, front::DOCUMENT),
            Some(Route::Health) => text(StatusCode::OK, "ok\n"),
            Some(Route::Metrics) if may == Some(May::Admin) => {
                text(StatusCode::OK, self.metrics.text(self.memory.peak_bytes()))
            }
            Some(Route::Metrics) => Refusal::unauthorized().reply(),
            Some(Route::Of(_, endpoint)) if !endpoint.allows(request.method()) => {
                empty(StatusCode::METHOD_NOT_ALLOWED)
            }
            Some(Route::Of(repo, endpoint)) => {
                let (head, body) = request.into_parts();
                let hub = self.clone();
                let asked = Asked { hub: self, repo, caller, client, may, head, from, body: Some(body) };
                asked.answer(endpoint).await.unwrap_or_else(|refusal| hub.told(refusal).reply())
            }
        };
        (reply, who)
    }

    /// A line for whoever runs the server.
    pub fn tell(&self, line: &str) {
        (self.log)(line);
    }

    /// Writes into the log what a client does not hear. One over ssh has no log, and a client who is at home here.
    pub fn told(&self, refusal: Refusal) -> Refusal {
        match refusal.cause {
            Some(cause) if self.only.is_some() => Refusal::new(refusal.status, cause),
            Some(cause) => {
                self.tell(&format!("{}: {cause}", refusal.status.as_u16()));
                Refusal::new(refusal.status, refusal.message)
            }
            None => refusal,
        }
    }

    /// Waits until a thread may read a store.
    pub async fn worker(&self) -> SemaphorePermit<'_> {
        self.workers.acquire().await.expect("because it is never closed")
    }

    /// Waits until a thread may decode or encode a whole file, or what came of one. It needs no turn beside that: who
    /// has one may wait for memory.
    pub async fn job(&self, client: &str) -> Share {
        self.memory.share(client, JOB_BYTES).await
    }
}

impl Asked {
    async fn answer(self, endpoint: Endpoint) -> Result<Reply, Refusal> {
        match endpoint {
            Endpoint::Git(service) => self.git(service).await,
            Endpoint::Batch => self.batch().await,
            Endpoint::Object(oid) if self.head.method == Method::PUT => self.upload(oid).await,
            Endpoint::Object(oid) => self.download(oid).await,
            Endpoint::Verify => self.verify().await,
            Endpoint::Locks if self.head.method == Method::GET => self.list_locks().await,
            Endpoint::Locks => self.lock().await,
            Endpoint::VerifyLocks => self.verify_locks().await,
            Endpoint::Unlock(id) => self.unlock(id).await,
            Endpoint::Sparse(verb) => self.sparse(verb).await,
        }
    }

    /// Whether the caller may do this here. What may not be known and what is not there get the same answer.
    pub fn need(&self, may: May) -> Result<(), Refusal> {
        match (self.may, &self.caller) {
            (Some(has), _) if has >= may => Ok(()),
            (_, Caller::Anonymous | Caller::Unknown) => Err(Refusal::unauthorized()),
            (Some(_), _) => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "your token may only read this repository"))
            }
            (None, _) => Err(Refusal::not_found()),
        }
    }

    /// The same for who may have come by a link, which is not good. Clients ask for a new one where they hear 403, and
    /// for a password where they hear 401.
    pub fn need_without_link(&self, may: May) -> Result<(), Refusal> {
        self.need(may).map_err(|refusal| match self.query("sig") {
            Some(_) => Refusal::bad_link(),
            None => refusal,
        })
    }

    /// Whether a link's signature proves it.
    pub fn proves(&self, purpose: Purpose, of: &str, size: u64) -> bool {
        let (Some(until), Some(signature)) = (self.query("until"), self.query("sig")) else { return false };
        let Ok(until) = until.parse() else { return false };
        self.hub.keys.prove(&Claim { purpose, repo: &self.repo, of, size, until }, signature)
    }

    /// A value of the query; ours have nothing to decode.
    pub fn query(&self, key: &str) -> Option<&str> {
        let pairs = self.head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn take_body(&mut self) -> Result<Incoming, Refusal> {
        self.body.take().ok_or_else(|| Refusal::bad("the body was read already"))
    }

    /// The body, for a thread that reads it.
    pub fn body_reader(&mut self, most: u64) -> Result<BodyReader, Refusal> {
        Ok(BodyReader::new(self.take_body()?, most, self.hub.limits.silence))
    }

    /// The whole of a body. `too_long` is what is told of one with more than `most` bytes, `busy` the status where memory
    /// is short for now: git-lfs gives up at 503 and waits at 429.
    pub async fn whole_body(
        &mut self,
        most: usize,
        too_long: &str,
        busy: StatusCode,
    ) -> Result<Held, Refusal> {
        let held = collect(self.take_body()?, most, self.hub.limits.silence, &self.hub.held).await;
        held.map_err(|error| match error {
            CollectError::TooLong => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, too_long),
            CollectError::Busy => {
                Refusal::new(busy, "the hub holds as much as it can; try again in a moment")
            }
            CollectError::Broken(error) => Refusal::bad(error.to_string()),
        })
    }

    /// Waits for a repository's index, as plain clients can be made to: they wait at 429, and give up soon at 503.
    pub async fn index_of(&self, repo: &Repo) -> Result<(), Refusal> {
        let known = repo.learning.wait(self.hub.limits.patience).await;
        known.map_err(|refusal| Refusal { status: StatusCode::TOO_MANY_REQUESTS, ..refusal })
    }

    /// The repository's store.
    pub async fn open(&self) -> Result<Arc<Repo>, Refusal> {
        if let Some(only) = &self.hub.only {
            return Ok(only.clone());
        }
        let (hub, name) = (self.hub.clone(), self.repo.clone());
        run(move || hub.repos.find(&name)).await?.ok_or_else(Refusal::not_found)
    }
}

/// Does something on a thread that may wait.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| Refusal::internal(format!("internal error: {panic}")))
}

/// The token of a request: a bearer's, or the password of any user.
fn secret(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.trim().to_owned()),
        "basic" => {
            let pair = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
            Some(pair.split_once(':')?.1.to_owned())
        }
        _ => None,
    }
}

/// How long a thread works before its client hears that it is still at it.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
