//! StatefulSet of the members.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::{
    super::{
        LABEL,
        validate::{Valid, requested},
    },
    metadata, pod, selector,
};
use crate::names;

/// Pods start together and restart when the operator deletes them; volumes outlive the set.
pub fn stateful_set(valid: &Valid, replicas: u16, live: Option<&StatefulSet>) -> StatefulSet {
    let retain = || Some("Retain".to_owned());
    StatefulSet {
        metadata: metadata(valid, valid.name.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(replicas)),
            service_name: Some(names::members(&valid.name)),
            selector: selector(valid),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: retain(),
                when_scaled: retain(),
            }),
            template: pod::template(valid),
            volume_claim_templates: Some(vec![claim_template(valid, live)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// Immutable in a live set: its size stays, and the claims themselves are grown.
fn claim_template(valid: &Valid, live: Option<&StatefulSet>) -> PersistentVolumeClaim {
    let live = live.and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_ref()?.first());
    let size = live.and_then(requested).unwrap_or(valid.spec.storage.size.as_str());
    let class = match live.and_then(|claim| claim.spec.as_ref()) {
        Some(spec) => spec.storage_class_name.clone(),
        None => valid.spec.storage.storage_class_name.clone(),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::VOLUME.to_owned()),
            labels: Some(names::labels(LABEL, &valid.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class,
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
