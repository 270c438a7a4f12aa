//! Which of a transfer's many progress reports git-lfs gets to hear.
//!
//! git-lfs adds up `bytesSinceLast` and redraws its bar for each event, so events must add up to the size
//! exactly, never go back, and come a few times a second rather than once per buffer.

use std::time::{Duration, Instant};

/// The least time between two events: four a second move the bar, more only cost lines.
const INTERVAL: Duration = Duration::from_millis(250);

/// What one progress event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub bytes_so_far: u64,
    pub bytes_since_last: u64,
}

/// The progress of one object of `size` bytes.
pub struct Throttle {
    size: u64,
    sent: u64,
    next: Instant,
}

impl Throttle {
    /// Starts an object at `now`; the first report may pass one interval later.
    pub fn new(size: u64, now: Instant) -> Self {
        Self { size, sent: 0, next: now + INTERVAL }
    }

    /// The event that opens a job, a single byte: git-lfs keeps its other workers idle until the first one
    /// reports more than zero. An empty object has none; its `complete` wakes them.
    pub fn open(&mut self) -> Option<Step> {
        self.advance(1)
    }

    /// The event for a report made at `now`, if one is due and it tells something new.
    pub fn report(&mut self, bytes_so_far: u64, now: Instant) -> Option<Step> {
        if now < self.next {
            return None;
        }
        let step = self.advance(bytes_so_far)?;
        self.next = now + INTERVAL;
        Some(step)
    }

    /// The event that makes the sum equal the size, unless it already does.
    pub fn close(&mut self) -> Option<Step> {
        self.advance(self.size)
    }

    /// Moves on to `bytes_so_far`, never back and never past the size, whatever the transfer claims.
    fn advance(&mut self, bytes_so_far: u64) -> Option<Step> {
        let bytes_so_far = bytes_so_far.min(self.size);
        let bytes_since_last = bytes_so_far.checked_sub(self.sent).filter(|&bytes| bytes > 0)?;
        self.sent = bytes_so_far;
        Some(Step { bytes_so_far, bytes_since_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Protects the start of workers 2 to 8: the first event is sent at once and is more than zero.
    #[test]
    fn opens_with_one_byte() {
        let mut throttle = Throttle::new(70_000, Instant::now());
        assert_eq!(throttle.open(), Some(Step { bytes_so_far: 1, bytes_since_last: 1 }));
        assert_eq!(throttle.close(), Some(Step { bytes_so_far: 70_000, bytes_since_last: 69_999 }));
        assert_eq!(throttle.close(), None);
    }

    /// Protects the truth about empty objects: no event may say more than zero bytes.
    #[test]
    fn says_nothing_about_an_empty_object() {
        let now = Instant::now();
        let mut throttle = Throttle::new(0, now);
        assert_eq!(throttle.open(), None);
        assert_eq!(throttle.report(5, now + INTERVAL), None);
        assert_eq!(throttle.close(), None);
    }

    /// Protects git-lfs from a flood and the user from silence: reports every millisecond for ten
    /// seconds become two to four events a second.
    #[test]
    fn lets_a_few_events_a_second_pass() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1 << 40, start);
        let events = (1..=10_000u64)
            .filter(|&ms| throttle.report(ms * 1000, start + Duration::from_millis(ms)).is_some())
            .count();
        assert!((20..=40).contains(&events), "{events} events in ten seconds");
    }

    proptest! {
        /// Protects the bar's arithmetic: whatever a transfer reports and whenever, the events rise,
        /// each difference is right, and the sum is the size.
        #[test]
        fn adds_up_to_the_size(size: u64, reports: Vec<(u64, u16)>) {
            let mut now = Instant::now();
            let mut throttle = Throttle::new(size, now);
            let mut steps: Vec<Step> = throttle.open().into_iter().collect();
            for (bytes_so_far, wait_ms) in reports {
                now += Duration::from_millis(wait_ms.into());
                steps.extend(throttle.report(bytes_so_far, now));
            }
            steps.extend(throttle.close());
            let mut sum = 0u64;
            for step in steps {
                prop_assert!(step.bytes_since_last > 0);
                sum += step.bytes_since_last;
                prop_assert_eq!(step.bytes_so_far, sum);
            }
            prop_assert_eq!(sum, size);
        }
    }
}
