use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::data::{Fault, Unreadable};
use crate::error::Error;

/// Why a request is not answered as it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    error: String,
    /// Whether the connection ends with it.
    closes: bool,
}

/// What is sent instead of an answer.
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
            // The rest of what they send is not waited for.
            closes: matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
            ),
        }
    }

    /// The connection ends with it: what else came on it is not looked at.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub fn bad_request(error: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error)
    }

    /// For what should not happen; the log says more.
    pub fn internal() -> Self {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the model could not be run; the service's log says why",
        )
    }

    /// What is wrong with the image that is called `name`, in the words of the command line.
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

/// What a client has made up, as a message repeats it: in one line, and not longer than a line.
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MOST).map(plain).collect();
    if text.chars().nth(MOST).is_some() {
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
