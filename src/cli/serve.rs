//! `git sparse serve`: the hub.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::report;
use crate::backend::bucket::{Address, Bucket};
use crate::backend::{Backend, Local, Privacy};
use crate::calendar;
use crate::daemon::cloud;
use crate::daemon::lock;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::place::Place;
use crate::daemon::words;
use crate::git::command::Git;
use crate::locator::Locator;
use crate::serve::{self, Config, Limits, May, RepoName, ServeError, Stores, Tls};

/// Serve repositories and large files over HTTP, to git, plain git-lfs and git sparse
#[derive(Debug, Args)]
pub struct Serve {
    /// Directory with bare repositories, org/model.git; missing ones are made when they are pushed to
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Where stores are kept, each below its repository's name: sparse::file:///PATH, sparse::s3://BUCKET/PREFIX
    /// [default: in the repositories]
    #[arg(long, value_name = "LOCATOR")]
    store: Option<String>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8417")]
    listen: SocketAddr,
    /// What clients call this server, https://hub.example, where it is not the address above
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with tokens, which git sparse token writes [default: access.json in the root directory]
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// What someone without a token may do in every repository
    #[arg(long, value_name = "WHAT")]
    anonymous: Option<Right>,
    /// Certificate chain (PEM) for https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen beyond this machine without TLS, as behind a proxy that has it
    #[arg(long)]
    insecure: bool,
    /// Rebuilt files, indexes, and uploads under way [default: hub in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// GiB of rebuilt files that are kept for plain clients
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    cache_size: u64,
    /// The file with keys that links are signed by, the same for all servers of one hub
    /// [default: link-keys in the root directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Most open connections
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().connections)]
    connections: usize,
    /// Most open connections of one address; this machine's own, where a proxy may be, has as many as there are
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().connections_each)]
    connections_each: usize,
    /// Requests a second that one client may make on the long run
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().rate)]
    rate: u32,
    /// Largest file that is taken, in GiB
    #[arg(long, value_name = "GIB", default_value_t = Limits::default().file_bytes >> 30)]
    file_size: u64,
    /// How long links are good
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = Limits::default().link_life.as_secs())]
    link_life: u64,
    /// A client that sends or takes nothing for so long is given up
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = Limits::default().silence.as_secs())]
    silence: u64,
    /// How long a request waits for an index that is being made
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = Limits::default().patience.as_secs())]
    patience: u64,
    /// A client whose file waits for its turn hears something so often
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = Limits::default().pulse.as_secs())]
    pulse: u64,
    /// MiB of requests' lists and recipes that are held in memory at a time
    #[arg(long, value_name = "MIB", hide = true, default_value_t = Limits::default().held_bytes >> 20)]
    held: usize,
    /// MiB that everything which decodes or encodes may take
    #[arg(long, value_name = "MIB", hide = true, default_value_t = Limits::default().decode_bytes >> 20)]
    decode: u64,
    /// Serve the one repository at PATH over standard input and output (what ssh starts)
    #[arg(long, value_name = "PATH", conflicts_with_all = ["listen", "access", "anonymous", "tls_cert"])]
    stdio: Option<PathBuf>,
}

/// What one may do; each includes those before it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Right {
    Read,
    Write,
    Admin,
}

impl From<Right> for May {
    fn from(right: Right) -> May {
        match right {
            Right::Read => May::Read,
            Right::Write => May::Write,
            Right::Admin => May::Admin,
        }
    }
}

impl Serve {
    pub fn run(self) -> Result<(), Failure> {
        let place = Place::from_environment()?;
        let cache = self.cache.clone().unwrap_or_else(|| place.cache.join("hub"));
        if let Some(path) = &self.stdio {
            let git = Git::at(path);
            let git_dir = git.common_dir().map_err(|_| {
                Failure::new(Kind::NotFound, format!("{}: no git repository", path.display()))
                    .fix("check the path in the URL: git remote -v")
            })?;
            return serve::run_stdio(git_dir, &cache, Box::new(|_| {})).map_err(|error| in_words(&error));
        }
        for dir in [&cache, &self.root] {
            std::fs::create_dir_all(dir).map_err(|error| words::file(dir, &error))?;
        }
        // Two servers with one cache would take each other's files away.
        let _lock = lock::acquire(&cache, "another hub", Duration::ZERO)
            .map_err(|failure| failure.fix("name another directory for this one: --cache DIR"))?;
        let access = self.access.clone().unwrap_or_else(|| self.root.join("access.json"));
        let told = access.display().to_string();
        let ready = |url: &str, closed: bool| {
            report::say(&format!("serving {} at {url}", self.root.display()));
            if closed {
                report::say(&format!(
                    "nobody may do anything yet; make a token: git sparse token add NAME --may write --access {told}"
                ));
            }
        };
        serve::run(self.config(cache, access.clone())?, Box::new(log), ready)
            .map_err(|error| in_words(&error))
    }

    fn config(&self, cache: PathBuf, access: PathBuf) -> Result<Config, Failure> {
        let scratch = cache.join("scratch");
        std::fs::create_dir_all(&scratch).map_err(|error| words::file(&scratch, &error))?;
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        let url = self.url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) =
            url.as_deref().filter(|url| !url.starts_with("https://") && !url.starts_with("http://"))
        {
            return Err(
                Failure::new(Kind::Usage, format!("{url} is no address")).fix("--url https://hub.example")
            );
        }
        Ok(Config {
            listen: self.listen,
            url,
            root: self.root.clone(),
            stores: self.store.as_deref().map(|text| stores(text, &scratch)).transpose()?,
            access,
            anonymous: self.anonymous.map(May::from),
            tls: tls.map(|(certificate, key)| Tls { certificate, key }),
            insecure: self.insecure,
            cache,
            cache_bytes: self.cache_size.saturating_mul(1 << 30),
            key: self.key.clone().unwrap_or_else(|| self.root.join("link-keys")),
            limits: Limits {
                connections: self.connections,
                connections_each: self.connections_each,
                rate: self.rate,
                file_bytes: self.file_size.saturating_mul(1 << 30),
                link_life: Duration::from_secs(self.link_life),
                silence: Duration::from_secs(self.silence),
                patience: Duration::from_secs(self.patience),
                pulse: Duration::from_secs(self.pulse),
                held_bytes: self.held.saturating_mul(1 << 20),
                decode_bytes: self.decode.saturating_mul(1 << 20),
                ..Limits::default()
            },
        })
    }
}

/// The stores below a locator.
fn stores(text: &str, scratch: &Path) -> Result<Stores, Failure> {
    let usage = |message: String| {
        Failure::new(Kind::Usage, message).fix("--store sparse::file:///PATH or sparse::s3://BUCKET/PREFIX")
    };
    match Locator::parse(text).map_err(|error| usage(error.to_string()))? {
        Locator::Directory(path) => Ok(Box::new(move |name: &RepoName| -> Box<dyn Backend> {
            Box::new(Local::new(path.join(name.as_str()), Privacy::Shared))
        })),
        Locator::Bucket(address) => {
            let (settings, scratch) = (cloud::settings(&address)?, scratch.to_owned());
            Ok(Box::new(move |name: &RepoName| -> Box<dyn Backend> {
                let below = Address { prefix: joined(&address.prefix, name.as_str()), ..address.clone() };
                Box::new(Bucket::new(below, settings.clone(), scratch.clone()))
            }))
        }
        Locator::Origin => Err(usage("in the repositories is where stores are without --store".into())),
    }
}

/// A name below a prefix of a bucket.
fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// One line of the log, on standard error.
fn log(line: &str) {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let (date, time) = calendar::utc(since.map_or(0, |since| since.as_secs() as i64));
    eprintln!("{date}T{time}Z {line}");
}

fn in_words(error: &ServeError) -> Failure {
    let failure = |kind| Failure::new(kind, error.to_string());
    match error {
        ServeError::Bare(_) => failure(Kind::Refused)
            .fix("give it a certificate: --tls-cert FILE --tls-key FILE; or, behind a proxy that has TLS: --insecure"),
        ServeError::Listen { .. } => failure(Kind::Fatal).fix("take another address: --listen ADDRESS"),
        ServeError::Tls { .. } => failure(Kind::Usage).fix("name PEM files that this user may read"),
        ServeError::Open(_) => failure(Kind::Usage).fix("mend that file, or take it away"),
        ServeError::Io(_) => failure(Kind::Fatal),
    }
}
