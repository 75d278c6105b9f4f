//! Access for pages of other origins (CORS): with a token, they may do everything that programs may.
//!
//! Before a page of another origin sends a request with a token, the browser asks for permission with a preflight
//! request (`OPTIONS`, without the token). It shows the page an answer only if the answer permits that. Without a token
//! the service sends none of these headers, and the origin of a request decides (see `guard`). With a token, the token
//! decides, which only pages that were told it know.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;

/// Headers of every answer. No cookies are involved, so every page may be permitted.
const CORS_HEADERS: [(HeaderName, &str); 2] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After"),
];

/// Headers of the answer to a preflight request. The star does not cover `Authorization`, and older browsers do not
/// know it.
const PREFLIGHT_HEADERS: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Authorization, Content-Type, *",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "7200"),
];

/// Adds the headers that permit pages of other origins, if there is a token.
pub async fn allow(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.options.token.is_none() {
        return next.run(request).await;
    }
    let mut response = if is_preflight(&request) {
        let mut response = StatusCode::NO_CONTENT.into_response();
        insert(&PREFLIGHT_HEADERS, response.headers_mut());
        response
    } else {
        next.run(request).await
    };
    insert(&CORS_HEADERS, response.headers_mut());
    response
}

/// Whether this is a browser's preflight request.
fn is_preflight(request: &Request) -> bool {
    let has = |name| request.headers().contains_key(name);
    request.method() == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn insert(what: &[(HeaderName, &'static str)], headers: &mut HeaderMap) {
    for (name, value) in what {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
