use std::net::IpAddr;
use std::time::Duration;

use super::PublicUrl;
use crate::data::Limits;

/// Where a service listens, and how much it takes on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address and port, in the spellings of [`address`](super::address); port 0 takes any that is free.
    pub addr: String,
    /// The largest upload, in bytes.
    pub upload_bytes: usize,
    /// The memory that the service may take as a whole, in bytes. What the model, connections and uploads leave of it is
    /// for decoding images; one that would take more than four fifths of that is refused with status 413.
    pub memory_bytes: usize,
    /// Uploads that are held at a time, in bytes; `None` is a fifth of what the model and connections leave. Beyond it,
    /// requests are refused with status 429.
    pub held_bytes: Option<usize>,
    /// The most pixels of an image.
    pub pixels: u64,
    /// Pixels of one client's images that wait to be decoded. Beyond it, its largest is refused with status 429.
    pub queued_pixels: u64,
    /// The most images of a request.
    pub images: usize,
    /// The widest beam that can be asked for.
    pub beam: usize,
    /// Images that wait for the model. Beyond it, requests are refused with status 503.
    pub queue: usize,
    /// Images that the model sees at a time.
    pub batch: usize,
    /// How long a batch that is not full waits for images that are on their way.
    pub batch_wait: Duration,
    /// Requests for captions, those that are still on their way left out. Beyond it, requests are refused with status
    /// 429.
    pub requests: usize,
    /// Open connections. Beyond it, a new one takes the place of one that has been idle.
    pub connections: usize,
    /// Open connections from one address, or one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Proxies whose `X-Forwarded-For` says who the client is.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long a sender may be silent; also how long all headers together may take.
    pub read_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Bytes of a request that have to come in a second on average, once it has taken longer than `read_timeout`.
    pub upload_rate: usize,
    /// How long a request for captions may take as a whole.
    pub timeout: Duration,
    /// How long a stopping service waits for requests that were begun.
    pub shutdown: Duration,
    /// What clients have to know, where they have to know anything.
    pub token: Option<String>,
    /// Names that the service is reached by, besides `localhost` and its address.
    pub hosts: Vec<String>,
    /// Where users see it, if a proxy stands in front: its host is one of those names, and its path is answered under
    /// as well as `/`.
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
            // A request with as many images as it may have, each as large as it may be.
            queued_pixels: 16 * Limits::UPLOADS.pixels,
            images: 16,
            beam: 50,
            queue: 64,
            // Four keep a processor nearly as busy as more would, and nobody waits for the captions of seven others.
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
