//! The state that all request handlers share.

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
use super::upload::UploadMemory;
use crate::cpu::threads;
use crate::data::{Limits, Recipe};
use crate::error::Result;
use crate::model::Captioner;
use crate::tensor::Device;

/// The state that all requests share.
pub struct App {
    pub options: Options,
    pub addr: SocketAddr,
    pub info: Info,
    pub recipe: Recipe,
    /// Rows and columns of the map that the model attends over; `None` without attention.
    pub attention_grid: Option<[usize; 2]>,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    /// A permit for each request for captions.
    pub requests: Semaphore,
    /// The memory for uploads.
    pub upload_memory: UploadMemory,
    /// The largest peak memory of decoding an image, in bytes.
    pub decoding_bytes: u64,
    /// The scheduler of images that are being decoded.
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
            upload_memory: UploadMemory::new(shares.uploads),
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

    /// Returns the limits for each image.
    pub fn limits(&self) -> Limits {
        Limits {
            file_bytes: self.options.upload_bytes as u64,
            pixels: self.options.pixels,
            decoding_bytes: self.decoding_bytes,
        }
    }
}
