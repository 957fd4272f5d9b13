//! How a request is refused.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quartet_client::ErrorBody;
use quartet_client::lock::Holder;
use quartet_replica::wire::Failure;

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Box<ErrorBody>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { status, body: Box::new(ErrorBody::new(code, message, retryable)) }
    }

    /// The user must change something.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, false)
    }

    pub(crate) fn conflict(code: &str, message: &str, retryable: bool) -> Self {
        Self::new(StatusCode::CONFLICT, code, message, retryable)
    }

    /// Decided nothing: there is no room at the moment.
    pub(crate) fn full(code: &str, message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message, true)
    }

    /// Certainly not applied.
    pub(crate) fn unavailable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, true)
    }

    /// A member said something that this version cannot read: whether it was applied is not known.
    pub(crate) fn unreadable(what: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", what, true)
    }

    pub(crate) fn with_holders(mut self, holders: Vec<Holder>) -> Self {
        self.body.holders = Some(holders);
        self
    }

    pub(crate) fn with_cycle(mut self, cycle: Vec<String>) -> Self {
        self.body.cycle = Some(cycle);
        self
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            Failure::Unavailable | Failure::NotMember => Self::unavailable("unavailable", message),
            Failure::Unknown => Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", message, true),
            Failure::KeyReused => Self::conflict("key_reused", &message, false),
            Failure::Full => Self::full("full", &message),
            Failure::NoSpace => Self::full("no_space", &message),
        }
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
