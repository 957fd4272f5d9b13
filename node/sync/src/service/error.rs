//! How what failed in the replica is refused.

use axum::http::StatusCode;
use quartet_replica::wire::Failure;
use quartet_serve::Refusal;

pub(super) fn failed(failure: Failure) -> Refusal {
    let message = failure.to_string();
    match failure {
        Failure::Unavailable | Failure::NotMember => Refusal::unavailable("unavailable", message),
        Failure::Unknown => unknown(message),
        Failure::KeyReused => Refusal::conflict("key_reused", message, false),
        Failure::Full => Refusal::full("full", message),
        Failure::NoSpace => Refusal::full("no_space", message),
    }
}

/// A member said something that this version cannot read: whether it was applied is not known.
pub(super) fn unreadable(what: &str) -> Refusal {
    unknown(what)
}

fn unknown(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", message, true)
}
