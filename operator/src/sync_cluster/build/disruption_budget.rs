//! PodDisruptionBudget that counts quorum.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{super::validate::Valid, quorum};
use crate::children::disruption_budget::keeping;

/// `voters`: the larger of the members that vote and those that shall. None for one member: a budget would block
/// every drain of its host.
pub fn disruption_budget(valid: &Valid, voters: u16) -> Option<PodDisruptionBudget> {
    let parent = &valid.parent;
    (voters > 1).then(|| keeping(parent, parent.name.clone(), parent.selector(None), quorum(voters)))
}
