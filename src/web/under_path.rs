//! Serves the routes under the path of the public address, as well as under `/`.
//!
//! Some proxies remove the path before they pass a request on (`proxy_pass http://127.0.0.1:8080/;`), and some keep it
//! (`proxy_pass http://127.0.0.1:8080;`). A request for `/glimpse/api/info` is therefore answered like one for
//! `/api/info`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::{self, Next};
use axum::response::{Redirect, Response};
use axum::routing::get;

use super::PublicUrl;

/// Redirects the path without a final slash to the page. Without the slash, the page's relative addresses would be
/// wrong.
pub fn home<S: Clone + Send + Sync + 'static>(public: Option<&PublicUrl>) -> Router<S> {
    let Some(path) = public.and_then(path) else {
        return Router::new();
    };
    let there = format!("{path}/");
    let lead = move || async move { Redirect::temporary(&there) };
    Router::new().route(path, get(lead))
}

/// Returns a router that also answers under the path as `router` does under `/`.
pub fn also(public: Option<&PublicUrl>, router: Router) -> Router {
    let Some(path) = public.and_then(path) else {
        return router;
    };
    // Routes are matched against the rest of the path, so the prefix is removed before the router sees the request.
    Router::new()
        .fallback_service(router)
        .layer(middleware::from_fn_with_state(Arc::from(path), strip))
}

fn path(url: &PublicUrl) -> Option<&str> {
    Some(url.path()).filter(|path| !path.is_empty())
}

async fn strip(State(path): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    if let Some(uri) = stripped(request.uri(), &path) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// Removes `path` from `uri`; `None` if `uri` is not below it.
fn stripped(uri: &Uri, path: &str) -> Option<Uri> {
    let below = uri.path_and_query()?.as_str().strip_prefix(path)?;
    let below = below.starts_with('/').then_some(below)?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(below).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_path_is_found() {
        for (uri, below) in [
            ("/glimpse/", Some("/")),
            ("/glimpse/api/caption?beam=1", Some("/api/caption?beam=1")),
            ("/glimpse/glimpse/", Some("/glimpse/")),
            ("http://localhost/glimpse/", Some("http://localhost/")),
            ("/glimpse", None),
            ("/glimpse?a=b", None),
            ("/glimpses/", None),
            ("/", None),
            ("*", None),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let found = stripped(&uri, "/glimpse").map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), below, "{uri}");
        }
    }
}
