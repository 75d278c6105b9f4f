//! The command line: see [`glimpse::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    glimpse::cli::main()
}
