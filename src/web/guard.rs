//! Decides which requests are allowed.
//!
//! Even a service that listens on the loopback address is within reach of every page in its user's browser. Such a page
//! may send a request here; the browser's headers then show that it comes from another origin. A page may also have a
//! host name that resolves to this machine (DNS rebinding), and could then read the answer. Without a token, requests
//! are therefore accepted only for host names of this machine.
//!
//! With a token, neither is checked: a page that does not know the token gets nothing, whatever its origin.
//!
//! A request without `Host` does not come from a browser, because browsers always send it. It is accepted where HTTP
//! allows it: in HTTP/1.0, which load balancers and small programs use. In HTTP/1.1 it is an error, which is tolerated
//! in health checks.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::app::App;
use super::origin::{Origin, authority};
use super::peers::Peer;
use super::refusal::Refusal;
use super::{PublicUrl, paths};

/// Allows a request that is for this host and does not come from a page of another origin.
pub async fn check_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check_head(request.headers()).map_err(Refusal::closing)?;
    if is_reserved(&request) && request.uri().path() != paths::HEALTH {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many connections at once; try again in a moment",
        )
        .closing());
    }
    let host = host(&request)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let needs_none =
        request.version() == Version::HTTP_10 || (reads && request.uri().path() == paths::HEALTH);
    if host.is_none() && !needs_none {
        return Err(Refusal::bad_request(
            "the request names no host; HTTP/1.1 needs the header `Host`",
        ));
    }
    if app.options.token.is_some() {
        return Ok(next.run(request).await);
    }
    if let Some(host) = host.as_ref().filter(|host| !is_ours(&app, host)) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "{host} is not a name of this service; start it with --allow-host {}, or with --token",
                host.host()
            ),
        ));
    }
    let public = app.options.public_url.as_ref();
    if !reads && is_foreign(request.headers(), host.as_ref(), public) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a page elsewhere; pages elsewhere can send requests only to a service with --token",
        ));
    }
    Ok(next.run(request).await)
}

/// Allows a request with the right token, if there is a token.
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

/// Refuses a request that this service and a proxy in front of it could interpret differently (request smuggling).
fn check_head(headers: &HeaderMap) -> Result<(), Refusal> {
    let single = [
        (header::HOST, "Host"),
        (header::AUTHORIZATION, "Authorization"),
        (header::ORIGIN, "Origin"),
    ];
    for (name, shown) in single {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Refusal::bad_request(format!(
                "the request has two headers `{shown}`"
            )));
        }
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings
        .next()
        .is_none_or(|c| c.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !first || codings.next().is_some() {
        return Err(Refusal::bad_request(
            "the header `Transfer-Encoding` may say `chunked` and nothing else",
        ));
    }
    Ok(())
}

/// Whether the connection was accepted beyond the limit, for health checks only.
fn is_reserved(request: &Request) -> bool {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.is_some_and(|peer| peer.is_reserve)
}

/// Returns the host that the request names, in its first line or its header; `None` if it names none.
fn host(request: &Request) -> Result<Option<Authority>, Refusal> {
    let named = request.headers().get(header::HOST);
    let named = named.filter(|value| !value.is_empty());
    let parse = |text: &[u8], what: &str| {
        let wrong = || {
            Refusal::bad_request(format!(
                "{what} is not a host; it may be a name or an address, and a port of digits"
            ))
            .closing()
        };
        authority(text).ok_or_else(wrong)
    };
    let header = named.map(|value| parse(value.as_bytes(), "the header `Host`"));
    let header = header.transpose()?;
    match request.uri().authority() {
        Some(line) => parse(
            line.as_str().as_bytes(),
            "what the request's first line names",
        )
        .map(Some),
        None => Ok(header),
    }
}

fn is_ours(app: &App, host: &Authority) -> bool {
    let name = bare(host.host());
    let public = app.options.public_url.as_ref();
    let public = public.map(|url| url.origin().host());
    let given = app.options.hosts.iter().map(String::as_str);
    let is = |other: &str| bare(other).eq_ignore_ascii_case(name);
    if is("localhost") || given.chain(public).any(is) {
        return true;
    }
    // A page's host name is never an address, and a service that listens on all addresses cannot tell which are its
    // own.
    let bound = app.addr.ip();
    name.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || bound.is_unspecified() || ip == bound)
}

/// Returns a host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether the browser's headers show that a page of another origin sent this.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>, public: Option<&PublicUrl>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    // Older browsers send only the origin.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let Some(origin) = origin.to_str().ok().and_then(Origin::from_header) else {
        return true;
    };
    // A proxy may have replaced the host name that the page knows by the one that the proxy uses.
    let is_public = public.is_some_and(|url| *url.origin() == origin);
    !is_public && !host.is_some_and(|host| origin.is_at(host))
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

/// Compares in a time that reveals nothing about either text, not even its length.
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
        let public: PublicUrl = "https://glimpse.example/here".parse().unwrap();
        for (pairs, foreign) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "http://localhost:9090")], true),
            (&[("origin", "https://example.org")], true),
            (&[("origin", "https://glimpse.example")], false),
            (&[("origin", "https://glimpse.example:443")], false),
            (&[("origin", "http://glimpse.example")], true),
            (&[("origin", "null")], true),
        ] {
            let headers = headers(pairs);
            let is = is_foreign(&headers, Some(&host), Some(&public));
            assert_eq!(is, foreign, "{pairs:?}");
        }
        let origin = headers(&[("origin", "http://localhost:8080")]);
        assert!(is_foreign(&origin, None, None));
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
