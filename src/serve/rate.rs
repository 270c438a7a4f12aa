//! How many requests one client may make: a bucket of tokens for each.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lru::LruCache;

/// Clients that are remembered; one that was forgotten begins anew.
const CLIENTS: usize = 1 << 14;
/// At once a client may make as many as in so many seconds.
const BURST_SECONDS: f64 = 10.0;

struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// One bucket a client.
pub struct Rate {
    per_second: f64,
    buckets: Mutex<LruCache<String, Bucket>>,
}

impl Rate {
    pub fn new(per_second: u32) -> Rate {
        let slots = NonZeroUsize::new(CLIENTS).expect("because it is not zero");
        Rate { per_second: per_second.into(), buckets: Mutex::new(LruCache::new(slots)) }
    }

    /// Whether this client may make a request now.
    pub fn allows(&self, client: &str, now: Instant) -> bool {
        let most = self.per_second * BURST_SECONDS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains(client) {
            buckets.put(client.to_owned(), Bucket { tokens: most, filled: now });
        }
        let Some(bucket) = buckets.get_mut(client) else { return true };
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * self.per_second).min(most);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One client must not take the server from the others, and must be let in again.
    #[test]
    fn a_client_that_asks_too_much_waits_alone() {
        let (rate, start) = (Rate::new(2), Instant::now());
        assert_eq!((0..100).filter(|_| rate.allows("a", start)).count(), 20);
        assert!(rate.allows("b", start));
        assert!(rate.allows("a", start + Duration::from_secs(1)));
        assert!(!Rate::new(0).allows("a", start));
    }
}
