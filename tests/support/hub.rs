//! A Hugging Face hub on this machine: the paths and headers that `huggingface_hub` asks for, over real HTTP,
//! with faults on demand. What it was asked can be read back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The commit of every model here.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

/// What happens to the next request whose path has this in it.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status, and headers (a line each) with it.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// One bit of the body is another one.
    Flip,
    /// Files are called this in listings.
    Named(&'static str),
    /// Files have this size in listings.
    Sized(u64),
    /// The body takes its time.
    Slow,
    /// The body is on this other host.
    Elsewhere(String),
    /// `Range` is passed over: all of it comes.
    Whole,
}

/// One file: with Git LFS, or by git itself.
#[derive(Clone)]
struct File {
    bytes: Vec<u8>,
    sha256: String,
    git: String,
    lfs: bool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    asked: Vec<Asked>,
    faults: Vec<(String, Fault)>,
    /// What a request must bring.
    token: Option<String>,
}

/// A server on a port of its own, until the process ends.
#[derive(Clone)]
pub struct Hub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Serves `org/tiny` at `main`, `v1` and `COMMIT`, with these files; those above 1 KiB as Git LFS objects.
    pub fn serve(files: Vec<(String, Vec<u8>)>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = files.into_iter().map(|(path, bytes)| (path, File::of(bytes)));
        let state = State { files: kept.collect(), ..State::default() };
        let hub = Hub { endpoint, state: Arc::new(Mutex::new(state)) };
        let served = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = served.clone();
                thread::spawn(move || while hub.answer(&stream).is_some() {});
            }
        });
        hub
    }

    /// From now on, only who brings this token is answered.
    pub fn ask_for_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.into());
    }

    /// Something goes wrong at the next request whose path has `part` in it.
    pub fn fail(&self, part: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((part.into(), fault));
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

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
        let mut asked = Asked { method, path, range: None, token: None };
        while let Some(header) = line().filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(": ")?;
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = value.strip_prefix("bytes=").map(str::to_owned),
                "authorization" => asked.token = value.strip_prefix("Bearer ").map(str::to_owned),
                _ => {}
            }
        }
        let (fault, refused) = self.note(&asked);
        let reply = match (refused, &fault) {
            (true, _) => {
                Reply::status(401, "X-Error-Code: RepoNotFound\r\nX-Error-Message: Repository not found\r\n")
            }
            (_, Some(Fault::Status(status, headers))) => Reply::status(*status, headers),
            _ => self.reply(&asked, fault.as_ref()),
        };
        reply.send(stream, asked.method == "HEAD", fault.as_ref())
    }

    /// Keeps the request, and finds what is to go wrong with it.
    fn note(&self, asked: &Asked) -> (Option<Fault>, bool) {
        let mut state = self.state.lock().unwrap();
        state.asked.push(asked.clone());
        let key = format!("{} {}", asked.method, asked.path);
        let at = state.faults.iter().position(|(part, _)| key.contains(part.as_str()));
        let fault = at.map(|at| state.faults.remove(at).1);
        (fault, state.token.is_some() && state.token != asked.token)
    }

    fn reply(&self, asked: &Asked, fault: Option<&Fault>) -> Reply {
        let state = self.state.lock().unwrap();
        let (path, _) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let missing = |code| Reply::status(404, &format!("X-Error-Code: {code}\r\n"));
        if path.strip_prefix("/cdn/").is_some() || path.starts_with("/org/tiny/resolve/") {
            let (_, name) = path.split_once(&format!("/{COMMIT}/")).unwrap_or(("", ""));
            let name = name.replace("%20", " ");
            let Some(file) = state.files.get(&name) else { return missing("EntryNotFound") };
            return file.reply(asked, fault);
        }
        let Some(rest) = path.strip_prefix("/api/models/org/tiny") else { return missing("RepoNotFound") };
        let (what, revision) = rest.trim_start_matches('/').split_once('/').unwrap_or(("revision", "main"));
        if !["main", "v1", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return missing("RevisionNotFound");
        }
        Reply::json(match what {
            "tree" => tree(&state.files),
            _ => info(&state.files, fault),
        })
    }
}

impl File {
    fn of(bytes: Vec<u8>) -> File {
        let lfs = bytes.len() > 1 << 10;
        let sha256 = sum("sha256sum", &[&bytes]);
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {}\n",
            bytes.len()
        );
        let kept = if lfs { pointer.as_bytes() } else { &bytes };
        let git = sum("sha1sum", &[format!("blob {}\0", kept.len()).as_bytes(), kept]);
        File { bytes, sha256, git, lfs }
    }

    fn reply(&self, asked: &Asked, fault: Option<&Fault>) -> Reply {
        let etag = if self.lfs { &self.sha256 } else { &self.git };
        let mut headers = format!("X-Repo-Commit: {COMMIT}\r\nAccept-Ranges: bytes\r\nETag: \"{etag}\"\r\n");
        if self.lfs {
            let _ = write!(headers, "X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\n", self.bytes.len());
        }
        if let Some(Fault::Elsewhere(host)) = fault {
            let _ = write!(headers, "Location: {host}/cdn{}\r\n", asked.path);
            return Reply { status: 302, headers, body: b"moved".to_vec() };
        }
        let from = asked.range.as_ref().and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        let mut body = self.bytes.clone();
        if let (Some(Fault::Flip), Some(last)) = (fault, body.last_mut()) {
            *last ^= 1;
        }
        match from {
            Some(from) if !matches!(fault, Some(Fault::Whole)) && from >= body.len() => {
                Reply { status: 416, headers, body: Vec::new() }
            }
            Some(from) if !matches!(fault, Some(Fault::Whole)) => {
                let _ = write!(headers, "Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                Reply { status: 206, headers, body: body.split_off(from) }
            }
            _ => Reply { status: 200, headers, body },
        }
    }
}

fn info(files: &BTreeMap<String, File>, fault: Option<&Fault>) -> serde_json::Value {
    let sibling = |(path, file): (&String, &File)| {
        let mut sibling =
            serde_json::json!({ "rfilename": path, "size": file.bytes.len(), "blobId": file.git });
        match fault {
            Some(Fault::Named(name)) => sibling["rfilename"] = (*name).into(),
            Some(Fault::Sized(size)) => sibling["size"] = (*size).into(),
            _ => {}
        }
        if file.lfs && !matches!(fault, Some(Fault::Sized(_))) {
            let (sha256, size) = (&file.sha256, file.bytes.len());
            sibling["lfs"] = serde_json::json!({ "sha256": sha256, "size": size, "pointerSize": 130 });
        }
        sibling
    };
    let siblings: Vec<_> = files.iter().map(sibling).collect();
    serde_json::json!({
        "_id": "0", "id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "private": false, "gated": false,
        "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
        "lastModified": "2024-01-01T00:00:00.000Z", "createdAt": "2024-01-01T00:00:00.000Z",
    })
}

fn tree(files: &BTreeMap<String, File>) -> serde_json::Value {
    let entry = |(path, file): (&String, &File)| {
        let size = file.bytes.len();
        let mut entry = serde_json::json!({ "type": "file", "oid": file.git, "size": size, "path": path });
        if file.lfs {
            entry["lfs"] = serde_json::json!({ "oid": file.sha256, "size": size, "pointerSize": 130 });
        }
        entry
    };
    files.iter().map(entry).collect::<Vec<_>>().into()
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Reply {
    fn status(status: u16, headers: &str) -> Reply {
        Reply { status, headers: headers.into(), body: b"{\"error\":\"as told\"}".to_vec() }
    }

    fn json(value: serde_json::Value) -> Reply {
        let headers = "Content-Type: application/json\r\n".into();
        Reply { status: 200, headers, body: value.to_string().into_bytes() }
    }

    /// Sends it; none where the connection is to end.
    fn send(&self, mut stream: &TcpStream, is_head: bool, fault: Option<&Fault>) -> Option<()> {
        let Reply { status, headers, body } = self;
        let head = format!("HTTP/1.1 {status} as told\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        if is_head {
            return Some(());
        }
        if let Some(Fault::Cut(after)) = fault {
            let _ = stream.write_all(&body[..*after.min(&body.len())]);
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
        if let Some(Fault::Slow) = fault {
            for piece in body.chunks(16 << 10) {
                stream.write_all(piece).ok()?;
                thread::sleep(Duration::from_millis(20));
            }
            return Some(());
        }
        stream.write_all(body).ok()
    }
}

/// A hash by another program than ours.
fn sum(program: &str, pieces: &[&[u8]]) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    pieces.iter().for_each(|piece| input.write_all(piece).unwrap());
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
