//! The server: it opens the address, accepts connections, and ends when it is told to.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task;
use tokio::time::{Instant, sleep};

use super::app::App;
use super::connection::{self, Timeouts};
use super::log_limit::LogLimit;
use super::routes;
use super::worker::Worker;
use super::{Options, address};
use crate::cpu::threads;
use crate::error::{Error, Result, reason};
use crate::model::Captioner;
use crate::tensor::Device;

/// Pause before the next attempt if the system has no more connections.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Connections that the system accepts before the service has seen them. A burst of clients fills this backlog; clients
/// that do not fit try again only after a second.
const BACKLOG: u32 = 4096;

/// The number of connections accepted in a row before existing ones are served again.
const MAX_ACCEPTS: usize = 16;

/// Size in bytes of the system's buffer for unread answers: enough for any answer of this service. The system's default
/// is megabytes for each client.
const SEND_BUFFER: u32 = 128 << 10;

/// Interval at which a stopping service checks whether it is done.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest time that a stopping service waits for a batch that the model has begun.
const MODEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A service that is bound to an address; [`Server::run`] answers requests.
///
/// ```no_run
/// use glimpse::{model::Captioner, tensor::Device, web::{Options, Server}};
///
/// let server = Server::bind(Captioner::bundled()?, &Device::Cpu, Options::default())?;
/// println!("http://{}", server.addr());
/// server.run()?;
/// # Ok::<(), glimpse::error::Error>(())
/// ```
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    captioner: Captioner,
    app: Arc<App>,
    stop: watch::Sender<bool>,
}

/// Stops a [`Server`] from another thread.
#[derive(Clone)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Stops the service after it has finished the requests that it has begun.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Binds a service to the address in `options`, for a model on `device`.
    ///
    /// # Errors
    /// If the address is malformed or in use.
    pub fn bind(mut captioner: Captioner, device: &Device, options: Options) -> Result<Self> {
        let options = Options {
            addr: address(&options.addr)?,
            ..options
        };
        let runtime = runtime()?;
        let listened = {
            let _within = runtime.enter();
            listen(&options.addr)
        };
        let listened = listened.and_then(|listener| {
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        });
        let (listener, addr) = listened.map_err(|e| {
            Error::usage(format_args!(
                "cannot listen on {}: {}; choose another address with --addr",
                options.addr,
                reason(&e)
            ))
        })?;
        let app = Arc::new(App::new(&mut captioner, device, options, addr)?);
        let (stop, _) = watch::channel(false);
        Ok(Server {
            runtime,
            listener,
            captioner,
            app,
            stop,
        })
    }

    /// Returns the address that it is bound to, with the actual port.
    pub fn addr(&self) -> SocketAddr {
        self.app.addr
    }

    /// Returns a handle that stops the service.
    pub fn stopper(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// Answers requests until it is stopped. Then it waits until the requests that were begun are finished or the
    /// timeout is over.
    ///
    /// # Errors
    /// If the system grants no threads or no event loop.
    pub fn run(self) -> Result<()> {
        let Server {
            runtime,
            listener,
            captioner,
            app,
            stop,
        } = self;
        let worker = Worker {
            captioner,
            queue: app.queue.clone(),
            metrics: app.metrics.clone(),
        };
        let worker = worker.start()?;
        runtime.block_on(serve(listener, &app, &stop));
        // Connections that are still open are closed here, so that nothing waits for images in decoding or in the
        // queue.
        runtime.shutdown_background();
        app.queue.close();
        // The model finishes its current batch, unless that takes too long; then its thread is left behind.
        let until = Instant::now() + app.options.shutdown.min(MODEL_TIMEOUT);
        while !worker.is_finished() && Instant::now() < until {
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

/// Listens on the first free one of the addresses that `addr` stands for.
fn listen(addr: &str) -> io::Result<TcpListener> {
    let mut error = io::ErrorKind::AddrNotAvailable.into();
    for addr in addr.to_socket_addrs()? {
        match listen_at(addr) {
            Ok(listener) => return Ok(listener),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn listen_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // On other systems it would allow another program to take over the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Connections inherit this setting. If it cannot be set, the default stays.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// How long an idle decoding thread lives: practically for ever.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Creates an event loop on this thread, and threads for decoding images: one more than images are decoded at a time,
/// for reading headers. One of these threads is started here and stays alive. If the system grants no more, images wait
/// for it.
fn runtime() -> Result<Runtime> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(threads::count() + 1)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .thread_name("decoder")
        .build()
        .map_err(|e| {
            let what = format_args!("an event loop cannot be started: {}", reason(&e));
            Error::thread(what).because(e)
        })?;
    let first = threads::unless_it_panics(|| runtime.spawn_blocking(|| ()));
    match first {
        Some(_) => Ok(runtime),
        None => Err(Error::thread(
            "a thread for decoding images cannot be started; the system allows no more at the moment",
        )),
    }
}

/// Accepts connections until the service is stopped, then waits for the open ones.
async fn serve(listener: TcpListener, app: &Arc<App>, stop: &watch::Sender<bool>) {
    static FAILED: LogLimit = LogLimit::new();
    let router: Router = routes::router(app.clone());
    let options = &app.options;
    let timeouts = Timeouts {
        headers: options.read_timeout,
        write: options.write_timeout,
        end: options.timeout,
        // After that, requests in progress end with the runtime, and a message has been logged.
        stop: options.shutdown + RETRY_PAUSE * 20,
    };
    let mut stopped = stop.subscribe();
    let mut burst = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|&stopped| stopped) => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // If even the reserve is used up, the connection is closed at once.
                let Some(place) = app.peers.open(from.ip()).await else {
                    continue;
                };
                let (router, stopped) = (router.clone(), stop.subscribe());
                tokio::spawn(connection::serve(stream, router, timeouts, place, stopped));
                // Existing connections get a turn before many more are accepted; otherwise a burst would close them
                // before they were served.
                burst = (burst + 1) % MAX_ACCEPTS;
                if burst == 0 {
                    task::yield_now().await;
                }
            }
            Err(error) => {
                if let Some(others) = FAILED.suppressed() {
                    tracing::warn!(%error, others, "a connection could not be accepted");
                }
                sleep(RETRY_PAUSE).await;
            }
        }
    }
    drop(listener);
    finish(app).await;
}

/// Waits for the requests that were begun, up to the timeout of a stopping service.
async fn finish(app: &App) {
    let limit = app.options.shutdown;
    let requests = app.peers.requests();
    if requests > 0 {
        let seconds = limit.as_secs_f64();
        tracing::warn!(
            requests,
            seconds,
            "stopping: waits for requests that were begun"
        );
    }
    let until = Instant::now() + limit;
    while app.peers.len() > 0 && Instant::now() < until {
        sleep(POLL_INTERVAL).await;
    }
    let requests = app.peers.requests();
    if requests > 0 {
        tracing::warn!(
            requests,
            "stopping: requests are cut off; --shutdown-timeout-s waits longer"
        );
    }
}
