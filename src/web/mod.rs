//! Floor 8: the service, which offers `glimpse caption` over HTTP.
//!
//! ```text
//! upload -> guard -> bytes -> decoder threads -> queue -> one thread with the model -> answer
//! ```
//!
//! One thread with an event loop serves the network and never computes. Images are decoded by as many threads as the
//! engine has. One thread owns the model and processes the waiting images together, up to a batch. Everything that a
//! client can make grow has a limit in [`Options`]. A client beyond a limit gets an error, and a client that
//! disconnects leaves nothing behind. Uploads stay in memory, and are neither stored nor logged.

mod address;
mod app;
mod caption;
mod client;
mod connection;
mod cross_origin;
mod decode;
mod disposition;
mod form;
mod guard;
mod info;
mod log_limit;
mod memory;
mod metrics;
mod observe;
mod openapi;
mod options;
mod origin;
mod page;
mod params;
mod paths;
mod peers;
mod public_url;
mod queue;
mod refusal;
mod room;
mod routes;
mod server;
mod service;
mod stream;
mod under_path;
mod unparsed;
mod upload;
mod worker;

pub use address::address;
pub use options::Options;
pub use public_url::PublicUrl;
pub use server::{Server, Stop};
