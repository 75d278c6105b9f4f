use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Options;
use super::info::Info;
use super::memory::Shares;
use super::metrics::Metrics;
use super::peers::{self, Peers};
use super::queue::{self, Queue};
use super::room::{self, Room};
use super::upload::Held;
use crate::cpu::threads;
use crate::data::{Limits, Recipe};
use crate::error::Result;
use crate::model::Captioner;
use crate::tensor::Device;

/// What all requests share.
pub struct App {
    pub options: Options,
    pub addr: SocketAddr,
    pub info: Info,
    pub recipe: Recipe,
    /// Rows and columns of the map that the model attends over, where it does.
    pub attention_grid: Option<[usize; 2]>,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    /// A place for each request for captions.
    pub requests: Semaphore,
    /// The uploads that are held.
    pub held: Held,
    /// The most memory that decoding an image may take.
    pub decoding_bytes: u64,
    /// Room for images that are being decoded.
    pub room: Arc<Room>,
    /// The open connections.
    pub peers: Arc<Peers>,
}

impl App {
    pub fn new(
        captioner: &mut Captioner,
        device: &Device,
        options: Options,
        addr: SocketAddr,
    ) -> Result<Self> {
        let shares = Shares::new(&options)?;
        let limits = queue::Limits {
            length: options.queue,
            batch: options.batch,
            wait: options.batch_wait,
        };
        Ok(App {
            addr,
            info: Info::new(captioner, device, &options),
            recipe: captioner.recipe,
            attention_grid: captioner.attention_grid(),
            queue: Arc::new(Queue::new(limits)),
            metrics: Arc::new(Metrics::new()),
            requests: Semaphore::new(options.requests),
            held: Held::new(shares.uploads),
            room: Arc::new(Room::new(room::Limits {
                threads: threads::count(),
                bytes: shares.decoding,
                waiting: options.queued_pixels,
            })),
            peers: Arc::new(Peers::new(peers::Limits {
                all: options.connections,
                per_address: options.connections_per_address,
                trusted: options.trusted_proxies.clone(),
            })),
            decoding_bytes: shares.decoding,
            options,
        })
    }

    /// What an image may cost.
    pub fn limits(&self) -> Limits {
        Limits {
            file_bytes: self.options.upload_bytes as u64,
            pixels: self.options.pixels,
            decoding_bytes: self.decoding_bytes,
        }
    }
}
