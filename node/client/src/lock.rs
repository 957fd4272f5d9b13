//! Locks over HTTP: what is asked and what is answered. Durations are whole milliseconds.

use serde::{Deserialize, Serialize};

/// Of a resource's and an owner's name.
pub const NAME_BYTES_MAX: usize = 512;
/// A day: what lives longer is not a lease.
pub const TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
pub const WAIT_MS_MAX: u64 = 10 * 60 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Exclusive,
    Shared,
}

/// `POST /lock/acquire`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    pub resource: String,
    pub owner: String,
    pub mode: Mode,
    /// The cluster's default if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How long to wait for it; not at all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// `POST /lock/renew`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    pub resource: String,
    pub owner: String,
    pub fencing_token: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// `POST /lock/release`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub resource: String,
    pub owner: String,
    /// None releases whatever the owner holds of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<u64>,
}

/// The answer to an acquisition and to a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Always true.
    pub acquired: bool,
    pub resource: String,
    pub owner: String,
    /// What is held: exclusive also when the owner asked for shared and already held it exclusively.
    pub mode: Mode,
    pub fencing_token: u64,
    /// Counted from the moment the request was sent, to be safe.
    pub expires_in_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Always true.
    pub released: bool,
}

/// `DELETE /lock/owner/OWNER`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReleased {
    /// Locks that it held.
    pub released: u64,
    /// Requests of its that were waiting.
    pub cancelled: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub owner: String,
    pub mode: Mode,
    pub fencing_token: u64,
    pub expires_in_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    pub owner: String,
    pub mode: Mode,
}

/// `GET /lock?resource=R`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockStatus {
    pub resource: String,
    /// None while nobody holds it.
    pub mode: Option<Mode>,
    /// The oldest grant first.
    pub holders: Vec<Holder>,
    /// In the order in which they will be served.
    pub waiters: Vec<Waiter>,
}
