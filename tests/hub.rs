//! The hub, `git sparse serve`, with real git, git-lfs and curl: what goes in comes out, and what must not, does not.

mod access;

mod basic;

mod bucket;

mod collected;

mod faults;

mod frames;

mod held;

mod hostile;

mod limits;

mod locks;

mod ssh;

mod tls;

mod transfer;

mod turns;
