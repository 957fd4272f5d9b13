//! What the steps of one round leave to be carried out.

use bytes::Bytes;
use quartet_raft::{MemberId, Position, SnapshotMeta, Term};

use super::envelope::Session;
use super::group::{Asker, Snapshot};
use super::once::Outcome;
use crate::GroupId;
use crate::store::Record;
use crate::wire::PeerMessage;

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) records: Vec<Record>,
    /// Where the logs end that `records` extend.
    pub(super) positions: Vec<(GroupId, Position)>,
    /// Own snapshots among `records`.
    pub(super) snapshots: Vec<(GroupId, Snapshot)>,
    /// Received snapshots among `records`.
    pub(super) installs: Vec<Install>,
    pub(super) send: Vec<(MemberId, PeerMessage)>,
    /// Held back until `records`, and all before them, are on disk.
    pub(super) send_durable: Vec<(MemberId, PeerMessage)>,
    /// Groups whose role, term or leader changed.
    pub(super) stood: Vec<GroupId>,
    /// Commands that are in this member's log now.
    pub(super) proposed: Vec<Session>,
    /// Outcomes of commands.
    pub(super) settled: Vec<(GroupId, Session, Outcome)>,
    /// Answers to questions, and refusals of what certainly was not done.
    pub(super) replies: Vec<(Asker, Outcome)>,
    pub(super) fatal: Option<String>,
}

/// A snapshot received from the leader of `term`.
pub(super) struct Install {
    pub(super) group: GroupId,
    pub(super) from: MemberId,
    pub(super) term: Term,
    pub(super) meta: SnapshotMeta,
    pub(super) data: Bytes,
}
