//! Floor 7: the command line.
//!
//! Results go to standard output, progress and messages to standard error. The exit status is 0 for success, 2 for
//! a command line that makes no sense, 1 for anything else that failed.

mod train;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cpu::{isa, threads};
use crate::error::{Error, Result};

/// Looks at a picture and says what it sees.
#[derive(Parser)]
#[command(name = "glimpse", version, about, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Copy)]
struct Common {
    /// Where to compute: this build has the CPU alone.
    #[arg(long, global = true, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// The GPU where a real one is found, else the CPU
    Auto,
    /// The processor
    Cpu,
    /// The graphics processor
    Gpu,
}

#[derive(Subcommand)]
enum Command {
    Train(train::TrainArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match prepare(cli.common).and_then(|()| match cli.command {
        Command::Train(args) => train::run(&args),
    }) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("glimpse: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(common: Common) -> Result<()> {
    isa::check_forced()?;
    if common.device == Device::Gpu {
        return Err(Error::usage("--device gpu: this build computes on the CPU alone; leave the option out"));
    }
    common.threads.map_or(Ok(()), |n| threads::set_count(n.into()))
}
