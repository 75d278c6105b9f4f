//! Floor 8: the service, which says over HTTP what `glimpse caption` says on the command line.
//!
//! ```text
//! upload -> guard -> bytes -> decoder threads -> queue -> one thread with the model -> answer
//! ```
//!
//! The network is served by one thread with an event loop, which never computes. Images are decoded by as many
//! threads as the engine has, and one thread owns the model: it takes together what waits together, up to a batch.
//! Whatever a client can make grow has a limit in [`Options`]; who goes beyond it is told so, and who goes away
//! leaves nothing behind. Uploads stay in memory, and are neither stored nor logged.

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
mod memory;
mod metrics;
mod observe;
mod openapi;
mod options;
mod origin;
mod page;
mod peers;
mod public_url;
mod queue;
mod refusal;
mod room;
mod routes;
mod seldom;
mod server;
mod stream;
mod under_path;
mod unparsed;
mod upload;
mod wish;
mod worker;

pub use address::address;
pub use options::Options;
pub use public_url::PublicUrl;
pub use server::{Server, Stop};
