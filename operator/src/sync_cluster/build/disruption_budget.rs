//! PodDisruptionBudget that counts quorum.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{super::validate::Valid, metadata, quorum, selector};

/// `voters`: the larger of the members that vote and those that shall. None for one member: a budget would block
/// every drain of its host.
pub fn disruption_budget(valid: &Valid, voters: u16) -> Option<PodDisruptionBudget> {
    (voters > 1).then(|| PodDisruptionBudget {
        metadata: metadata(valid, valid.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::from(quorum(voters)))),
            selector: Some(selector(valid)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
