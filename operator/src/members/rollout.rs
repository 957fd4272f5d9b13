//! Which pods run another template than the present one.

use k8s_openapi::api::core::v1::Pod;

use super::Members;
use crate::{
    names,
    plan::{Deletion, Grounds, ObjectKind},
};

/// The template revision that pods shall have; None while the StatefulSet's controller has not seen the present one.
fn revision(members: &Members) -> Option<&str> {
    let set = members.stateful_set.as_ref()?;
    let status = set.status.as_ref()?;
    let current = status.observed_generation? >= set.metadata.generation?;
    status.update_revision.as_deref().filter(|_| current)
}

pub fn outdated(members: &Members) -> Vec<(u16, &Pod)> {
    let Some(revision) = revision(members) else { return Vec::new() };
    let is_current = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(names::REVISION)).is_none_or(|label| label == revision)
    };
    let pods = members.pods.iter();
    pods.filter(|(_, pod)| pod.metadata.deletion_timestamp.is_none() && !is_current(pod))
        .map(|(ordinal, pod)| (*ordinal, pod))
        .collect()
}

/// Its StatefulSet makes it anew, with the present template.
pub fn restart(pod: &Pod) -> Vec<Deletion> {
    Deletion::new(ObjectKind::Pod, &pod.metadata, Grounds::Restart).into_iter().collect()
}
