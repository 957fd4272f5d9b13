//! What the operator changes of a member's claim: its size upwards, and whether it goes with the resource.

use std::{cmp::Ordering, collections::BTreeMap};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use quartet_crds::{
    common::{DeletionPolicy, StorageSpec},
    quantity,
};

use super::Parent;
use crate::{
    kube::apply,
    members::{Members, volumes::requested},
    names,
    plan::Child,
};

/// The members' claims, each to be changed only while it is the very object that was seen.
pub fn claims(
    parent: &Parent,
    storage: &StorageSpec,
    policy: DeletionPolicy,
    members: &Members,
) -> Vec<Child> {
    let changed = |live: &PersistentVolumeClaim| {
        let uid = live.metadata.uid.clone().unwrap_or_default();
        claim(parent, storage, policy, live).map(|claim| Child::existing(claim, uid))
    };
    members.claims.values().filter_map(changed).collect()
}

/// Members whose volumes go with an earlier resource of this name. No pod is to mount a volume that goes away under it.
pub fn left_over(parent: &Parent, members: &Members) -> Vec<u16> {
    let claims = members.claims.iter();
    claims.filter(|(_, claim)| is_left_over(parent, claim)).map(|(ordinal, _)| *ordinal).collect()
}

/// None for a claim that is being deleted, or is about to be, or asks for no size that can be read.
fn claim(
    parent: &Parent,
    storage: &StorageSpec,
    policy: DeletionPolicy,
    live: &PersistentVolumeClaim,
) -> Option<PersistentVolumeClaim> {
    if live.metadata.deletion_timestamp.is_some() || is_left_over(parent, live) {
        return None;
    }
    let present = requested(live)?;
    let wanted = storage.size.as_str();
    // Never smaller, and never left out: what is applied once and then left out would be removed.
    let size = if quantity::compare(wanted, present)? == Ordering::Greater { wanted } else { present };
    let owners = match policy {
        DeletionPolicy::Retain => None,
        DeletionPolicy::Delete => Some(vec![parent.owner()]),
    };
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            owner_references: owners,
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            resources: Some(of_size(size)),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// It went with an earlier resource of this name: the garbage collector takes it.
fn is_left_over(parent: &Parent, live: &PersistentVolumeClaim) -> bool {
    apply::is_of_earlier(&live.metadata, &parent.owner())
}

/// Immutable in a live set: its size stays, and the claims themselves are grown.
pub(super) fn template(
    storage: &StorageSpec,
    labels: BTreeMap<String, String>,
    live: Option<&PersistentVolumeClaim>,
) -> PersistentVolumeClaim {
    let size = live.and_then(requested).unwrap_or(storage.size.as_str());
    let class = match live.and_then(|claim| claim.spec.as_ref()) {
        Some(spec) => spec.storage_class_name.clone(),
        None => storage.storage_class_name.clone(),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::VOLUME.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class,
            resources: Some(of_size(size)),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn of_size(size: &str) -> VolumeResourceRequirements {
    VolumeResourceRequirements {
        requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
        ..VolumeResourceRequirements::default()
    }
}
