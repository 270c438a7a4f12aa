//! The git-lfs custom transfer protocol, and nothing else.
