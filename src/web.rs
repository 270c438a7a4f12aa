//! What all of our HTTP clients have in common: whom they trust, when they try again, and how they wait.

use std::io;
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::progress::{Cancelled, Progress};

/// Waits before a request is sent again, the last time after about eight seconds.
pub const PAUSES_MS: [u64; 5] = [250, 500, 1000, 2000, 4000];
/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Pieces in which a wait looks whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);

/// Of a client that says who it is, trusts `roots` where they are given, and hands statuses and redirects to its caller: what
/// is sent to one host must not be sent to another. A server that says nothing for `silence` is gone.
pub fn config(roots: Option<RootCerts>, silence: Duration) -> Config {
    let mut tls = TlsConfig::builder();
    if let Some(roots) = roots {
        tls = tls.root_certs(roots);
    }
    Agent::config_builder()
        .user_agent(concat!("git-sparse/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence))
        .build()
}

/// The certificates of a PEM file; none where it has none.
pub fn trusted(pem: &[u8]) -> Option<RootCerts> {
    let certificates: Vec<_> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}

/// Whether the same request may be answered a moment later.
pub fn may_pass(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match error {
        ureq::Error::Io(error) => {
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
            )
        }
        ureq::Error::Timeout(what) => *what != ureq::Timeout::Connect,
        _ => false,
    }
}

/// Why nothing came back, in a few words.
pub fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "no host has this name".into(),
        ureq::Error::Timeout(_) => "it did not answer in time".into(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Waits, as long as that is wanted.
pub fn pause(wait: Duration, progress: &Progress<'_>) -> Result<(), Cancelled> {
    let mut left = wait;
    while !left.is_zero() {
        progress(0)?;
        let nap = left.min(NAP);
        thread::sleep(nap);
        left -= nap;
    }
    progress(0)
}
