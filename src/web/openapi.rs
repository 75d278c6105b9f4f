//! The OpenAPI description of the interface, generated from its types and functions.

use utoipa::openapi::Server;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{PublicUrl, caption, routes};

/// All routes for programs; the page and its files are for people.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Glimpse",
        description = "Looks at a picture and says what it sees.",
    ),
    paths(
        caption::caption,
        routes::info,
        routes::description,
        routes::health,
        routes::metrics,
    ),
    modifiers(&Token),
)]
struct Description;

/// Returns the description of a service that is reached at `public`, if that is set.
pub fn description(public: Option<&PublicUrl>) -> utoipa::openapi::OpenApi {
    let mut description = Description::openapi();
    description.servers = public.map(|url| vec![Server::new(url.to_string())]);
    description
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
