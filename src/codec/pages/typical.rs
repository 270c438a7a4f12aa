//! What plans of pages look like: each is stored as what it has besides.

/// Plans continue this. Four plans as `encode` makes them before they are packed, of tables that pyarrow wrote with its
/// defaults: of 5 and of 17 pages of text, of 3 and of 17 pages of numbers. It never changes.
pub(super) const TYPICAL: &[u8] = include_bytes!("typical.plans");
