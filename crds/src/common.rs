//! What all four kinds have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time};
use kube::{KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::quantity::Bytes;

/// Of the whole resource. The name becomes part of every child's name: 40 characters leave room for the longest of them.
pub(crate) fn name_leaves_room() -> Rule {
    Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must have at most 40 characters: names of children are made of it")
}

/// Of the whole resource.
pub(crate) fn name_is_a_label() -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must be a DNS label: lower-case letters, digits and '-', beginning with a letter",
    )
}

/// Of the whole resource: a size that was refused was never in force, and can be taken back.
pub(crate) fn size_never_shrinks() -> Rule {
    Rule::new(
        "quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || \
         (has(oldSelf.status) && has(oldSelf.status.conditions) && \
         oldSelf.status.conditions.exists(c, c.type == 'Accepted' && c.status == 'False'))",
    )
    .message("storage.size may not shrink: only its present value or a larger one is allowed")
}

/// Of the spec.
pub(crate) fn sleep_waits_for_pause() -> Rule {
    Rule::new("!self.paused || self.hibernated == oldSelf.hibernated").message(
        "hibernated cannot change while paused is true: nothing would be stopped or started; set paused to false",
    )
}

/// What every kind's spec has beside its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonSpec {
    /// Whether the volumes stay or go when the resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// True: the operator keeps its hands off; only the status is kept current.
    #[serde(default)]
    pub paused: bool,
    /// True: the pods are stopped in order, the volumes kept.
    #[serde(default)]
    pub hibernated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Names of Secrets of the same namespace that hold credentials of the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    #[serde(default)]
    pub scheduling: Scheduling,
    #[serde(default)]
    pub pod_template: PodTemplate,
    #[serde(default)]
    pub tls: Tls,
}

/// The volume of each member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity('64Mi')) >= 0")
        .message("storage.size must be at least 64Mi"),
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    ).message("storage.storageClassName is immutable: only its present value is allowed"),
)]
pub struct StorageSpec {
    /// Size of each member's volume, at least `64Mi`. It may grow where the StorageClass allows expansion, never shrink.
    #[serde(default = "default_size")]
    pub size: Bytes,
    /// StorageClass of the volumes; the cluster's default class when absent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

fn default_size() -> Bytes {
    Bytes::new("1Gi")
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_size(), storage_class_name: None }
    }
}

/// What becomes of the volumes when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, and a resource of the same name finds its data again.
    #[default]
    Retain,
    /// They go with the resource.
    Delete,
}

/// When a host pulls the image. Kubernetes' own default when absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What each member asks of its host, and may use at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// Processors, like `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity_schema")]
    pub cpu: Option<Quantity>,
    /// Memory, like `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity_schema")]
    pub memory: Option<Quantity>,
}

/// A number or a string, as everywhere in Kubernetes; the operator checks what the pattern cannot.
fn quantity_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "nullable": true,
        "maxLength": 16,
        "pattern": r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$",
    })
}

/// Where members may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "short_values")]
    pub node_selector: BTreeMap<String, String>,
    /// Members prefer different hosts unless this is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Members are spread over hosts unless this is given. A constraint without a labelSelector counts this
    /// cluster's members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread: Vec<TopologySpreadConstraint>,
}

/// A member of which an operation is about, as it was when that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationMember {
    pub ordinal: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// UID of the pod or volume that is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// An irreversible step, recorded before it is done; members accept only commands with its id. `Own`: what only this kind
/// of resource records of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation<Kind, Own> {
    pub id: String,
    pub kind: Kind,
    /// The members that it is about, with the incarnations that were seen when it was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub members: Vec<OperationMember>,
    /// Numbers of members before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    #[serde(flatten)]
    pub own: Own,
}

impl<Kind, Own: Default> Operation<Kind, Own> {
    /// It gets its id and its time when it is recorded.
    pub fn new(kind: Kind, members: Vec<OperationMember>) -> Self {
        Self { id: String::new(), kind, members, from: None, to: None, started_at: None, own: Own::default() }
    }
}

/// Labels and annotations for the pods beside our own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadata>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "short_values")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "long_values")]
    pub annotations: BTreeMap<String, String>,
}

/// Encryption between members and towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct Tls {
    #[serde(default)]
    #[x_kube(validation = Rule::new("!self")
        .message("tls.enabled: true is not available in this version, only false is allowed"))]
    pub enabled: bool,
}

fn short_values(_: &mut SchemaGenerator) -> Schema {
    string_map(63)
}

fn long_values(_: &mut SchemaGenerator) -> Schema {
    string_map(4096)
}

fn string_map(longest: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": longest},
    })
}
