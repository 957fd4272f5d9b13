//! What members send each other, and how it is encoded: length-prefixed frames of a fixed binary form.

use bytes::Bytes;
use quartet_raft::{Message, SnapshotMeta, Term};

use crate::GroupId;

pub(crate) mod codec;
mod frame;
#[cfg(test)]
mod tests;
pub(crate) mod values;

pub use codec::Malformed;
pub use frame::{FRAME_BYTES_MAX, Frame};

/// Of the frames; a member speaks the lower of both sides' versions.
pub const VERSION: u16 = 1;

/// First on every connection, in both directions. The dialler names whom it wants; another incarnation there, or
/// another cluster, refuses. An empty member that is addressed by its exact id joins the dialler's cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u16,
    pub from: quartet_raft::MemberId,
    pub cluster: Option<u128>,
    pub groups: u16,
    /// None only asks who is there (founding without an operator).
    pub to: Option<quartet_raft::MemberId>,
    /// The connection for snapshots, so that heartbeats never wait behind them.
    pub bulk: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    Raft {
        group: GroupId,
        message: Message,
    },
    /// A request passed on to the member that leads the group.
    Forward {
        id: u64,
        group: GroupId,
        request: Forwarded,
        timeout_ms: u32,
    },
    ForwardReply {
        id: u64,
        result: Result<Bytes, Failure>,
    },
    /// Part of the snapshot that stands for `meta.last`. Goes over the connection for bulk.
    SnapshotChunk {
        group: GroupId,
        term: Term,
        meta: SnapshotMeta,
        total_bytes: u64,
        offset: u64,
        data: Bytes,
    },
    /// How much of the snapshot at this index has arrived, or that it is installed.
    SnapshotAck {
        group: GroupId,
        term: Term,
        index: quartet_raft::Index,
        received_bytes: u64,
        installed: bool,
    },
}

impl PeerMessage {
    /// Whether it belongs on the connection for bulk, so that heartbeats never wait behind it.
    pub fn is_bulk(&self) -> bool {
        matches!(self, Self::SnapshotChunk { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// A command with its session, as it goes into the log.
    Execute {
        entry: Bytes,
    },
    Query {
        query: Bytes,
    },
}

/// An idempotency key and a digest of the request that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub digest: [u8; 16],
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no leader, or not enough members, in time: certainly not applied")]
    Unavailable,
    #[error("leadership or time was lost after the command was proposed: the outcome is unknown")]
    Unknown,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("too many requests or idempotency keys: try again later")]
    Full,
    #[error("the disk is almost full: only what frees room is accepted")]
    NoSpace,
    #[error("whoever asks is no member of the group any more: certainly not applied")]
    NotMember,
}
