//! What a pod tells: whether it is ready or dead, and why its member is not there, in words that stay the same while
//! Kubernetes tries again and again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::plan::list;

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// No process runs in it: its containers are terminated, or wait for something that may never come.
pub fn is_dead(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => true,
        Some("Pending" | "Running") => status
            .container_statuses
            .iter()
            .flatten()
            .all(|container| container.state.as_ref().is_some_and(|state| state.running.is_none())),
        _ => false,
    }
}

/// What is known of why these members are missing, as sentences; empty when nothing is.
pub fn explain(pods: &BTreeMap<u16, Pod>, ordinals: &[u16]) -> String {
    let mut troubles: Vec<(&str, Vec<u16>)> = Vec::new();
    for ordinal in ordinals {
        let Some(trouble) = trouble(pods.get(ordinal)) else { continue };
        match troubles.iter_mut().find(|(known, _)| *known == trouble) {
            Some((_, members)) => members.push(*ordinal),
            None => troubles.push((trouble, vec![*ordinal])),
        }
    }
    troubles
        .iter()
        .fold(String::new(), |text, (trouble, members)| format!("{text} Of {}: {trouble}.", list(members)))
}

/// Why the member of this pod may be missing.
pub fn trouble(pod: Option<&Pod>) -> Option<&'static str> {
    let Some(pod) = pod else {
        return Some("there is no pod yet; `kubectl describe statefulset` says why if none comes");
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("the pod is stopping; if that does not end, its host is gone");
    }
    let status = pod.status.as_ref()?;
    if is(status, "PodScheduled", "False") {
        return Some(
            "no host has room for the pod or its volume; `kubectl describe pod` says what is missing",
        );
    }
    status.container_statuses.iter().flatten().find_map(of_container)
}

fn is(status: &PodStatus, condition: &str, value: &str) -> bool {
    status.conditions.iter().flatten().any(|one| one.type_ == condition && one.status == value)
}

fn of_container(container: &ContainerStatus) -> Option<&'static str> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
    match waiting {
        Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
            Some("the image cannot be pulled; check spec.image and spec.imagePullSecrets")
        }
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            Some("the container cannot be made; `kubectl describe pod` says why")
        }
        _ if container.restart_count > 0 && !container.ready => {
            Some("the process ended and was started again; `kubectl logs --previous` says why")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(status: &serde_json::Value) -> String {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
        trouble(Some(&pod)).unwrap_or_default().to_owned()
    }

    fn waiting(reason: &str, restarts: i32) -> String {
        told(&json!({"containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": reason}},
        }]}))
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_told_in_words_that_do_not_change_as_it_is_tried_again() {
        assert!(waiting("ErrImagePull", 0).contains("image"));
        assert_eq!(waiting("ErrImagePull", 0), waiting("ImagePullBackOff", 0));
        assert!(waiting("CrashLoopBackOff", 3).contains("--previous"));
        assert_eq!(waiting("ContainerCreating", 0), "");
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
        assert!(told(&unscheduled).contains("no host has room"));
        assert!(trouble(None).is_some());
    }
}
