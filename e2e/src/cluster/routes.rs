//! Pods and services of the cluster, reached from this machine by their own addresses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::net::TcpStream;

use super::hosts::list;
use crate::command::Command;
use crate::machine::packages;
use crate::paths::Paths;

/// kind's default; kind-config.yaml keeps it.
const SERVICES: &str = "10.96.0.0/16";
const REACH_DEADLINE: Duration = Duration::from_secs(5);

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

/// Members are asked by their own addresses and through their Services: an error says that this machine cannot.
pub async fn reach_services(client: &Client) -> Result<()> {
    let service = Api::<Service>::namespaced(client.clone(), "default").get("kubernetes").await?;
    let address =
        service.spec.and_then(|spec| spec.cluster_ip).context("the API server's Service has no address")?;
    let connected = tokio::time::timeout(REACH_DEADLINE, TcpStream::connect((address.as_str(), 443))).await;
    ensure!(
        matches!(connected, Ok(Ok(_))),
        "this machine does not reach the cluster's Services ({address}): run it where pods and Services have routes, \
         such as on one of its hosts"
    );
    Ok(())
}

/// Removes the routes through the cluster's hosts.
pub async fn remove() -> Result<usize> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let mut removed = 0;
    let known = Command::new("ip").args(["-4", "route", "show"]).text().await?;
    for host in list().await? {
        let addresses = Command::new("docker").args(["inspect", "-f", format, &host.name]).text().await?;
        for address in addresses.split_whitespace() {
            for range in ranges_through(&known, address) {
                Command::new("ip").args(["route", "del", range, "via", address]).text().await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn ranges_through<'a>(routes: &'a str, address: &str) -> Vec<&'a str> {
    let through =
        |line: &&str| line.split_whitespace().skip_while(|word| *word != "via").nth(1) == Some(address);
    routes.lines().filter(through).filter_map(|line| line.split_whitespace().next()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_through_the_host_are_its_own() {
        let routes = "default via 10.0.0.1 dev eth0\n10.244.1.0/24 via 172.18.0.3 dev br\n172.18.0.0/16 dev br src 172.18.0.3\n10.244.2.0/24 via 172.18.0.30 dev br\n";
        assert_eq!(ranges_through(routes, "172.18.0.3"), ["10.244.1.0/24"]);
    }
}
