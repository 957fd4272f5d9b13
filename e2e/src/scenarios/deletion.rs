//! What deletion leaves, and what comes back from it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::witness::Witness;
use crate::inventory::{Thing, inventory};
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const READY: Duration = Duration::from_secs(90);
/// Members take their time to leave, volumes theirs to be deleted.
const GONE: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
/// Which of the old things is still there when the new resource comes differs from time to time.
const RECREATIONS: u32 = 3;
const TTL: Duration = Duration::from_mins(15);

pub(super) async fn retained_and_deleted(stage: Stage) -> Result<()> {
    let before = inventory(&stage).await?;
    let spec = || json!({"replicas": 3, "partitions": 2, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "kept", spec(), READY).await?;
    reads_well(&stage).await?;
    let witness = Witness::take(&cluster, TTL).await?;
    let id = cluster.status().await?.cluster_id;
    let claims = cluster.claims().await?;
    ensure!(claims.len() == 3, "three members have claims {claims:?}");

    cluster.delete(GONE).await?;
    let kept: BTreeSet<_> = claims.keys().map(|name| claim(name)).collect();
    only(&stage, &before, &kept).await.context("Retain")?;
    ensure!(cluster.claims().await? == claims, "the claims are others now");

    // The next resource of the name is the same cluster: its locks are there.
    let again = Cluster::make_within(&stage, "kept", spec(), READY).await;
    let cluster = again.context("made again on its volumes")?;
    ensure!(cluster.claims().await? == claims, "the claims are others now");
    let again = cluster.status().await?.cluster_id;
    ensure!(again == id, "cluster {id:?} came back as {again:?}");
    witness.holds_after_rest(&cluster).await?;

    let volumes = volumes_of(&stage).await?;
    ensure!(volumes.len() == 3, "three claims are bound to {volumes:?}");
    cluster.change(json!({"deletionPolicy": "Delete"})).await?;
    until("claims that go with the resource", SOON, async || {
        for name in claims.keys() {
            let claim = stage.api::<PersistentVolumeClaim>().get(name).await?;
            ensure!(!claim.owner_references().is_empty(), "{name} has no owner");
        }
        Ok(())
    })
    .await?;
    let (cluster, volumes) = made_anew(&stage, cluster, &spec, volumes).await?;
    cluster.delete(GONE).await?;
    only(&stage, &before, &BTreeSet::new()).await.context("Delete")?;
    until("the volumes gone", GONE, async || {
        let api = Api::<PersistentVolume>::all(stage.client.clone());
        for name in &volumes {
            ensure!(api.get_opt(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await
}

/// Deleted with its volumes and made again at once, while members and volumes of before still go: an empty cluster,
/// not what is left of the old one. Gives the last one and all volumes that there were.
async fn made_anew(
    stage: &Stage,
    mut cluster: Cluster,
    spec: impl Fn() -> serde_json::Value,
    mut volumes: Vec<String>,
) -> Result<(Cluster, Vec<String>)> {
    for _ in 0..RECREATIONS {
        let before = cluster.status().await?.cluster_id;
        cluster.delete(GONE).await?;
        let mut spec = spec();
        spec["deletionPolicy"] = json!("Delete");
        let made = Cluster::make_within(stage, "kept", spec, READY + GONE).await;
        cluster = made.context("made anew while the one before still goes")?;
        let id = cluster.status().await?.cluster_id;
        ensure!(id.is_some() && id != before, "cluster {before:?} came back as {id:?}");
        volumes.extend(volumes_of(stage).await?);
    }
    Ok((cluster, volumes))
}

fn claim(name: &str) -> Thing {
    Thing { kind: "PersistentVolumeClaim".to_owned(), name: name.to_owned() }
}

/// Waits until the namespace holds what it held before and this, nothing else and nothing less.
async fn only(stage: &Stage, before: &BTreeSet<Thing>, kept: &BTreeSet<Thing>) -> Result<()> {
    let wanted: BTreeSet<_> = before.union(kept).cloned().collect();
    until("nothing but what is kept", GONE, async || {
        let now = inventory(stage).await?;
        let told =
            |things: Vec<&Thing>| things.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        ensure!(wanted.is_subset(&now), "gone: {}", told(wanted.difference(&now).collect()));
        ensure!(now.is_subset(&wanted), "left: {}", told(now.difference(&wanted).collect()));
        Ok(())
    })
    .await
}

async fn volumes_of(stage: &Stage) -> Result<Vec<String>> {
    let claims = stage.api::<PersistentVolumeClaim>().list(&kube::api::ListParams::default()).await?;
    Ok(claims.items.into_iter().filter_map(|claim| claim.spec?.volume_name).collect())
}

/// The columns that users were promised, filled with what they are for.
async fn reads_well(stage: &Stage) -> Result<()> {
    let kubectl = Kubectl::for_stage(&Paths::find()?, stage).await?;
    let said = kubectl.run().args(["get", "synccluster"]).text().await?;
    let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (titles, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    ensure!(titles == ["NAME", "READY", "REASON", "MEMBERS", "LEADER", "VERSION", "AGE"], "columns:\n{said}");
    // LEADER has a blank: `kept-1 (2/2)`.
    let [name, ready, reason, members, leader, led, version, age] = row.as_slice() else {
        anyhow::bail!("not one value for each column:\n{said}");
    };
    let all = (*name, *ready, *reason, *members) == ("kept", "True", "AllMembersReady", "3/3");
    ensure!(all && leader.starts_with("kept-"), "values:\n{said}");
    ensure!(["(1/2)", "(2/2)"].contains(led) && version.contains('.') && !age.is_empty(), "values:\n{said}");
    let wide = kubectl.run().args(["get", "sync", "-o", "wide"]).text().await?;
    ensure!(wide.contains("MESSAGE"), "by its short name, wide:\n{wide}");
    Ok(())
}
