//! Other people's servers of buckets: SeaweedFS, which keeps real data, and those that imitate Amazon (moto) and Microsoft
//! (Azurite). `cargo xtask test` installs them below `target/bucket-servers`. Of those that imitate Google none was found
//! that takes uploads as `object_store` sends them.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use git_sparse::backend::bucket::{Bucket, Scheme, Settings};
use git_sparse::backend::{Area, Backend, Memory, Taken, probe};
use git_sparse::progress::unwatched;
use git_sparse::sync::{self, Remote};

use super::{PART, noise, pack};
use crate::support::proxy::Proxy;
use crate::support::samples::{assert_clean, fetch, fresh, keep_all, names, samples};

const PATIENCE: Duration = Duration::from_secs(60);
/// The account that Azurite has, and its key: both are public.
const ACCOUNT: [&str; 2] = [
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
];
/// Makes a container as that account; no program at hand signs such a request.
const MAKE_CONTAINER: &str = "
import base64, email.utils, hashlib, hmac, sys, urllib.request
url, account, key = sys.argv[1:]
date = email.utils.formatdate(usegmt=True)
text = 'PUT' + 12 * '\\n' + f'x-ms-date:{date}\\nx-ms-version:2021-08-06\\n/{account}/{account}/models\\nrestype:container'
signed = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {'x-ms-date': date, 'x-ms-version': '2021-08-06', 'Authorization': f'SharedKey {account}:{signed}'}
urllib.request.urlopen(urllib.request.Request(f'{url}/models?restype=container', method='PUT', headers=headers))
";

/// A server that ends with the test.
struct Server {
    process: Child,
    ports: Vec<String>,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a program on free ports, and waits until `make` made the bucket `models` at the first of them.
    fn start(
        program: &Path,
        arguments: impl Fn(&[String], &Path) -> Vec<String>,
        make: impl Fn(&Server) -> bool,
    ) -> Server {
        let directory = tempfile::tempdir().expect("a directory");
        let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |it: &TcpListener| it.local_addr().expect("an address").port().to_string();
        let ports: Vec<String> = listeners.iter().map(port).collect();
        drop(listeners);
        let log = File::create(directory.path().join("log")).expect("a file");
        let mut command = Command::new(program);
        command
            .args(arguments(&ports, directory.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let server = Server { process, ports, directory };
        let since = Instant::now();
        while !make(&server) {
            let log = std::fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
            assert!(since.elapsed() < PATIENCE, "{} does not start: {log}", program.display());
            std::thread::sleep(Duration::from_millis(200));
        }
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// Makes the bucket as anyone may at servers of S3.
    fn put_bucket(&self) -> bool {
        ureq::put(format!("{}/models", self.url())).send_empty().is_ok()
    }

    fn bucket(&self, address: &str, scheme: Scheme, variables: &[(&str, &str)]) -> Bucket {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let address = address.parse().expect("an address");
        Bucket::new(address, Settings::of(scheme, owned), self.directory.path().into())
    }

    /// A bucket of S3 at `endpoint`, with some more variables.
    fn s3(&self, endpoint: &str, more: &[(&str, &str)]) -> Bucket {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "thing"),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_REGION", "us-east-1"),
        ];
        self.bucket("s3://models/a/prefix", Scheme::S3, &[&variables, more].concat())
    }
}

/// A program that `cargo xtask test` installed; none, and a word about it, where that could not be.
fn installed(name: &str) -> Option<PathBuf> {
    let found = xtask::bucket_servers::program(name);
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed, see `cargo xtask test`");
    }
    found
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// What holds at one server holds at this one: conditions, ranges, files in parts, pushes and fetches.
fn keeps_a_store(make: impl Fn() -> Bucket) {
    let bucket = make();
    let found = probe::all(&bucket, 1);
    assert!(found.len() == 6 && found.iter().all(|found| found.failure.is_none()), "{found:#?}");
    let bytes = noise(9, 3 * PART + 77);
    let mut staged = bucket.create_as(pack(9)).expect("a file");
    staged.write_all(&bytes).expect("its bytes");
    staged.publish(pack(9), Taken::Replace).expect("its name");
    let end = bytes.len() as u64;
    assert!(bucket.read(pack(9), 0..end).expect("its bytes") == bytes);
    let tail = bucket.tail(pack(9), 1000).expect("its end").expect("a file");
    assert!(tail.bytes == bytes[bytes.len() - 1000..]);
    bucket.delete(pack(9)).expect("a deletion");
    assert_eq!(names(&bucket, Area::Packs), []);
    let (store, here) = (fresh(Memory::default()), fresh(Memory::default()));
    let files = samples();
    keep_all(&store, &files);
    let (mut there, mut elsewhere) = (Remote::new(Box::new(bucket)), Remote::new(Box::new(make())));
    for file in &files {
        sync::push(&store, &mut there, file.oid, &unwatched).expect("a push");
        assert!(fetch(&here, &mut elsewhere, file.oid).expect("the file") == file.bytes);
    }
    assert_clean(&here, "after fetching");
}

#[test]
fn seaweedfs_keeps_stores() {
    let Some(weed) = installed("weed") else { return };
    let arguments = |ports: &[String], dir: &Path| {
        let flags = ["-s3.port", "-master.port", "-volume.port", "-filer.port", "-master.port.grpc"];
        let flags = flags.into_iter().chain(["-volume.port.grpc", "-filer.port.grpc", "-s3.port.grpc"]);
        let ports = flags.zip(ports).map(|(flag, port)| format!("{flag}={port}"));
        let fixed = words(["server", "-ip=127.0.0.1", "-s3", "-filer", "-volume.max=20"]);
        fixed.into_iter().chain([format!("-dir={}", dir.display())]).chain(ports).collect()
    };
    let server = Server::start(&weed, arguments, Server::put_bucket);
    keeps_a_store(|| server.s3(&server.url(), &[]));
}

#[test]
fn moto_keeps_stores() {
    let Some(moto) = installed("moto_server") else { return };
    let arguments = |ports: &[String], _: &Path| words(["-H", "127.0.0.1", "-p", &ports[0]]);
    let server = Server::start(&moto, arguments, Server::put_bucket);
    keeps_a_store(|| server.s3(&server.url(), &[]));
}

/// Moto behind a network and a gate that do to it what Amazon's may do: connections cut at every stage, in both directions,
/// slow, and busy. Pushes and fetches end well, at once or with the next try, and nothing is lost.
#[test]
fn moto_behind_a_bad_network_loses_nothing() {
    let Some(moto) = installed("moto_server") else { return };
    let arguments = |ports: &[String], _: &Path| words(["-H", "127.0.0.1", "-p", &ports[0]]);
    let server = Server::start(&moto, arguments, Server::put_bucket);
    let proxy = Proxy::before(&[format!("127.0.0.1:{}", server.ports[0]).parse().expect("an address")]);
    let files = samples();
    let bad: [(&str, &dyn Fn()); 7] = [
        ("cut on the way up", &|| proxy.cut(true, 150_000, 6)),
        ("cut on the way down", &|| proxy.cut(false, 150_000, 6)),
        ("503", &|| ["PUT /", "GET /", "HEAD /"].iter().for_each(|part| proxy.refuse(part, 3, 503))),
        ("500", &|| ["PUT /", "GET /", "HEAD /"].iter().for_each(|part| proxy.refuse(part, 3, 500))),
        ("429", &|| ["PUT /", "GET /", "HEAD /"].iter().for_each(|part| proxy.refuse(part, 3, 429))),
        ("slow", &|| proxy.slow(1_500_000)),
        ("late", &|| proxy.delay(40)),
    ];
    for (at, (what, begin)) in bad.into_iter().enumerate() {
        let place = format!("s3://models/{at}");
        let bucket = || {
            let variables = [
                ("AWS_ACCESS_KEY_ID", "any"),
                ("AWS_SECRET_ACCESS_KEY", "thing"),
                ("AWS_ENDPOINT_URL", proxy.url.as_str()),
                ("AWS_REGION", "us-east-1"),
            ];
            Box::new(server.bucket(&place, Scheme::S3, &variables))
        };
        let (store, here) = (fresh(Memory::default()), fresh(Memory::default()));
        keep_all(&store, &files);
        begin();
        for file in &files {
            well(what, || sync::push(&store, &mut Remote::new(bucket()), file.oid, &unwatched).map(drop));
        }
        begin();
        for file in &files {
            well(what, || {
                fetch(&here, &mut Remote::new(bucket()), file.oid).map(|found| assert!(found == file.bytes))
            });
        }
        proxy.cut(true, u64::MAX, 0);
        proxy.forget_refusals();
        proxy.slow(0);
        proxy.delay(0);
        assert_clean(&here, what);
        assert_clean(&fresh(*bucket()), what);
    }
}

/// Tries a few times, as people do.
#[track_caller]
fn well<E: std::fmt::Display>(what: &str, mut work: impl FnMut() -> Result<(), E>) {
    let mut told = String::new();
    for _ in 0..4 {
        match work() {
            Ok(()) => return,
            Err(error) => told.push_str(&format!("{error}\n")),
        }
    }
    panic!("{what}: it never ends well:\n{told}");
}

/// A server with a certificate of its own is trusted where `AWS_CA_BUNDLE` says so, and only there.
#[test]
fn certificates_of_ones_own_are_trusted_if_asked_for() {
    let Some(moto) = installed("moto_server") else { return };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = tempfile::tempdir().expect("a directory");
    let [certificate, key, none] = ["certificate", "key", "none"].map(|name| files.path().join(name));
    std::fs::write(&certificate, own.cert.pem()).expect("written");
    std::fs::write(&key, own.signing_key.serialize_pem()).expect("written");
    std::fs::write(&none, "no certificate").expect("written");
    let path = |path: &Path| path.to_str().expect("because a test's paths are UTF-8").to_owned();
    let [certificate, key, none] = [path(&certificate), path(&key), path(&none)];
    let arguments = |ports: &[String], _: &Path| {
        words(["-H", "127.0.0.1", "-p", &ports[0], "-c", &certificate, "-k", &key])
    };
    let asked = |server: &Server, bundle: &[(&str, &str)]| {
        server.s3(&format!("https://localhost:{}", server.ports[0]), bundle).list(Area::Packs)
    };
    let bundle = [("AWS_CA_BUNDLE", certificate.as_str())];
    // There is no bucket, which only somebody hears who is through.
    let through = |server: &Server| {
        asked(server, &bundle).is_err_and(|error| error.to_string().contains("NoSuchBucket"))
    };
    let server = Server::start(&moto, arguments, through);
    let told = asked(&server, &[]).expect_err("a stranger's certificate passed").to_string();
    assert!(told.to_lowercase().contains("certificate"), "{told}");
    let told = asked(&server, &[("AWS_CA_BUNDLE", &none)]).expect_err("no certificates passed").to_string();
    assert!(told.contains("AWS_CA_BUNDLE"), "{told}");
}

#[test]
fn azurite_keeps_stores() {
    let Some(azurite) = installed("azurite-blob") else { return };
    let arguments = |ports: &[String], dir: &Path| {
        let fixed = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"];
        let location = dir.display().to_string();
        [words(fixed), words(["--blobPort", &ports[0], "--location", &location])].concat()
    };
    let endpoint = |server: &Server| format!("{}/{}", server.url(), ACCOUNT[0]);
    let make = |server: &Server| {
        let mut python = Command::new("python3");
        python.args(["-c", MAKE_CONTAINER, &endpoint(server)]).args(ACCOUNT).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    };
    let server = Server::start(&azurite, arguments, make);
    let endpoint = endpoint(&server);
    let variables = [
        ("AZURE_STORAGE_ENDPOINT", endpoint.as_str()),
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT[0]),
        ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT[1]),
    ];
    keeps_a_store(|| server.bucket("az://models/a/prefix", Scheme::Az, &variables));
}
