use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::info::Info;
use super::refusal::{Complaint, Refusal};
use super::{caption, cross_origin, guard, observe, openapi, page, under_path};

/// The path of the health check.
pub const HEALTH: &str = "/healthz";

/// All routes of the service.
pub fn router(app: Arc<App>) -> Router {
    let guarded = Router::new()
        // The body is read within its own limits.
        .route(
            "/api/caption",
            post(caption::caption).layer(DefaultBodyLimit::disable()),
        )
        .route("/api/info", get(info))
        .route("/metrics", get(metrics))
        .route_layer(middleware::from_fn_with_state(
            app.clone(),
            guard::with_token,
        ));
    let programs = Router::new()
        .route("/api/openapi.json", get(description))
        .route(HEALTH, get(health))
        .merge(guarded)
        // Before the layer, which must see requests with methods that a route does not have.
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(
            app.clone(),
            cross_origin::allow,
        ));
    let public = app.options.public_url.clone();
    let router = page::routes(public.as_ref())
        .merge(programs)
        .merge(under_path::home(public.as_ref()))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(
            app.clone(),
            guard::check_origin,
        ))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            observe::observe,
        ))
        .with_state(app);
    under_path::also(public.as_ref(), router)
}

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

/// Return this description
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "service",
    responses((status = 200, description = "The interface, as OpenAPI has it", body = Object)),
)]
pub async fn description(State(app): State<Arc<App>>) -> Response {
    Json(openapi::description(app.options.public_url.as_ref())).into_response()
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
    responses((status = 200, description = "It is", body = Health)),
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
        (status = 200, description = "As Prometheus reads it", body = String, content_type = "text/plain"),
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

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing here")
}

async fn not_so() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "the method is not for this address",
    )
}
