//! Which pods run another template than the present one.

use k8s_openapi::api::core::v1::Pod;
use quartet_crds::conditions::Reason;

use super::Members;
use crate::{
    names,
    plan::{Deletion, Grounds, ObjectKind, Step},
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

/// Until its controller has seen the present template, nobody knows whose pods are outdated.
pub fn unseen<Call>(members: &Members) -> Option<Step<Call>> {
    members.stateful_set.as_ref().filter(|_| revision(members).is_none())?;
    let message = "The StatefulSet's controller has not taken note of the present template yet.";
    Some(Step::wait(Reason::RollingOut, message))
}

/// Its StatefulSet makes it anew, with the present template.
pub fn restart(pod: &Pod) -> Vec<Deletion> {
    Deletion::new(ObjectKind::Pod, &pod.metadata, Grounds::Restart).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::apps::v1::{StatefulSet, StatefulSetStatus},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    #[test]
    fn until_its_controller_has_seen_a_template_nothing_is_settled() {
        let members = |generation, observed: Option<i64>| Members {
            stateful_set: Some(StatefulSet {
                metadata: ObjectMeta { generation: Some(generation), ..ObjectMeta::default() },
                status: Some(StatefulSetStatus {
                    observed_generation: observed,
                    update_revision: observed.map(|observed| format!("shop-{observed}")),
                    ..StatefulSetStatus::default()
                }),
                ..StatefulSet::default()
            }),
            ..Members::default()
        };
        assert_eq!(unseen::<()>(&Members::default()), None, "there is none");
        assert_eq!(unseen::<()>(&members(2, Some(2))), None);
        for stale in [members(2, Some(1)), members(1, None)] {
            assert_eq!(unseen::<()>(&stale).map(|step| step.reason), Some(Reason::RollingOut));
        }
    }
}
