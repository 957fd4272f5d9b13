//! Members come and go while clients take and renew locks through the Service: they see retryable 503s at most.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quartet_crds::sync_cluster::MemberRole;
use serde_json::{Value, json};

use super::witness::Witness;
use crate::faults::volume::claims;
use crate::load::{LockLoad, Options};
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const STEP: Duration = Duration::from_mins(3);
const SOON: Duration = Duration::from_mins(1);
const NAME: &str = "locks";

pub(super) async fn members(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, NAME, spec(3)).await?;
    let witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;
    for replicas in [5, 3, 1, 3] {
        let started = Instant::now();
        Cluster::apply(&stage, NAME, spec(replicas)).await?;
        cluster.ready(STEP).await.with_context(|| format!("to {replicas}"))?;
        println!("    to {replicas}: {:.1} s", started.elapsed().as_secs_f64());
        check_members(&cluster, replicas).await?;
        load.flows(SOON).await?;
        witness.holds(&cluster).await?;
    }
    load.stop().await?.all_answered(&["503"])
}

fn spec(replicas: u16) -> Value {
    json!({"replicas": replicas})
}

/// As many as asked for, all of them voters, and no volume of a member that has left.
async fn check_members(cluster: &Cluster, replicas: u16) -> Result<()> {
    let wanted: BTreeSet<u16> = (0..replicas).collect();
    let members = cluster.incarnations().await?;
    let voters: BTreeSet<u16> = members
        .iter()
        .filter(|(_, (_, role))| *role == MemberRole::Voter)
        .map(|(ordinal, _)| *ordinal)
        .collect();
    ensure!(voters == wanted && members.len() == wanted.len(), "members: {members:?}");
    for ordinal in &wanted {
        for group in cluster.member(*ordinal).await?.raft_status().await?.groups {
            let voters: BTreeSet<u16> = group.members.iter().filter(|m| m.voter).map(|m| m.id).collect();
            ensure!(voters == wanted, "group {} of member {ordinal}: {voters:?}", group.group);
        }
    }
    let volumes: BTreeSet<_> = wanted.iter().map(|ordinal| cluster.claim(*ordinal)).collect();
    until("the volumes of members that have left gone", SOON, async || {
        let left: BTreeSet<_> =
            claims(&cluster.stage.client, &cluster.stage.namespace).await?.into_iter().collect();
        ensure!(left == volumes, "{left:?}");
        Ok(())
    })
    .await
}
