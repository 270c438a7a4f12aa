//! What a run needs to know of the machine: who it is, what else it does, and what time it is.

use std::cell::Cell;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::id::Oid;
use crate::optimize::run::RunError;

/// Files that people write are small.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Processor, processors and memory: times of another one are other times.
pub fn fingerprint() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor =
        field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let count = std::thread::available_parallelism().map_or(1, |count| count.get());
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or(String::new(), |kilobytes| format!(", {} GiB", kilobytes.div_ceil(1 << 20)));
    format!("{processor}, {count} processors{memory}")
}

/// Threads of others that are at work now; Linux tells.
pub fn foreign_threads() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let running: f64 = text.split(' ').nth(3)?.split('/').next()?.parse().ok()?;
    // The one that asks is at work as well.
    Some((running - 1.0).max(0.0))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// A text that people write.
pub fn small_file(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| words::file(path, &error);
    let len = fs::metadata(path).map_err(failed)?.len();
    if len > MAX_FILE_BYTES {
        return Err(Failure::new(Kind::Refused, format!("{}: {len} bytes is too much", path.display())));
    }
    fs::read_to_string(path).map_err(failed)
}

/// SHA-256 of a file.
pub fn hash(path: &Path) -> Result<Oid, RunError> {
    let opened = fs::File::open(path).and_then(Oid::of_reader);
    opened.map_err(|error| RunError::File { path: path.to_owned(), error })
}

/// A time as people give it: `90s`, `20m`, `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time, as 90s, 20m or 2h".to_owned();
    let split = text.find(|sign: char| !sign.is_ascii_digit()).ok_or_else(expected)?;
    let number: u64 = text[..split].parse().map_err(|_| expected())?;
    let seconds = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(expected()),
    };
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(expected)
}

/// Where there is no terminal, as in CI, a line is written no more often than this.
const LINES_EVERY: Duration = Duration::from_secs(30);

/// What is being done: in place on a terminal, else as a line now and then.
pub struct Bar {
    bar: Option<ProgressBar>,
    start: Instant,
    last: Cell<Instant>,
}

impl Bar {
    pub fn new() -> Bar {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.set_style(
                ProgressStyle::with_template("{elapsed_precise} {msg}")
                    .expect("because the template is fixed"),
            );
        }
        let start = Instant::now();
        Bar { bar, start, last: Cell::new(start) }
    }

    pub fn tell(&self, what: &str) {
        let Some(bar) = &self.bar else {
            if self.last.get().elapsed() >= LINES_EVERY {
                self.last.set(Instant::now());
                report::note(&format!("after {} s: {what}", self.start.elapsed().as_secs()));
            }
            return;
        };
        bar.set_message(what.to_owned());
        bar.tick();
    }

    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time without a unit once meant hours to one and seconds to the other.
    #[test]
    fn times_have_the_units_they_name() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "90", "0s", "-1m", "1d", "m", "1.5h", "99999999999999999999h", "9999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
