//! Asleep and hands off: hibernated and paused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;
use serde_json::json;

use super::witness::Witness;
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, volumes};
use crate::wait::{throughout, until};

const READY: Duration = Duration::from_secs(90);
const ASLEEP: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_mins(15);
/// As long as a foreign deletion may take to be put back when it is.
const STILL: Duration = Duration::from_secs(10);

pub(super) async fn hibernated(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 3, "partitions": 2, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "sleeper", spec, READY).await?;
    let witness = Witness::take(&cluster, TTL).await?;
    let claims = cluster.claims().await?;
    let awake = cluster.status().await?;

    cluster.change(json!({"hibernated": true})).await?;
    cluster.condition("Ready", "False", "Hibernated", ASLEEP).await?;
    ensure!(cluster.pods().await?.is_empty(), "pods run while it is Hibernated");
    ensure!(cluster.claims().await? == claims, "hibernation costs volumes");
    // It is known how many they are, and one more or fewer while asleep is not a new cluster's founding.
    let asleep = cluster.status().await?;
    ensure!(volumes(&asleep) == volumes(&awake), "{:?}", asleep.members);

    cluster.change(json!({"hibernated": false})).await?;
    let back = cluster.ready(READY).await?;
    ensure!(volumes(&back) == volumes(&awake), "other members woke: {:?}", back.members);
    ensure!(back.cluster_id == awake.cluster_id, "another cluster woke");
    witness.holds_after_rest(&cluster).await.context("after the sleep")
}

pub(super) async fn paused(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 1, "partitions": 1, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "paused", spec, READY).await?;
    cluster.change(json!({"paused": true})).await?;
    cluster.condition("Ready", "Unknown", "Paused", SOON).await?;

    let services = stage.api::<Service>();
    services.delete("paused", &DeleteParams::default()).await?;
    cluster.change(json!({"replicas": 3})).await?;
    cluster.condition("Ready", "Unknown", "Paused", SOON).await.context("the new generation is seen")?;
    throughout("hands off", STILL, async || {
        ensure!(services.get_opt("paused").await?.is_none(), "the Service was put back");
        let set = stage.api::<StatefulSet>().get("paused").await?;
        ensure!(set.spec.and_then(|spec| spec.replicas) == Some(1), "the StatefulSet was scaled");
        Ok(())
    })
    .await?;

    cluster.change(json!({"paused": false})).await?;
    until("the Service put back", SOON, async || {
        services.get("paused").await.map(drop).context("after paused was set to false")
    })
    .await?;
    let status = cluster.ready(READY).await?;
    ensure!(status.member_summary.as_deref() == Some("3/3"), "{:?}", status.member_summary);
    Ok(())
}
