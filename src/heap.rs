//! Freed memory is kept for the next object instead of being given back to the kernel.
//!
//! Objects of some MiB come and go all the time. By default glibc asks the kernel for many of them, and
//! the kernel clears the pages first, which shows in `cargo bench` where there are two cores. Elsewhere
//! the allocator is left as it is.

/// Freed memory at the top of the heap that is kept, in bytes: the most that a rebuild has under way.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 256 << 20;
/// Larger blocks come from the kernel each time. More than this glibc does not accept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST_BYTES: i32 = 32 << 20;

/// Call it first of all, while there is one thread.
pub fn keep_what_is_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) only sets numbers of the allocator; a value that it refuses changes nothing.
    unsafe {
        // The arenas of other threads can't keep blocks of this size.
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
