//! When a cluster may be used: every host Ready by a sign of life that is newer than its start, its network and DNS up.

use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::wait::until;

/// Waits for that many hosts. A stopped host looks Ready for 40 s more; `since` asks for a newer renewal of its lease.
pub async fn hosts(
    client: &Client,
    wanted: usize,
    since: Option<Timestamp>,
    deadline: Duration,
) -> Result<()> {
    until("all hosts Ready", deadline, async || not_ready(client, wanted, since).await).await?;
    until("the cluster's own pods Ready", deadline, async || system_pods(client).await).await
}

async fn not_ready(client: &Client, wanted: usize, since: Option<Timestamp>) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
    if nodes.len() < wanted {
        return Err(anyhow!("{} of {wanted} hosts", nodes.len()));
    }
    let leases =
        Api::<Lease>::namespaced(client.clone(), "kube-node-lease").list(&ListParams::default()).await?.items;
    let missing: Vec<_> = nodes
        .iter()
        .filter(|node| !is_ready(node) || !is_alive(node, &leases, since))
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(anyhow!("not Ready: {}", missing.join(", "))) }
}

pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_alive(node: &Node, leases: &[Lease], since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return true };
    let lease = leases.iter().find(|lease| lease.metadata.name == node.metadata.name);
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    renewed.is_some_and(|time| time.0 > since)
}

async fn system_pods(client: &Client) -> Result<()> {
    let mut waiting = Vec::new();
    for namespace in ["kube-system", "local-path-storage"] {
        let pods =
            Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
        waiting
            .extend(pods.iter().filter(|pod| !pod_is_ready(pod)).filter_map(|pod| pod.metadata.name.clone()));
    }
    if waiting.is_empty() { Ok(()) } else { Err(anyhow!("not Ready: {}", waiting.join(", "))) }
}

pub fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
