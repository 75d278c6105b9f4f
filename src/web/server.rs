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
use super::connection::{self, Patience};
use super::routes;
use super::seldom::Seldom;
use super::worker::Worker;
use super::{Options, address};
use crate::cpu::threads;
use crate::error::{Error, Result, reason};
use crate::model::Captioner;
use crate::tensor::Device;

/// How long to wait where the system has no more connections to give.
const BREATH: Duration = Duration::from_millis(50);

/// Connections that the system takes before the service has seen them. A burst of clients fills it; those that it does not
/// hold try again only after a second.
const BACKLOG: u32 = 1024;

/// Connections that are taken one after another before those that are here already are looked at.
const BURST: usize = 16;

/// What the system keeps of answers that a client does not read, in bytes: enough for any of the answers here. Left to
/// itself it keeps megabytes for each client.
const SEND_BUFFER: u32 = 128 << 10;

/// How often a stopping service looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);

/// How long a stopping service waits at most for a batch that the model has begun.
const MODEL: Duration = Duration::from_secs(2);

/// A service that listens; [`Server::run`] answers.
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
    /// Lets the service finish what it has begun, and end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Listens where `options` say, for a model that is on `device`.
    ///
    /// # Errors
    /// Where the address makes no sense or is taken.
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

    /// Where it listens, the port filled in.
    pub fn addr(&self) -> SocketAddr {
        self.app.addr
    }

    /// What stops it.
    pub fn stopper(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// Answers until it is stopped, and then until what was begun is finished or has taken too long.
    ///
    /// # Errors
    /// Where the system grants no threads or no event loop.
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
        // Connections that are still open end here, so that nobody waits for what is being decoded or in the queue.
        runtime.shutdown_background();
        app.queue.close();
        // What the model has begun, it finishes, unless that takes long; then the thread goes on without anybody.
        let until = Instant::now() + app.options.shutdown.min(MODEL);
        while !worker.is_finished() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// A socket that listens at the first of the addresses that `addr` means which is free.
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
    // Elsewhere it would let another program take the address over.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Connections inherit it. Where it cannot be set, it is what it was.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// How long a thread for decoding stays without work: as good as for ever.
const IDLE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An event loop on this thread, and threads for decoding images: one more than decode at a time, to look at headers. One
/// of these is started here and stays: while there is one, images wait for it where the system grants no more.
fn runtime() -> Result<Runtime> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(threads::count() + 1)
        .thread_keep_alive(IDLE)
        .thread_name("decoder")
        .build()
        .map_err(|e| {
            Error::usage(format_args!(
                "an event loop cannot be started: {}",
                reason(&e)
            ))
        })?;
    let first = threads::unless_it_panics(|| runtime.spawn_blocking(|| ()));
    match first {
        Some(_) => Ok(runtime),
        None => Err(Error::usage(
            "a thread for decoding images cannot be started; the system allows no more at the moment",
        )),
    }
}

/// Accepts connections until it is told to stop, and then waits for those that are open.
async fn serve(listener: TcpListener, app: &Arc<App>, stop: &watch::Sender<bool>) {
    static FAILED: Seldom = Seldom::new();
    let router: Router = routes::router(app.clone());
    let options = &app.options;
    let patience = Patience {
        headers: options.read_timeout,
        write: options.write_timeout,
        end: options.timeout,
        // What is in progress then ends with the runtime, after it was said.
        stop: options.shutdown + BREATH * 20,
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
                // Where even the last reserve is taken, the connection ends at once.
                let Some(place) = app.peers.open(from.ip()).await else {
                    continue;
                };
                let (router, stopped) = (router.clone(), stop.subscribe());
                tokio::spawn(connection::serve(stream, router, patience, place, stopped));
                // Those that are here already are seen before many more come, or a burst would close them unseen.
                burst = (burst + 1) % BURST;
                if burst == 0 {
                    task::yield_now().await;
                }
            }
            Err(error) => {
                if let Some(others) = FAILED.others() {
                    tracing::warn!(%error, others, "a connection could not be accepted");
                }
                sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    finish(app).await;
}

/// Waits for the requests that were begun, as long as a stopping service does.
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
        sleep(LOOK).await;
    }
    let requests = app.peers.requests();
    if requests > 0 {
        tracing::warn!(
            requests,
            "stopping: requests are cut off; --shutdown-timeout-s waits longer"
        );
    }
}
