//! What this process has used of the machine so far, as the system counts it.

use crate::failure::Failure;

/// Of all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub processor_ms: f64,
    /// Times that the system took a processor away.
    pub preempted: u64,
    max_resident: u64,
}

/// What was used up to now.
pub fn now() -> Result<Usage, Failure> {
    let mut found = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to room for one `rusage`, which the call fills when it returns 0.
    let found = unsafe {
        match libc::getrusage(libc::RUSAGE_SELF, found.as_mut_ptr()) {
            0 => found.assume_init(),
            _ => return Err(Failure::engine(format!("getrusage: {}", std::io::Error::last_os_error()))),
        }
    };
    let milliseconds = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    Ok(Usage {
        processor_ms: milliseconds(found.ru_utime) + milliseconds(found.ru_stime),
        preempted: u64::try_from(found.ru_nivcsw).unwrap_or(0),
        max_resident: u64::try_from(found.ru_maxrss).unwrap_or(0),
    })
}

/// The most memory that was in use at once, in bytes.
pub fn peak_bytes() -> Result<u64, Failure> {
    // Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    now().map(|usage| usage.max_resident * unit)
}
