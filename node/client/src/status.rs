//! What every member says about itself and the cluster, to anyone.

use serde::{Deserialize, Serialize};

use crate::admin::GroupRole;

/// `GET /status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The ordinal of the member that answers.
    pub member: u16,
    /// Whether it serves, as far as it knows at the moment; `/readyz` asks.
    pub ready: bool,
    /// Of the member's program.
    pub version: String,
    pub members: Vec<Member>,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: u16,
    /// Where other members reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Connected to the member that answers.
    pub reachable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub id: u16,
    /// None when the member that answers knows of none.
    pub leader: Option<u16>,
    pub term: u64,
}

/// `GET /raft/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    pub groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub group: u16,
    /// Of the member that answers.
    pub role: GroupRole,
    pub term: u64,
    pub leader: Option<u16>,
    pub commit_index: u64,
    pub applied_index: u64,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    pub id: u16,
    pub voter: bool,
    /// How far its log is known to agree; only the leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_index: Option<u64>,
}
