//! How one object is encoded: alone, or as a difference to a base.
