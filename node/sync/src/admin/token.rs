//! Whether a request comes from the operator.

use std::path::Path;

use axum::http::{HeaderValue, StatusCode};
use subtle::ConstantTimeEq;

use crate::service::Refusal;

pub(super) async fn check(file: &Path, authorization: Option<&HeaderValue>) -> Result<(), Refusal> {
    let Some(given) = authorization.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) else {
        let message = "an Authorization header with a bearer token is needed";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message, false));
    };
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

fn forbidden(why: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", why, false)
}
