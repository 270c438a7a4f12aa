//! Progress and cancellation of long work: one closure.

/// Called with the number of bytes just done; an error stops the work at the next safe point.
pub type Progress<'a> = dyn Fn(u64) -> Result<(), Cancelled> + Sync + 'a;

/// The caller no longer wants the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// For work that nobody watches.
pub fn unwatched(_bytes: u64) -> Result<(), Cancelled> {
    Ok(())
}
