//! Models of a Hugging Face hub, as this user has set it up: cache, endpoint, token, offline.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::hub::{
    Cache, Client, DownloadError, FetchError, HttpError, Hub, Listing, ListingError, ModelName, NoSnapshot,
    Snapshot, fetch,
};

/// The hub that is asked where `HF_ENDPOINT` names no other.
const PUBLIC_HUB: &str = "https://huggingface.co";
/// Missing files that are named.
const MOST_NAMED: usize = 3;

/// The snapshot that a name means: one that the cache has, or one that is fetched into it.
pub fn find(name: &ModelName) -> Result<Snapshot, Failure> {
    let told = format!("{}: no such file or directory", name.name());
    let cache = cache().ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("{told}, and no cache of models: HOME is not set"))
    })?;
    let missing = match cache.find(name) {
        Ok(found) => {
            tell_of_missing(name, &found);
            return Ok(found);
        }
        Err(why) => not_cached(name, &why),
    };
    if !name.has_owner() {
        return Err(Failure::new(Kind::NotFound, told)
            .fix("name a file, a directory, REV:PATH in a repository, or org/name[@revision] of a hub"));
    }
    if is_offline() {
        return Err(Failure::new(
            Kind::NotFound,
            format!("{told}, and {missing}; HF_HUB_OFFLINE forbids to ask the hub"),
        )
        .fix("set HF_HUB_OFFLINE=0 to fetch it"));
    }
    let client = Client::new(&settings()?).map_err(|error| unanswered(name, None, &error))?;
    bring(&client, &cache, name)
}

fn bring(client: &Client, cache: &Cache, name: &ModelName) -> Result<Snapshot, Failure> {
    let listing = watch::here("ask the hub", |progress| Listing::ask(client, name, progress));
    let listing = listing.map_err(|error| not_listed(client, name, &error))?;
    let size: u64 = listing.files.iter().filter_map(|file| file.size).sum();
    report::note(&format!(
        "fetching {} at {:.12} from {}: {}, {}",
        name.name(),
        listing.commit,
        client.endpoint(),
        report::count(listing.files.len(), "file"),
        report::bytes(size)
    ));
    let done = watch::here("fetch", |progress| fetch(client, cache, name, &listing, progress));
    done.map_err(|error| not_fetched(client, name, &error))
}

/// What the cache has is used as it is: who fetched a part of a model may have wanted no more.
fn tell_of_missing(name: &ModelName, found: &Snapshot) {
    if !found.missing.is_empty() {
        let named: Vec<_> = found.missing.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = if found.missing.len() > MOST_NAMED { ", …" } else { "" };
        report::note(&format!(
            "{}: the cache has not all of its files; without {}{more}",
            name.name(),
            named.join(", ")
        ));
    }
}

fn not_cached(name: &ModelName, why: &NoSnapshot) -> String {
    match why {
        NoSnapshot::Unknown(place) => format!("no such model in the hub's cache ({})", place.display()),
        NoSnapshot::OtherRevisions(known) => {
            let known = if known.is_empty() { "no revision".into() } else { known.join(", ") };
            format!("the hub's cache does not have {} of it alone (it has: {known})", name.revision())
        }
    }
}

fn not_listed(client: &Client, name: &ModelName, error: &ListingError) -> Failure {
    match error {
        ListingError::Http(error) => unanswered(name, Some(client), error),
        ListingError::Unread { .. } | ListingError::TooLong { .. } => {
            Failure::new(Kind::Remote, error.to_string()).fix("is HF_ENDPOINT the address of a hub?")
        }
        ListingError::Path { .. } | ListingError::Twice { .. } => {
            Failure::new(Kind::Refused, error.to_string())
                .fix("nothing was fetched; tell whoever owns the model")
        }
    }
}

fn not_fetched(client: &Client, name: &ModelName, error: &FetchError) -> Failure {
    let message = format!("{}: {error}", name.name());
    let full = "make room, or set HF_HUB_CACHE to a directory on another disk; what came is kept";
    let system = |error: &io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Kind::Fatal, message.clone()).fix(full)
        }
        kind => words::with_io_fix(Failure::new(Kind::Fatal, message.clone()), kind),
    };
    match error {
        FetchError::NoRoom { .. } => Failure::new(Kind::Refused, message).fix(full),
        FetchError::Cache { error, .. } => system(error),
        FetchError::Download(error) => match error {
            DownloadError::Http { error, .. } => unanswered(name, Some(client), error),
            DownloadError::Write { error, .. } => system(error),
            DownloadError::Cancelled(_) => interrupted(),
            DownloadError::Broken { .. } => {
                Failure::new(Kind::Remote, message).fix("try again: it goes on where it broke")
            }
            DownloadError::Hash { .. }
            | DownloadError::TooMuch { .. }
            | DownloadError::Contradiction { .. } => Failure::new(Kind::Corrupt, message)
                .fix("nothing of it was kept; try again, or another HF_ENDPOINT"),
            DownloadError::Unnamed { .. } | DownloadError::Unsized { .. } => {
                Failure::new(Kind::Remote, message).fix("is HF_ENDPOINT the address of a hub?")
            }
        },
    }
}

fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; the files that came are kept, and the next run goes on")
}

/// Why a hub gave no answer, with what to do.
fn unanswered(name: &ModelName, client: Option<&Client>, error: &HttpError) -> Failure {
    let (endpoint, known) =
        client.map_or((PUBLIC_HUB, false), |client| (client.endpoint(), client.has_token()));
    let model = name.name();
    let log_in = "hf auth login, or set HF_TOKEN";
    let HttpError::Status { status, code, retry_after, .. } = error else {
        let message = error.to_string();
        return match error {
            HttpError::Cancelled(_) => interrupted(),
            HttpError::Endpoint(_) => Failure::new(Kind::Usage, message).fix("set HF_ENDPOINT, or unset it"),
            HttpError::Token => Failure::new(Kind::Usage, message).fix(log_in),
            HttpError::Certificates(_) => Failure::new(Kind::Usage, message)
                .fix("name a file of PEM certificates, or unset SSL_CERT_FILE"),
            HttpError::Unreachable { .. } => Failure::new(Kind::Remote, format!("{model}: {message}")).fix(
                "check the network, HF_ENDPOINT, HTTPS_PROXY and SSL_CERT_FILE; or name a directory with the model",
            ),
            _ => Failure::new(Kind::Remote, message),
        };
    };
    let code = code.as_deref().unwrap_or_default();
    match (status, code) {
        (_, "GatedRepo") | (403, _) => {
            let told =
                format!("{model}: its owner gives access on request only, and you have none ({status})");
            let ask = format!("ask for it at {endpoint}/{model}");
            Failure::new(Kind::Refused, told).fix(if known { ask } else { format!("{ask}, then: {log_in}") })
        }
        (_, "RevisionNotFound") => {
            Failure::new(Kind::NotFound, format!("{model}: it has no revision {}", name.revision()))
                .fix(format!("look: {endpoint}/{model}/commits/main"))
        }
        (404, "EntryNotFound") => Failure::new(Kind::Remote, error.to_string()).fix("try again"),
        (401 | 404, _) => {
            let told = format!(
                "{model}: no such file or directory, and no such model at {endpoint}, or a private one ({status})"
            );
            let fix = match (known, status) {
                (true, 401) => format!("check the name, and whether your token is still good: {log_in}"),
                (true, _) => "check the name, and whether your token may see it".into(),
                (false, _) => format!("check the name; if it is private: {log_in}"),
            };
            Failure::new(Kind::NotFound, told).fix(fix)
        }
        (429, _) => {
            let wait = retry_after.map_or("a while".into(), |seconds| format!("{seconds} seconds"));
            Failure::new(Kind::Remote, format!("{model}: the hub has had too many requests from here (429)"))
                .fix(format!("wait {wait}, then try again: it goes on where it was"))
        }
        (500.., _) => Failure::new(Kind::Remote, error.to_string())
            .fix("the hub has trouble; try again later: it goes on where it was"),
        _ => Failure::new(Kind::Remote, error.to_string()),
    }
}

/// A variable that is set to something.
fn set(key: &str) -> Option<String> {
    env::var(key).ok().filter(|value| !value.is_empty())
}

fn place(key: &str) -> Option<PathBuf> {
    let value = env::var_os(key).filter(|value| !value.is_empty())?;
    match value.to_str().and_then(|value| value.strip_prefix("~/")) {
        Some(below) => Some(PathBuf::from(env::var_os("HOME")?).join(below)),
        None => Some(value.into()),
    }
}

fn home() -> Option<PathBuf> {
    let xdg =
        || Some(place("XDG_CACHE_HOME").or_else(|| Some(place("HOME")?.join(".cache")))?.join("huggingface"));
    place("HF_HOME").or_else(xdg)
}

/// Where huggingface_hub keeps its cache, by its own variables.
fn cache() -> Option<Cache> {
    let own = place("HF_HUB_CACHE").or_else(|| place("HUGGINGFACE_HUB_CACHE"));
    Some(Cache::at(own.or_else(|| Some(home()?.join("hub")))?))
}

fn is_on(key: &str) -> Option<bool> {
    set(key).map(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}

fn is_offline() -> bool {
    is_on("HF_HUB_OFFLINE").or_else(|| is_on("TRANSFORMERS_OFFLINE")).unwrap_or(false)
}

fn settings() -> Result<Hub, Failure> {
    let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| PUBLIC_HUB.into());
    let certificates = place("SSL_CERT_FILE").map(|path| {
        fs::read(&path).map_err(|error| words::file(&path, &error).fix("SSL_CERT_FILE names it"))
    });
    Ok(Hub {
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        token: token(),
        certificates: certificates.transpose()?,
    })
}

/// The user's token, by the variables and the file of huggingface_hub.
fn token() -> Option<String> {
    let clean = |token: String| Some(token.trim().to_owned()).filter(|token| !token.is_empty());
    let given = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).and_then(clean);
    if given.is_some() || is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") == Some(true) {
        return given;
    }
    let file = place("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
    fs::read_to_string(file).ok().and_then(clean)
}
