//! The description of the interface, made from the types and functions that are it.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{caption, routes};

/// All that programs can ask for; the page and its files are for people.
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
pub struct Description;

/// The token, where the service was started with one.
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
