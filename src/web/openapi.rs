//! The OpenAPI description of the interface, generated from its types and functions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::Server;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::app::App;
use super::{PublicUrl, caption, service};

/// All routes for programs; the page and its files are for people.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Glimpse",
        description = "Looks at a picture and says what it sees.",
    ),
    paths(
        caption::caption,
        service::info,
        description,
        service::health,
        service::metrics,
    ),
    modifiers(&Token),
)]
struct Description;

/// Returns the description of a service that is reached at `public`, if that is set.
fn document(public: Option<&PublicUrl>) -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    document.servers = public.map(|url| vec![Server::new(url.to_string())]);
    document
}

/// Return this description
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "service",
    responses((status = 200, description = "The description of the interface, in OpenAPI", body = Object)),
)]
pub async fn description(State(app): State<Arc<App>>) -> Response {
    Json(document(app.options.public_url.as_ref())).into_response()
}

/// Adds the token as a security scheme, for a service with a token.
struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("token", scheme);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::paths;

    #[test]
    fn the_described_paths_are_the_routes_for_programs() {
        let described: Vec<String> = document(None).paths.paths.into_keys().collect();
        let mut routes = paths::PROGRAMS.to_vec();
        routes.sort_unstable();
        assert_eq!(described, routes);
    }
}
