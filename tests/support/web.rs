//! One HTTP request as its bytes, so that a test can send what no client would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

pub const LFS_JSON: &str = "application/vnd.git-lfs+json";
const PATIENCE: Duration = Duration::from_secs(90);

/// A request that is being put together.
#[derive(Clone)]
pub struct Asking<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether as much came as was announced.
    pub whole: bool,
}

impl<'a> Asking<'a> {
    pub fn of_method(method: &'a str, path: &str) -> Asking<'a> {
        Asking { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(path: &str) -> Asking<'a> {
        Asking::of_method("GET", path)
    }

    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Asking<'a> {
        Asking::of_method("POST", path).body(body)
    }

    pub fn put(path: &str, body: impl Into<Vec<u8>>) -> Asking<'a> {
        Asking::of_method("PUT", path).body(body)
    }

    /// A question to the batch API, as git-lfs asks it.
    pub fn batch(repo: &str, operation: &str, transfer: &str, files: &[(String, u64)]) -> Asking<'a> {
        let objects: Vec<_> =
            files.iter().map(|(oid, size)| serde_json::json!({ "oid": oid, "size": size })).collect();
        let question =
            serde_json::json!({ "operation": operation, "transfers": [transfer], "objects": objects });
        Asking::post(&format!("/{repo}.git/info/lfs/objects/batch"), question.to_string()).lfs()
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Asking<'a> {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Asking<'a> {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn lfs(self) -> Asking<'a> {
        self.header("Accept", LFS_JSON).header("Content-Type", LFS_JSON)
    }

    pub fn bearer(self, token: &str) -> Asking<'a> {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn basic(self, token: &str) -> Asking<'a> {
        let pair = BASE64_STANDARD.encode(format!("any:{token}"));
        self.header("Authorization", &format!("Basic {pair}"))
    }

    /// The request's head and body.
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        let has = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            head.push_str("Host: test\r\n");
        }
        if !has("content-length") && !has("transfer-encoding") && self.method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it and waits for the answer's end.
    #[track_caller]
    pub fn of(&self, address: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may be refused before all of it is sent.
        let _ = stream.write_all(&self.bytes());
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        Answer::read(&raw, self.method == "HEAD")
            .unwrap_or_else(|| panic!("{} {}: no answer", self.method, self.path))
    }

    /// Sends only the first bytes of it and hangs up.
    pub fn broken_off(&self, address: SocketAddr, without: usize) {
        let mut stream = TcpStream::connect(address).expect("a server that listens");
        let bytes = self.bytes();
        stream.write_all(&bytes[..bytes.len() - without]).expect("sent");
    }
}

impl Answer {
    /// Reads an answer as it came over the wire.
    pub fn read(raw: &[u8], is_head: bool) -> Option<Answer> {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&raw[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let rest = &raw[end + 4..];
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let (body, whole) = if header("transfer-encoding").is_some() {
            dechunked(rest)
        } else {
            let len = header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0usize);
            (rest.to_vec(), is_head || rest.len() == len)
        };
        Some(Answer { status, headers, body, whole })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The path and query of a link in an answer of the batch API.
    #[track_caller]
    pub fn link(&self, action: &str) -> String {
        let answer = self.json();
        let href = answer["objects"][0]["actions"][action]["href"].as_str();
        let href = href.unwrap_or_else(|| panic!("no {action} in {answer}"));
        let path = href.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        path.expect("an address").to_owned()
    }

    /// Everything but the date, to compare two answers by.
    pub fn shown(&self) -> String {
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| name != "date").collect();
        headers.sort();
        format!("{} {headers:?} {}", self.status, self.text())
    }
}

fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        let Some(piece) = rest.get(end + 2..end + 2 + size) else { return (body, false) };
        body.extend_from_slice(piece);
        let Some(after) = rest.get(end + 4 + size..) else { return (body, false) };
        rest = after;
    }
}
