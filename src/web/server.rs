use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::app::App;
use super::connection::{self, Patience};
use super::routes;
use super::worker::Worker;
use super::{Options, address};
use crate::cpu::threads;
use crate::error::{Error, Result, reason};
use crate::model::Captioner;
use crate::tensor::Device;

/// How long to wait where the system has no more connections to give.
const BREATH: Duration = Duration::from_millis(50);

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
        let listened = TcpListener::bind(&options.addr).and_then(|listener| {
            listener.set_nonblocking(true)?;
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
        let app = Arc::new(App::new(&mut captioner, device, options, addr));
        let (stop, _) = watch::channel(false);
        Ok(Server {
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
            listener,
            captioner,
            app,
            stop,
        } = self;
        let runtime = runtime()?;
        let worker = Worker {
            captioner,
            queue: app.queue.clone(),
            metrics: app.metrics.clone(),
        };
        let worker = worker.start()?;
        let served = runtime.block_on(serve(listener, &app, &stop));
        app.queue.close();
        let _ = worker.join();
        // What is still being decoded, nobody waits for.
        runtime.shutdown_background();
        served.map_err(|e| Error::usage(format_args!("{}: {}", app.addr, reason(&e))))
    }
}

/// How long a thread for decoding stays without work: as good as for ever.
const IDLE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An event loop on this thread, and threads for decoding images. One of these is started here and stays: while there is
/// one, images wait for it where the system grants no more.
fn runtime() -> Result<Runtime> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(threads::count())
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
async fn serve(
    listener: TcpListener,
    app: &Arc<App>,
    stop: &watch::Sender<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router: Router = routes::router(app.clone());
    let options = &app.options;
    let slots = Arc::new(Semaphore::new(options.connections));
    let patience = Patience {
        headers: options.read_timeout,
        end: options.timeout,
    };
    let mut stopped = stop.subscribe();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|&stopped| stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stopped) = (router.clone(), stop.subscribe());
                tokio::spawn(async move {
                    let _slot = slot;
                    connection::serve(stream, router, patience, stopped).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(options.connections).unwrap_or(u32::MAX);
    let _ = timeout(options.timeout, slots.acquire_many(all)).await;
    Ok(())
}
