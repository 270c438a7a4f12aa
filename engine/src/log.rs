//! What llama.cpp says while it works: to standard error, and kept for whoever needs the words.
//!
//! It tells in its log, and nowhere else, why a file is no model, and which types a dry run chose.

use std::ffi::{CStr, c_char, c_void};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Words beyond this are not kept: a log of all tensors of a large model is far below it.
const MAX_KEPT_BYTES: usize = 16 << 20;
/// What llama.cpp says of itself at each start that nobody asked for is not passed on.
const LEVEL_WARN: u32 = 3;

static KEPT: Mutex<String> = Mutex::new(String::new());

/// Takes llama.cpp's words from now on.
pub fn listen() {
    // SAFETY: `hear` lives as long as the program, has the type that is asked for, and may be called from any thread.
    unsafe { llama_cpp_4::log_set(Some(hear), std::ptr::null_mut()) };
}

/// Runs `work` and gives what was said meanwhile.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, String) {
    kept().clear();
    let done = work();
    (done, std::mem::take(&mut *kept()))
}

/// The lines that tell of something wrong, in few words.
pub fn complaints(log: &str) -> String {
    let wrong = |line: &&str| {
        let line = line.to_lowercase();
        line.contains("error") || line.contains("failed") || line.contains("unknown")
    };
    let lines: Vec<&str> = log.lines().filter(wrong).map(str::trim).take(3).collect();
    lines.join("; ")
}

fn kept() -> std::sync::MutexGuard<'static, String> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
///
/// `text` is a C string that lives while this runs.
unsafe extern "C" fn hear(level: u32, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a C string of its own.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if level >= LEVEL_WARN {
        // Nobody may listen there; that is no reason to stop.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    let mut kept = kept();
    if kept.len() + text.len() <= MAX_KEPT_BYTES {
        kept.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A person reads why, not three hundred lines about buffers.
    #[test]
    fn only_complaints_are_told() {
        let log = "loading\nerror loading model: unknown architecture: 'x'\nfine\n";
        assert_eq!(complaints(log), "error loading model: unknown architecture: 'x'");
    }
}
