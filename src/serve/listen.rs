//! The sockets: accepting, TLS, time-outs, and an orderly end.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::callers::Callers;
use super::config::{Config, Tls};
use super::router::{Hub, Log, OpenError};

/// For the head of a request, and for a TLS handshake.
const HEAD: Duration = Duration::from_secs(20);
const BUFFER_BYTES: usize = 256 << 10;
/// After this, connections that are still busy are cut.
const FAREWELL: Duration = Duration::from_secs(30);
/// Too many open files passes; a server that exits for it would not.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a hub does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{0} can be reached from other machines, and what goes over it could be read by anyone")]
    Bare(std::net::SocketAddr),
    #[error("listen on {listen}: {error}")]
    Listen { listen: std::net::SocketAddr, error: io::Error },
    #[error("{place}: {why}")]
    Tls { place: String, why: String },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves until it is told to stop (SIGTERM or SIGINT). Once it listens, `ready` hears the address, and
/// whether nobody may do anything yet.
pub fn run(config: Config, log: Log, ready: impl FnOnce(&str, bool)) -> Result<(), ServeError> {
    if !config.listen.ip().is_loopback() && config.tls.is_none() && !config.insecure {
        return Err(ServeError::Bare(config.listen));
    }
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // One that writes an answer waits for its client: no client may make others wait.
        .max_blocking_threads(config.limits.connections.saturating_mul(2).max(64))
        .build()?;
    let served = runtime.block_on(async move {
        let listen = config.listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| ServeError::Listen { listen, error })?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let own = format!("{scheme}://{}", listener.local_addr()?);
        let url = config.url.clone().unwrap_or(own);
        let connections = Arc::new(Semaphore::new(config.limits.connections));
        let hub = Arc::new(Hub::open(config, url.clone(), log)?);
        ready(&url, hub.gate.is_closed());
        tokio::spawn(hub.clone().learn());
        accept(listener, tls, hub, connections).await
    });
    // Work on threads is waited for: what is being stored is never broken off.
    drop(runtime);
    served
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    hub: Arc<Hub>,
    connections: Arc<Semaphore>,
) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    let callers = Callers::of(hub.limits.connections_each);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let Ok((stream, from)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let place = connections.clone().try_acquire_owned().ok();
        let Some(place) = place.and_then(|place| Some((place, callers.admit(from.ip())?))) else {
            hub.metrics.refused_connections.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (hub, tls, stopped) = (hub.clone(), tls.clone(), stopped.clone());
        tokio::spawn(async move {
            hub.metrics.connections.fetch_add(1, Ordering::Relaxed);
            greet(stream, tls, hub.clone(), from.ip(), stopped).await;
            hub.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listener);
    stop.send_replace(true);
    drop(stopped);
    // Every connection holds a receiver until it is over.
    let _ = timeout(FAREWELL, stop.closed()).await;
    Ok(())
}

async fn greet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    hub: Arc<Hub>,
    from: IpAddr,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => converse(stream, hub, Some(from), stopped).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
                converse(stream, hub, Some(from), stopped).await;
            }
        }
    }
}

/// Serves one connection until its client is gone, or the server stops and the request that runs is answered.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    hub: Arc<Hub>,
    from: Option<IpAddr>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let hub = hub.clone();
        async move { Ok::<_, std::convert::Infallible>(hub.answer(request, from).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ServeError> {
    let wrong = |place: &Path, why: String| ServeError::Tls { place: place.display().to_string(), why };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
