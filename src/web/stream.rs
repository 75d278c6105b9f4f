//! The bytes of a connection, with three features that the HTTP library lacks.
//!
//! A client that does not read its answer is disconnected. The library's refusals of malformed requests get a body,
//! like all other errors of this service. A stream is closed only after the remaining input has been read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::unparsed;

/// How long input is read and dropped after the last answer, and how long the client may be silent meanwhile.
const MAX_DRAIN: Duration = Duration::from_secs(2);
const MAX_DRAIN_SILENCE: Duration = Duration::from_millis(200);

/// A stream that is closed only after the remaining input has been read.
///
/// If a system closes a connection with unread input, it resets the connection, and the other side loses the answer
/// before it has read it. A client that sends too much would never learn why it was refused.
pub struct Stream {
    stream: TcpStream,
    closing: Option<Closing>,
    /// How long a client may leave data unread.
    write_timeout: Duration,
    /// The timer that runs while the client does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The answer that replaces a refusal without a body, and how much of it was sent.
    refusal: Option<(Vec<u8>, usize)>,
}

struct Closing {
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Stream {
    pub fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Stream {
            stream,
            closing: None,
            write_timeout,
            stalled: None,
            refusal: None,
        }
    }

    /// Writes to the stream; fails if nothing was read for too long.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let write_timeout = self.write_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refusal.is_none() {
            match unparsed::find(bytes) {
                // Data before it is sent first.
                Some((at, _)) if at > 0 => return this.write(cx, &bytes[..at]),
                Some((_, refusal)) => this.refusal = Some((refusal, 0)),
                None => return this.write(cx, bytes),
            }
        }
        while let Some((refusal, sent)) = this.refusal.take() {
            let written = this.write(cx, &refusal[sent..]);
            let more = match &written {
                Poll::Ready(Ok(count)) => *count,
                _ => 0,
            };
            if sent + more < refusal.len() {
                this.refusal = Some((refusal, sent + more));
                match written {
                    Poll::Ready(Ok(1..)) => continue,
                    other => return other,
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
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
            end: now + MAX_DRAIN,
            silence: Box::pin(sleep(MAX_DRAIN_SILENCE)),
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
                        .set(sleep_until((now + MAX_DRAIN_SILENCE).min(closing.end)));
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
