//! StatefulSet of the members.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use quartet_crds::common::StorageSpec;

use super::{Parent, claim};
use crate::names;

/// What the kinds' sets differ in.
pub struct Set<'a> {
    pub replicas: u16,
    pub pods: LabelSelector,
    pub template: PodTemplateSpec,
    pub storage: &'a StorageSpec,
    pub claim_labels: BTreeMap<String, String>,
}

/// Pods start together and restart when the operator deletes them; volumes outlive the set.
pub fn stateful_set(parent: &Parent, set: Set<'_>, live: Option<&StatefulSet>) -> StatefulSet {
    let retain = || Some("Retain".to_owned());
    let live_claim = live.and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_ref()?.first());
    StatefulSet {
        metadata: parent.metadata(parent.name.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(set.replicas)),
            service_name: Some(names::members(&parent.name)),
            selector: set.pods,
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: retain(),
                when_scaled: retain(),
            }),
            template: set.template,
            volume_claim_templates: Some(vec![claim::template(set.storage, set.claim_labels, live_claim)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}
