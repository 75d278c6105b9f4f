//! Error answers: their status, their JSON, and the errors that they are made from.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::data::{Fault, Unreadable};
use crate::error::Error;

/// An error answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    error: String,
    /// Whether the connection is closed after it.
    closes: bool,
}

/// The body of an error answer.
#[derive(Serialize, ToSchema)]
pub struct Complaint {
    /// What was wrong, in one line.
    pub error: String,
}

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Refusal {
            status,
            error: error.into(),
            // The service does not wait for the rest of the body.
            closes: matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
            ),
        }
    }

    /// Closes the connection after the answer, without reading what else was sent on it.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub fn bad_request(error: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error)
    }

    /// An internal error; the log says more.
    pub fn internal() -> Self {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the model could not be run; the service's log says why",
        )
    }

    /// The answer for an unreadable image `name`, in the words of the command line.
    pub fn unreadable(name: &str, why: &Unreadable) -> Self {
        let status = match why.fault {
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::Foreign => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Fault::Damaged => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, Error::file(name, why).to_string())
    }

    pub fn error(self) -> String {
        self.error
    }
}

/// Shortens a client's text to one line that a message can repeat.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MAX_CHARS).map(plain).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal {
            status,
            error,
            closes,
        } = self;
        let mut response = (status, Json(Complaint { error })).into_response();
        let extra = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((header::RETRY_AFTER, "1"))
            }
            _ => None,
        };
        if closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let Some((name, value)) = extra {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}
