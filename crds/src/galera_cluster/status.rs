//! What users read: the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{common, conditions::Type};

/// What a GaleraCluster has conditions about.
pub const CONDITIONS: [Type; 9] = [
    Type::Accepted,
    Type::Progressing,
    Type::Available,
    Type::Degraded,
    Type::Ready,
    Type::Quorate,
    Type::ProxyAvailable,
    Type::Recovering,
    Type::SchemaApplied,
];

/// What the operator saw. Positions and times move at most every ten seconds, and not at all while nothing is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GaleraClusterStatus {
    /// The generation of the spec that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Pods of members that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Members whose pod is ready and that are Synced.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Proxies that are ready.
    #[serde(default)]
    pub ready_proxies: i32,
    /// Selects the pods of the members, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub members: Vec<MemberStatus>,
    /// Ready members of those asked for, `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_summary: Option<String>,
    /// The member that the single writer's Service leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Version that the members run: the oldest during an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The cluster's state UUID, recorded once it is founded: while it stands, no other history is begun in its place
    /// but by a human's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The highest seqno that is known to be on a member's disk. Nothing is ever begun from less without a human's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_seqno: Option<i64>,
    /// Where `cluster` was begun by a human's word: the position, `UUID:SEQNO` of the history before, that it goes on
    /// from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_from: Option<String>,
    /// Members that did not answer when `cluster` was begun by a human's word, and have not since: they hold nothing of it,
    /// and are not waited for. They join it once they have been heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stepped_over: Vec<SteppedOver>,
    /// When the positions above and below were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions_at: Option<Time>,
    /// An irreversible step that was decided and may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// A member that a human's word stepped over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SteppedOver {
    pub ordinal: i32,
    /// UID of its claim: another volume is another matter.
    pub claim: String,
}

/// A member, in its own words where it has any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    pub name: String,
    pub ordinal: i32,
    pub state: MemberState,
    /// Identity of the member's volume: an emptied volume has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// The history that its data belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The last write set of that history that its data holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqno: Option<i64>,
    /// Both in one: what `spec.recovery.bootstrapFrom.position` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// `wsrep_local_state_comment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wsrep_local_state_comment: Option<String>,
    /// `wsrep_ready`.
    #[serde(default)]
    pub wsrep_ready: bool,
    /// `wsrep_cluster_size`, as this member sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_size: Option<i32>,
    /// `wsrep_flow_control_paused`: the part of the time, 0 to 1, that replication stood still for a slow member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_control_paused: Option<f64>,
    /// When it last answered, as of the last time that this status was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// The host that its pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Version of its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What its manager has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// Has an empty volume.
    Empty,
    /// Finds out what its volume holds.
    Examining,
    /// No server runs: waits for a Primary component to join, or for leave to form one.
    Waiting,
    /// Its data counts for nothing: replaced by a transfer once there is a Primary component. Where it has a position all
    /// the same, `spec.recovery.bootstrapFrom` can begin from it.
    Unusable,
    /// Makes the first database.
    Initialising,
    /// Catches up, or receives all data.
    Joining,
    /// Part of the Primary component, and caught up.
    Synced,
    /// Part of the Primary component, and gives another member its data.
    Donor,
    /// Runs outside of any Primary component.
    NonPrimary,
    /// Is being stopped.
    Stopping,
    /// Its server ends by itself again and again.
    Failed,
    /// Does not answer.
    Unreachable,
}

pub type Operation = common::Operation<OperationKind, Grant>;

/// What only leave to form a Primary component records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Of a grant: the one start of the member's manager that may act on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Of a grant: the one position that the member may begin from; absent where it founds the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// An empty member begins the cluster's history.
    Found,
    /// A member forms a Primary component anew.
    Bootstrap,
    /// By a human's word, a member begins a new history with what it holds: the operation's id is its UUID.
    NewHistory,
    /// The member with the highest ordinal leaves, then its pod and volume go.
    Shrink,
    /// Clients are moved off a member, and its pod is restarted.
    Restart,
}
