//! The members' claims: what they ask for, and those that are left of an earlier resource.

use std::cmp::Ordering;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::Time};
use quartet_crds::{conditions::Reason, quantity};

use super::Members;
use crate::{
    children::{Parent, claim},
    plan::{Step, WAITING, list},
};

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

/// Waits until volumes have the size that was asked for.
pub fn resizing<Call>(members: &Members, replicas: u16) -> Option<Step<Call>> {
    let growing = growing(members, replicas);
    (!growing.is_empty()).then(|| {
        let message = format!("The volumes of members {} are growing.", list(&growing));
        Step::wait(Reason::ResizingVolumes, message).after(WAITING)
    })
}

/// The members whose volumes are still smaller than their claims ask for.
fn growing(members: &Members, replicas: u16) -> Vec<u16> {
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

/// Members that still run on volumes of an earlier resource have no say: what they belong to goes with them.
pub fn leaving<Call>(parent: &Parent, members: &Members) -> Option<Step<Call>> {
    let leaving = claim::left_over(parent, members);
    (!leaving.is_empty()).then(|| {
        let message = format!(
            "The volumes of members {} go with an earlier resource of this name; new members start once they are gone.",
            list(&leaving)
        );
        Step::wait(Reason::StartingMembers, message)
    })
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
