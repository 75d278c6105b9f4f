//! The routes of the service.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::app::App;
use super::refusal::Refusal;
use super::{caption, cross_origin, guard, observe, openapi, page, paths, service, under_path};

/// All routes of the service.
pub fn router(app: Arc<App>) -> Router {
    let guarded = Router::new()
        // The body is read within its own limits.
        .route(
            paths::CAPTION,
            post(caption::caption).layer(DefaultBodyLimit::disable()),
        )
        .route(paths::INFO, get(service::info))
        .route(paths::METRICS, get(service::metrics))
        .route_layer(middleware::from_fn_with_state(
            app.clone(),
            guard::with_token,
        ));
    let programs = Router::new()
        .route(paths::OPENAPI, get(openapi::description))
        .route(paths::HEALTH, get(service::health))
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

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing here")
}

async fn not_so() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "the method is not for this address",
    )
}
