//! The web page and its files, which are part of the program.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{PublicUrl, paths};
use crate::data::SAMPLES;

/// A file of the page.
#[derive(Clone)]
struct Asset {
    kind: &'static str,
    bytes: Bytes,
}

/// Name, content type and contents of each file of the page. All addresses in them are relative, because the page may
/// be served under any path.
const FILES: [(&str, &str, &[u8]); 3] = [
    (
        paths::STYLE,
        "text/css; charset=utf-8",
        include_bytes!("page/style.css"),
    ),
    (
        paths::SCRIPT,
        "text/javascript; charset=utf-8",
        include_bytes!("page/app.js"),
    ),
    (
        paths::ICON,
        "image/svg+xml",
        include_bytes!("page/icon.svg"),
    ),
];

const PAGE: &str = include_str!("page/index.html");

/// The placeholder for the page's own address, which the page does not know without a script.
const ADDRESS: &str = "<var>ADDRESS OF THIS PAGE</var>";

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        // Browsers must revalidate, because a new version of the program may have other files.
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.bytes).into_response()
    }
}

/// The routes of the page and of the sample photos. `public` is the address that users see if a proxy stands in front.
pub fn routes<S: Clone + Send + Sync + 'static>(public: Option<&PublicUrl>) -> Router<S> {
    let route = |router: Router<S>, path: &str, kind, bytes| {
        let asset = Asset { kind, bytes };
        router.route(path, get(move || async move { asset }))
    };
    let page = match public {
        Some(url) => Bytes::from(PAGE.replace(ADDRESS, &url.to_string())),
        None => Bytes::from_static(PAGE.as_bytes()),
    };
    let page = route(Router::new(), "/", "text/html; charset=utf-8", page);
    let page = FILES.into_iter().fold(page, |router, (path, kind, bytes)| {
        route(router, path, kind, Bytes::from_static(bytes))
    });
    SAMPLES.into_iter().fold(page, |router, sample| {
        let bytes = Bytes::from_static(sample.bytes);
        route(router, &paths::sample(sample.name), "image/jpeg", bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_public_path_hides_a_file_of_the_page() {
        for (path, ..) in FILES {
            assert!(paths::hidden_by(path).is_some(), "{path}");
        }
    }

    #[test]
    fn the_page_has_a_place_for_its_address() {
        assert_eq!(PAGE.matches(ADDRESS).count(), 1);
    }
}
