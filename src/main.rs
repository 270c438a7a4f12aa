//! The one binary, `git-sparse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    git_sparse::cli::main()
}
