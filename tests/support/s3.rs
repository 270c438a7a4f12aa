//! An S3 server in the test's own process, over a directory: real requests, signatures and multipart
//! uploads, with faults on demand. What it was asked can be read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use git_sparse::backend::bucket::{Address, Bucket, Scheme, Settings};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The keys that the server knows. The secret one must be in nothing that anybody reads.
pub const KEY: &str = "AKIDTESTTESTTEST";
pub const SECRET: &str = "canary0secret0canary0secret0canary0secret";
/// The bucket that is there.
pub const BUCKET: &str = "models";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// This status instead of an answer.
    Status(u16),
    /// The answer comes, but late.
    Slow(Duration),
    /// The connection ends before anything is answered, the request having been read in part.
    Cut,
    /// The connection ends in the middle of the answer.
    CutAnswer,
    /// The work is done, and the connection ends before the answer.
    Lost,
    /// A byte of the answer is another.
    Flip,
    /// The answer is longer than what was asked for.
    More,
    /// The answer to an upload has no MD5.
    OtherTag,
}

/// Which requests a fault meets.
#[derive(Debug, Clone, Copy)]
pub struct Meets {
    /// The method; all when empty.
    pub method: &'static str,
    /// Part of the path with its query.
    pub path: &'static str,
    /// Of those, each so-manieth.
    pub every: usize,
    /// No more of them than these.
    pub most: usize,
}

/// All requests.
pub const ALL: Meets = Meets { method: "", path: "", every: 1, most: usize::MAX };

#[derive(Default)]
struct State {
    asked: Vec<String>,
    faults: Vec<(Meets, Fault, usize, usize)>,
    /// `If-None-Match` is passed over.
    ignores_conditions: bool,
}

/// A server on a port of its own.
pub struct S3 {
    pub endpoint: String,
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    runtime: Runtime,
}

impl S3 {
    pub fn serve() -> S3 {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join(BUCKET)).expect("a bucket");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).expect("a directory"));
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let root = dir.path().to_owned();
        let server = Server { s3: builder.build(), state: Arc::default(), root, conditional: Arc::default() };
        let state = server.state.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| server.clone().answer(request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer)
                        .await;
                });
            }
        });
        S3 { endpoint, dir, state, runtime }
    }

    /// What a user of this server has in the environment.
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// The bucket, below `prefix`, as a backend.
    pub fn bucket(&self, prefix: &str) -> Bucket {
        self.bucket_with(&format!("s3://{BUCKET}/{prefix}"), &[])
    }

    /// Any bucket, with other settings than the user's.
    pub fn bucket_with(&self, address: &str, other: &[(&str, &str)]) -> Bucket {
        let address: Address = address.parse().expect("an address");
        let all: BTreeMap<_, _> = self.variables().into_iter().chain(other.iter().copied()).collect();
        let owned = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::of(Scheme::S3, owned);
        Bucket::new(address, settings, self.dir.path().join(".scratch"))
    }

    /// Does `work` where servers do what waits: on a thread that a runtime lends for it.
    pub fn on_a_blocking_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.runtime.block_on(async { tokio::task::spawn_blocking(work).await }).expect("no panic")
    }

    /// Where the server keeps the files of the bucket.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join(BUCKET)
    }

    /// Parts of files that were neither completed nor aborted.
    pub fn unfinished(&self) -> usize {
        let entries = fs::read_dir(self.dir.path()).expect("a directory").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains("upload_id")).count()
    }

    /// From now on, `fault` meets the requests that it is for.
    pub fn fail(&self, meets: Meets, fault: Fault) {
        self.state.lock().unwrap().faults.push((meets, fault, 0, 0));
    }

    /// All is well again.
    pub fn recover(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    pub fn ignore_conditions(&self) {
        self.state.lock().unwrap().ignores_conditions = true;
    }

    /// What was asked since the last time: `METHOD /path?query`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

#[derive(Clone)]
struct Server {
    s3: S3Service,
    state: Arc<Mutex<State>>,
    root: PathBuf,
    /// s3s-fs looks whether a name is free and then writes; a real server does both at once.
    conditional: Arc<tokio::sync::Mutex<()>>,
}

type Answer = Result<Response<s3s::Body>, std::io::Error>;

impl Server {
    async fn answer(self, request: Request<Incoming>) -> Answer {
        let (fault, ignores) = self.note(&request);
        let is_conditional = request.headers().contains_key("if-none-match");
        let _alone = if is_conditional { Some(self.conditional.lock().await) } else { None };
        if ignores && is_conditional {
            let path = request.uri().path().trim_start_matches('/');
            // As if the server had not read the header.
            let _ = fs::remove_file(self.root.join(Path::new(path)));
        }
        let gone = || std::io::Error::other("the connection ends here");
        match fault {
            Some(Fault::Status(status)) => return Ok(refusal(status)),
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            Some(Fault::Cut) => {
                let _ = request.into_body().frame().await;
                return Err(gone());
            }
            _ => {}
        }
        let answer = self.s3.call(request.map(s3s::Body::from)).await;
        let answer = answer.map_err(|_| std::io::Error::other("no answer"))?;
        match fault {
            Some(Fault::Lost) => Err(gone()),
            Some(Fault::OtherTag) => Ok(with_other_tag(answer)),
            Some(fault @ (Fault::CutAnswer | Fault::Flip | Fault::More)) => Ok(spoil(answer, fault).await),
            _ => Ok(answer),
        }
    }

    fn note(&self, request: &Request<Incoming>) -> (Option<Fault>, bool) {
        let mut state = self.state.lock().unwrap();
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        state.asked.push(format!("{} {path}", request.method()));
        let mut found = None;
        for (meets, fault, seen, met) in &mut state.faults {
            let is_for = request.method().as_str().starts_with(meets.method) && path.contains(meets.path);
            *seen += usize::from(is_for);
            if is_for && *seen % meets.every == 0 && *met < meets.most {
                *met += 1;
                found = found.or(Some(*fault));
            }
        }
        (found, state.ignores_conditions && request.method() == Method::PUT)
    }
}

fn refusal(status: u16) -> Response<s3s::Body> {
    let code = match status {
        403 => "AccessDenied",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{SECRET}</Message></Error>");
    let mut response = Response::new(s3s::Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

fn with_other_tag(mut answer: Response<s3s::Body>) -> Response<s3s::Body> {
    answer.headers_mut().insert("etag", hyper::header::HeaderValue::from_static("\"opaque\""));
    answer
}

async fn spoil(answer: Response<s3s::Body>, fault: Fault) -> Response<s3s::Body> {
    let (mut parts, body) = answer.into_parts();
    let mut bytes = body.collect().await.map(|all| all.to_bytes().to_vec()).unwrap_or_default();
    let half = bytes.len() / 2;
    if fault == Fault::Flip {
        if let Some(byte) = bytes.get_mut(half) {
            *byte ^= 1;
        }
        return Response::from_parts(parts, s3s::Body::from(bytes));
    }
    if fault == Fault::More {
        bytes.extend_from_slice(&[7; 100_000]);
        parts.headers.remove("content-length");
        return Response::from_parts(parts, s3s::Body::from(bytes));
    }
    bytes.truncate(half);
    let first: Result<_, std::io::Error> = Ok(Frame::data(Bytes::from(bytes)));
    let then = Err(std::io::Error::other("cut"));
    let body = StreamBody::new(futures_util::stream::iter([first, then]));
    Response::from_parts(parts, s3s::Body::http_body(body))
}
