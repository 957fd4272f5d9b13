//! StatefulSet of the members.

use k8s_openapi::api::apps::v1::StatefulSet;

use super::{super::validate::Valid, pod};
use crate::children::stateful_set::{self, Set};

pub fn stateful_set(valid: &Valid, replicas: u16, live: Option<&StatefulSet>) -> StatefulSet {
    let set = Set {
        replicas,
        pods: valid.parent.selector(None),
        template: pod::template(valid),
        storage: &valid.spec.storage,
        claim_labels: valid.parent.labels(None),
    };
    stateful_set::stateful_set(&valid.parent, set, live)
}
