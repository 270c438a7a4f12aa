//! Many requests at once, where each of them mostly waits.

use std::sync::OnceLock;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::backend::Backend;

/// Requests that one machine has under way at a place that is far.
const REQUESTS: usize = 12;

static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();

/// What `ask` gives for each of these: one after the other in a directory, many at a time at a place that is far.
pub(super) fn each<T: Sync, R: Send>(
    backend: &dyn Backend,
    items: &[T],
    ask: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    match far(backend) {
        Some(pool) => pool.install(|| items.par_iter().map(ask).collect()),
        None => items.iter().map(ask).collect(),
    }
}

/// The threads that wait for a place that is far; none for one that is near.
pub(super) fn far(backend: &dyn Backend) -> Option<&'static ThreadPool> {
    let make = || {
        let named = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("request {number}"));
        named.num_threads(REQUESTS).build().ok()
    };
    POOL.get_or_init(make).as_ref().filter(|_| backend.is_far())
}
