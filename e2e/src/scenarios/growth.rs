//! Members come and go and are restarted with another image, while clients take and renew locks through the Service:
//! they see retryable 503s at most. Not yet so where members leave: what a leaving member was asked, and has passed on,
//! may end as a 504 or without an answer in time. It is known, and written in docs/failure-modes.md.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quartet_crds::sync_cluster::MemberRole;
use serde_json::{Value, json};

use super::witness::Witness;
use crate::cluster::ready::pod_is_ready;
use crate::faults::volume::claims;
use crate::load::{LockLoad, Options, Report};
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const STEP: Duration = Duration::from_mins(3);
const SOON: Duration = Duration::from_mins(1);
const NAME: &str = "locks";

pub(super) async fn members(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, NAME, spec(3, None)).await?;
    let witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    resized(&stage, &cluster, &witness, &[5], &["503"]).await?;
    resized(&stage, &cluster, &witness, &[3, 1], &["503", "504", "no answer"]).await?;
    resized(&stage, &cluster, &witness, &[3], &["503"]).await
}

/// From size to size under one load, which sees no refusals but these.
async fn resized(
    stage: &Stage,
    cluster: &Cluster,
    witness: &Witness,
    sizes: &[u16],
    allowed: &[&str],
) -> Result<()> {
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;
    for replicas in sizes {
        let started = Instant::now();
        Cluster::apply(stage, NAME, spec(*replicas, None)).await?;
        cluster.ready(STEP).await.with_context(|| format!("to {replicas}"))?;
        println!("    to {replicas}: {:.1} s", started.elapsed().as_secs_f64());
        check_members(cluster, *replicas).await?;
        load.flows(SOON).await?;
        witness.holds(cluster).await?;
    }
    check(&load.stop().await?, allowed)
}

pub(super) async fn image(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, NAME, spec(3, None)).await?;
    let witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;
    let image = stage.images.as_ref().context("images of our own")?.node_next.to_string();
    let started = Instant::now();
    let before = uids(&cluster).await?;
    let (leader, led) = cluster.leader().await?;
    let leads_most = led.len() > usize::from(cluster.partitions) / 2;
    Cluster::apply(&stage, NAME, spec(3, Some(&image))).await?;
    let mut restarted: Vec<String> = Vec::new();
    until("all members on the new image", STEP, async || {
        let pods = stage.pods(&selector()).await?;
        let away: Vec<_> = pods.iter().filter(|pod| !pod_is_ready(pod)).collect();
        ensure!(pods.len() - away.len() + 1 >= 3, "{} members away at once", away.len() + 3 - pods.len());
        let ready = cluster.ready(Duration::ZERO).await;
        for pod in pods.iter().filter(|pod| pod_is_ready(pod)) {
            let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone());
            if !before.contains(&uid.unwrap_or_default()) && !restarted.contains(&name) {
                restarted.push(name);
            }
        }
        ensure!(restarted.len() == 3, "restarted so far: {restarted:?}");
        ready.map(drop)
    })
    .await?;
    println!("    rolled in {:.1} s: {}", started.elapsed().as_secs_f64(), restarted.join(", "));
    // Each takes over from the one before, so that only the first may be judged by what was led at the beginning.
    ensure!(
        !leads_most || restarted.first() != Some(&cluster.pod(leader)),
        "member {leader} led {} partitions and was restarted first",
        led.len()
    );
    for pod in stage.pods(&selector()).await? {
        let spec = pod.spec.context("a pod's spec")?;
        ensure!(
            spec.containers.iter().all(|container| container.image.as_ref() == Some(&image)),
            "another image"
        );
    }
    load.flows(SOON).await?;
    witness.holds(&cluster).await?;
    check(&load.stop().await?, &["503"])
}

fn spec(replicas: u16, image: Option<&str>) -> Value {
    let mut spec = json!({"replicas": replicas});
    if let Some(image) = image {
        spec["image"] = json!(image);
    }
    spec
}

fn selector() -> String {
    format!("app.kubernetes.io/instance={NAME}")
}

async fn uids(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let pods = cluster.stage.pods(&selector()).await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
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

fn check(report: &Report, allowed: &[&str]) -> Result<()> {
    println!("    {} operations; refusals on the way: {:?}", report.answered(), report.refusals);
    report.check()?;
    report.refused_only_with(allowed)?;
    ensure!(report.unanswered() == 0, "{} operations never got an answer", report.unanswered());
    Ok(())
}
