//! The client of a bucket, made from the user's own configuration and from nothing that a repository says.

use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::address::{Address, Scheme};
use super::error::unusable;
use super::process::Process;
use super::profile::PROCESS;
use super::settings::Settings;

/// One request with all its bytes; a part of 8 MiB takes that long at 0.5 Mbit/s.
const REQUEST: Duration = Duration::from_secs(180);
const CONNECT: Duration = Duration::from_secs(10);
/// From here on, a request that failed is not tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: usize = 5;
const MAX_CERTIFICATES_BYTES: u64 = 8 << 20;

type Result<T, E = object_store::Error> = std::result::Result<T, E>;

/// The same bucket in the ways that it is spoken to.
pub(super) struct Connection {
    /// Requests that failed are tried again.
    pub store: Arc<dyn ObjectStore>,
    pub parts: Arc<dyn MultipartStore>,
    /// Each request is made once: whether the first try took effect decides what the second one means.
    pub once: Arc<dyn ObjectStore>,
}

impl Connection {
    fn new<S: ObjectStore + MultipartStore>(make: impl Fn(RetryConfig) -> Result<S>) -> Result<Connection> {
        let store = Arc::new(make(retries(TRIES))?);
        Ok(Connection { store: store.clone(), parts: store, once: Arc::new(make(retries(0))?) })
    }
}

/// Makes the client; nothing is asked of the server yet.
pub(super) fn connect(address: &Address, settings: &Settings) -> io::Result<Connection> {
    // One provider for the process; who comes second finds the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = match address.scheme {
        Scheme::S3 => amazon(address, settings)?,
        Scheme::Gs => google(address, settings)?,
        Scheme::Az => azure(address, settings)?,
    };
    made.map_err(|error| {
        let fix = match address.scheme {
            Scheme::S3 => "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION",
            Scheme::Gs => "see GOOGLE_SERVICE_ACCOUNT, or: gcloud auth application-default login",
            Scheme::Az => "see AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        };
        unusable(address.to_string(), format!("your configuration can't be used: {error}"), fix)
    })
}

fn amazon(address: &Address, settings: &Settings) -> io::Result<Result<Connection>> {
    let endpoint = settings.get("AWS_ENDPOINT_URL_S3").or(settings.get("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.or(settings.get("AWS_ENDPOINT")).unwrap_or_default();
    let mut client = covered(address, settings, endpoint, "AWS_ALLOW_HTTP")?;
    if let Some(path) = settings.get("AWS_CA_BUNDLE") {
        for certificate in certificates(path).map_err(|why| {
            let fix = "set AWS_CA_BUNDLE to a file with certificates in PEM";
            unusable(address.to_string(), format!("AWS_CA_BUNDLE, {path}: {why}"), fix)
        })? {
            client = client.with_root_certificate(certificate);
        }
    }
    let builder = AmazonS3Builder::new().with_client_options(client).with_disable_bulk_delete(true);
    let builder = configured(settings, builder, |builder, key: AmazonS3ConfigKey, value| {
        builder.with_config(key, value)
    });
    let builder = builder.with_bucket_name(&address.bucket);
    let builder = match settings.get(PROCESS) {
        Some(command) => builder.with_credentials(Arc::new(Process::new(command, settings.variables()))),
        None => builder,
    };
    Ok(Connection::new(|retry| builder.clone().with_retry(retry).build()))
}

fn google(address: &Address, settings: &Settings) -> io::Result<Result<Connection>> {
    let endpoint = settings.get("GOOGLE_BASE_URL").unwrap_or_default();
    let client = covered(address, settings, endpoint, "GOOGLE_ALLOW_HTTP")?;
    let builder = GoogleCloudStorageBuilder::new().with_client_options(client);
    let builder = match settings.get("SERVICE_ACCOUNT") {
        Some(path) => builder.with_service_account_path(path),
        None => builder,
    };
    let builder =
        configured(settings, builder, |builder, key: GoogleConfigKey, value| builder.with_config(key, value));
    let builder = builder.with_bucket_name(&address.bucket);
    Ok(Connection::new(|retry| builder.clone().with_retry(retry).build()))
}

fn azure(address: &Address, settings: &Settings) -> io::Result<Result<Connection>> {
    let endpoint = settings.get("AZURE_STORAGE_ENDPOINT").or(settings.get("AZURE_ENDPOINT"));
    let client = covered(address, settings, endpoint.unwrap_or_default(), "AZURE_ALLOW_HTTP")?;
    let builder = MicrosoftAzureBuilder::new().with_client_options(client);
    let builder = match settings.get("IDENTITY_ENDPOINT") {
        Some(endpoint) => builder.with_msi_endpoint(endpoint),
        None => builder,
    };
    let builder =
        configured(settings, builder, |builder, key: AzureConfigKey, value| builder.with_config(key, value));
    let builder = builder.with_container_name(&address.bucket);
    Ok(Connection::new(|retry| builder.clone().with_retry(retry).build()))
}

/// Options for an endpoint that is encrypted, does not leave the machine, or is allowed to be neither.
fn covered(
    address: &Address,
    settings: &Settings,
    endpoint: &str,
    allowing: &str,
) -> io::Result<ClientOptions> {
    let Some(host) = endpoint.strip_prefix("http://") else { return Ok(options()) };
    // What does not leave the machine needs no cover.
    let is_no = |value: &str| ["false", "0", "no", "off"].contains(&value.to_ascii_lowercase().as_str());
    if is_loopback(host) || settings.get(allowing).is_some_and(|value| !is_no(value)) {
        return Ok(options().with_allow_http(true));
    }
    let host = host.rsplit('@').next().unwrap_or_default();
    let why = format!("the endpoint http://{host:.80} is not encrypted");
    let fix = match address.scheme {
        Scheme::S3 => "use its https:// address, or set AWS_ALLOW_HTTP=true if the network is yours",
        Scheme::Gs => "use its https:// address, or set GOOGLE_ALLOW_HTTP=true if the network is yours",
        Scheme::Az => "use its https:// address, or set AZURE_ALLOW_HTTP=true if the network is yours",
    };
    Err(unusable(address.to_string(), why, fix))
}

/// The certificates in a PEM file, which are trusted beside the system's.
fn certificates(path: &str) -> Result<Vec<Certificate>, String> {
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_CERTIFICATES_BYTES).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
    if found.is_empty() { Err("no certificate is in it".into()) } else { Ok(found) }
}

/// The builder with all settings that it knows; the others are for other programs.
fn configured<B, K: FromStr>(settings: &Settings, builder: B, set: impl Fn(B, K, &str) -> B) -> B {
    settings.iter().fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
        Ok(key) => set(builder, key, value),
        Err(_) => builder,
    })
}

fn options() -> ClientOptions {
    let agent = http_agent();
    ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT).with_user_agent(agent)
}

fn http_agent() -> reqwest::header::HeaderValue {
    let agent = concat!("git-sparse/", env!("CARGO_PKG_VERSION"));
    reqwest::header::HeaderValue::from_static(agent)
}

fn retries(max_retries: usize) -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries, retry_timeout: PATIENCE }
}

fn is_loopback(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys must not cross a network in the clear because an address looks like one that is near.
    #[test]
    fn only_this_machine_is_near() {
        for near in ["127.0.0.1:9000", "localhost/x", "[::1]:9000", "127.9.9.9"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in
            ["127.0.0.1.example.org", "localhost.example:80", "u@127.0.0.1:80", "10.0.0.1", "[fe80::1]", ""]
        {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
