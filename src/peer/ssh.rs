//! A connection through `ssh`: the program's standard input and output, as one socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Most of what ssh says that is told to the user.
const MAX_WORDS: u64 = 2000;
/// For ssh to end by itself when its connection is over.
const FAREWELL: Duration = Duration::from_secs(2);
const NAP: Duration = Duration::from_millis(10);

/// A repository on another machine, and how this user gets there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshPlace {
    /// `user@host`, or `host`.
    pub host: String,
    pub port: Option<u16>,
    pub path: String,
    /// The ssh command, as git takes it: a shell's line.
    pub command: String,
    /// Git's program on the other side.
    pub program: String,
    /// The user's ssh agent, which a process in the background would not know.
    pub agent: Option<String>,
}

impl SshPlace {
    /// As git calls it.
    pub fn name(&self) -> String {
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        format!("ssh://{}{port}{}", self.host, self.path)
    }

    fn start(&self) -> io::Result<Ssh> {
        let (ours, theirs) = UnixStream::pair()?;
        let (input, output) = (OwnedFd::from(theirs.try_clone()?), OwnedFd::from(theirs));
        let mut command = Command::new("sh");
        // The shell splits the command as git has it split, and nothing else.
        command.args(["-c", &format!("{} \"$@\"", self.command), "ssh"]);
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.arg(&self.host).arg(format!("{} serve --stdio {}", self.program, quoted(&self.path)));
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let child = command.spawn()?;
        let buffers = LazyBuffers::new(128 << 10, 128 << 10);
        Ok(Ssh { child, socket: ours, buffers, was_heard: false })
    }
}

/// One word for the shell on the other side.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Starts ssh for each connection.
#[derive(Debug)]
pub struct SshConnector(pub SshPlace);

impl Connector<()> for SshConnector {
    type Out = Ssh;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Ssh>, ureq::Error> {
        Ok(Some(self.0.start()?))
    }
}

/// ssh looks names up by itself.
#[derive(Debug)]
pub struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        Ok(addresses)
    }
}

/// A running ssh.
pub struct Ssh {
    child: Child,
    socket: UnixStream,
    buffers: LazyBuffers,
    /// Whether the other side ever said anything.
    was_heard: bool,
}

impl Ssh {
    /// What ssh, or the program behind it, had to say before it went.
    fn last_words(&mut self) -> io::Error {
        let end = Instant::now() + FAREWELL;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(NAP);
        }
        let _ = self.child.kill();
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // A connection that ssh shares with others may go on in the background, with our stderr.
            let _ = rustix::fs::fcntl_setfl(&stderr, rustix::fs::OFlags::NONBLOCK);
            let _ = stderr.take(MAX_WORDS).read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words);
        let words = if words.trim().is_empty() { "ssh ended the connection" } else { words.trim() };
        // One that never began will not begin when it is tried again: a wrong name, key, or path.
        let kind = if self.was_heard { io::ErrorKind::ConnectionAborted } else { io::ErrorKind::Other };
        io::Error::new(kind, words.to_owned())
    }
}

impl Transport for Ssh {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.socket.set_write_timeout(timeout.not_zero().map(|limit| *limit))?;
        let written = self.socket.write_all(&self.buffers.output()[..amount]);
        written.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
            _ => self.last_words().into(),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.socket.set_read_timeout(timeout.not_zero().map(|limit| *limit))?;
        let count =
            self.socket.read(self.buffers.input_append_buf()).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
                _ => self.last_words().into(),
            })?;
        if count == 0 {
            return Err(self.last_words().into());
        }
        self.was_heard = true;
        self.buffers.input_appended(count);
        Ok(true)
    }

    fn is_open(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl fmt::Debug for Ssh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ssh, process {}", self.child.id())
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path in a URL must not become a command on the other side.
    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(quoted("/srv/a b.git"), "'/srv/a b.git'");
        assert_eq!(quoted("/x'; rm -rf '/"), r"'/x'\''; rm -rf '\''/'");
    }
}
