//! What an operator decides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::May;
use super::bodies::SILENCE;
use super::repos::RepoName;
use crate::backend::Backend;

/// How a hub is run.
pub struct Config {
    pub listen: SocketAddr,
    /// `https://hub.example`, without a slash at the end: what links begin with. Never taken from a request.
    pub url: Option<String>,
    /// Directory with bare repositories.
    pub root: PathBuf,
    /// Where the store of each repository is; in the repository if this says nothing.
    pub stores: Option<Stores>,
    /// The file with tokens; none is read where there is none.
    pub access: PathBuf,
    /// What someone without a token may do.
    pub anonymous: Option<May>,
    pub tls: Option<Tls>,
    /// Listen beyond this machine without TLS, as behind a proxy that has it.
    pub insecure: bool,
    /// Rebuilt files, indexes, and uploads that are under way.
    pub cache: PathBuf,
    /// Bytes of rebuilt files that are kept.
    pub cache_bytes: u64,
    /// The file with the keys that links are signed by; made if it is missing.
    pub key: PathBuf,
    pub limits: Limits,
}

/// Gives the storage of a repository's store.
pub type Stores = Box<dyn Fn(&RepoName) -> Box<dyn Backend> + Send + Sync>;

/// Certificate chain and key, as PEM files.
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What one server and one client may take.
pub struct Limits {
    pub connections: usize,
    /// Of these, those of one address that is not this machine's own.
    pub connections_each: usize,
    /// Requests a second that one client may make on the long run, and ten times as many at once.
    pub rate: u32,
    /// Largest file that is taken.
    pub file_bytes: u64,
    /// Answers at a time that read a store.
    pub workers: usize,
    /// How long links are good.
    pub link_life: Duration,
    /// A client that sends or takes nothing for so long is given up.
    pub silence: Duration,
    /// How long a request waits for an index that is being made.
    pub patience: Duration,
    /// A client whose file waits for its turn hears something so often.
    pub pulse: Duration,
    /// Bytes of requests' bodies that are held in memory at a time, and of what is made of them.
    pub held_bytes: usize,
    /// Bytes that everything which decodes or encodes may take.
    pub decode_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            connections_each: 256,
            rate: 500,
            file_bytes: 1 << 40,
            workers: 16,
            link_life: Duration::from_secs(3600),
            silence: SILENCE,
            patience: Duration::from_secs(5),
            // git-lfs waits 30 seconds.
            pulse: Duration::from_secs(8),
            // With what 200 clients have under way and with bases that are kept, within 1 GiB.
            held_bytes: 256 << 20,
            decode_bytes: 384 << 20,
        }
    }
}
