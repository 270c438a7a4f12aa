//! The limits that a variant must keep, and what the evidence says of each.

use super::report::{Candidate, Estimate, Interval, Judged, Verdict};
use super::speed;

/// What a user asks of a variant; what is `None` is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// By how much the perplexity may grow, in percent.
    pub max_ppl_delta: Option<f64>,
    /// Of the median token.
    pub max_latency_ms: Option<f64>,
    /// Of the 99th of 100 tokens.
    pub max_latency_p99_ms: Option<f64>,
    /// Tokens written a second, by the median token.
    pub min_throughput_tps: Option<f64>,
    pub max_memory_bytes: Option<u64>,
    /// Bytes of the source for each byte.
    pub min_compression: Option<f64>,
    pub max_size_bytes: Option<u64>,
}

/// A limit that nothing could keep, or that asks for nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitError {
    #[error("{name} {found}: expected a number above 0")]
    NotPositive { name: &'static str, found: f64 },
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Size,
    Quality,
    Speed,
    Memory,
}

/// A limit, by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub about: About,
    /// As the user gave it.
    pub words: String,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Perplexity(f64),
    Latency(f64),
    Tail(f64),
    Throughput(f64),
    Memory(u64),
    Compression(f64),
    Size(u64),
}

impl Limits {
    /// # Errors
    /// Limits of zero, below it, or no numbers at all.
    pub fn checked(self) -> Result<Limits, LimitError> {
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        for (name, limit) in [
            ("--max-ppl-delta", self.max_ppl_delta),
            ("--max-latency-ms", self.max_latency_ms),
            ("--max-latency-p99-ms", self.max_latency_p99_ms),
            ("--min-throughput-tps", self.min_throughput_tps),
            ("--max-memory-gb", bytes(self.max_memory_bytes)),
            ("--min-compression", self.min_compression),
            ("--max-size", bytes(self.max_size_bytes)),
        ] {
            if let Some(found) = limit.filter(|limit| !limit.is_finite() || *limit <= 0.0) {
                return Err(LimitError::NotPositive { name, found });
            }
        }
        Ok(self)
    }

    /// One by one, cheap ones first.
    pub fn list(&self) -> Vec<Limit> {
        let limit = |about, words, bound| Limit { about, words, bound };
        let mut list = Vec::new();
        if let Some(bytes) = self.max_size_bytes {
            list.push(limit(About::Size, format!("--max-size {}", megabytes(bytes)), Bound::Size(bytes)));
        }
        if let Some(times) = self.min_compression {
            list.push(limit(About::Size, format!("--min-compression {times}"), Bound::Compression(times)));
        }
        if let Some(percent) = self.max_ppl_delta {
            list.push(limit(
                About::Quality,
                format!("--max-ppl-delta {percent}"),
                Bound::Perplexity(percent),
            ));
        }
        if let Some(ms) = self.max_latency_ms {
            list.push(limit(About::Speed, format!("--max-latency-ms {ms}"), Bound::Latency(ms)));
        }
        if let Some(ms) = self.max_latency_p99_ms {
            list.push(limit(About::Speed, format!("--max-latency-p99-ms {ms}"), Bound::Tail(ms)));
        }
        if let Some(tps) = self.min_throughput_tps {
            list.push(limit(About::Speed, format!("--min-throughput-tps {tps}"), Bound::Throughput(tps)));
        }
        if let Some(bytes) = self.max_memory_bytes {
            let gigabytes = bytes as f64 / 1e9;
            list.push(limit(About::Memory, format!("--max-memory-gb {gigabytes}"), Bound::Memory(bytes)));
        }
        list
    }

    /// What all limits say of a candidate, in the order of [`Limits::list`].
    pub fn judge(&self, candidate: &Candidate) -> Vec<Judged> {
        self.list().iter().map(|limit| limit.judge(candidate)).collect()
    }

    /// The time of a token above which a limit can't be kept, if one is set.
    pub fn token_ms(&self) -> Option<f64> {
        let by_rate = self.min_throughput_tps.map(|tps| 1e3 / tps);
        [self.max_latency_ms, self.max_latency_p99_ms, by_rate].into_iter().flatten().reduce(f64::min)
    }
}

impl Limit {
    /// What this limit says of a candidate.
    pub fn judge(&self, candidate: &Candidate) -> Judged {
        let (verdict, because) = match self.bound {
            Bound::Size(limit) => exact(candidate.bytes <= limit, near(candidate.bytes, limit)),
            Bound::Compression(limit) => {
                let found = candidate.compression;
                exact(found >= limit, format!("{} times", apart(found, limit, 2)))
            }
            Bound::Memory(limit) => match candidate.peak_memory_bytes {
                Some(bytes) => {
                    exact(bytes <= limit, format!("{} GB", apart(bytes as f64 / 1e9, limit as f64 / 1e9, 3)))
                }
                None => not_measured(candidate),
            },
            Bound::Perplexity(limit) => match &candidate.quality {
                Some(quality) => at_most(quality.increase_percent, limit, " %"),
                None => not_measured(candidate),
            },
            Bound::Latency(limit) => self.of_speed(candidate, |times| at_most(times.p50, limit, " ms")),
            Bound::Tail(limit) => self.of_speed(candidate, |times| at_most(times.p99, limit, " ms")),
            Bound::Throughput(limit) => {
                self.of_speed(candidate, |times| at_least(speed::rate(times.p50), limit, " tokens/s"))
            }
        };
        Judged { limit: self.words.clone(), verdict, because }
    }

    fn of_speed(
        &self,
        candidate: &Candidate,
        judge: impl Fn(&super::report::Quantiles) -> (Verdict, String),
    ) -> (Verdict, String) {
        let Some(speed) = &candidate.speed else { return not_measured(candidate) };
        if let Some(Estimate { machine, token_ms, .. }) = &candidate.estimate {
            let found = format!("about {token_ms:.2} ms a token on {machine}: an estimate, measure it there");
            return (Verdict::Undecided, found);
        }
        match &speed.unreliable {
            Some(why) => (Verdict::Undecided, format!("unreliable: {why}")),
            None => judge(&speed.token_ms),
        }
    }

    /// By which factor a candidate misses the limit at its measured value; below 1 where it keeps it, `None` where nothing was measured.
    pub fn excess(&self, candidate: &Candidate) -> Option<f64> {
        let speed = candidate.speed.as_ref().filter(|_| candidate.estimate.is_none());
        Some(match self.bound {
            Bound::Size(limit) => candidate.bytes as f64 / limit as f64,
            Bound::Compression(limit) => limit / candidate.compression,
            Bound::Memory(limit) => candidate.peak_memory_bytes? as f64 / limit as f64,
            Bound::Perplexity(limit) => candidate.quality.as_ref()?.increase_percent.value / limit,
            Bound::Latency(limit) => speed?.token_ms.p50.value / limit,
            Bound::Tail(limit) => speed?.token_ms.p99.value / limit,
            Bound::Throughput(limit) => limit * speed?.token_ms.p50.value / 1e3,
        })
    }
}

fn exact(keeps: bool, found: String) -> (Verdict, String) {
    (if keeps { Verdict::Pass } else { Verdict::Fail }, found)
}

fn not_measured(candidate: &Candidate) -> (Verdict, String) {
    let why =
        candidate.note.as_ref().map_or("not measured".to_owned(), |note| format!("not measured: {note}"));
    (Verdict::Undecided, why)
}

fn at_most(found: Interval, limit: f64, unit: &str) -> (Verdict, String) {
    let verdict = match found {
        Interval { high, .. } if high <= limit => Verdict::Pass,
        Interval { low, .. } if low > limit => Verdict::Fail,
        _ => Verdict::Undecided,
    };
    (verdict, words(found, unit))
}

fn at_least(found: Interval, limit: f64, unit: &str) -> (Verdict, String) {
    let verdict = match found {
        Interval { low, .. } if low >= limit => Verdict::Pass,
        Interval { high, .. } if high < limit => Verdict::Fail,
        _ => Verdict::Undecided,
    };
    (verdict, words(found, unit))
}

/// `1.23 (0.8 to 1.7) %`, with as many digits as there is something to see.
pub fn words(found: Interval, unit: &str) -> String {
    let digits = if found.value.abs() < 10.0 { 2 } else { 1 };
    let bound =
        |bound: f64| if bound.is_finite() { format!("{bound:.digits$}") } else { "no bound".to_owned() };
    format!("{:.digits$} ({} to {}){unit}", found.value, bound(found.low), bound(found.high))
}

/// A size beside a limit: to the byte, where the usual digits would not tell them apart.
fn near(bytes: u64, limit: u64) -> String {
    match megabytes(bytes) {
        words if bytes == limit || words != megabytes(limit) => words,
        words => format!("{words} ({bytes} bytes, the limit is {limit})"),
    }
}

/// A number with as many digits, from `digits` on, as tell it apart from the limit.
fn apart(found: f64, limit: f64, digits: usize) -> String {
    let with = |number: f64, digits: usize| format!("{number:.digits$}");
    let differs = |digits: &usize| with(found, *digits) != with(limit, *digits);
    with(found, (digits..=9).find(differs).unwrap_or(digits))
}

/// Bytes as people give them for files: `104.2 MB`.
pub fn megabytes(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e10 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} kB", bytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Quality, Quantiles, Speed};
    use super::*;

    /// "1.0 MB, and the limit is 1.0 MB" explains nothing.
    #[test]
    fn a_narrow_miss_shows_its_digits() {
        assert_eq!(near(1_000_123, 1_000_000), "1.0 MB (1000123 bytes, the limit is 1000000)");
        assert_eq!(
            (near(2_000_000, 1_000_000), near(1_000_000, 1_000_000)),
            ("2.0 MB".into(), "1.0 MB".into())
        );
        assert_eq!((apart(1.9996, 2.0, 2), apart(1.5, 2.0, 2)), ("1.9996".into(), "1.50".into()));
    }

    fn interval(value: f64, low: f64, high: f64) -> Interval {
        Interval { value, low, high }
    }

    fn candidate(increase: Option<Interval>, token_ms: Option<Interval>) -> Candidate {
        let all = |of: Interval| Quantiles { p50: of, p95: of, p99: of };
        Candidate {
            name: "Q".into(),
            engine: "llama.cpp".into(),
            recipe: "Q".into(),
            bytes: 100_000_000,
            file: None,
            compression: 2.5,
            quality: increase.map(|increase_percent| Quality {
                perplexity: 20.0,
                increase_percent,
                scored_tokens: 1000,
                divergence: None,
                same_top: None,
            }),
            speed: token_ms.map(|ms| Speed {
                first_token_ms: all(ms),
                token_ms: all(ms),
                prefill_tps: 100.0,
                decode_tps: 1e3 / ms.value,
                samples: 500,
                unreliable: None,
            }),
            estimate: None,
            peak_memory_bytes: Some(200_000_000),
            cost: None,
            verdicts: Vec::new(),
            is_on_front: false,
            note: None,
        }
    }

    fn verdicts(limits: Limits, candidate: &Candidate) -> Vec<Verdict> {
        limits.judge(candidate).iter().map(|judged| judged.verdict).collect()
    }

    /// A limit inside the interval is no pass: neither side was shown.
    #[test]
    fn only_a_whole_interval_decides() {
        let limits = Limits { max_ppl_delta: Some(2.0), ..Limits::default() };
        let of = |low, high| verdicts(limits, &candidate(Some(interval(1.0, low, high)), None))[0];
        assert_eq!(
            [of(0.5, 1.9), of(0.5, 2.1), of(2.1, 3.0)],
            [Verdict::Pass, Verdict::Undecided, Verdict::Fail]
        );
        assert_eq!(verdicts(limits, &candidate(None, None)), [Verdict::Undecided]);
        let limits =
            Limits { min_throughput_tps: Some(100.0), max_latency_p99_ms: Some(9.0), ..Limits::default() };
        let fast = candidate(None, Some(interval(8.0, 7.0, 8.9)));
        assert_eq!(verdicts(limits, &fast), [Verdict::Pass, Verdict::Pass]);
        let open = candidate(None, Some(interval(8.0, 7.0, f64::INFINITY)));
        assert_eq!(verdicts(limits, &open), [Verdict::Undecided, Verdict::Undecided]);
        let slow = candidate(None, Some(interval(12.0, 11.0, 13.0)));
        assert_eq!(verdicts(limits, &slow), [Verdict::Fail, Verdict::Fail]);
    }

    /// What a busy machine measured must not decide, however clear it looks.
    #[test]
    fn unreliable_figures_decide_nothing() {
        let limits = Limits { max_latency_ms: Some(9.0), ..Limits::default() };
        let mut fast = candidate(None, Some(interval(1.0, 1.0, 1.0)));
        fast.speed.as_mut().unwrap().unreliable = Some("busy".into());
        let judged = &limits.judge(&fast)[0];
        assert_eq!((judged.verdict, judged.because.as_str()), (Verdict::Undecided, "unreliable: busy"));
        // Nor what was worked out for another machine.
        fast.speed.as_mut().unwrap().unreliable = None;
        assert_eq!(verdicts(limits, &fast), [Verdict::Pass]);
        let elsewhere = speed::Elsewhere { name: "big".into(), memory: 4.0, arithmetic: 4.0 };
        fast.estimate = fast.speed.as_ref().map(|speed| elsewhere.estimate(speed));
        let judged = &limits.judge(&fast)[0];
        assert_eq!(judged.verdict, Verdict::Undecided);
        assert!(judged.because.starts_with("about 0.25 ms a token on big"), "{}", judged.because);
        assert_eq!(limits.list()[0].excess(&fast), None);
    }

    /// Sizes and memory are counted, not sampled: they always decide.
    #[test]
    fn bytes_decide_exactly() {
        let at = |size, memory, times| Limits {
            max_size_bytes: Some(size),
            max_memory_bytes: Some(memory),
            min_compression: Some(times),
            ..Limits::default()
        };
        let found = candidate(None, None);
        assert_eq!(verdicts(at(100_000_000, 200_000_000, 2.5), &found), [Verdict::Pass; 3]);
        assert_eq!(verdicts(at(99_999_999, 199_999_999, 2.51), &found), [Verdict::Fail; 3]);
    }

    /// Zero, less, and no number at all are typing errors, not limits.
    #[test]
    fn limits_of_nothing_are_refused() {
        for bad in [0.0, -2.0, f64::NAN, f64::INFINITY] {
            let limits = Limits { max_ppl_delta: Some(bad), ..Limits::default() };
            assert!(limits.checked().is_err(), "{bad}");
        }
        assert!(Limits { max_size_bytes: Some(0), ..Limits::default() }.checked().is_err());
        assert!(Limits { max_ppl_delta: Some(0.1), ..Limits::default() }.checked().is_ok());
    }
}
