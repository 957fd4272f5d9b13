//! The authenticated port 8199: what the operator asks of a member and tells it to do.
//!
//! Every request carries `Authorization: Bearer <token>`. Commands are idempotent, carry the id of the operation
//! that the operator recorded before it acted, and name what they expect to find, so that a stale operator's
//! command is refused (409) and changes nothing.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/member` | [`MemberReport`] |
//! | `POST /v1/found` [`Found`] | an empty member becomes a founder of the named cluster |
//! | `POST /v1/membership` [`ChangeMembership`] | changes the configuration of the groups that it leads |
//! | `POST /v1/handover` [`Handover`] | moves all leaderships of this member to other voters |
//! | `POST /v1/reset` [`Reset`] | a removed or corrupt member gives up its data and becomes empty, with a new incarnation |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub const PORT: u16 = 8199;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Name of the cluster, as its resource is named.
    pub name: String,
    pub version: String,
    pub ordinal: u16,
    pub incarnation: Uuid,
    /// The cluster that this member belongs to; none while it is empty.
    pub cluster: Option<Uuid>,
    pub state: MemberState,
    /// For a human, when `state` is Blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub groups: Vec<GroupReport>,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// An empty volume: waits to be made a founder or to be added.
    Empty,
    /// Belongs to a cluster and serves its groups as far as their configurations say.
    Serving,
    /// Damage in the middle of its log: takes no part until reset.
    Blocked,
}

/// One Raft group as this member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReport {
    pub group: u16,
    pub role: GroupRole,
    pub term: u64,
    pub leader: Option<Peer>,
    pub last_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub configuration: GroupConfiguration,
    /// What the leader knows of the others; empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<PeerProgress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GroupRole {
    Leader,
    Follower,
    Candidate,
    Learner,
}

/// A member's id: an ordinal may have had other incarnations before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub ordinal: u16,
    pub incarnation: Uuid,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupConfiguration {
    /// The log index that set it: what a change has to expect.
    pub index: u64,
    pub committed: bool,
    pub voters: Vec<Peer>,
    /// The voters before, while a change is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outgoing: Vec<Peer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerProgress {
    pub peer: Peer,
    pub matched_index: u64,
    /// Heard from within an election timeout.
    pub active: bool,
    /// Its log is within reach of the leader's: it may be made a voter.
    pub caught_up: bool,
}

/// A member and where its peer port is, `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    pub peer: Peer,
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    pub operation: Uuid,
    pub cluster: Uuid,
    /// All founders, this member's own current incarnation among them.
    pub members: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeMembership {
    pub operation: Uuid,
    pub cluster: Uuid,
    pub groups: Vec<GroupChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupChange {
    pub group: u16,
    /// The configuration that this change starts from; any other refuses it.
    pub expected_index: u64,
    pub voters: Vec<Address>,
    pub learners: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Handover {
    pub operation: Uuid,
    pub cluster: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reset {
    pub operation: Uuid,
    /// The incarnation whose data is to go; any other refuses it.
    pub incarnation: Uuid,
}

/// What became of a command: per group, by number; a group not led here is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandOutcome {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<u16, GroupOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupOutcome {
    pub accepted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}
