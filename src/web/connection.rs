//! Serves one connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task;
use tokio::time::{sleep, timeout};

use super::memory::CONNECTION_BYTES;
use super::peers::{Peer, Phase, Slot};
use super::stream::Stream;

/// Maximum age of a connection; bounds clients that never read the answer.
const MAX_AGE: Duration = Duration::from_secs(120);

/// The timeouts of a connection.
#[derive(Clone, Copy)]
pub struct Timeouts {
    /// For the headers of a request, and for a connection without a request.
    pub headers: Duration,
    /// For reading any part of an answer.
    pub write: Duration,
    /// For the request in progress when the connection reaches its maximum age.
    pub end: Duration,
    /// For the request in progress when the service stops.
    pub stop: Duration,
}

/// Answers the requests on `stream` until it is closed, too old, must make room for another connection, or the service
/// is stopped. In the last three cases the request in progress is finished.
pub async fn serve(
    stream: TcpStream,
    router: Router,
    timeouts: Timeouts,
    slot: Slot,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small and are sent as soon as they are written.
    let _ = stream.set_nodelay(true);
    let peer = slot.peer.clone();
    let service = PeerService {
        peer: peer.clone(),
        service: TowerToHyperService::new(router),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(CONNECTION_BYTES)
            .header_read_timeout(timeouts.headers)
            .serve_connection(TokioIo::new(Stream::new(stream, timeouts.write)), service)
    );
    let end = tokio::select! {
        _ = connection.as_mut() => return,
        () = peer.closed() => return,
        _ = stopped.wait_for(|&stopped| stopped) => timeouts.stop,
        () = sleep(MAX_AGE) => timeouts.end,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        // A client that disconnects is not an error of the service.
        _ = timeout(end, connection) => {}
        () = peer.closed() => {}
    }
}

/// A service that tells each request its client, and records the phase of the connection.
struct PeerService {
    peer: Arc<Peer>,
    service: TowerToHyperService<Router>,
}

impl Service<axum::http::Request<Incoming>> for PeerService {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, mut request: axum::http::Request<Incoming>) -> Self::Future {
        let peer = self.peer.clone();
        peer.set(match request.is_end_stream() {
            true => Phase::Working,
            false => Phase::Sending,
        });
        request.extensions_mut().insert(peer.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            peer.set(Phase::Idle);
            // A client that pipelines requests gets one answer, and then other connections have their turn.
            task::yield_now().await;
            answer
        })
    }
}
