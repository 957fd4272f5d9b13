//! A pod as a target of faults: where it runs and what its process is.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};

/// One incarnation of a pod's container. After a restart, look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub host: String,
    pub address: String,
    /// Of the first container, or of the one asked for.
    pub container_id: String,
    pub restarts: i32,
}

impl Target {
    pub async fn find(client: &Client, namespace: &str, pod: &str) -> Result<Self> {
        let live = Api::<Pod>::namespaced(client.clone(), namespace).get(pod).await?;
        Self::of(&live, None).with_context(|| format!("pod {namespace}/{pod}"))
    }

    /// With `container` None, the first.
    pub fn of(pod: &Pod, container: Option<&str>) -> Result<Self> {
        let spec = pod.spec.as_ref().context("has no spec")?;
        let status = pod.status.as_ref().context("has no status")?;
        let wanted = match container {
            Some(name) => name,
            None => &spec.containers.first().context("has no container")?.name,
        };
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let state =
            containers.iter().find(|state| state.name == *wanted).context("its container has no status")?;
        let id = state.container_id.as_deref().context("its container has not started")?;
        Ok(Self {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            host: spec.node_name.clone().context("is on no host yet")?,
            address: status.pod_ip.clone().context("has no address yet")?,
            container_id: id.split("://").last().unwrap_or(id).to_owned(),
            restarts: state.restart_count,
        })
    }

    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}
