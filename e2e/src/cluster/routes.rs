//! Pods and services of the cluster, reached from this machine by their own addresses.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::command::Command;
use crate::machine::packages;
use crate::paths::Paths;

/// kind's default; kind-config.yaml keeps it.
const SERVICES: &str = "10.96.0.0/16";

/// Routes each host's pods through it and all services through the control plane.
pub async fn ensure(paths: &Paths, client: &Client) -> Result<usize> {
    packages::install(paths, packages::ROUTES).await?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
    let mut routes = 0;
    for node in &nodes {
        let Some(address) = internal_address(node) else { continue };
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if let Some(pods) = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()) {
            route(pods, &address).await?;
            routes += 1;
        }
        if name.ends_with("-control-plane") {
            route(SERVICES, &address).await?;
            routes += 1;
        }
    }
    Ok(routes)
}

pub fn internal_address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}

async fn route(range: &str, through: &str) -> Result<()> {
    let command = Command::new("ip").args(["route", "replace", range, "via", through]);
    command.text().await.context("route pods and services (needs root on the machine that runs Docker)")?;
    Ok(())
}
