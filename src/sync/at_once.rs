//! Many requests at once, where each of them mostly waits.

use std::sync::OnceLock;

use rayon::ThreadPool;

use crate::backend::Backend;

/// Requests that one machine has under way at a place that is far.
const REQUESTS: usize = 12;

static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();

/// Does `work` where what it does in parallel is as parallel as pays off: as many threads as the machine
/// can use for a directory, more of them for a place that is far.
pub(super) fn at_once<T: Send>(backend: &dyn Backend, work: impl FnOnce() -> T + Send) -> T {
    let make = || {
        let named = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("request {number}"));
        named.num_threads(REQUESTS).build().ok()
    };
    match POOL.get_or_init(make) {
        Some(pool) if backend.is_far() => pool.install(work),
        _ => work(),
    }
}
