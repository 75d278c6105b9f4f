//! Decodes uploaded images to the encoder's input size, off the event loop's thread.

use std::net::IpAddr;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::task;

use super::app::App;
use super::form::Picture;
use super::log_limit::LogLimit;
use super::metrics::Stage;
use super::refusal::Refusal;
use super::room::TooManyPixels;
use crate::data::{Image, Unreadable};
use crate::error::Error;

/// An image at the encoder's input size.
pub struct Decoded {
    pub image: Image,
    /// The part of the picture that the encoder sees: left edge, upper edge, width and height as fractions of the
    /// picture's.
    pub region: [f64; 4],
    /// Milliseconds of decoding, without the time spent waiting for a thread.
    pub ms: f64,
}

/// Decodes `picture`, which `client` has sent.
///
/// The headers are read first, on a thread that large pictures cannot occupy. Then the picture waits for room.
pub async fn decode(app: &App, client: IpAddr, picture: &Picture) -> Result<Decoded, Refusal> {
    let limits = app.limits();
    let unreadable = |why: Unreadable| Refusal::unreadable(&picture.name, &why);

    let bytes = picture.bytes.clone();
    let measure = move || Image::cost(&bytes, limits);
    let cost = blocking(measure).await?.map_err(unreadable)?;
    let place = app
        .room
        .enter(client, cost)
        .await
        .map_err(|TooManyPixels| {
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many pixels of this client wait to be decoded; try again in a moment",
            )
        })?;

    let (bytes, recipe): (Bytes, _) = (picture.bytes.clone(), app.recipe);
    let work = move || {
        // The decoding task owns the place, because it continues when the client disconnects.
        let _place = place;
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    task::spawn_blocking(work).await.map_err(|error| {
        static FAILED: LogLimit = LogLimit::new();
        if let Some(others) = FAILED.suppressed() {
            tracing::error!(%error, others, "an image could not be decoded");
        }
        Refusal::internal()
    })
}
