//! What was acknowledged outlives the processes, and one volume. Two volumes of three are too many: then nothing is
//! made up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use quartet_client::admin::{MemberReport, MemberState, Peer};
use quartet_crds::sync_cluster::MemberRole;
use serde_json::json;
use uuid::Uuid;

use super::witness::Witness;
use crate::faults::process;
use crate::faults::target::Target;
use crate::faults::volume::Place;
use crate::load::{LockLoad, Options};
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, exclusive, name_in};
use crate::wait::throughout;

const MEMBERS: u16 = 3;
const SOON: Duration = Duration::from_mins(1);
const HEALED: Duration = Duration::from_mins(2);
/// Between two looks while a member is taken in: shorter than any phase of it.
const LOOK: Duration = Duration::from_millis(50);
/// Several election timeouts and rounds of the operator.
const LONG_ENOUGH: Duration = Duration::from_secs(20);

pub(super) async fn killed_and_wiped(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, "locks", json!({"replicas": MEMBERS})).await?;
    let mut witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    let load = LockLoad::start(&cluster.url().await?, Options { patience: HEALED, ..Options::default() })?;
    load.flows(SOON).await?;

    all_killed(&cluster).await?;
    load.flows(SOON).await?;
    witness.holds(&cluster).await?;
    witness.renew(&cluster).await?;

    one_wiped(&cluster).await?;
    load.flows(SOON).await?;
    witness.holds(&cluster).await?;
    let report = load.stop().await?;
    println!("    {} operations; refusals on the way: {:?}", report.answered(), report.refused());
    report.check()?;

    two_wiped(&cluster).await
}

async fn targets(cluster: &Cluster) -> Result<Vec<Target>> {
    try_join_all((0..MEMBERS).map(|ordinal| cluster.target(ordinal))).await
}

/// All at once, with writes under way.
async fn all_killed(cluster: &Cluster) -> Result<()> {
    let before = targets(cluster).await?;
    let started = Instant::now();
    try_join_all(before.iter().map(process::kill)).await?;
    for target in &before {
        let back = cluster.stage.wait_pod(&target.pod, Some(target), SOON).await?;
        ensure!(back.uid == target.uid, "pod {} is another", target.pod);
    }
    cluster.ready(SOON).await?;
    println!("    all killed: Ready again after {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// It comes back under another incarnation: first it learns, then it votes, and nobody helped.
async fn one_wiped(cluster: &Cluster) -> Result<()> {
    let (victim, _) = cluster.leader().await?;
    let before = incarnations(cluster).await?;
    let (old, target) = (before[&victim], cluster.target(victim).await?);
    let started = Instant::now();
    let place = Place::find(&cluster.stage.client, &cluster.stage.namespace, &cluster.claim(victim)).await?;
    place.wipe(Some(&target)).await?;
    let seen = watch(cluster, victim, old).await?;
    ensure!(seen.learned, "it voted without having been seen to learn first");
    cluster.ready(HEALED).await?;
    println!("    one wiped: a voter again after {:.1} s", started.elapsed().as_secs_f64());
    let after = incarnations(cluster).await?;
    ensure!(after[&victim] != old, "member {victim} has kept its incarnation");
    for ordinal in (0..MEMBERS).filter(|ordinal| *ordinal != victim) {
        ensure!(after[&ordinal] == before[&ordinal], "member {ordinal} is another");
    }
    let pod = cluster.target(victim).await?;
    ensure!(pod.uid == target.uid, "its pod was replaced: the container restarts in place");
    Ok(())
}

struct Taken {
    learned: bool,
}

/// Looks at the configurations of all groups until another incarnation of the member votes in all of them.
async fn watch(cluster: &Cluster, victim: u16, old: Uuid) -> Result<Taken> {
    let (started, mut learned) = (Instant::now(), false);
    let others: Vec<_> = (0..MEMBERS).filter(|ordinal| *ordinal != victim).collect();
    while started.elapsed() < HEALED {
        let mut votes_in = 0;
        for ordinal in &others {
            // A look that fails is made again.
            let Ok(report) = cluster.report(*ordinal).await else { continue };
            let new = |peer: &&Peer| peer.ordinal == victim && peer.incarnation != old;
            for group in report.groups.iter().filter(|group| leads(&report, group.group)) {
                let now = &group.configuration;
                learned |= now.learners.iter().any(|peer| new(&peer));
                votes_in += u16::from(
                    now.committed && now.outgoing.is_empty() && now.voters.iter().any(|peer| new(&peer)),
                );
            }
        }
        if votes_in == cluster.partitions() {
            return Ok(Taken { learned });
        }
        // The phase between is short: what is waited for is seen by looking often.
        tokio::time::sleep(LOOK).await;
    }
    bail!("member {victim} was not taken in again within {HEALED:?}")
}

fn leads(report: &MemberReport, group: u16) -> bool {
    let own = Peer { ordinal: report.ordinal, incarnation: report.incarnation };
    report.groups.iter().any(|seen| seen.group == group && seen.leader == Some(own))
}

async fn incarnations(cluster: &Cluster) -> Result<BTreeMap<u16, Uuid>> {
    let reports = try_join_all((0..MEMBERS).map(|ordinal| cluster.report(ordinal))).await?;
    Ok(reports.into_iter().map(|report| (report.ordinal, report.incarnation)).collect())
}

/// The one that is left is no majority, and two that are empty are none either.
async fn two_wiped(cluster: &Cluster) -> Result<()> {
    let (kept, _) = cluster.leader().await?;
    let cluster_id = cluster.status().await?.cluster_id.context("a cluster id")?;
    let victims: Vec<_> = (0..MEMBERS).filter(|ordinal| *ordinal != kept).collect();
    let namespace = &cluster.stage.namespace;
    let mut places = Vec::new();
    for victim in &victims {
        let place = Place::find(&cluster.stage.client, namespace, &cluster.claim(*victim)).await?;
        places.push((place, cluster.target(*victim).await?));
    }
    try_join_all(places.iter().map(|(place, target)| place.wipe(Some(target)))).await?;
    let message = cluster.condition("Ready", "False", "QuorumLost", HEALED).await?.message;
    println!("    two of three wiped: {message}");
    for victim in &victims {
        ensure!(
            message.contains(&victim.to_string()),
            "the message does not name member {victim}: {message}"
        );
    }
    ensure!(message.contains("Bring") && message.contains("delete"), "it does not say what to do: {message}");
    throughout("nobody serves, and nothing is founded anew", LONG_ENOUGH, async || {
        for (ordinal, url) in cluster.member_urls().await? {
            let client = quartet_client::SyncClient::new(&url)?.timeout(Duration::from_secs(2));
            let name = name_in(0, cluster.partitions(), "after-loss");
            let granted = client.acquire(&exclusive(&name, "anybody", SOON)).await;
            ensure!(granted.is_err(), "member {ordinal} granted {granted:?}");
        }
        for victim in &victims {
            let report = cluster.report(*victim).await?;
            ensure!(
                report.state == MemberState::Empty && report.cluster.is_none(),
                "member {victim} is {:?} of {:?}",
                report.state,
                report.cluster
            );
        }
        Ok(())
    })
    .await?;
    let status = cluster.status().await?;
    ensure!(
        status.cluster_id.as_ref() == Some(&cluster_id),
        "another cluster is recorded: {:?}",
        status.cluster_id
    );
    let empty = cluster.incarnations().await?;
    for victim in &victims {
        ensure!(
            empty[victim].1 == MemberRole::Empty,
            "the status says of member {victim}: {:?}",
            empty[victim]
        );
    }
    cluster.condition("Available", "False", "QuorumLost", SOON).await?;
    Ok(())
}
