//! A connection, from its first byte to its last.

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

use super::memory::CONNECTION;
use super::peers::{Peer, Phase, Place};
use super::stream::Stream;

/// How old a connection grows, so that none is kept for ever by who does not read what he asked for.
const LIFETIME: Duration = Duration::from_secs(120);

/// How long clients may take.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For the headers of a request, or for sending any at all.
    pub headers: Duration,
    /// For reading any part of an answer.
    pub write: Duration,
    /// For what is in progress when the connection is too old.
    pub end: Duration,
    /// For what is in progress when the service stops.
    pub stop: Duration,
}

/// Answers what comes over `stream` until it is closed, too old, has to make room for another, or `stopped`; what is in
/// progress then is finished.
pub async fn serve(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    place: Place,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small, and go out as soon as they are written.
    let _ = stream.set_nodelay(true);
    let peer = place.peer.clone();
    let service = Introduced {
        peer: peer.clone(),
        service: TowerToHyperService::new(router),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(CONNECTION)
            .header_read_timeout(patience.headers)
            .serve_connection(TokioIo::new(Stream::new(stream, patience.write)), service)
    );
    let end = tokio::select! {
        _ = connection.as_mut() => return,
        () = peer.closed() => return,
        _ = stopped.wait_for(|&stopped| stopped) => patience.stop,
        () = sleep(LIFETIME) => patience.end,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        // A client that breaks off is none of our errors.
        _ = timeout(end, connection) => {}
        () = peer.closed() => {}
    }
}

/// A service that tells each request whose it is, and takes note of what happens on the connection.
struct Introduced {
    peer: Arc<Peer>,
    service: TowerToHyperService<Router>,
}

impl Service<axum::http::Request<Incoming>> for Introduced {
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
            // Who sends many requests without waiting for answers gets one, and then it is the others' turn.
            task::yield_now().await;
            answer
        })
    }
}
