//! The operator: which replica leads, killed, scaled away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::{process, target::Target};
use crate::cluster::OPERATOR_NAMESPACE;
use crate::wait::until;

pub const DEPLOYMENT: &str = "quartet-operator";
pub const LEASE: &str = "quartet-operator";
pub const SELECTOR: &str = "app.kubernetes.io/name=quartet-operator";

pub async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(client.clone(), OPERATOR_NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(SELECTOR)).await?.items)
}

/// The pod that holds the Lease.
pub async fn leader(client: &Client) -> Result<Target> {
    leader_since(client, Timestamp::UNIX_EPOCH).await
}

/// The pod that holds the Lease and has renewed it after that moment: one that is dead holds it a while longer.
pub async fn leader_since(client: &Client, since: Timestamp) -> Result<Target> {
    let lease = Api::<Lease>::namespaced(client.clone(), OPERATOR_NAMESPACE).get(LEASE).await?;
    let spec = lease.spec.context("the operator's Lease is empty")?;
    let holder = spec.holder_identity.context("nobody holds the operator's Lease")?;
    let renewed = spec.renew_time.is_some_and(|time| time.0 > since);
    ensure!(renewed, "{holder} has not renewed the Lease since {since}");
    let pods = pods(client).await?;
    // A holder names itself by its pod, perhaps with something behind it.
    let pod = pods.iter().find(|pod| pod.metadata.name.as_ref().is_some_and(|name| holder.starts_with(name)));
    Target::of(pod.with_context(|| format!("{holder} holds the Lease but is no pod"))?, None)
}

/// kill -9 to the replica that leads.
pub async fn kill_leader(client: &Client) -> Result<Target> {
    let leader = leader(client).await?;
    process::kill(&leader).await?;
    Ok(leader)
}

/// Scales the operator and waits until no pod more or less is there. The caller scales back, also when it fails:
/// the runner restores two replicas before each exclusive scenario.
pub async fn scale(client: &Client, replicas: i32, deadline: Duration) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let patch = json!({"spec": {"replicas": replicas}});
    deployments.patch(DEPLOYMENT, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    until(&format!("{replicas} replicas of the operator"), deadline, async || {
        let pods = pods(client).await?;
        let ready = pods.iter().filter(|pod| crate::cluster::ready::pod_is_ready(pod)).count();
        ensure!(
            pods.len() == usize::try_from(replicas)? && ready == pods.len(),
            "{} pods, {ready} Ready",
            pods.len()
        );
        Ok(())
    })
    .await
}
