//! Floor 7: the command line.
//!
//! Results go to standard output, progress and messages to standard error. The exit status is 0 for success, 2 for
//! a command line that makes no sense, 1 for anything else that failed.

mod bench;
mod caption;
mod evaluate;
mod features;
mod images;
mod inspect;
mod options;
mod output;
mod pipeline;
mod score;
mod train;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cpu::{isa, profile, threads};
use crate::error::{Error, Result};

/// Looks at a picture and says what it sees.
#[derive(Parser)]
#[command(
    name = "glimpse",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Copy)]
struct Common {
    /// Where to compute; this build has the CPU alone
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Device::Auto,
        display_order = 100
    )]
    device: Device,
    /// Threads [default: all cores]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        display_order = 101
    )]
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
    Caption(caption::CaptionArgs),
    Features(features::FeaturesArgs),
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Score(score::ScoreArgs),
    Inspect(inspect::InspectArgs),
    Bench(bench::BenchArgs),
}

impl Command {
    fn run(&self) -> Result<ExitCode> {
        match self {
            Command::Caption(args) => caption::run(args),
            Command::Features(args) => features::run(args),
            Command::Train(args) => train::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Score(args) => score::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Bench(args) => bench::run(args),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let code = prepare(cli.common)
        .and_then(|()| cli.command.run())
        .unwrap_or_else(|error| {
            output::complain(error);
            ExitCode::FAILURE
        });
    if profile::enabled() {
        eprint!("{}", profile::report());
    }
    code
}

/// Shows the help that was asked for, or says in one line what is wrong with the command line.
fn not_parsed(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if let DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand = error.kind() {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    // After its first paragraph come hints and the usage.
    let text = error.render().to_string();
    let first = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let words: Vec<&str> = first.split_whitespace().collect();
    output::misused(format_args!("{}; -h explains the options", words.join(" ")))
}

fn prepare(common: Common) -> Result<()> {
    isa::check_forced()?;
    if common.device == Device::Gpu {
        return Err(Error::usage(
            "--device gpu: this build computes on the CPU alone; leave the option out",
        ));
    }
    common
        .threads
        .map_or(Ok(()), |n| threads::set_count(n.into()))
}
