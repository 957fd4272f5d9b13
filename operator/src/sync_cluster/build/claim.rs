//! What the operator changes of a member's claim: its size upwards, and whether it goes with the resource.

use std::{cmp::Ordering, collections::BTreeMap};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use kube::Resource;
use quartet_crds::{common::DeletionPolicy, quantity, sync_cluster::SyncCluster};

use super::super::validate::{Valid, requested};
use crate::kube::apply;

/// None for a claim that is being deleted, or is about to be, or asks for no size that can be read.
pub fn claim(valid: &Valid, live: &PersistentVolumeClaim) -> Option<PersistentVolumeClaim> {
    if live.metadata.deletion_timestamp.is_some() || is_left_over(valid, live) {
        return None;
    }
    let present = requested(live)?;
    let wanted = valid.spec.storage.size.as_str();
    // Never smaller, and never left out: what is applied once and then left out would be removed.
    let size = if quantity::compare(wanted, present)? == Ordering::Greater { wanted } else { present };
    let owners = match valid.spec.deletion_policy {
        DeletionPolicy::Retain => None,
        DeletionPolicy::Delete => Some(vec![owner(valid)]),
    };
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            owner_references: owners,
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// It went with an earlier resource of this name: the garbage collector takes it.
pub fn is_left_over(valid: &Valid, live: &PersistentVolumeClaim) -> bool {
    apply::is_of_earlier(&live.metadata, &owner(valid))
}

/// Not a controller reference: the claim belongs to its member, and only goes with the resource.
fn owner(valid: &Valid) -> OwnerReference {
    OwnerReference {
        api_version: SyncCluster::api_version(&()).into_owned(),
        kind: SyncCluster::kind(&()).into_owned(),
        name: valid.name.clone(),
        uid: valid.uid.clone(),
        ..OwnerReference::default()
    }
}
