//! The threads on which requests of buckets run. All that waits for them is an ordinary thread.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Requests wait and don't compute: two threads carry many.
const THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Waits for `work` on this thread, which must not be one that drives other futures.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let made = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("bucket")
                .enable_all()
                .build()?;
            RUNTIME.get_or_init(|| made)
        }
    };
    Ok(runtime.block_on(work))
}
