use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Options;
use super::info::Info;
use super::metrics::Metrics;
use super::queue::{self, Queue};
use super::upload::Held;
use crate::cpu::threads;
use crate::data::Recipe;
use crate::model::Captioner;
use crate::tensor::Device;

/// A million pixels, in which those that are being decoded are counted.
pub const MEGAPIXEL: u64 = 1_000_000;

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
    /// A place for each thread that decodes.
    pub decoders: Arc<Semaphore>,
    /// A place for each megapixel that is being decoded.
    pub megapixels: Arc<Semaphore>,
}

impl App {
    pub fn new(
        captioner: &mut Captioner,
        device: &Device,
        options: Options,
        addr: SocketAddr,
    ) -> Self {
        let limits = queue::Limits {
            length: options.queue,
            batch: options.batch,
            wait: options.batch_wait,
        };
        App {
            addr,
            info: Info::new(captioner, device, &options),
            recipe: captioner.recipe,
            attention_grid: captioner.attention_grid(),
            queue: Arc::new(Queue::new(limits)),
            metrics: Arc::new(Metrics::new()),
            requests: Semaphore::new(options.requests),
            held: Held::new(options.held_bytes),
            decoders: Arc::new(Semaphore::new(threads::count())),
            megapixels: Arc::new(Semaphore::new(
                options.pixels.div_ceil(MEGAPIXEL).max(1) as usize
            )),
            options,
        }
    }
}
