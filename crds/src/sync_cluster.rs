//! SyncCluster: distributed locks, queues and a coherent cache on Raft.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    common::{self, CommonSpec, Resources, StorageSpec},
    conditions::Type,
    duration::Duration,
    quantity::Bytes,
};

/// What a SyncCluster has conditions about.
pub const CONDITIONS: [Type; 7] = [
    Type::Accepted,
    Type::Progressing,
    Type::Available,
    Type::Degraded,
    Type::Ready,
    Type::LeaderElected,
    Type::MembershipStable,
];

/// A cluster of members that grant locks, hold queues and keep a coherent cache.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quartet.dev",
    version = "v1alpha1",
    kind = "SyncCluster",
    namespaced,
    status = "SyncClusterStatus",
    derive = "PartialEq",
    doc = "Distributed locks, queues and a coherent cache on Raft.",
    shortname = "sync",
    category = "quartet",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "LEADER",
        type_ = "string",
        json_path = ".status.leader",
        description = "The member that leads the most partitions, and how many."
    ),
    validation = common::name_leaves_room(),
    validation = common::name_is_a_label(),
    validation = common::size_never_shrinks(),
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = common::sleep_waits_for_pause(),
)]
pub struct SyncClusterSpec {
    /// Number of members: 1, 3, 5 or 7.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message("replicas must be 1, 3, 5 or 7"))]
    pub replicas: i32,
    /// Number of Raft groups that names are spread over, 1 to 64. Immutable.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self >= 1 && self <= 64").message("partitions must be between 1 and 64"),
        validation = Rule::new("self == oldSelf").message("partitions is immutable: only its present value is allowed"),
    )]
    pub partitions: i32,
    #[serde(default)]
    pub storage: StorageSpec,
    #[serde(default)]
    pub queue: QueueSpec,
    #[serde(default)]
    pub cache: CacheSpec,
    #[serde(default)]
    pub lock: LockSpec,
    /// Image of the members, repository with tag or digest; the one that the operator was installed with when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(flatten)]
    pub common: CommonSpec,
}

fn default_replicas() -> i32 {
    3
}

fn default_partitions() -> i32 {
    8
}

impl Default for SyncClusterSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            partitions: default_partitions(),
            storage: StorageSpec::default(),
            queue: QueueSpec::default(),
            cache: CacheSpec::default(),
            lock: LockSpec::default(),
            image: None,
            resources: Resources::default(),
            common: CommonSpec::default(),
        }
    }
}

impl AsRef<CommonSpec> for SyncClusterSpec {
    fn as_ref(&self) -> &CommonSpec {
        &self.common
    }
}

impl AsMut<CommonSpec> for SyncClusterSpec {
    fn as_mut(&mut self) -> &mut CommonSpec {
        &mut self.common
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// How long a consumed message stays invisible to others, 1s to 12h.
    #[serde(default = "default_visibility_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('12h')")
        .message("queue.visibilityTimeout must be between 1s and 12h"))]
    pub visibility_timeout: Duration,
    /// Deliveries after which a message goes to the dead-letter queue, 1 to 1000.
    #[serde(default = "default_max_deliveries")]
    #[schemars(range(min = 1, max = 1000))]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000")
        .message("queue.maxDeliveries must be between 1 and 1000"))]
    pub max_deliveries: i32,
    /// Bytes that all queues of a partition may hold, at least 1Mi; beyond it, publishing answers 429.
    #[serde(default = "default_queue_bytes")]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('1Mi')) >= 0")
        .message("queue.maxBytes must be at least 1Mi"))]
    pub max_bytes: Bytes,
}

fn default_visibility_timeout() -> Duration {
    Duration::new("15s")
}

fn default_max_deliveries() -> i32 {
    16
}

fn default_queue_bytes() -> Bytes {
    Bytes::new("256Mi")
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            visibility_timeout: default_visibility_timeout(),
            max_deliveries: default_max_deliveries(),
            max_bytes: default_queue_bytes(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    /// Bytes that each member's cache may hold, at least 1Mi.
    #[serde(default = "default_cache_bytes")]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('1Mi')) >= 0")
        .message("cache.maxBytes must be at least 1Mi"))]
    pub max_bytes: Bytes,
    /// How long a line is held without renewal, 100ms to 1m: the longest that a write waits for a lost sharer.
    #[serde(default = "default_lease_duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('1m')")
        .message("cache.leaseDuration must be between 100ms and 1m"))]
    pub lease_duration: Duration,
}

fn default_cache_bytes() -> Bytes {
    Bytes::new("64Mi")
}

fn default_lease_duration() -> Duration {
    Duration::new("2s")
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self { max_bytes: default_cache_bytes(), lease_duration: default_lease_duration() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockSpec {
    /// TTL of a lock whose owner names none, 1s to 24h.
    #[serde(default = "default_lock_ttl")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("lock.defaultTtl must be between 1s and 24h"))]
    pub default_ttl: Duration,
}

fn default_lock_ttl() -> Duration {
    Duration::new("30s")
}

impl Default for LockSpec {
    fn default() -> Self {
        Self { default_ttl: default_lock_ttl() }
    }
}

/// What the operator saw. Nothing here moves while the cluster is idle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncClusterStatus {
    /// The generation of the spec that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Members whose pod is ready and that vote in every partition.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Selects the pods of the members, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub members: Vec<MemberStatus>,
    /// Ready members of those asked for, `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_summary: Option<String>,
    /// The member that leads the most partitions, with the count: `demo-1 (3/8)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Version that the members run: the oldest during an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Identity of the cluster, recorded once: while it stands, no other cluster is ever founded in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// An irreversible step that was decided and may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    pub name: String,
    pub ordinal: i32,
    /// Identity of the member's volume: an emptied volume has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    pub role: MemberRole,
    pub partitions_led: i32,
    /// The host that its pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// Votes in every partition.
    Voter,
    /// Receives the log of every partition, but does not vote in all of them yet.
    Learner,
    /// Has an empty volume and waits to be taken in.
    Empty,
    /// Belongs to the cluster, but to none of its configurations.
    Outside,
    /// Refuses to serve because its data is damaged.
    Blocked,
    /// Does not answer.
    Unreachable,
}

pub type Operation = common::Operation<OperationKind, Founding>;

/// What only a founding records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Founding {
    /// The cluster to be founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// Makes empty members one cluster.
    Found,
    /// Takes an emptied member in again in the place of its old incarnation.
    Replace,
    /// Adds members.
    Grow,
    /// Removes the members with the highest ordinals, then their pods and volumes.
    Shrink,
    /// Makes a damaged or removed member give up its data.
    Reset,
    /// Moves leaderships away from a member and restarts its pod.
    Restart,
}
