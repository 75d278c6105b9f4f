//! The route `POST /api/caption`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::app::App;
use super::client;
use super::decode::{Decoded, decode};
use super::form;
use super::metrics::Stage;
use super::params::CaptionParams;
use super::peers::{Peer, Phase};
use super::queue::{Captioned, Job, QueueFull};
use super::refusal::{Complaint, Refusal};
use super::upload::Reader;
use crate::caption::{Answer, Caption, Failure, Search, Times};

/// The results of several images, in their order.
#[derive(Serialize, ToSchema)]
pub struct Results {
    results: Vec<Outcome>,
}

/// The result of one of several images.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Outcome {
    /// The captions.
    Answer(Answer),
    /// The error, if it could not be captioned.
    Failure(Failure),
}

/// The body of the answer for all images of a request.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum CaptionResponse {
    /// For a single image.
    One(Answer),
    /// For several images.
    Several(Results),
}

/// The fields of a multipart form, in any order.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Form {
    /// One image, or several fields of this name. `images`, `file`, `files` and these names with `[]` are accepted too.
    #[schema(content_media_type = "application/octet-stream")]
    image: Vec<u8>,
    /// As in the query.
    #[schema(value_type = usize, required = false, minimum = 1, maximum = 50, default = 5)]
    beam: Option<usize>,
    /// As in the query.
    #[schema(value_type = usize, required = false, minimum = 1, maximum = 50, default = 1)]
    n_best: Option<usize>,
    /// As in the query.
    #[schema(value_type = u8, required = false, minimum = 0, maximum = 1, default = 0)]
    attention: Option<u8>,
}

/// Caption images
///
/// One image as the body, whatever its content type, or one or several in the fields `image` of a multipart form. JPEG,
/// PNG, WebP, GIF (the first frame), BMP and TIFF (the first page) are recognised by their content. If one of several
/// images cannot be read, the others are still captioned. The parameters may be given in the query or as fields of the
/// form.
#[utoipa::path(
    post,
    path = "/api/caption",
    tag = "captions",
    params(CaptionParams),
    request_body(content(
        (Form = "multipart/form-data"),
        (Vec<u8> = "application/octet-stream"),
        (Vec<u8> = "image/*"),
    )),
    responses(
        (status = 200, description = "The captions", body = CaptionResponse),
        (status = 400, description = "A query or a field that makes no sense, an empty or malformed request, or a damaged image", body = Complaint),
        (status = 401, description = "The token is missing or wrong", body = Complaint),
        (status = 403, description = "The request comes from a page elsewhere, or is for another host", body = Complaint),
        (status = 408, description = "The sender was silent, or the request took too long", body = Complaint),
        (status = 413, description = "Too many bytes, pixels or images", body = Complaint),
        (status = 415, description = "Not an image, or of a kind that is not read, or sent with a Content-Encoding", body = Complaint),
        (status = 429, description = "Too many requests or uploads at once; Retry-After says when to come again", body = Complaint),
        (status = 500, description = "The model could not be run", body = Complaint),
        (status = 503, description = "Too many images wait for the model; Retry-After says when to come again", body = Complaint),
    ),
    security((), ("token" = [])),
)]
pub async fn caption(
    State(app): State<Arc<App>>,
    query: Query<Vec<(String, String)>>,
    request: Request,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    let params = CaptionParams::from_query(&query, app.options.beam)?;
    if form::kind(request.headers()).is_none() {
        // Nothing that follows can correct malformed parameters, so the image is not read.
        params.search()?;
    }
    let limit = app.options.timeout;
    let response = timeout(limit, answer(&app, params, request))
        .await
        .map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request took longer than {} s", limit.as_secs_f64()),
            )
        })??;
    app.metrics.observe(Stage::Total, started.elapsed());
    Ok(Json(response).into_response())
}

async fn answer(
    app: &App,
    mut params: CaptionParams,
    request: Request,
) -> Result<CaptionResponse, Refusal> {
    let reader = Reader {
        memory: &app.upload_memory,
        options: &app.options,
    };
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let connection = peer.as_ref().map_or(app.addr.ip(), |peer| peer.ip);
    let client = client::address(connection, request.headers(), &app.options.trusted_proxies);
    let upload = reader.pictures(request, &mut params).await?;
    let how = params.search()?;
    // A slow client does not block others: the permit is taken after the upload.
    let _place = app.requests.try_acquire().map_err(|_| {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests at once; try again in a moment",
        )
    })?;
    if let Some(peer) = peer {
        peer.set(Phase::Working);
    }
    let announcement = app.queue.announce();
    let network = client::network(client);
    let decoding = upload.pictures.iter();
    let decoding = decoding.map(|picture| decode(app, network, picture));
    let decoded = join_all(decoding).await;
    let names: Vec<String> = upload.into_names();

    let mut jobs = Vec::new();
    let mut waiting = Vec::new();
    for decoded in decoded {
        match decoded {
            Ok(decoded) => {
                let grid = app.attention_grid.filter(|_| how.attention);
                let (job, wait) = job(network, decoded, how, grid);
                jobs.push(job);
                waiting.push(Ok(wait));
            }
            Err(refusal) if names.len() == 1 => return Err(refusal),
            Err(refusal) => waiting.push(Err(refusal)),
        }
    }
    app.queue.push(jobs).map_err(too_many)?;
    drop(announcement);

    let mut results = Vec::new();
    for (image, wait) in names.into_iter().zip(waiting) {
        results.push(match wait {
            Ok(wait) => Outcome::Answer(wait.answer(image).await?),
            Err(refusal) => Outcome::Failure(Failure {
                image,
                image_bytes: None,
                error: refusal.error(),
            }),
        });
    }
    Ok(match <[Outcome; 1]>::try_from(results) {
        Ok([Outcome::Answer(answer)]) => CaptionResponse::One(answer),
        Ok(results) => CaptionResponse::Several(Results {
            results: results.into(),
        }),
        Err(results) => CaptionResponse::Several(Results { results }),
    })
}

/// An image whose captions are awaited.
struct Wait {
    decode: f64,
    /// Rows and columns of the map that the model attends over, if attention was asked for.
    grid: Option<[usize; 2]>,
    /// The part of the picture that the encoder sees, as fractions of its sides.
    region: [f64; 4],
    /// Oddities of the image's file.
    warnings: Vec<String>,
    done: oneshot::Receiver<Result<Captioned, QueueFull>>,
}

fn too_many(QueueFull: QueueFull) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many images wait for the model; try again in a moment",
    )
}

fn job(client: IpAddr, decoded: Decoded, how: Search, grid: Option<[usize; 2]>) -> (Job, Wait) {
    let (reply, done) = oneshot::channel();
    let warnings = decoded.image.warnings().to_vec();
    let job = Job {
        client,
        image: decoded.image,
        how,
        since: Instant::now(),
        reply,
    };
    let wait = Wait {
        decode: decoded.ms,
        grid,
        region: decoded.region,
        warnings,
        done,
    };
    (job, wait)
}

impl Wait {
    async fn answer(self, image: String) -> Result<Answer, Refusal> {
        let Captioned {
            mut captions,
            tags,
            encode,
            generate,
        } = self
            .done
            .await
            .map_err(|_| Refusal::internal())?
            .map_err(too_many)?;
        round(&mut captions);
        Ok(Answer {
            image,
            image_bytes: None,
            captions,
            tags,
            attention_grid: self.grid,
            attention_region: self.grid.map(|_| self.region),
            warnings: self.warnings,
            ms: Times {
                decode: self.decode,
                encode,
                generate,
            },
        })
    }
}

/// Rounds attention weights to three decimals: more than an eye can tell apart, and a third of the bytes.
fn round(captions: &mut [Caption]) {
    let tokens = captions.iter_mut().flat_map(|c| &mut c.tokens);
    for weight in tokens.flat_map(|t| &mut t.attention).flatten() {
        *weight = (*weight * 1000.0).round() / 1000.0;
    }
}
