//! OpenAI's chat protocol over HTTP: `sparse/auto` is whichever model the router chooses for a request.
//!
//! It listens on this machine only, since it knows no tokens: who may connect may spend its user's keys.
//! Requests of web pages are refused, by their origin and by the host that they ask for, and bodies must say that they are
//! JSON, which no foreign page can make a browser do unasked.

mod asked;
mod completion;
mod told;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::bodies::{self, Budget, CollectError, SILENCE};
use super::replies::Reply;
use crate::answer::{Endpoint, Local};
use crate::prices::Today;
use crate::route::catalog::Catalog;
use crate::route::choice;
use crate::route::decision::{Decision, Known};
use crate::route::journal::{self, Journal};
use crate::route::outcome::Outcome;

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(20);
/// The largest body of a request.
const MAX_BODY_BYTES: usize = 16 << 20;
const MOST_CONNECTIONS: usize = 256;
/// Bytes of bodies that are held at a time.
const HELD_BYTES: usize = 256 << 20;
/// Too many open files passes; a server that exits for it would not.
const PAUSE: Duration = Duration::from_millis(100);
/// After this, answers that are still under way are cut.
const FAREWELL: Duration = Duration::from_secs(30);
/// How often logs and prices are looked at anew.
const REFRESH: Duration = Duration::from_secs(10);
const DAY_S: u64 = 86_400;

/// What a server needs to know.
pub struct Config {
    pub listen: SocketAddr,
    /// What is asked of answers unless a request says otherwise; its model is the reference.
    pub request: choice::Request,
    pub catalog: Catalog,
    pub allow_stale: bool,
    pub local: Option<Local>,
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Since 1970.
    pub now: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("{0} can be reached from other machines, and whoever reaches it could spend your keys")]
    Open(SocketAddr),
    #[error("listen on {listen}: {error}")]
    Listen { listen: SocketAddr, error: io::Error },
    #[error("{0}")]
    Known(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running server.
struct Chat {
    request: choice::Request,
    catalog: Catalog,
    allow_stale: bool,
    local: Mutex<Option<Local>>,
    endpoints: BTreeMap<String, Endpoint>,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    known: RwLock<Arc<Known>>,
    held: Budget,
    /// When logs and prices are to be looked at next.
    next_look: Mutex<Instant>,
}

/// Serves until it is told to stop (SIGTERM or SIGINT). Once it listens, `ready` hears the address.
pub fn run(config: Config, ready: impl FnOnce(&str)) -> Result<(), ChatError> {
    if !config.listen.ip().is_loopback() {
        return Err(ChatError::Open(config.listen));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(2 * MOST_CONNECTIONS)
        .build()?;
    let served = runtime.block_on(async move {
        let listen = config.listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| ChatError::Listen { listen, error })?;
        let url = format!("http://{}", listener.local_addr()?);
        let chat = Arc::new(Chat::open(config)?);
        ready(&url);
        accept(listener, chat).await
    });
    runtime.shutdown_timeout(FAREWELL);
    served
}

async fn accept(listener: TcpListener, chat: Arc<Chat>) -> Result<(), ChatError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (chat, stopped) = (chat.clone(), stopped.clone());
        tokio::spawn(async move {
            converse(stream, chat, stopped).await;
            drop(place);
        });
    }
    stop.send_replace(true);
    drop(stopped);
    // Every connection holds a receiver until it is over.
    let _ = timeout(FAREWELL, stop.closed()).await;
    Ok(())
}

async fn converse(stream: TcpStream, chat: Arc<Chat>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let chat = chat.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(chat, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(chat: Arc<Chat>, request: Request<Incoming>) -> Reply {
    if let Some(why) = foreign(request.headers()) {
        return told::error(StatusCode::FORBIDDEN, why);
    }
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/healthz") => told::json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
        (&Method::GET, "/v1/models") => told::models(&chat.catalog.names()),
        (&Method::POST, "/v1/chat/completions" | "/v1/feedback") => {
            let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if !kind.is_some_and(|kind| kind.trim_start().starts_with("application/json")) {
                let why = "the content-type of a body is application/json here";
                return told::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
            }
            let body = bodies::collect(request.into_body(), MAX_BODY_BYTES, SILENCE, &chat.held).await;
            match body {
                Ok(body) if path == "/v1/feedback" => judged(chat, &body).await,
                Ok(body) => completion::answer(chat, &body).await,
                Err(CollectError::TooLong) => {
                    told::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
                }
                Err(CollectError::Busy) => {
                    told::error(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once; try again")
                }
                Err(CollectError::Broken(error)) => told::error(StatusCode::BAD_REQUEST, &error.to_string()),
            }
        }
        (_, "/v1/models" | "/v1/chat/completions" | "/v1/feedback" | "/healthz") => {
            told::error(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        }
        _ => told::error(
            StatusCode::NOT_FOUND,
            "there is nothing here: /v1/chat/completions, /v1/models, /v1/feedback",
        ),
    }
}

/// Why a request is no program's of this machine: a page in its browser says where it comes from, and one whose name was
/// made to lead here (DNS rebinding) says that name.
fn foreign(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(ORIGIN) {
        return Some("this is not for web pages");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok())?;
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_here = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!is_here).then_some("ask for localhost: other names may lead here from a web page")
}

/// A user's verdict on a decision: `{"id": …, "good": true}`.
async fn judged(chat: Arc<Chat>, body: &[u8]) -> Reply {
    #[derive(serde::Deserialize)]
    struct Verdict {
        id: String,
        good: bool,
    }
    let Ok(verdict) = serde_json::from_slice::<Verdict>(body) else {
        return told::error(StatusCode::BAD_REQUEST, "expected {\"id\": \"…\", \"good\": true or false}");
    };
    let learnt = tokio::task::spawn_blocking(move || {
        let decisions =
            Journal::read(&chat.catalog.decisions, Decision::parse).map_err(|it| it.to_string())?;
        let decision = decisions.entries.iter().rev().find(|decision| decision.id == verdict.id);
        let Some(line) = decision.and_then(|decision| decision.judged(verdict.good)) else {
            return Ok(false);
        };
        journal::append(&chat.catalog.outcomes, &[line]).map_err(|error| error.to_string())?;
        Ok::<_, String>(true)
    });
    match learnt.await {
        Ok(Ok(true)) => told::json(StatusCode::OK, &serde_json::json!({ "learnt": true })),
        Ok(Ok(false)) => told::error(StatusCode::NOT_FOUND, "no decision of this id has an answer"),
        Ok(Err(why)) => told::error(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => told::error(StatusCode::INTERNAL_SERVER_ERROR, "the verdict was not learnt"),
    }
}

impl Chat {
    fn open(config: Config) -> Result<Chat, ChatError> {
        let Config { request, catalog, allow_stale, local, endpoints, now, listen: _ } = config;
        let known = known(&catalog, &request.model, today(now(), allow_stale)).map_err(ChatError::Known)?;
        Ok(Chat {
            request,
            catalog,
            allow_stale,
            local: Mutex::new(local),
            endpoints,
            now,
            known: RwLock::new(Arc::new(known)),
            held: Budget::of(HELD_BYTES),
            next_look: Mutex::new(Instant::now() + REFRESH),
        })
    }

    /// What decisions are taken from; at times it is looked at anew, behind the back of this request.
    fn known(self: &Arc<Chat>) -> Arc<Known> {
        let is_due = self.next_look.lock().is_ok_and(|mut next| {
            let is_due = *next <= Instant::now();
            if is_due {
                *next = Instant::now() + REFRESH;
            }
            is_due
        });
        if is_due {
            let chat = self.clone();
            tokio::task::spawn_blocking(move || chat.refresh());
        }
        self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Logs that can't be read leave what was known.
    fn refresh(&self) {
        let today = today((self.now)(), self.allow_stale);
        if let Ok(known) = known(&self.catalog, &self.request.model, today) {
            *self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(known);
        }
    }
}

fn today(now: Duration, allow_stale: bool) -> Today {
    Today { day: (now.as_secs() / DAY_S) as i64, allow_stale }
}

fn known(catalog: &Catalog, model: &str, today: Today) -> Result<Known, String> {
    let offers = catalog.offers(today).map_err(|error| error.to_string())?;
    let outcomes = Journal::read(&catalog.outcomes, Outcome::parse).map_err(|error| error.to_string())?;
    Ok(Known::of(&outcomes, offers, model))
}
