//! Hosts lost and back.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::Fault;
use crate::cluster::hosts::{Host, kill, list, stop};
use crate::wait::until;

/// All hosts that run pods of users.
pub async fn workers() -> Result<Vec<Host>> {
    Ok(list().await?.into_iter().filter(|host| !host.is_control_plane()).collect())
}

pub async fn named(name: &str) -> Result<Host> {
    let hosts = list().await?;
    hosts.into_iter().find(|host| host.name == name).with_context(|| format!("no host {name}"))
}

/// Shuts a host down: what is on it is told to end, and killed soon after.
pub async fn stop_host(host: &Host) -> Result<Fault> {
    let mut fault = Fault::new(format!("host {} stopped", host.name));
    fault.undo_with_docker(&["start", &host.name]);
    stop(&host.name).await?;
    Ok(fault)
}

/// The host's power fails: nothing on it gets to say goodbye.
pub async fn power_off(host: &Host) -> Result<Fault> {
    let mut fault = Fault::new(format!("host {} without power", host.name));
    fault.undo_with_docker(&["start", &host.name]);
    kill(&host.name).await?;
    Ok(fault)
}

/// No pod begins on it any more, as in the first step of draining it.
pub async fn cordon(client: &Client, host: &str) -> Result<Fault> {
    let hosts = list().await?;
    let control = hosts.iter().find(|host| host.is_control_plane()).context("no control plane")?;
    let mut fault = Fault::new(format!("host {host} cordoned"));
    let kubeconfig = "--kubeconfig=/etc/kubernetes/admin.conf";
    fault.undo_with_docker(&["exec", &control.name, "kubectl", kubeconfig, "uncordon", host]);
    Api::<Node>::all(client.clone()).cordon(host).await.with_context(|| format!("cordon {host}"))?;
    Ok(fault)
}

/// Waits until a host's kubelet has renewed its lease after that moment.
pub async fn wait_alive(client: &Client, host: &Host, since: Timestamp, deadline: Duration) -> Result<()> {
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    until(&format!("a sign of life of host {}", host.name), deadline, async || {
        let lease = leases.get(&host.name).await?;
        let renewed = lease.spec.and_then(|spec| spec.renew_time).context("its lease was never renewed")?;
        anyhow::ensure!(renewed.0 > since, "last renewed {}", renewed.0);
        Ok(())
    })
    .await
}
