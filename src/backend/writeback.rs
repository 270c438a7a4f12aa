//! Has the kernel begin to write what will have to be durable soon: whoever waits for that at the end waits less.
//!
//! It promises nothing, and takes no error from whoever asks for durability then.

use std::fs::File;
use std::ops::Range;

/// Begins to write these bytes of a file to its disk, where the system can be asked to.
#[cfg(target_os = "linux")]
pub(super) fn begin(file: &File, bytes: Range<u64>) {
    use std::os::fd::AsRawFd;
    let (Ok(start), Ok(len)) = (i64::try_from(bytes.start), i64::try_from(bytes.end - bytes.start)) else {
        return;
    };
    // SAFETY: sync_file_range(2) takes an open file and numbers, and touches no memory of ours.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_file: &File, _bytes: Range<u64>) {}
