//! One request of one client, retries under the same idempotency key included.

use serde::{Deserialize, Serialize};

/// Times are microseconds of one clock that all clients of a history share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<Q, A> {
    pub client: u32,
    /// When the request was first sent.
    pub start_us: u64,
    /// When its outcome was known; none if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_us: Option<u64>,
    pub request: Q,
    pub outcome: Outcome<A>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<A> {
    Answered(A),
    /// Certainly had no effect.
    Failed,
    /// May have had its effect, may still have it, may never have it.
    Unknown,
}

impl<Q, A> Operation<Q, A> {
    pub fn answer(&self) -> Option<&A> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// From when on it certainly has no further effect; none if that never comes.
    pub fn settled_us(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Unknown => None,
            Outcome::Answered(_) | Outcome::Failed => self.end_us,
        }
    }
}
