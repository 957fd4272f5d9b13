//! What is kept of a failed scenario: objects, events, logs, and what the members say of themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};
use quartet_client::galera::CHECK_PORT;

use crate::cluster::OPERATOR_NAMESPACE;
use crate::paths::Paths;
use crate::stage::Stage;

const LOG_LINES: i64 = 20_000;
const WHOLE_DEADLINE: Duration = Duration::from_mins(2);
/// Where members say how they are: a port, and what is asked there.
const PAGES: &[(u16, &[(&str, &str)])] =
    &[(8100, &[("/status", "status"), ("/raft/status", "raft")]), (CHECK_PORT, &[("/status", "status")])];

/// Secrets are left out: a bundle gets passed around.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Pod"),
    ("", "v1", "Event"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "PersistentVolumeClaim"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ControllerRevision"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("quartet.dev", "v1alpha1", "SyncCluster"),
    ("quartet.dev", "v1alpha1", "GaleraCluster"),
];

/// Writes target/e2e/failures/<scenario>/; says where. What cannot be had is left out.
pub async fn keep(paths: &Paths, stage: &Stage, scenario: &str, error: &str) -> Result<PathBuf> {
    let dir = paths.failures().join(scenario);
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    std::fs::write(dir.join("error.txt"), error)?;
    let all = async {
        objects(stage, &stage.namespace, &dir).await;
        statuses(stage, &dir.join("status")).await;
        logs(&stage.client, &stage.namespace, &dir.join("logs")).await;
        objects(stage, OPERATOR_NAMESPACE, &dir.join("operator")).await;
        logs(&stage.client, OPERATOR_NAMESPACE, &dir.join("operator")).await;
    };
    tokio::time::timeout(WHOLE_DEADLINE, all).await.ok();
    Ok(dir)
}

async fn objects(stage: &Stage, namespace: &str, dir: &Path) {
    for (group, version, kind) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let Ok((resource, _)) = discovery::pinned_kind(&stage.client, &gvk).await else { continue };
        let api = Api::<DynamicObject>::namespaced_with(stage.client.clone(), namespace, &resource);
        let Ok(mut list) = api.list(&ListParams::default()).await else { continue };
        for object in &mut list.items {
            object.metadata.managed_fields = None;
        }
        if list.items.is_empty() {
            continue;
        }
        let texts: Vec<_> =
            list.items.iter().filter_map(|object| serde_norway::to_string(object).ok()).collect();
        write(dir, &format!("{}.yaml", kind.to_lowercase()), &texts.join("---\n"));
    }
}

async fn logs(client: &Client, namespace: &str, dir: &Path) {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let Ok(list) = pods.list(&ListParams::default()).await else { return };
    for pod in list.items {
        let name = pod.name_any();
        let Some(spec) = pod.spec else { continue };
        let inits = spec.init_containers.unwrap_or_default();
        for container in inits.iter().chain(&spec.containers) {
            for previous in [false, true] {
                let parameters = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    tail_lines: Some(LOG_LINES),
                    timestamps: true,
                    ..LogParams::default()
                };
                // A container that never restarted has no previous log.
                let Ok(text) = pods.logs(&name, &parameters).await else { continue };
                let suffix = if previous { ".previous" } else { "" };
                write(dir, &format!("{name}.{}{suffix}.log", container.name), &text);
            }
        }
    }
}

async fn statuses(stage: &Stage, dir: &Path) {
    let Ok(list) = stage.api::<Pod>().list(&ListParams::default()).await else { return };
    for pod in &list.items {
        let name = pod.name_any();
        for (port, pages) in PAGES.iter().filter(|(port, _)| has_port(pod, *port)) {
            let Ok(base) = stage.pod_url(&name, *port).await else { continue };
            for (path, file) in *pages {
                let said = match stage.get_json(&format!("{base}{path}")).await {
                    Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
                    Err(error) => format!("{error:#}\n"),
                };
                write(dir, &format!("{name}.{file}.json"), &said);
            }
        }
    }
}

fn has_port(pod: &Pod, number: u16) -> bool {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.any(|port| port.container_port == i32::from(number))
}

fn write(dir: &Path, name: &str, text: &str) {
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(dir.join(name), text));
    if let Err(error) = written {
        eprintln!("cannot keep {name}: {error}");
    }
}
