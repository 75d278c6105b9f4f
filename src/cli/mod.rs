//! Floor 9: the command line.
//!
//! Results go to standard output, progress and messages to standard error. The exit status is 0 for success, 2 for a
//! wrong command line, and 1 for any other failure.

mod attention;
mod bench;
mod calibrate;
mod caption;
mod compare;
mod completions;
mod config;
mod convert;
mod dataset;
mod device;
mod doctor;
mod evaluate;
mod features;
mod fetch;
mod images;
mod inspect;
mod man;
mod misuse;
mod options;
pub mod output;
mod pipeline;
mod score;
mod serve;
mod tally;
mod train;
mod version;

pub use convert::main as convert_main;

use std::hash::RandomState;
use std::ops::RangeInclusive;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::cpu::{isa, profile, threads};
use crate::error::{Error, Result, name};
use crate::gpu::ON_THE_CPU;
use crate::tensor::Device;
use device::DeviceArgs;

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

/// The allowed numbers of threads.
const THREADS: RangeInclusive<u16> = 1..=1024;

/// Options that every command takes.
#[derive(Args, Clone)]
struct Common {
    #[command(flatten)]
    device: DeviceArgs,
    /// Threads [default: all cores, or the value of the environment variable GLIMPSE_THREADS]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(i64::from(*THREADS.start())..=i64::from(*THREADS.end())),
        display_order = 102
    )]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    Caption(caption::CaptionArgs),
    Features(features::FeaturesArgs),
    Train(train::TrainArgs),
    Config(config::ConfigArgs),
    Compare(compare::CompareArgs),
    Calibrate(calibrate::CalibrateArgs),
    Evaluate(evaluate::EvaluateArgs),
    Score(score::ScoreArgs),
    Doctor(doctor::DoctorArgs),
    Inspect(inspect::InspectArgs),
    Convert(convert::ConvertArgs),
    Fetch(fetch::FetchArgs),
    Serve(serve::ServeArgs),
    Bench(bench::BenchArgs),
    Devices(device::DevicesArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The outcome of a command.
struct Ended {
    code: ExitCode,
    /// A line that is printed on standard error after everything else.
    last_line: Option<String>,
}

impl From<ExitCode> for Ended {
    fn from(code: ExitCode) -> Self {
        Ended {
            code,
            last_line: None,
        }
    }
}

impl Command {
    /// Runs the command, on `device` if it computes.
    fn run(&self, device: &DeviceArgs) -> Result<ExitCode> {
        match self {
            Command::Caption(args) => compute(device, |device| caption::run(args, device)),
            Command::Features(args) => compute(device, |device| features::run(args, device)),
            Command::Train(args) => compute(device, |device| train::run(args, device)),
            Command::Calibrate(args) => compute(device, |device| calibrate::run(args, device)),
            Command::Evaluate(args) => compute(device, |device| evaluate::run(args, device)),
            Command::Serve(args) => compute(device, |device| serve::run(args, device)),
            Command::Bench(args) => compute(device, |device| bench::run(args, device)),
            Command::Doctor(args) => doctor::run(args, device),
            Command::Score(args) => score::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Config(args) => config::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Convert(args) => convert::run(args),
            Command::Fetch(args) => fetch::run(args),
            Command::Devices(args) => device::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
        }
    }
}

/// Opens `device`, runs a command on it, and names it after success.
fn compute<E: Into<Ended>>(
    device: &DeviceArgs,
    run: impl FnOnce(&Device) -> Result<E>,
) -> Result<ExitCode> {
    let device = device.open()?;
    let Ended { code, last_line } = run(&device)?.into();
    if let Device::Gpu(gpu) = &device {
        if profile::enabled()
            && let Some(table) = gpu.timings()
        {
            output::notes(&table);
        }
        if code == ExitCode::SUCCESS {
            output::note(format_args!("computed on {} ({})", gpu.name(), gpu.kind()));
        }
    }
    if let Some(line) = last_line {
        output::note(line);
    }
    Ok(code)
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli: Cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Common { device, threads } = cli.common;
    if device.contradict() {
        return output::misused("--gpu names a GPU and --device cpu wants none; take one of them");
    }
    let code = prepare(threads)
        .and_then(|()| cli.command.run(&device))
        .unwrap_or_else(|error| {
            output::complain(in_options(&error));
            ExitCode::FAILURE
        });
    if profile::enabled() {
        output::notes(&profile::report());
    }
    code
}

/// The message of an error. Where the library advises to compute otherwise, the message names the option for that.
fn in_options(error: &Error) -> String {
    let text = error.to_string();
    match error {
        Error::Gpu { .. } => text.replace(ON_THE_CPU, "use --device cpu"),
        Error::Thread { .. } => text.replace(threads::TAKE_FEWER, "take fewer with --threads"),
        _ => text,
    }
}

/// Parses the command line of this process. On failure it returns the exit status, after printing the requested help
/// or a line about the mistake.
///
/// # Errors
/// The exit status.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    survive_size_limit();
    T::try_parse().map_err(|error| {
        if error.kind() != ErrorKind::DisplayVersion {
            return misuse::not_parsed(&error);
        }
        // The answer names the instruction set in use.
        if let Err(e) = isa::check_forced() {
            output::complain(e);
            return ExitCode::FAILURE;
        }
        misuse::not_parsed(&version_in_detail::<T>().unwrap_or(error))
    })
}

/// Parses a command line with `-V` or `--version` once more, and returns the answer. Only here `--version` has its
/// details, because they take milliseconds to find out.
fn version_in_detail<T: Parser>() -> Option<clap::Error> {
    // Clap takes texts that live as long as the process, which ends after the answer.
    let long: &'static str = version::long().leak();
    T::command().long_version(long).try_get_matches().err()
}

/// Turns the signal for a file that grows beyond a limit into an error of the write. The signal's default action
/// would end the program, and a training run would lose its progress.
fn survive_size_limit() {
    // The flag is not read, as the failed write reports the error. If no handler can be installed, the default action
    // stays.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Prepares this process for computing on `count` threads; by default on as many as the environment asks for, or as
/// the processor has.
///
/// # Errors
/// If the environment has an invalid value, or the system grants no threads.
pub fn prepare(count: Option<u16>) -> Result<()> {
    has_random_numbers()?;
    isa::check_forced()?;
    let count = count.map_or_else(threads_of_environment, |n| Ok(Some(n)))?;
    threads::start(count.map(usize::from))
}

/// Checks that the system provides random numbers. Hash tables need one and would otherwise panic without a clear
/// message.
fn has_random_numbers() -> Result<()> {
    threads::unless_it_panics(RandomState::new)
        .map(|_| ())
        .ok_or_else(|| Error::usage("the system gives no random numbers, which hash tables need"))
}

/// The environment variable for the number of threads; `--threads` overrides it.
const THREADS_VARIABLE: &str = "GLIMPSE_THREADS";

/// The number of threads that the environment asks for.
fn threads_of_environment() -> Result<Option<u16>> {
    let Some(text) = std::env::var_os(THREADS_VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let count = text.to_str().and_then(|text| text.parse().ok());
    match count.filter(|count| THREADS.contains(count)) {
        Some(count) => Ok(Some(count)),
        None => Err(Error::usage(format_args!(
            "{THREADS_VARIABLE}={}: must be a whole number from {} to {}",
            name(&text),
            THREADS.start(),
            THREADS.end()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_options() {
        let text = |error: Error| in_options(&error);
        let gpu = Error::gpu("GPU", format_args!("no GPU was found; {ON_THE_CPU}"));
        assert_eq!(text(gpu), "GPU: no GPU was found; use --device cpu");
        let threads = Error::thread(format_args!("no 9 threads; {}", threads::TAKE_FEWER));
        assert_eq!(text(threads), "no 9 threads; take fewer with --threads");
        let other = Error::file("compute on the CPU", "is empty");
        assert_eq!(text(other), "compute on the CPU: is empty");
    }
}
