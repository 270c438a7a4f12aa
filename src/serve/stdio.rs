//! The same for one client and one repository, over standard input and output: what `ssh` starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::join;
use tokio::sync::watch;

use super::config::{Config, Limits};
use super::listen::{ServeError, converse};
use super::repos::Repo;
use super::router::{Hub, Log, OpenError};

/// What a client calls the repository, whatever it is called here.
pub const NAME: &str = "repository";

/// Serves the repository at `git_dir` until the client is gone. Who may do what is the system's affair.
pub fn run(git_dir: PathBuf, cache: &Path, log: Log) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let cache = cache.join(format!("stdio-{}", std::process::id()));
        let config = Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            url: None,
            root: PathBuf::new(),
            stores: None,
            access: cache.join("none"),
            anonymous: None,
            tls: None,
            insecure: false,
            key: cache.join("key"),
            cache: cache.clone(),
            cache_bytes: 0,
            limits: Limits { rate: u32::MAX, ..Limits::default() },
        };
        let repo = Repo::alone(git_dir);
        let hub = Hub::open(config, format!("http://{NAME}"), log).map(|hub| hub.of_one(repo));
        let outcome = match hub {
            Err(error) => Err(error),
            Ok(hub) => {
                let (_stop, stopped) = watch::channel(false);
                converse(join(tokio::io::stdin(), tokio::io::stdout()), Arc::new(hub), None, stopped).await;
                Ok(())
            }
        };
        let _ = std::fs::remove_dir_all(&cache);
        outcome.map_err(|error: OpenError| ServeError::from(error))
    });
    // Its thread may still wait for input that never comes.
    runtime.shutdown_background();
    served
}
