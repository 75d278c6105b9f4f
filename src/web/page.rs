//! The page, and what belongs to it: part of the program, like the model.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::data::SAMPLES;

/// A file that is part of the program.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const PAGE: [Asset; 4] = [
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        bytes: include_bytes!("page/index.html"),
    },
    Asset {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("page/style.css"),
    },
    Asset {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("page/app.js"),
    },
    Asset {
        path: "/icon.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("page/icon.svg"),
    },
];

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        // Asked for again when the program may be another.
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.bytes).into_response()
    }
}

/// The routes of the page and of the sample photos.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let route = |router: Router<S>, path: &str, asset: Asset| {
        router.route(path, get(move || async move { asset }))
    };
    let page = PAGE.into_iter().fold(Router::new(), |router, asset| {
        route(router, asset.path, asset)
    });
    SAMPLES.into_iter().fold(page, |router, sample| {
        let asset = Asset {
            path: sample.name,
            kind: "image/jpeg",
            bytes: sample.bytes,
        };
        route(router, &format!("/samples/{}", sample.name), asset)
    })
}
