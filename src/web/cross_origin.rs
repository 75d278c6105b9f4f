//! What pages elsewhere may ask for: all that programs can, where there is a token.
//!
//! A browser asks first (`OPTIONS`, without the token) whether a page of another origin may send a request that bears
//! one, and lets the page see an answer only if that says so. Without a token nothing of this is answered: then it is
//! where a request comes from that decides. With one it is the token, which no page knows that was not told.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;

/// What every answer says. No cookies are involved, so it may be any page.
const EVERY: [(HeaderName, &str); 2] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After"),
];

/// What the answer to a browser says that asks first. The star covers neither `Authorization` nor older browsers.
const FIRST: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Authorization, Content-Type, *",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "7200"),
];

/// Lets pages elsewhere see the answer, where there is a token.
pub async fn pages_elsewhere(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if app.options.token.is_none() {
        return next.run(request).await;
    }
    let mut response = if asks_first(&request) {
        let mut response = StatusCode::NO_CONTENT.into_response();
        say(&FIRST, response.headers_mut());
        response
    } else {
        next.run(request).await
    };
    say(&EVERY, response.headers_mut());
    response
}

/// Whether a browser asks what a page elsewhere may send.
fn asks_first(request: &Request) -> bool {
    let has = |name| request.headers().contains_key(name);
    request.method() == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn say(what: &[(HeaderName, &'static str)], headers: &mut HeaderMap) {
    for (name, value) in what {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
