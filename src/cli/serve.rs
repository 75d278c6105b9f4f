//! `glimpse serve`

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use super::options::{ModelArgs, count, number};
use super::output;
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::web::{Options, Server, Stop};

/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "GLIMPSE_TOKEN";

/// Caption images over HTTP: a page for people, POST /api/caption for programs
///
/// Everything runs on this machine. Uploads stay in memory, and are neither stored nor logged. Without a token the
/// service answers only under localhost, its address, and the names given with --allow-host. GET /api/openapi.json
/// describes the interface, GET /metrics counts. Ctrl-C or SIGTERM finishes what was begun and ends it.
#[derive(Args)]
pub struct ServeArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value_t = Options::default().addr)]
    addr: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// What is told on standard error; info has a line for each request
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Log::Warn)]
    log: Log,
    /// Log as JSON, an object a line
    #[arg(long)]
    log_json: bool,
    /// Print a JSON object with the address as soon as the service listens
    #[arg(long)]
    json: bool,
}

/// How much is taken on.
#[derive(Args)]
struct LimitArgs {
    /// The largest request, in megabytes (of 1024 x 1024 bytes); larger ones are refused with status 413
    #[arg(long, value_name = "MB", default_value_t = megabytes(Options::default().upload_bytes), value_parser = count(1 << 14))]
    max_upload_mb: usize,
    /// All uploads at a time, in megabytes; more are refused with status 429
    #[arg(long, value_name = "MB", default_value_t = megabytes(Options::default().held_bytes), value_parser = count(1 << 20))]
    upload_memory_mb: usize,
    /// The most pixels of an image, in millions, and of all that are being decoded at a time; larger ones are refused
    /// with status 413
    #[arg(long, value_name = "N", default_value_t = megapixels(Options::default().pixels), value_parser = count(10_000))]
    max_megapixels: usize,
    /// Requests for captions at a time; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = Options::default().requests, value_parser = count(1 << 16))]
    max_requests: usize,
    /// Open connections; more have to wait
    #[arg(long, value_name = "N", default_value_t = Options::default().connections, value_parser = count(1 << 16))]
    max_connections: usize,
    /// Images that wait for the model; more are refused with status 503
    #[arg(long, value_name = "N", default_value_t = Options::default().queue, value_parser = count(1 << 16))]
    queue: usize,
    /// Images that the model sees at a time
    #[arg(long, value_name = "N", default_value_t = Options::default().batch, value_parser = count(1024))]
    batch: usize,
    /// How long a batch waits for images that are on their way, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = Options::default().batch_wait.as_secs_f64() * 1e3,
          value_parser = number("must be 0 to 1000", |ms| (0.0..=1e3).contains(&ms)))]
    batch_wait_ms: f64,
    /// How long a sender may be silent, in seconds; then comes status 408
    #[arg(long, value_name = "S", default_value_t = Options::default().read_timeout.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    read_timeout_s: f64,
    /// How long a request may take as a whole, in seconds; then comes status 408
    #[arg(long, value_name = "S", default_value_t = Options::default().timeout.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    timeout_s: f64,
}

/// Who is let in.
#[derive(Args)]
struct AccessArgs {
    /// What clients have to send as `Authorization: Bearer SECRET` [default: what the environment variable
    /// GLIMPSE_TOKEN holds, which others on this machine cannot see; without either, nothing]
    #[arg(long, value_name = "SECRET")]
    token: Option<String>,
    /// A name that the service is reached by, besides localhost and its address; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl Log {
    fn filter(self) -> LevelFilter {
        match self {
            Log::Off => LevelFilter::OFF,
            Log::Error => LevelFilter::ERROR,
            Log::Warn => LevelFilter::WARN,
            Log::Info => LevelFilter::INFO,
            Log::Debug => LevelFilter::DEBUG,
        }
    }
}

impl ServeArgs {
    fn options(&self, token: Option<String>) -> Options {
        let limits = &self.limits;
        let upload_bytes = limits.max_upload_mb << 20;
        Options {
            addr: self.addr.clone(),
            upload_bytes,
            // One upload has to fit.
            held_bytes: (limits.upload_memory_mb << 20).max(upload_bytes),
            pixels: limits.max_megapixels as u64 * 1_000_000,
            queue: limits.queue,
            batch: limits.batch,
            batch_wait: Duration::from_secs_f64(limits.batch_wait_ms * 1e-3),
            requests: limits.max_requests,
            connections: limits.max_connections,
            read_timeout: Duration::from_secs_f64(limits.read_timeout_s),
            timeout: Duration::from_secs_f64(limits.timeout_s),
            token,
            hosts: self.access.allow_host.clone(),
            ..Options::default()
        }
    }
}

impl AccessArgs {
    /// # Errors
    /// Where a header could not hold it.
    fn token(&self) -> Result<Option<String>> {
        let variable = || std::env::var(TOKEN_VARIABLE).ok().filter(|t| !t.is_empty());
        let token = self.token.clone().or_else(variable);
        let fits = |t: &String| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic());
        match token.as_ref().is_none_or(fits) {
            true => Ok(token),
            false => Err(Error::usage(
                "the token must be visible ASCII characters without spaces",
            )),
        }
    }
}

pub fn run(args: &ServeArgs, device: &Device) -> Result<ExitCode> {
    let token = match args.access.token() {
        Ok(token) => token,
        Err(e) => return Ok(output::misused(e)),
    };
    start_log(args);
    let is_open = token.is_none();
    let captioner = args.model.load(device)?;
    let server = Server::bind(captioner, device, args.options(token))?;
    stop_on_signals(server.stopper())?;
    let addr = server.addr();
    greet(addr, device);
    if is_open && !addr.ip().is_loopback() {
        output::complain(
            "whoever reaches this address may use the service; --token keeps others out",
        );
    }
    if args.json {
        output::json(&serde_json::json!({ "event": "listening", "addr": addr.to_string() }))?;
    }
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

fn greet(addr: SocketAddr, device: &Device) {
    let threads = threads::count();
    let plural = if threads == 1 { "" } else { "s" };
    eprintln!(
        "Glimpse listens on http://{addr} ({threads} thread{plural}, {}); Ctrl-C ends it",
        device.name()
    );
}

/// The first signal lets the service finish; the second time there is no patience left for that.
fn stop_on_signals(stop: Stop) -> Result<()> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        stop.stop();
    })
    .map_err(|_| Error::usage("the system does not let Ctrl-C be caught"))
}

fn start_log(args: &ServeArgs) {
    let log = tracing_subscriber::fmt()
        .with_max_level(args.log.filter())
        .with_writer(io::stderr)
        .with_target(false);
    match args.log_json {
        true => log.json().flatten_event(true).init(),
        false => log.with_ansi(false).init(),
    }
}

fn is_patience(seconds: f64) -> bool {
    seconds > 0.0 && seconds <= 3600.0
}

fn megabytes(bytes: usize) -> usize {
    bytes >> 20
}

fn megapixels(pixels: u64) -> usize {
    (pixels / 1_000_000) as usize
}
