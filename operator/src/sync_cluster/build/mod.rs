//! Children of a SyncCluster, one file per kind of object. Builders cannot fail: validation did the work.

#[cfg(test)]
mod tests;

pub mod admin_secret;
pub mod claim;
pub mod disruption_budget;
pub mod network_policy;
pub mod pod;
pub mod services;
pub mod settings;
pub mod stateful_set;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{LABEL, validate::Valid};
use crate::names;

fn metadata(valid: &Valid, name: impl Into<String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(names::labels(LABEL, &valid.name)),
        ..ObjectMeta::default()
    }
}

/// The pods of this cluster.
fn selector(valid: &Valid) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(LABEL, &valid.name)), ..LabelSelector::default() }
}

/// Members that have to be up for any decision.
pub fn quorum(members: u16) -> u16 {
    members / 2 + 1
}
