//! What happened since the start, in the text format of Prometheus (version 0.0.4).

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0];

/// Counters of one server.
pub struct Metrics {
    start: Instant,
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    durations: [AtomicU64; BUCKETS.len() + 1],
    duration_us: AtomicU64,
    pub connections: AtomicU64,
    pub refused_connections: AtomicU64,
    pub rebuilds: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: Arc<AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            start: Instant::now(),
            answers: Default::default(),
            durations: Default::default(),
            duration_us: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: Arc::default(),
        }
    }
}

impl Metrics {
    /// Counts an answer, and how long its head took.
    pub fn answered(&self, status: u16, took: Duration) {
        self.answers[usize::from(status / 100).min(5)].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        self.durations[bucket].fetch_add(1, Ordering::Relaxed);
        self.duration_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// All of it; `decoding_peak` is what others count.
    pub fn text(&self, decoding_peak: u64) -> String {
        let mut out = String::new();
        let mut put = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        put(
            "git_sparse_uptime_seconds",
            "gauge",
            "Seconds since the start.",
            self.start.elapsed().as_secs_f64(),
        );
        put("git_sparse_connections", "gauge", "Open connections.", count(&self.connections));
        let refused = count(&self.refused_connections);
        put("git_sparse_refused_connections_total", "counter", "Connections beyond the limit.", refused);
        put(
            "git_sparse_rebuilds_total",
            "counter",
            "Files rebuilt for plain clients.",
            count(&self.rebuilds),
        );
        let received = count(&self.received_bytes);
        put("git_sparse_received_bytes_total", "counter", "Bytes of files and objects received.", received);
        put("git_sparse_sent_bytes_total", "counter", "Bytes of answers' bodies.", count(&self.sent_bytes));
        let help = "Most bytes that were shared out to what decodes and encodes.";
        put("git_sparse_decoding_peak_bytes", "gauge", help, decoding_peak as f64);
        self.put_answers(&mut out);
        out
    }

    fn put_answers(&self, out: &mut String) {
        let name = "git_sparse_requests_total";
        let _ = writeln!(out, "# HELP {name} Answers by class of status.\n# TYPE {name} counter");
        for (class, counter) in self.answers.iter().enumerate().skip(1) {
            let _ = writeln!(out, "{name}{{status=\"{class}xx\"}} {}", counter.load(Ordering::Relaxed));
        }
        let name = "git_sparse_request_seconds";
        let _ = writeln!(out, "# HELP {name} Time to the head of an answer.\n# TYPE {name} histogram");
        let mut total = 0;
        for (at, counter) in self.durations.iter().enumerate() {
            total += counter.load(Ordering::Relaxed);
            let end = BUCKETS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(out, "{name}_bucket{{le=\"{end}\"}} {total}");
        }
        let seconds = self.duration_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_sum {seconds}\n{name}_count {total}");
    }
}

/// A body whose bytes are counted as they leave.
pub struct Counted<B> {
    pub body: B,
    pub counter: Arc<AtomicU64>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
