//! Git's own smart HTTP, by `git http-backend`.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::access::{Caller, May};
use super::bodies::{Sender, pipe};
use super::replies::{Refusal, Reply, stream};
use super::router::{Asked, run};

/// Most bytes of a push: git's own limit is the disk.
const MAX_BODY_BYTES: u64 = 1 << 40;
const MAX_HEAD_BYTES: u64 = 64 << 10;
const RECEIVE: &str = "git-receive-pack";
const UPLOAD: &str = "git-upload-pack";

impl Asked {
    pub(super) async fn git(mut self, service: &'static str) -> Result<Reply, Refusal> {
        let (wanted, query) = match service {
            "/info/refs" => {
                let wanted = self.query("service").unwrap_or_default().to_owned();
                (wanted.clone(), format!("service={wanted}"))
            }
            service => (service[1..].to_owned(), String::new()),
        };
        match wanted.as_str() {
            UPLOAD => self.need(May::Read)?,
            RECEIVE => self.need(May::Write)?,
            _ => {
                let words = "only git's smart HTTP is spoken here; use a newer git";
                return Err(Refusal::new(StatusCode::FORBIDDEN, words));
            }
        }
        if wanted == RECEIVE {
            // Who may write here may begin it.
            let (hub, name) = (self.hub.clone(), self.repo.clone());
            run(move || hub.repos.create(&name)).await?.map_err(Refusal::internal)?;
        }
        let repo = self.open().await?;
        let mut command = Command::new("git");
        command.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        self.environment(&mut command, service, &query);
        command.env("GIT_PROJECT_ROOT", repo.git_dir.as_ref().ok_or_else(Refusal::not_found)?);
        let mut body = self.body_reader(MAX_BODY_BYTES)?;
        let (pieces, sent) = pipe(self.hub.limits.silence);
        let mut sender = Sender::new(pieces);
        let head = run(move || -> io::Result<_> {
            let mut child = Waited(command.spawn()?);
            let mut input = child.0.stdin.take().expect("because it was piped");
            let output = child.0.stdout.take().expect("because it was piped");
            // It ends with the body, or when git reads no more.
            tokio::task::spawn_blocking(move || io::copy(&mut body, &mut input));
            let mut output = BufReader::new(output);
            let head = read_head(&mut output)?;
            tokio::task::spawn_blocking(move || {
                let sent = io::copy(&mut output, &mut sender);
                if sent.is_ok() && child.0.wait().is_ok_and(|status| status.success()) {
                    let _ = sender.finish();
                }
            });
            Ok(head)
        });
        let (status, headers) = head.await?.map_err(|error| Refusal::internal(format!("git: {error}")))?;
        let mut reply: Response<_> = stream(sent);
        *reply.status_mut() = status;
        for (name, value) in headers {
            reply.headers_mut().insert(name, value);
        }
        Ok(reply)
    }

    /// The variables of CGI (RFC 3875), and nothing of ours that a repository or client could bend.
    fn environment(&self, command: &mut Command, service: &str, query: &str) {
        let text = |name: HeaderName| self.header(name).unwrap_or_default();
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
            command.env_remove(variable);
        }
        command
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_0", "http.receivepack")
            .env("GIT_CONFIG_VALUE_0", "true")
            // Whom a repository belongs to is the operator's affair.
            .env("GIT_CONFIG_KEY_1", "safe.directory")
            .env("GIT_CONFIG_VALUE_1", "*")
            .env("PATH_INFO", service)
            .env("REQUEST_METHOD", self.head.method.as_str())
            // What was found in the query, not the query: of two services git takes the last.
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
            .env("HTTP_CONTENT_ENCODING", text(header::CONTENT_ENCODING))
            .env("REMOTE_ADDR", self.from.map_or_else(String::new, |from| from.to_string()));
        if let Some(len) = self.header(header::CONTENT_LENGTH) {
            command.env("CONTENT_LENGTH", len);
        }
        let protocol = text(HeaderName::from_static("git-protocol"));
        let is_plain = protocol.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=:._-".contains(&byte));
        if !protocol.is_empty() && protocol.len() < 200 && is_plain {
            command.env("GIT_PROTOCOL", protocol);
        }
        if let Caller::Token(name) = &self.caller {
            command.env("REMOTE_USER", name);
        }
    }
}

/// A process that does not outlive its answer.
struct Waited(Child);

impl Drop for Waited {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Status and headers of what a CGI program says.
fn read_head(output: &mut impl BufRead) -> io::Result<(StatusCode, Vec<(HeaderName, HeaderValue)>)> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (mut status, mut headers) = (StatusCode::OK, Vec::new());
    let mut output = output.take(MAX_HEAD_BYTES);
    loop {
        let mut line = String::new();
        if output.read_line(&mut line)? == 0 {
            return Err(malformed("it ended before it answered"));
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("its answer has no headers"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse::<u16>().ok());
            status =
                code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| malformed("status"))?;
            continue;
        }
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("its header has no name"))?;
        headers.push((name, HeaderValue::from_str(value).map_err(|_| malformed("its header is binary"))?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program prints becomes an answer: only well-formed heads may.
    #[test]
    fn a_head_is_read_up_to_its_empty_line() {
        let text = b"Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nbody";
        let mut output = &text[..];
        let (status, headers) = read_head(&mut output).unwrap();
        assert_eq!((status, headers.len()), (StatusCode::FORBIDDEN, 1));
        assert_eq!(output, b"body");
        for bad in [&b""[..], b"no header\n\n", b"Status: abc\n\n", b"A: b\n"] {
            assert!(read_head(&mut &bad[..]).is_err());
        }
    }
}
