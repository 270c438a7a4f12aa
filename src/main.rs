//! The one binary, `git-sparse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    git_sparse::heap::keep_what_is_freed();
    git_sparse::cli::main()
}
