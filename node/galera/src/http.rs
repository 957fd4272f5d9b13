//! Refusals, the operator's token, and servers that end when they are told to.

use std::path::Path;

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quartet_client::ErrorBody;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// `{"error": {"code", "message", "retryable"}}`.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { status, body: ErrorBody::new(code, message, retryable) }
    }

    pub(crate) fn unavailable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, true)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Whether a request comes from the operator. The token is read for every request, so that a new one counts at once.
pub(crate) async fn check_token(file: &Path, authorization: Option<&HeaderValue>) -> Result<(), Refusal> {
    let Some(given) = authorization.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) else {
        let message = "an Authorization header with a bearer token is needed";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message, false));
    };
    let forbidden = |why: &str| Refusal::new(StatusCode::FORBIDDEN, "forbidden", why, false);
    let token = tokio::fs::read(file).await.map_err(|error| {
        tracing::warn!(file = %file.display(), %error, "cannot read the token");
        forbidden("this member cannot read its token")
    })?;
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(forbidden("this member's token is empty"));
    }
    if bool::from(token.ct_eq(given.trim_ascii())) { Ok(()) } else { Err(forbidden("the token is wrong")) }
}

/// Serves until it is told to end.
pub(crate) async fn serve(listener: TcpListener, router: axum::Router, mut end: watch::Receiver<bool>) {
    let ended = async move {
        let _ = end.wait_for(|end| *end).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ended).await {
        tracing::error!(%error, "the HTTP server has ended");
    }
}
