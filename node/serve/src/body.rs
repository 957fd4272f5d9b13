//! What a request's body says.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::Refusal;

pub const BYTES_MAX: usize = 64 << 10;

/// As routes take it.
pub type Body = Result<Bytes, BytesRejection>;

/// The raw body, or why there is none.
pub fn received(body: Body) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("the body may have at most {BYTES_MAX} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, false)
        } else {
            Refusal::bad_request(rejection.body_text())
        }
    })
}

/// A refusal names the field that is wrong.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let why = error.into_inner();
        // At the top there is no field to name; an unknown or missing one is named by serde.
        Refusal::bad_request(if field == "." { why.to_string() } else { format!("{field}: {why}") })
    })?;
    json.end().map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(parsed)
}

/// Both.
pub fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    parse(&received(body)?)
}
