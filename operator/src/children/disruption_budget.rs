//! PodDisruptionBudgets.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::Parent;

/// So many have to stay.
pub fn keeping(parent: &Parent, name: String, pods: LabelSelector, least: u16) -> PodDisruptionBudget {
    budget(parent, name, pods, |spec| spec.min_available = Some(IntOrString::Int(i32::from(least))))
}

/// So many may be missing.
pub fn sparing(parent: &Parent, name: String, pods: LabelSelector, most: u16) -> PodDisruptionBudget {
    budget(parent, name, pods, |spec| spec.max_unavailable = Some(IntOrString::Int(i32::from(most))))
}

fn budget(
    parent: &Parent,
    name: String,
    pods: LabelSelector,
    bound: impl FnOnce(&mut PodDisruptionBudgetSpec),
) -> PodDisruptionBudget {
    let mut spec = PodDisruptionBudgetSpec { selector: Some(pods), ..PodDisruptionBudgetSpec::default() };
    bound(&mut spec);
    PodDisruptionBudget { metadata: parent.metadata(name), spec: Some(spec), status: None }
}
