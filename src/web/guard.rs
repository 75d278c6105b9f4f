//! Who may ask for what.
//!
//! A service on this machine alone is still within reach of every page that its user's browser shows. Such a page may
//! send a request here, which the browser says of it; and it may have a name of its own that leads here, and then it
//! could also read the answer: so without a token, requests are taken only for names that belong to this machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::app::App;
use super::refusal::Refusal;

/// Lets a request pass that is for this host, and does not come from a page elsewhere.
pub async fn at_home(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let host = host(&request)?;
    if app.options.token.is_none() && !is_ours(&app, &host) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "{host} is no name of this service; start it with --allow-host {}, or with --token",
                host.host()
            ),
        ));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && is_foreign(request.headers(), &host) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a page elsewhere",
        ));
    }
    Ok(next.run(request).await)
}

/// Lets a request pass that knows the token, where there is one.
pub async fn with_token(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let Some(token) = &app.options.token else {
        return Ok(next.run(request).await);
    };
    match bearer(request.headers()) {
        Some(given) if is_same(given, token) => Ok(next.run(request).await),
        given => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            match given {
                Some(_) => "the token is wrong",
                None => "a token is needed: the header `Authorization: Bearer TOKEN`",
            },
        )),
    }
}

/// What the request calls this service.
fn host(request: &Request) -> Result<Authority, Refusal> {
    let named = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => request
            .headers()
            .get(header::HOST)
            .and_then(|value| Authority::try_from(value.as_bytes()).ok()),
    };
    named.ok_or_else(|| Refusal::bad_request("the request names no host"))
}

fn is_ours(app: &App, host: &Authority) -> bool {
    let name = host.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        // A page's own name is never a number, and who listens on all addresses cannot tell which are his.
        let bound = app.addr.ip();
        return ip.is_loopback() || bound.is_unspecified() || ip == bound;
    }
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    is("localhost") || app.options.hosts.iter().any(|host| is(host))
}

/// Whether a browser says that a page of another origin has sent this.
fn is_foreign(headers: &HeaderMap, host: &Authority) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    // Older browsers say only which one it was.
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let text = origin.to_str().unwrap_or_default();
        text.split_once("://")
            .is_none_or(|(_, origin)| !origin.eq_ignore_ascii_case(host.as_str()))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// Compares in a time that says nothing of either, not even of their lengths.
fn is_same(given: &str, token: &str) -> bool {
    let [given, token] = [given, token].map(Sha256::digest);
    given.as_slice().ct_eq(token.as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, header::HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn browsers_say_where_a_request_comes_from() {
        let host = Authority::from_static("localhost:8080");
        for (pairs, foreign) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "http://localhost:9090")], true),
            (&[("origin", "https://example.org")], true),
            (&[("origin", "null")], true),
        ] {
            assert_eq!(is_foreign(&headers(pairs), &host), foreign, "{pairs:?}");
        }
    }

    #[test]
    fn tokens_are_the_same_or_not() {
        let token = |value| headers(&[("authorization", value)]);
        assert_eq!(bearer(&token("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&token("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&token("Basic abc")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
        assert!(is_same("abc", "abc"));
        assert!(!is_same("abc", "abcd") && !is_same("", "abc"));
    }
}
