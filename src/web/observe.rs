//! Counts and logs every answer, and adds security headers to it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::app::App;
use super::log_limit::LogLimit;

/// The page loads nothing from other origins, sends nothing to them, and cannot be embedded in other pages.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                       img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; \
                                       form-action 'none'; frame-ancestors 'none'";

/// Security headers of every answer.
pub const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(), geolocation=()",
    ),
];

/// Counts and logs an answer. Neither contains text from a client, such as names of files.
pub async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    add_security_headers(response.headers_mut());

    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let status = response.status();
    app.metrics.request(&method, route, status);
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let bytes = response.body().size_hint().exact();
    log(&method, route, status, ms, bytes);
    response
}

fn log(method: &axum::http::Method, route: &str, status: StatusCode, ms: f64, bytes: Option<u64>) {
    static FAILED: LogLimit = LogLimit::new();
    let status = status.as_u16();
    match (status >= 500).then(|| FAILED.suppressed()).flatten() {
        Some(others) => {
            tracing::warn!(%method, route, status, ms, bytes, others, "answered");
        }
        None => tracing::info!(%method, route, status, ms, bytes, "answered"),
    }
}

fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
