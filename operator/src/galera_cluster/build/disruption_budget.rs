//! PodDisruptionBudgets: one member at a time, and only while all others are Synced.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::super::{MEMBER, PROXY, validate::Valid};
use crate::{children::disruption_budget::sparing, names};

/// None for one member, or before the cluster is founded: a budget would block every drain of a host.
pub fn members(valid: &Valid, members: u16, spares_one: bool) -> Option<PodDisruptionBudget> {
    let pods = valid.parent.selector(Some(MEMBER));
    (members > 1).then(|| sparing(&valid.parent, valid.parent.name.clone(), pods, u16::from(spares_one)))
}

/// None for one proxy, for the same reason.
pub fn proxies(valid: &Valid) -> Option<PodDisruptionBudget> {
    let pods = valid.parent.selector(Some(PROXY));
    (valid.proxies > 1).then(|| sparing(&valid.parent, names::proxy(&valid.parent.name), pods, 1))
}
