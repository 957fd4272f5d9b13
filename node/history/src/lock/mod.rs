//! Locks: requests and answers as clients see them, and what they may rely on.
//!
//! A holder may rely on its lock from the answer that granted it until it asks to give it up, or until its TTL,
//! counted from when it *sent* the last request that renewed it. That is what [`check()`] holds the system to.

mod check;
#[cfg(test)]
pub(crate) mod fixture;
mod holds;

pub use check::{Limits, Violation, check};

use serde::{Deserialize, Serialize};

use crate::Operation;

pub type LockOperation = Operation<LockRequest, LockAnswer>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Exclusive,
    Shared,
}

impl Mode {
    pub fn conflicts(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// Owners belong to one client each: their operations follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LockRequest {
    Acquire {
        resource: String,
        owner: String,
        mode: Mode,
        ttl_ms: u64,
        wait_ms: u64,
    },
    Renew {
        resource: String,
        owner: String,
        token: u64,
        ttl_ms: u64,
    },
    Release {
        resource: String,
        owner: String,
        token: u64,
    },
    ReleaseOwner {
        owner: String,
    },
    /// Who holds it? Linearizable.
    Read {
        resource: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum LockAnswer {
    /// To Acquire: what is held, which may be more than what was asked for.
    Granted { token: u64, mode: Mode },
    /// To Acquire: others hold it, or a deadlock, or another refusal that granted nothing.
    NotGranted,
    /// To Renew.
    Renewed,
    /// To Renew: the lock is no longer held under this token.
    Lost,
    /// To Release and ReleaseOwner.
    Released,
    /// To Release: it was not held.
    NotHeld,
    /// To Read.
    Holders { tokens: Vec<u64> },
}

impl LockRequest {
    /// None: all that the owner has.
    pub fn resource(&self) -> Option<&str> {
        match self {
            Self::Acquire { resource, .. }
            | Self::Renew { resource, .. }
            | Self::Release { resource, .. }
            | Self::Read { resource } => Some(resource),
            Self::ReleaseOwner { .. } => None,
        }
    }

    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Self::Acquire { owner, .. }
            | Self::Renew { owner, .. }
            | Self::Release { owner, .. }
            | Self::ReleaseOwner { owner } => Some(owner),
            Self::Read { .. } => None,
        }
    }
}
