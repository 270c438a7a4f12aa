//! The one binary, `git-sparse`.

fn main() {}
