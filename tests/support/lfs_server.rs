//! A plain Git LFS server on this machine: batch, `basic` down and up, over real HTTP, with files that can be lost.
//! What it was asked can be counted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use git_sparse::id::Oid;
use serde_json::{Value, json};

const MEDIA: &str = "application/vnd.git-lfs+json";

/// A server on a port of its own, until the process ends.
#[derive(Clone)]
pub struct LfsServer {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    sent: usize,
    received: usize,
    /// How many more files it sends before it breaks every connection; none: it never does.
    breaks_after: Option<usize>,
    delay: Duration,
}

impl LfsServer {
    pub fn serve() -> LfsServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/org/model.git/info/lfs", listener.local_addr().unwrap());
        let server = LfsServer { url, state: Arc::default() };
        let served = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = served.clone();
                thread::spawn(move || server.answer(&stream));
            }
        });
        server
    }

    /// The oids of what it has.
    pub fn has(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// It has this file no more.
    pub fn lose(&self, oid: &str) {
        self.state.lock().unwrap().objects.remove(oid).expect("a file that was there");
    }

    /// It has other bytes under this name.
    pub fn damage(&self, oid: &str) {
        *self.state.lock().unwrap().objects.get_mut(oid).expect("a file").last_mut().expect("a byte") ^= 1;
    }

    /// After so many files more every connection breaks; none: never again.
    pub fn break_after(&self, files: Option<usize>) {
        self.state.lock().unwrap().breaks_after = files;
    }

    /// Each file takes so long.
    pub fn slow_down(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Files that were sent and received since the last time.
    pub fn moved(&self) -> (usize, usize) {
        let mut state = self.state.lock().unwrap();
        (std::mem::take(&mut state.sent), std::mem::take(&mut state.received))
    }

    /// One request a connection; none where the connection breaks.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.by_ref().take(16 << 10).read_line(&mut line).ok().filter(|read| *read > 0)?;
            Some(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        while let Some(header) = line().filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(": ")?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if self.state.lock().unwrap().breaks_after == Some(0) {
            return None;
        }
        let oid = path.rsplit('/').next()?.to_owned();
        let (status, body) = match method.as_str() {
            "POST" if path.ends_with("/objects/batch") => (200, self.batch(&body)?),
            "GET" => self.send(&oid)?,
            "PUT" => self.receive(oid, body),
            _ => (404, b"{\"message\":\"not here\"}".to_vec()),
        };
        let kind = if method == "GET" { "application/octet-stream" } else { MEDIA };
        let head = format!(
            "HTTP/1.1 {status} as told\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&body).ok()
    }

    fn batch(&self, body: &[u8]) -> Option<Vec<u8>> {
        let asked: Value = serde_json::from_slice(body).ok()?;
        let is_download = asked["operation"] == "download";
        let state = self.state.lock().unwrap();
        let answer = |object: &Value| {
            let oid = object["oid"].as_str()?;
            let mut answer = json!({ "oid": oid, "size": object["size"], "authenticated": true });
            let href = json!({ "href": format!("{}/objects/{oid}", self.url) });
            match (is_download, state.objects.contains_key(oid)) {
                (true, true) => answer["actions"] = json!({ "download": href }),
                (true, false) => answer["error"] = json!({ "code": 404, "message": "Object does not exist" }),
                (false, true) => {}
                (false, false) => answer["actions"] = json!({ "upload": href }),
            }
            Some(answer)
        };
        let objects: Vec<_> = asked["objects"].as_array()?.iter().filter_map(answer).collect();
        Some(json!({ "transfer": "basic", "objects": objects }).to_string().into_bytes())
    }

    fn send(&self, oid: &str) -> Option<(u16, Vec<u8>)> {
        let mut state = self.state.lock().unwrap();
        let Some(bytes) = state.objects.get(oid).cloned() else { return Some((404, Vec::new())) };
        state.breaks_after = match state.breaks_after {
            Some(0) => return None,
            left => left.map(|left| left - 1),
        };
        state.sent += 1;
        let delay = state.delay;
        drop(state);
        thread::sleep(delay);
        Some((200, bytes))
    }

    fn receive(&self, oid: String, body: Vec<u8>) -> (u16, Vec<u8>) {
        if Oid::of(&body).to_string() != oid {
            return (422, b"{\"message\":\"another hash\"}".to_vec());
        }
        let mut state = self.state.lock().unwrap();
        state.received += 1;
        let delay = state.delay;
        state.objects.insert(oid, body);
        drop(state);
        thread::sleep(delay);
        (200, Vec::new())
    }
}
