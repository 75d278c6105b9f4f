//! Routes that describe the service: its model and limits, its health, its metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::info::Info;
use super::refusal::{Complaint, Refusal};

/// Describe the service, its model and its limits
#[utoipa::path(
    get,
    path = "/api/info",
    tag = "service",
    responses(
        (status = 200, description = "The model, the device and the limits", body = Info),
        (status = 401, description = "The token is missing or wrong", body = Complaint),
    ),
    security((), ("token" = [])),
)]
pub async fn info(State(app): State<Arc<App>>) -> Json<Info> {
    Json(app.info.clone())
}

/// The state of the service.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    status: &'static str,
}

/// Check whether the service is up
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses((status = 200, description = "The service is up", body = Health)),
)]
pub async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Return the service's metrics
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses(
        (status = 200, description = "The metrics, in the text format of Prometheus", body = String, content_type = "text/plain"),
        (status = 401, description = "The token is missing or wrong", body = Complaint),
    ),
    security((), ("token" = [])),
)]
pub async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let text = app
        .metrics
        .text(app.queue.len())
        .map_err(|_| Refusal::internal())?;
    // The text is valid in both formats.
    let open = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accepted| accepted.contains("application/openmetrics-text"));
    let kind = match open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
