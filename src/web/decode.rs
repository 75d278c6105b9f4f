//! From the bytes of an image to the square that the encoder takes, off the thread that serves the network.

use std::net::IpAddr;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::task;

use super::app::App;
use super::metrics::Stage;
use super::refusal::Refusal;
use super::room::Crowded;
use super::seldom::Seldom;
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

/// Decodes `picture`, which `client` has sent.
///
/// What it claims to be is read first, on a thread that large pictures do not take; then it waits for room.
pub async fn decode(app: &App, client: IpAddr, picture: &Picture) -> Result<Decoded, Refusal> {
    let limits = app.limits();
    let unreadable = |why: Unreadable| Refusal::unreadable(&picture.name, &why);

    let bytes = picture.bytes.clone();
    let measure = move || Image::cost(&bytes, limits);
    let cost = blocking(measure).await?.map_err(unreadable)?;
    let place = app.room.enter(client, cost).await.map_err(|Crowded| {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many pixels of this client wait to be decoded; try again in a moment",
        )
    })?;

    let (bytes, recipe): (Bytes, _) = (picture.bytes.clone(), app.recipe);
    let work = move || {
        // Held by the work itself, which goes on when the client goes away.
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
        static FAILED: Seldom = Seldom::new();
        if let Some(others) = FAILED.others() {
            tracing::error!(%error, others, "an image could not be decoded");
        }
        Refusal::internal()
    })
}
