//! From the bytes of an image to the square that the encoder takes, off the thread that serves the network.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use super::app::{App, MEGAPIXEL};
use super::metrics::Stage;
use super::refusal::Refusal;
use super::upload::Picture;
use crate::data::{Image, Unreadable};
use crate::error::Error;

/// An image as the encoder takes it.
pub struct Decoded {
    pub image: Image,
    /// The part of the picture that the encoder sees of it: left edge, upper edge, width and height as shares of the
    /// picture's.
    pub region: [f64; 4],
    /// Milliseconds of work, without waiting for a thread.
    pub ms: f64,
}

/// Decodes `picture`.
///
/// A thread is waited for, and then until there is room for its pixels: all that are being decoded together have no
/// more than the largest image that is accepted.
pub async fn decode(app: &App, picture: &Picture) -> Result<Decoded, Refusal> {
    let limits = app.options.limits();
    let unreadable = |why: Unreadable| Refusal::unreadable(&picture.name, &why);
    let thread = places(&app.decoders, 1).await?;

    let bytes = picture.bytes.clone();
    let count = move || Image::count_pixels(&bytes, limits);
    let pixels = blocking(count).await?.map_err(unreadable)?;
    let megapixels = u32::try_from(pixels.div_ceil(MEGAPIXEL)).unwrap_or(u32::MAX);
    let room = places(&app.megapixels, megapixels).await?;

    let (bytes, recipe): (Bytes, _) = (picture.bytes.clone(), app.recipe);
    let work = move || {
        // Held by the work itself, which goes on when the client goes away.
        let _places = (thread, room);
        let started = Instant::now();
        let image = Image::from_bytes(&bytes, limits)?;
        let region = recipe.region(&image).shares(&image);
        let square = recipe.square(&image);
        let square = square.map(|square| square.into_owned().with_warnings_of(&image));
        Ok((square, region, started.elapsed()))
    };
    let (square, region, took) = blocking(work).await?.map_err(unreadable)?;
    app.metrics.observe(Stage::Decode, took);
    Ok(Decoded {
        image: square.map_err(|e: Error| Refusal::bad_request(e.to_string()))?,
        region,
        ms: took.as_secs_f64() * 1e3,
    })
}

async fn places(of: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Refusal> {
    let places = of.clone().acquire_many_owned(count).await;
    places.map_err(|_| Refusal::internal())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "an image could not be decoded");
        Refusal::internal()
    })
}
