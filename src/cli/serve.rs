//! `glimpse serve`

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use super::options::{MEGAPIXEL, ModelArgs, count, megapixels, number};
use super::output;
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::web::{Options, PublicUrl, Server, Stop, address};

/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "GLIMPSE_TOKEN";

/// The environment variable that holds the public address.
const PUBLIC_URL_VARIABLE: &str = "GLIMPSE_PUBLIC_URL";

/// Caption images over HTTP: a page for people, POST /api/caption for programs
///
/// Everything runs on this machine. Uploads stay in memory, and are neither stored nor logged. Without a token the
/// service answers only under localhost, its address, and the names given with --allow-host and --public-url. GET
/// /api/openapi.json describes the interface, GET /metrics counts. Ctrl-C or SIGTERM finishes the requests that were
/// begun and ends the service.
#[derive(Args)]
pub struct ServeArgs {
    /// The address to listen on: HOST:PORT, a host alone (the port is then 8080) or a port alone (8080 or :8080; the
    /// host is then 127.0.0.1, which only this machine reaches). 0.0.0.0 means all addresses, and port 0 any that is
    /// free
    #[arg(long, value_name = "HOST:PORT", default_value_t = Options::default().addr, value_parser = address)]
    addr: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Messages on standard error; info has a line for each request
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Log::Warn)]
    log: Log,
    /// Log as JSON, an object a line
    #[arg(long)]
    log_json: bool,
    /// Print a JSON object with the address as soon as the service listens
    #[arg(long)]
    json: bool,
}

/// Limits of the service.
#[derive(Args)]
struct LimitArgs {
    /// The largest request, in megabytes (of 1024 x 1024 bytes); larger ones are refused with status 413
    #[arg(long, value_name = "MB", default_value_t = megabytes(Options::default().upload_bytes), value_parser = count(1 << 14))]
    max_upload_mb: usize,
    /// The memory that the service may take, in megabytes, however many threads it has. Images that would take too
    /// much of it to decode are refused with status 413, and the others wait for each other
    #[arg(long, value_name = "MB", default_value_t = megabytes(Options::default().memory_bytes), value_parser = count(1 << 20))]
    memory_mb: usize,
    /// Memory of --memory-mb that uploads may take together, in megabytes; more are refused with status 429 [default:
    /// a fifth of the memory that the model and connections leave]
    #[arg(long, value_name = "MB", value_parser = count(1 << 20))]
    upload_memory_mb: Option<usize>,
    /// The most pixels of an image, in millions; larger ones are refused with status 413
    #[arg(long, value_name = "N", default_value_t = megapixels(Options::default().pixels), value_parser = count(10_000))]
    max_megapixels: usize,
    /// Pixels of one client's images that wait to be decoded, in millions; if there are more, its largest are refused
    /// with status 429 [default: 16 times --max-megapixels]
    #[arg(long, value_name = "N", value_parser = count(1_000_000))]
    queued_megapixels: Option<usize>,
    /// Concurrent requests for captions, not counting those that are still being sent; more are refused with status
    /// 429
    #[arg(long, value_name = "N", default_value_t = Options::default().requests, value_parser = count(1 << 16))]
    max_requests: usize,
    /// Open connections; if there are more, the client that has the most loses the one that was idle for longest
    #[arg(long, value_name = "N", default_value_t = Options::default().connections, value_parser = count(1 << 16))]
    max_connections: usize,
    /// Open connections from one address or IPv6 network (/64), except those of a --trusted-proxy; if there are more,
    /// the one of them that was idle for longest is closed
    #[arg(long, value_name = "N", default_value_t = Options::default().connections_per_address, value_parser = count(1 << 16))]
    max_connections_per_address: usize,
    /// Images that wait for the model; more are refused with status 503
    #[arg(long, value_name = "N", default_value_t = Options::default().queue, value_parser = count(1 << 16))]
    queue: usize,
    /// Images in one batch of the model
    #[arg(long, value_name = "N", default_value_t = Options::default().batch, value_parser = count(1024))]
    batch: usize,
    /// How long a batch waits for images that are on their way, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = Options::default().batch_wait.as_secs_f64() * 1e3,
          value_parser = number("must be 0 to 1000", |ms| (0.0..=1e3).contains(&ms)))]
    batch_wait_ms: f64,
    /// How long a sender may be silent, in seconds; then the request ends with status 408
    #[arg(long, value_name = "S", default_value_t = Options::default().read_timeout.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    read_timeout_s: f64,
    /// How long a client may leave an answer unread, in seconds; then its connection is closed
    #[arg(long, value_name = "S", default_value_t = Options::default().write_timeout.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    write_timeout_s: f64,
    /// Minimum average bytes per second of a request, after the first --read-timeout-s seconds; a slower request ends
    /// with status 408
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().upload_rate, value_parser = count(1 << 30))]
    min_upload_rate: usize,
    /// How long a request may take as a whole, in seconds; then it ends with status 408
    #[arg(long, value_name = "S", default_value_t = Options::default().timeout.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    timeout_s: f64,
    /// How long a stopped service waits for requests that were begun, in seconds; then they are cut off
    #[arg(long, value_name = "S", default_value_t = Options::default().shutdown.as_secs_f64(),
          value_parser = number("must be above 0 and at most 3600", is_patience))]
    shutdown_timeout_s: f64,
}

/// Options for who has access.
#[derive(Args)]
struct AccessArgs {
    /// The secret that clients have to send as `Authorization: Bearer SECRET` [default: the value of the environment
    /// variable GLIMPSE_TOKEN, which others on this machine cannot see; without either, none is needed]
    #[arg(long, value_name = "SECRET")]
    token: Option<OsString>,
    /// A name under which the service is reached, besides localhost and its address; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// The address of a proxy in front. Its X-Forwarded-For then identifies the client that a limit per client
    /// counts; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = ip)]
    trusted_proxy: Vec<IpAddr>,
    /// The address that users see if a proxy stands in front, such as https://example.org/glimpse. Its host is let
    /// in, and the service answers under its path as well as under /, so it does not matter whether the proxy takes
    /// the path away [default: the value of the environment variable GLIMPSE_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

/// Verbosity of the log.
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
    fn options(&self, token: Option<String>, public_url: Option<PublicUrl>) -> Options {
        let limits = &self.limits;
        let upload_bytes = limits.max_upload_mb << 20;
        Options {
            addr: self.addr.clone(),
            upload_bytes,
            memory_bytes: limits.memory_mb << 20,
            // The limit admits at least one upload of the maximum size.
            held_bytes: limits
                .upload_memory_mb
                .map(|mb| (mb << 20).max(upload_bytes)),
            pixels: limits.max_megapixels as u64 * MEGAPIXEL,
            queued_pixels: limits
                .queued_megapixels
                .unwrap_or(16 * limits.max_megapixels) as u64
                * MEGAPIXEL,
            queue: limits.queue,
            batch: limits.batch,
            batch_wait: Duration::from_secs_f64(limits.batch_wait_ms * 1e-3),
            requests: limits.max_requests,
            connections: limits.max_connections,
            connections_per_address: limits.max_connections_per_address,
            trusted_proxies: self.access.trusted_proxy.clone(),
            write_timeout: Duration::from_secs_f64(limits.write_timeout_s),
            upload_rate: limits.min_upload_rate,
            shutdown: Duration::from_secs_f64(limits.shutdown_timeout_s),
            read_timeout: Duration::from_secs_f64(limits.read_timeout_s),
            timeout: Duration::from_secs_f64(limits.timeout_s),
            token,
            hosts: self.access.allow_host.clone(),
            public_url,
            ..Options::default()
        }
    }
}

impl AccessArgs {
    /// The token, if one was given. A token that cannot be used is an error, because the user wants to restrict
    /// access: a service that started without it would be open.
    ///
    /// # Errors
    /// If it is empty, or a header could not hold it.
    fn token(&self) -> Result<Option<String>> {
        let given = self.token.clone().map(|token| ("--token", token));
        let variable = || std::env::var_os(TOKEN_VARIABLE).map(|token| (TOKEN_VARIABLE, token));
        let Some((from, token)) = given.or_else(variable) else {
            return Ok(None);
        };
        if token.is_empty() {
            return Err(Error::usage(format_args!(
                "{from} is empty, which would keep nobody out; give a token, or leave {from} away for a service without one"
            )));
        }
        let is_visible = |token: &String| token.bytes().all(|b| b.is_ascii_graphic());
        let token = token.into_string().ok().filter(is_visible);
        token.map(Some).ok_or_else(|| {
            Error::usage(format_args!(
                "{from}: the token must be visible ASCII characters without spaces"
            ))
        })
    }

    /// # Errors
    /// If it is no address of a web server.
    fn public_url(&self) -> Result<Option<PublicUrl>> {
        let variable = || {
            let text = std::env::var_os(PUBLIC_URL_VARIABLE)?;
            let text = text.to_string_lossy().into_owned();
            (!text.is_empty()).then_some((PUBLIC_URL_VARIABLE, text))
        };
        let given = self.public_url.clone().map(|text| ("--public-url", text));
        let Some((from, text)) = given.or_else(variable) else {
            return Ok(None);
        };
        let url = text.parse();
        url.map(Some)
            .map_err(|e: Error| Error::usage(format_args!("{from} {e}")))
    }
}

pub fn run(args: &ServeArgs, device: &Device) -> Result<ExitCode> {
    let (token, public_url) = match (args.access.token(), args.access.public_url()) {
        (Ok(token), Ok(url)) => (token, url),
        (Err(e), _) | (_, Err(e)) => return Ok(output::misused(e)),
    };
    start_log(args);
    let is_open = token.is_none();
    let captioner = args.model.load(device)?;
    let public = public_url.as_ref().map(PublicUrl::to_string);
    let server = Server::bind(captioner, device, args.options(token, public_url))?;
    stop_on_signals(server.stopper())?;
    let addr = server.addr();
    greet(addr, device);
    if let Some(url) = public {
        output::note(format_args!("Its users see it at {url}/"));
    }
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
    output::note(format_args!(
        "Glimpse listens on http://{addr} ({threads} thread{plural}, {}); Ctrl-C ends it",
        device.name()
    ));
}

/// Stops the service on a signal. The first signal lets it finish its requests; the second ends the process at once.
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
        .with_writer(|| output::StandardError)
        .log_internal_errors(false)
        .with_target(false);
    match args.log_json {
        true => log.json().flatten_event(true).init(),
        false => log.with_ansi(false).init(),
    }
}

fn ip(text: &str) -> std::result::Result<IpAddr, String> {
    let ip = text.parse::<IpAddr>();
    ip.map(|ip| ip.to_canonical())
        .map_err(|_| "must be an address such as 10.0.0.1 or ::1".into())
}

fn is_patience(seconds: f64) -> bool {
    seconds > 0.0 && seconds <= 3600.0
}

fn megabytes(bytes: usize) -> usize {
    bytes >> 20
}
