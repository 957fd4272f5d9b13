//! What a request says, checked: names and durations within their bounds, the key that makes it safe to repeat.

use axum::http::HeaderMap;
use quartet_client::lock::{NAME_BYTES_MAX, TTL_MS_MAX, WAIT_MS_MAX};
use quartet_replica::wire::Key;
use quartet_serve::Refusal;
use sha2::{Digest, Sha256};

const KEY_CHARS_MAX: usize = 255;
const KEY_HEADER: &str = "idempotency-key";

pub(super) fn name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let bytes = name.len();
        return Err(Refusal::bad_request(format!(
            "{field}: must have 1 to {NAME_BYTES_MAX} bytes, not {bytes}"
        )));
    }
    // They could not be said in the path of a URL.
    if matches!(name, "." | "..") {
        return Err(Refusal::bad_request(format!("{field}: must not be \".\" or \"..\"")));
    }
    Ok(())
}

pub(super) fn ttl_ms(asked: Option<u64>, default: u64) -> Result<u64, Refusal> {
    match asked.unwrap_or(default) {
        ttl_ms @ 1..=TTL_MS_MAX => Ok(ttl_ms),
        other => Err(Refusal::bad_request(format!("ttl_ms: must be from 1 to {TTL_MS_MAX}, not {other}"))),
    }
}

pub(super) fn wait_ms(asked: Option<u64>) -> Result<u64, Refusal> {
    match asked.unwrap_or(0) {
        wait_ms @ 0..=WAIT_MS_MAX => Ok(wait_ms),
        other => Err(Refusal::bad_request(format!("wait_ms: must be from 0 to {WAIT_MS_MAX}, not {other}"))),
    }
}

/// The idempotency key of a POST, with a digest of all that makes it this request and no other.
pub(super) fn key(headers: &HeaderMap, path: &str, body: &[u8]) -> Result<Option<Key>, Refusal> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.as_bytes();
    let visible = name.iter().all(u8::is_ascii_graphic);
    if values.next().is_some() || name.is_empty() || name.len() > KEY_CHARS_MAX || !visible {
        return Err(Refusal::bad_request(format!(
            "Idempotency-Key: must be one value of 1 to {KEY_CHARS_MAX} visible ASCII characters"
        )));
    }
    let request =
        Sha256::new().chain_update("POST\0").chain_update(path).chain_update("\0").chain_update(body);
    let mut digest = [0; 16];
    digest.copy_from_slice(&request.finalize()[..16]);
    Ok(Some(Key { name: String::from_utf8_lossy(name).into_owned(), digest }))
}
