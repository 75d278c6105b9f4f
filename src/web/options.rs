//! The options of the service: its address, and its limits on memory, connections, uploads and time.

use std::net::IpAddr;
use std::time::Duration;

use super::PublicUrl;
use crate::data::Limits;

/// The address and the limits of a service.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address and port, in the spellings of [`address`](super::address); port 0 takes any that is free.
    pub addr: String,
    /// The largest upload, in bytes.
    pub upload_bytes: usize,
    /// The memory of the whole service, in bytes. The model, connections and uploads take their part; the rest is for
    /// decoding images. An image that would take more than four fifths of that rest is refused with status 413.
    pub memory_bytes: usize,
    /// The memory of all uploads, in bytes; `None` is a fifth of what the model and connections leave. Beyond it,
    /// requests are refused with status 429.
    pub held_bytes: Option<usize>,
    /// The largest number of pixels of an image.
    pub pixels: u64,
    /// The largest number of pixels of one client's images that wait to be decoded. Beyond it, the client's largest
    /// image is refused with status 429.
    pub queued_pixels: u64,
    /// The largest number of images in a request.
    pub images: usize,
    /// The widest beam that a request may ask for.
    pub beam: usize,
    /// The largest number of images that wait for the model. Beyond it, requests are refused with status 503.
    pub queue: usize,
    /// The largest number of images in a batch of the model.
    pub batch: usize,
    /// How long a batch that is not full waits for images that are arriving.
    pub batch_wait: Duration,
    /// The largest number of requests for captions, without those whose body is still arriving. Beyond it, requests are
    /// refused with status 429.
    pub requests: usize,
    /// The largest number of open connections. Beyond it, a new connection takes the place of an idle one.
    pub connections: usize,
    /// The largest number of open connections from one address, or one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long a client may pause while it sends; also the timeout for all headers together.
    pub read_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// The lowest average rate of an upload, in bytes a second, once it has taken longer than `read_timeout`.
    pub upload_rate: usize,
    /// The timeout of a whole request for captions.
    pub timeout: Duration,
    /// How long a stopping service waits for requests that were begun.
    pub shutdown: Duration,
    /// The token that clients must send; `None` if they need none.
    pub token: Option<String>,
    /// Names of the service besides `localhost` and its address.
    pub hosts: Vec<String>,
    /// The address that users see, if a proxy stands in front. Its host is one of the service's names, and requests
    /// under its path are answered like those under `/`.
    pub public_url: Option<PublicUrl>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            addr: "127.0.0.1:8080".into(),
            upload_bytes: 16 << 20,
            memory_bytes: 512 << 20,
            held_bytes: None,
            pixels: Limits::UPLOADS.pixels,
            // Enough for a request with the largest number of images, each of the largest size.
            queued_pixels: 16 * Limits::UPLOADS.pixels,
            images: 16,
            beam: 50,
            queue: 64,
            // Four keep a CPU nearly as busy as more would, and nobody waits for the captions of seven others.
            batch: 4,
            batch_wait: Duration::from_millis(2),
            requests: 128,
            connections: 512,
            connections_per_address: 256,
            trusted_proxies: Vec::new(),
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            upload_rate: 1024,
            timeout: Duration::from_secs(30),
            shutdown: Duration::from_secs(5),
            token: None,
            hosts: Vec::new(),
            public_url: None,
        }
    }
}
