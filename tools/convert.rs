//! `glimpse-convert`: the command `glimpse convert` as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    glimpse::cli::convert_main()
}
