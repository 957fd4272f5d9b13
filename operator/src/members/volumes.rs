//! The members' claims: what they ask for, and those that are left of an earlier resource.

use std::cmp::Ordering;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::Time};
use quartet_crds::quantity;

use super::Members;

/// The size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    resources.requests.as_ref()?.get("storage").map(|size| size.0.as_str())
}

/// A volume was found or made for it.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_some_and(|volume| !volume.is_empty())
}

/// The members whose volumes are still smaller than their claims ask for.
pub fn growing(members: &Members, replicas: u16) -> Vec<u16> {
    members
        .claims
        .iter()
        .filter(|(ordinal, claim)| {
            let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
            let smaller = capacity.zip(requested(claim)).is_some_and(|(capacity, requested)| {
                quantity::compare(&capacity.0, requested) == Some(Ordering::Less)
            });
            **ordinal < replicas && smaller
        })
        .map(|(ordinal, _)| *ordinal)
        .collect()
}

/// Volumes that nobody asks, since no pod mounts them, and that an earlier resource of this name has left.
pub fn older(members: &Members, replicas: u16, born: Option<&Time>) -> Vec<u16> {
    let Some(born) = born else { return Vec::new() };
    let beyond = members.claims.iter().filter(|(ordinal, _)| **ordinal >= replicas);
    beyond
        .filter(|(_, claim)| claim.metadata.deletion_timestamp.is_none())
        .filter(|(_, claim)| claim.metadata.creation_timestamp.as_ref().is_some_and(|made| made < born))
        .map(|(ordinal, _)| *ordinal)
        .collect()
}
