//! How a request is refused: `{"error": {"code", "message", "retryable"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quartet_client::ErrorBody;

#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    body: Box<ErrorBody>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { status, body: Box::new(ErrorBody::new(code, message, retryable)) }
    }

    /// The user must change something.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, false)
    }

    pub fn conflict(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self::new(StatusCode::CONFLICT, code, message, retryable)
    }

    /// Decided nothing: there is no room at the moment.
    pub fn full(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message, true)
    }

    /// Certainly not applied.
    pub fn unavailable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, true)
    }

    /// With what a code says beside its message.
    #[must_use]
    pub fn with(mut self, add: impl FnOnce(&mut ErrorBody)) -> Self {
        add(&mut self.body);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let full = self.status == StatusCode::TOO_MANY_REQUESTS;
        let mut response = (self.status, Json(self.body)).into_response();
        if full {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
