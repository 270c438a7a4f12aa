//! A proxy between clients and hubs that does to a connection what networks do: cut, wait, be slow, refuse.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A proxy on a port of its own, until the process ends.
#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Each request goes to the next one.
    targets: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    up: AtomicU64,
    down: AtomicU64,
    cut: Mutex<Option<Cut>>,
    refusals: Mutex<Vec<Refusal>>,
    /// Requests that were seen: their first line.
    asked: Mutex<Vec<String>>,
    delay_ms: AtomicU64,
    /// Bytes a second in each direction; 0 for as many as there are.
    speed: AtomicU64,
}

/// Ends a connection each time that so many bytes went by.
struct Cut {
    every: u64,
    since: u64,
    left: u32,
    upward: bool,
}

struct Refusal {
    part: String,
    left: u32,
    answer: Vec<u8>,
}

impl Proxy {
    /// A proxy before these servers.
    pub fn before(targets: &[SocketAddr]) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { targets: Mutex::new(targets.to_vec()), ..State::default() });
        let served = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = served.clone();
                thread::spawn(move || state.serve(&client));
            }
        });
        Proxy { url: format!("http://{address}"), state }
    }

    pub fn set_targets(&self, targets: &[SocketAddr]) {
        *self.state.targets.lock().expect("targets") = targets.to_vec();
    }

    pub fn repo(&self, name: &str) -> String {
        format!("{}/{name}.git", self.url)
    }

    /// Bytes that went up and down since the last time.
    pub fn moved(&self) -> (u64, u64) {
        (self.state.up.swap(0, Ordering::SeqCst), self.state.down.swap(0, Ordering::SeqCst))
    }

    /// The first lines of the requests since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.asked.lock().expect("requests"))
    }

    /// Cuts the connection each time that `every` bytes went up (or down), `times` times.
    pub fn cut(&self, upward: bool, every: u64, times: u32) {
        *self.state.cut.lock().expect("cut") = Some(Cut { every, since: 0, left: times, upward });
    }

    /// Cuts that did not happen yet.
    pub fn cuts_left(&self) -> u32 {
        self.state.cut.lock().expect("cut").as_ref().map_or(0, |cut| cut.left)
    }

    /// Answers the next `times` requests whose first line has `part` in it by itself.
    pub fn refuse(&self, part: &str, times: u32, status: u16) {
        let answer = format!(
            "HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
             Content-Length: 23\r\nConnection: close\r\n\r\n{{\"message\":\"not today\"}}"
        );
        self.answer(part, times, answer);
    }

    /// The same with an answer as it goes over the wire.
    pub fn answer(&self, part: &str, times: u32, answer: impl Into<Vec<u8>>) {
        let refusal = Refusal { part: part.into(), left: times, answer: answer.into() };
        self.state.refusals.lock().expect("refusals").push(refusal);
    }

    /// Refuses nothing any more.
    pub fn forget_refusals(&self) {
        self.state.refusals.lock().expect("refusals").clear();
    }

    pub fn delay(&self, delay_ms: u64) {
        self.state.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    pub fn slow(&self, bytes_per_second: u64) {
        self.state.speed.store(bytes_per_second, Ordering::SeqCst);
    }
}

impl State {
    fn serve(self: Arc<State>, client: &TcpStream) {
        let _ = self.converse(client);
        let _ = client.shutdown(Shutdown::Both);
    }

    /// From the client to a server; the way back has a thread for each server.
    fn converse(self: &Arc<State>, client: &TcpStream) -> std::io::Result<()> {
        let mut upstream: Option<(TcpStream, Arc<AtomicBool>)> = None;
        let mut buffer = vec![0; 16 << 10];
        let mut from = client.try_clone()?;
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let piece = &buffer[..count];
            if let Some(line) = first_line(piece) {
                self.asked.lock().expect("requests").push(line.clone());
                thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
                if let Some(answer) = self.refusal(&line) {
                    drain(&mut from, piece);
                    (&*client).write_all(&answer)?;
                    break;
                }
                // Answers come whole before the next request: another server may take that.
                let server = self.connect()?;
                if let Some((old, is_over)) = upstream.replace((server.try_clone()?, Arc::default())) {
                    is_over.store(true, Ordering::SeqCst);
                    let _ = old.shutdown(Shutdown::Both);
                }
                let (state, back) = (self.clone(), client.try_clone()?);
                let is_over = upstream.as_ref().expect("just set").1.clone();
                thread::spawn(move || state.answer_back(server, back, &is_over));
            }
            let Some((server, _)) = &mut upstream else { break };
            self.up.fetch_add(count as u64, Ordering::SeqCst);
            if self.is_cut(true, count as u64) {
                break;
            }
            self.wait_for(count);
            server.write_all(piece)?;
        }
        if let Some((server, _)) = upstream {
            let _ = server.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    fn answer_back(&self, mut server: TcpStream, client: TcpStream, is_over: &AtomicBool) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            self.down.fetch_add(count as u64, Ordering::SeqCst);
            if self.is_cut(false, count as u64) {
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            self.wait_for(count);
            if (&client).write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        if !is_over.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// The next server that listens.
    fn connect(&self) -> std::io::Result<TcpStream> {
        let targets = self.targets.lock().expect("targets").clone();
        for _ in 0..targets.len() {
            let turn = self.turn.fetch_add(1, Ordering::SeqCst);
            if let Ok(stream) = TcpStream::connect(targets[turn % targets.len()]) {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
        }
        Err(std::io::ErrorKind::ConnectionRefused.into())
    }

    fn refusal(&self, line: &str) -> Option<Vec<u8>> {
        let mut refusals = self.refusals.lock().expect("refusals");
        let refusal = refusals.iter_mut().find(|refusal| refusal.left > 0 && line.contains(&refusal.part))?;
        refusal.left -= 1;
        Some(refusal.answer.clone())
    }

    fn is_cut(&self, upward: bool, count: u64) -> bool {
        let mut cut = self.cut.lock().expect("cut");
        let Some(cut) = cut.as_mut().filter(|cut| cut.upward == upward && cut.left > 0) else { return false };
        cut.since += count;
        let is_cut = cut.since >= cut.every;
        if is_cut {
            (cut.since, cut.left) = (0, cut.left - 1);
        }
        is_cut
    }

    fn wait_for(&self, count: usize) {
        let speed = self.speed.load(Ordering::SeqCst);
        if let Some(wait) = (count as u64 * 1_000_000).checked_div(speed) {
            thread::sleep(Duration::from_micros(wait));
        }
    }
}

/// The first line, if a request begins here. A client sends the next one after it has the last one's answer.
fn first_line(piece: &[u8]) -> Option<String> {
    let is_start = [&b"GET /"[..], b"POST /", b"PUT /", b"HEAD /", b"DELETE /"]
        .iter()
        .any(|word| piece.starts_with(word));
    let line = piece.split(|byte| *byte == b'\r').next().filter(|_| is_start)?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// Reads the rest of a request, so that its sender hears the answer and not a reset.
fn drain(from: &mut TcpStream, first: &[u8]) {
    let text = String::from_utf8_lossy(first).to_ascii_lowercase();
    let end = text.find("\r\n\r\n").map_or(text.len(), |at| at + 4);
    let value = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let len: usize = value.and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut left = len.saturating_sub(first.len().saturating_sub(end));
    let mut buffer = [0; 16 << 10];
    let _ = from.set_read_timeout(Some(Duration::from_secs(5)));
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(count @ 1..) => left = left.saturating_sub(count),
            _ => return,
        }
    }
}
