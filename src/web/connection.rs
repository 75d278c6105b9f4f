//! A connection, from its first byte to its last.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// How old a connection grows, so that none is kept for ever by who does not read what he asked for.
const LIFETIME: Duration = Duration::from_secs(120);

/// How long what a client still sends is read and thrown away after the last answer, and how long it may be silent.
const LINGER: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_millis(200);

/// How long clients may take.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For the headers of a request, or for sending any at all.
    pub headers: Duration,
    /// For what is in progress when the connection is to end.
    pub end: Duration,
}

/// Answers what comes over `stream` until it is closed, too old, or `stopped`; what is in progress then is finished.
pub async fn serve(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small, and go out as soon as they are written.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.headers)
            .serve_connection(
                TokioIo::new(Lingering::new(stream)),
                TowerToHyperService::new(router),
            )
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|&stopped| stopped) => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that breaks off is none of our errors.
    let _ = timeout(patience.end, connection).await;
}

/// A stream that is closed only after what still comes has been read.
///
/// A system that closes a connection with something unread in it lets the other side know by a reset, which takes away
/// the answer before the client has seen it: whoever sends too much would never learn so.
struct Lingering {
    stream: TcpStream,
    closing: Option<Closing>,
}

struct Closing {
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Lingering {
    fn new(stream: TcpStream) -> Self {
        Lingering {
            stream,
            closing: None,
        }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let now = Instant::now();
        let closing = this.closing.get_or_insert_with(|| Closing {
            end: now + LINGER,
            silence: Box::pin(sleep(SILENCE)),
        });
        let mut thrown_away = [0; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= closing.end {
                        return Poll::Ready(Ok(()));
                    }
                    closing
                        .silence
                        .set(sleep_until((now + SILENCE).min(closing.end)));
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(closing.silence.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
