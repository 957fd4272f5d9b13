//! Which pods run another template than the present one, and what is done about it whatever the kind.

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus},
    core::v1::Pod,
};
use quartet_crds::conditions::Reason;

use super::{
    Members,
    pods::{explain, is_dead},
};
use crate::{
    names,
    plan::{Deletion, Grounds, ObjectKind, Step, list},
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

/// A pod in which nothing runs is replaced at once: it has nothing to lose, and reverting a bad template must be able to
/// recover. `name`: what the kind calls a member.
pub fn replace_dead<Call>(members: &Members, name: impl Fn(u16) -> String) -> Option<Step<Call>> {
    let (ordinal, pod) = outdated(members).into_iter().find(|(_, pod)| is_dead(pod))?;
    let message = format!(
        "Nothing runs in the pod of {}, and its template is an old one: it is replaced.",
        name(ordinal)
    );
    Some(Step::wait(Reason::RollingOut, message).deleting(restart(pod)))
}

/// Of those that there shall be, some have no pod, or one that is going: the next one is not restarted before they are
/// back. `to_go`: how many still run an old template.
pub fn returning<Call>(members: &Members, wanted: u16, to_go: usize) -> Option<Step<Call>> {
    let stays = |ordinal: &u16| {
        members.pods.get(ordinal).is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
    };
    let missing: Vec<u16> = (0..wanted).filter(|ordinal| !stays(ordinal)).collect();
    (!missing.is_empty()).then(|| {
        let message = format!(
            "{to_go} members still run an old template; waiting for the pods of {}.{}",
            list(&missing),
            explain(&members.pods, &missing)
        );
        Step::wait(Reason::RollingOut, message)
    })
}

/// Its StatefulSet makes it anew, with the present template.
pub fn restart(pod: &Pod) -> Vec<Deletion> {
    Deletion::new(ObjectKind::Pod, &pod.metadata, Grounds::Restart).into_iter().collect()
}

/// What is left to do until all pods of a Deployment are of the present template and available, as `kubectl rollout
/// status` judges it.
pub fn unfinished(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.as_ref();
    if status.and_then(|status| status.observed_generation) < deployment.metadata.generation {
        return Some("their Deployment's controller has not taken note of it yet".to_owned());
    }
    let count = |of: fn(&DeploymentStatus) -> Option<i32>| status.and_then(of).unwrap_or(0);
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let (updated, available) =
        (count(|status| status.updated_replicas), count(|status| status.available_replicas));
    let old = count(|status| status.replicas) - updated;
    if updated < wanted {
        Some(format!("{updated} of {wanted} are new"))
    } else if old > 0 {
        Some(format!("{old} old ones are still there"))
    } else {
        (available < updated).then(|| format!("{available} of {updated} new ones are available"))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::apps::v1::{DeploymentSpec, StatefulSet, StatefulSetStatus},
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

    /// Two of them, in the second generation: that which was observed, new pods, all pods, available ones.
    fn deployment(observed: i64, updated: i32, all: i32, available: i32) -> Deployment {
        Deployment {
            metadata: ObjectMeta { generation: Some(2), ..ObjectMeta::default() },
            spec: Some(DeploymentSpec { replicas: Some(2), ..DeploymentSpec::default() }),
            status: Some(DeploymentStatus {
                observed_generation: Some(observed),
                updated_replicas: Some(updated),
                replicas: Some(all),
                available_replicas: Some(available),
                ..DeploymentStatus::default()
            }),
        }
    }

    #[test]
    fn a_deployment_has_rolled_when_all_its_pods_are_new_and_no_old_one_is_left() {
        assert_eq!(unfinished(&deployment(2, 2, 2, 2)), None);
        for (left, rolling) in [
            ("taken note", deployment(1, 2, 2, 2)),
            ("taken note", Deployment { status: None, ..deployment(2, 2, 2, 2) }),
            ("1 of 2 are new", deployment(2, 1, 3, 3)),
            ("1 old ones", deployment(2, 2, 3, 3)),
            ("1 of 2 new ones are available", deployment(2, 2, 2, 1)),
        ] {
            assert!(unfinished(&rolling).is_some_and(|message| message.contains(left)), "{left}");
        }
    }
}
