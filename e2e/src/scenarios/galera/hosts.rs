//! A host is away, and then a server crashes: whoever is left of the last Primary component goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::stand::{HEALED, MEMBERS, SOON, Stand};
use crate::cluster::hosts::Host;
use crate::cluster::ready;
use crate::faults::hosts::{named, power_off, wait_alive};
use crate::stage::Stage;
use crate::wait::until;

const WRITABLE_WITHIN: Duration = Duration::from_secs(10);
/// Who is on the host that is lost, whose server is killed, and who is left.
const ROUNDS: [[u16; 3]; 2] = [[2, 1, 0], [0, 1, 2]];

pub(super) async fn lost_and_a_crash(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for [away, crashed, left] in ROUNDS {
        round(&stand, away, crashed, left)
            .await
            .with_context(|| format!("the host of member {away} lost, then member {crashed} killed"))?;
    }
    stand.end().await.map(drop)
}

async fn round(stand: &Stand, away: u16, crashed: u16, left: u16) -> Result<()> {
    let host = host_alone(stand, away).await?;
    let lost = power_off(&host).await?;
    two_go_on(stand, [crashed, left]).await?;
    // From then on no client is sent to proxies that were on it.
    seen_as_lost(stand, &host).await?;
    stand.load.flows(HEALED).await?;

    let since = stand.kill_servers([crashed]).await?;
    let writable = stand.load.writable(since, SOON).await?;
    println!(
        "    the host of member {away} lost, member {crashed} killed: writable after {:.1} s",
        writable.as_secs_f64()
    );
    ensure!(writable <= WRITABLE_WITHIN, "writable after {writable:?} only");

    let started = Timestamp::now();
    lost.heal().await?;
    wait_alive(&stand.cluster.stage.client, &host, started, HEALED).await?;
    stand.well_again().await.context("once the host is back")
}

/// The member's host, on which no other member is.
async fn host_alone(stand: &Stand, member: u16) -> Result<Host> {
    let targets = stand.cluster.targets(MEMBERS).await?;
    let hosts: BTreeSet<_> = targets.iter().map(|target| &target.host).collect();
    ensure!(hosts.len() == targets.len(), "members share hosts, so that one lost host is a lost majority");
    named(&targets[usize::from(member)].host).await
}

/// They are the Primary component, and nobody else is part of it.
async fn two_go_on(stand: &Stand, pair: [u16; 2]) -> Result<()> {
    until("a Primary component of the other two", HEALED, async || {
        for member in pair {
            let server = stand.cluster.server(member).await?;
            let size = server.value("wsrep_cluster_size");
            ensure!(server.is_synced() && size == "2", "member {member} sees {size} members");
        }
        Ok(())
    })
    .await
}

async fn seen_as_lost(stand: &Stand, host: &Host) -> Result<()> {
    let hosts = Api::<Node>::all(stand.cluster.stage.client.clone());
    until(&format!("host {} seen as lost", host.name), HEALED, async || {
        let node = hosts.get(&host.name).await?;
        ensure!(!ready::is_ready(&node), "it is Ready");
        Ok(())
    })
    .await
}
