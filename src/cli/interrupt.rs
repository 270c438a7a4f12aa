//! Ctrl-C: long work ends at its next step and cleans up; a second time, at once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a program that a user interrupted.
pub const EXIT_CODE: u8 = 130;

/// Becomes true when the user, or the system, wants this program to end.
pub fn flag() -> &'static AtomicBool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first time raises the flag, the second finds it raised. Where handlers
            // can't be set, signals do what they always did.
            let _ = flag::register_conditional_shutdown(signal, i32::from(EXIT_CODE), raised.clone());
            let _ = flag::register(signal, raised.clone());
        }
        raised
    })
}
