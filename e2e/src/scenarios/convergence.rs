//! The operator killed at random moments of everything that it does to clusters.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use quartet_crds::sync_cluster::SyncClusterStatus;
use serde_json::{Value, json};
use uuid::Uuid;

use super::witness::Witness;
use crate::cluster::OPERATOR_NAMESPACE;
use crate::faults::target::Target;
use crate::faults::{operator, process};
use crate::stage::Stage;
use crate::subject::is;
use crate::sync_cluster::{Cluster, volumes};
use crate::wait::until;

const READY: Duration = Duration::from_mins(3);
const TAKEOVER: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_mins(30);
const KILLS: usize = 4;
/// A leader lives for this at most: shorter than any of the changes takes.
const LIFE_MS: u64 = 5_000;
const ROLLED: &str = "example.com/rolled";

/// A founding, a growth, a shrinking, a rollout and a hibernation, all under way at once.
pub(super) async fn killed_at_random(stage: Stage) -> Result<()> {
    let made = try_join_all(
        [("grows", 1), ("shrinks", 3), ("rolls", 3), ("sleeps", 1)]
            .into_iter()
            .map(|(name, replicas)| Stand::make(&stage, name, replicas)),
    );
    let made = made.await?;
    let [grows, shrinks, rolls, sleeps] = made.as_slice() else { anyhow::bail!("four clusters") };

    grows.cluster.change(json!({"replicas": 3})).await?;
    shrinks.cluster.change(json!({"replicas": 1})).await?;
    rolls.cluster.change(json!({"podTemplate": {"metadata": {"annotations": {ROLLED: "yes"}}}})).await?;
    sleeps.cluster.change(json!({"hibernated": true})).await?;
    let founded = Cluster::apply(&stage, "founded", spec(3)).await?;
    let mut killed = BTreeSet::new();
    for number in 0..KILLS {
        let all = made.iter().map(|stand| &stand.cluster).chain([&founded]);
        let under_way = try_join_all(all.map(under_way)).await?.into_iter().flatten().collect::<Vec<_>>();
        // Later ones may find less to do; the first must not find any done.
        ensure!(number > 0 || under_way.len() == made.len() + 1, "only {under_way:?} are under way");
        let leader = kill_leader(&stage).await?;
        println!("    {} died while {} were under way", leader.pod, under_way.join(", "));
        killed.insert(leader.uid);
    }
    ensure!(killed.len() == KILLS, "{} leaders were killed, of {KILLS}", killed.len());
    let leader =
        until("a leader after the last kill", TAKEOVER, async || operator::leader(&stage.client).await);
    ensure!(!killed.contains(&leader.await?.uid), "one that was killed leads");

    sleeps.cluster.condition("Ready", "False", "Hibernated", READY).await?;
    ensure!(sleeps.cluster.pods().await?.is_empty(), "pods run while it is Hibernated");
    sleeps.cluster.change(json!({"hibernated": false})).await?;
    founded.ready(READY).await?;
    for stand in &made {
        stand.is_itself().await.with_context(|| stand.cluster.name.clone())?;
    }
    let claims = shrinks.cluster.claims().await?;
    ensure!(claims.len() == 1, "the removed members left {claims:?}");
    let rolled = |pod: &Pod| {
        pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ROLLED))
    };
    ensure!(rolls.cluster.pods().await?.iter().all(rolled), "not all members were rolled");
    let voting = grows.cluster.wait_status("three voters", READY, |status| {
        is(status, "MembershipStable", "True", "AllMembersVote").map(drop)
    });
    ensure!(voting.await?.ready_replicas == 3, "it did not grow");
    Ok(())
}

fn spec(replicas: i32) -> Value {
    json!({"replicas": replicas, "partitions": 2, "storage": {"size": "64Mi"}})
}

/// A cluster, and what it was before the operator was killed.
struct Stand {
    cluster: Cluster,
    witness: Witness,
    before: SyncClusterStatus,
}

impl Stand {
    async fn make(stage: &Stage, name: &str, replicas: i32) -> Result<Self> {
        let cluster = Cluster::make_within(stage, name, spec(replicas), READY).await?;
        let witness = Witness::take(&cluster, TTL).await?;
        let before = cluster.status().await?;
        Ok(Self { cluster, witness, before })
    }

    /// Ready, with nothing left open, and with the members and the locks of before.
    async fn is_itself(&self) -> Result<()> {
        let after = self.cluster.ready(READY).await?;
        ensure!(after.operation.is_none(), "{:?} is left open", after.operation);
        ensure!(after.cluster_id == self.before.cluster_id, "it is another cluster");
        for (was, is) in volumes(&self.before).iter().zip(volumes(&after)) {
            ensure!(*was == is, "the volume of {was:?} is {is:?} now");
        }
        self.witness.holds_after_rest(&self.cluster).await
    }
}

/// Its name, when it is not as it was asked to be.
async fn under_way(cluster: &Cluster) -> Result<Option<&str>> {
    let live = cluster.api().get(&cluster.name).await?;
    let seen = live.status.as_ref().filter(|seen| seen.observed_generation == live.metadata.generation);
    let settled = seen.is_some_and(|seen| {
        is(seen, "Ready", "True", "AllMembersReady").or(is(seen, "Ready", "False", "Hibernated")).is_ok()
    });
    Ok((!settled).then_some(cluster.name.as_str()))
}

/// After a random time of leading: kill -9, and its pod removed, so that the next replica is a fresh one and no
/// restart is put off by the kubelet.
async fn kill_leader(stage: &Stage) -> Result<Target> {
    let client = &stage.client;
    let since = Timestamp::now();
    let leader =
        until("an operator that leads", TAKEOVER, async || operator::leader_since(client, since).await)
            .await?;
    let life = Duration::from_millis(Uuid::new_v4().as_u64_pair().1 % LIFE_MS);
    println!("    {} leads, and dies after {:.1} s", leader.pod, life.as_secs_f64());
    // Not in place of a condition: the moment is to be any.
    tokio::time::sleep(life).await;
    process::kill(&leader).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), OPERATOR_NAMESPACE);
    pods.delete(&leader.pod, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await?;
    Ok(leader)
}
