//! How errors, bytes and times look on a terminal.

use std::process::ExitCode;

use crate::daemon::message::Failure;

/// Prints a failure and gives its exit code.
pub fn failure(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", failure.message);
    if let Some(fix) = &failure.fix {
        eprintln!("  fix: {fix}");
    }
    ExitCode::from(super::exit_code(failure.kind))
}
