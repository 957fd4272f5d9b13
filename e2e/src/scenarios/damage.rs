//! A bit that flips in the middle of a member's log: told from a torn end, never served from, and healed where others
//! have the data.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quartet_client::admin::MemberState;
use quartet_crds::sync_cluster::MemberRole;
use serde_json::json;

use super::witness::Witness;
use crate::cluster::hosts::shell;
use crate::faults::process;
use crate::faults::target::Target;
use crate::faults::volume::Place;
use crate::load::{LockLoad, Options};
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, exclusive};
use crate::wait::{throughout, until};

const SOON: Duration = Duration::from_mins(1);
const HEALED: Duration = Duration::from_mins(2);
const STAYS: Duration = Duration::from_secs(15);
/// Flips a bit of the body of the record in the middle of the newest segment that has any; prints where. `$1` is the
/// data folder.
const FLIP: &str = "for f in $(ls -r \"$1\"/log-????????????????); do
  offsets=$(grep -abo qREC \"$f\" | cut -d: -f1)
  set -- \"$1\" $offsets
  [ $# -gt 21 ] || continue
  shift $(($# / 2))
  at=$(($1 + 28))
  byte=$(dd if=\"$f\" bs=1 skip=$at count=1 2>/dev/null | od -An -tu1 | tr -d ' ')
  printf \"\\\\$(printf %03o $((byte ^ 1)))\" | dd of=\"$f\" bs=1 seek=$at conv=notrunc 2>/dev/null
  sync \"$f\"
  echo \"$f at $at\"
  exit
done
echo 'no segment with enough records' >&2
exit 1";

pub(super) async fn one_of_three(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, "locks", json!({"replicas": 3})).await?;
    let witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;
    let (victim, _) = cluster.leader().await?;
    let (before, started) = (cluster.report(victim).await?, Instant::now());
    damage(&cluster, victim).await?;
    let healed = until("the damaged member taken in again", HEALED, async || {
        let (incarnation, role) = cluster.incarnations().await?.remove(&victim).context("the member")?;
        ensure!(
            role == MemberRole::Voter && incarnation != Some(before.incarnation.to_string()),
            "it is {role:?} as {incarnation:?}"
        );
        Ok(())
    });
    healed.await?;
    cluster.ready(HEALED).await?;
    println!("    replaced by itself after {:.1} s", started.elapsed().as_secs_f64());
    let log = stage.log(&cluster.pod(victim)).await?;
    ensure!(log.contains("damaged"), "the member's log does not tell of the damage:\n{log}");
    load.flows(SOON).await?;
    let report = load.stop().await?;
    println!("    {} operations; refusals on the way: {:?}", report.answered(), report.refused());
    report.check()?;
    witness.holds(&cluster).await
}

pub(super) async fn single(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, "alone", json!({"replicas": 1})).await?;
    let _witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
    let before = cluster.report(0).await?;
    let restarted = damage(&cluster, 0).await?;
    let message = cluster.condition("Ready", "False", "MemberBlocked", SOON).await?.message;
    println!("    {message}");
    ensure!(
        message.contains("log-") && message.contains("offset") && message.contains("nobody else"),
        "it does not say where: {message}"
    );
    let client = cluster.member(0).await?;
    throughout("it stays blocked and alive", STAYS, async || {
        let report = cluster.report(0).await?;
        ensure!(
            report.state == MemberState::Blocked && report.incarnation == before.incarnation,
            "it is {:?} as {}",
            report.state,
            report.incarnation
        );
        let granted = client.acquire(&exclusive("anything", "anybody", SOON)).await;
        ensure!(granted.is_err(), "it granted {granted:?}");
        ensure!(!client.is_ready().await?, "it says that it is ready");
        let pod = cluster.target(0).await?;
        ensure!(pod.container_id == restarted.container_id, "it was restarted again");
        Ok(())
    })
    .await
}

/// Flips a bit, then restarts the member: it reads its log when it starts.
async fn damage(cluster: &Cluster, ordinal: u16) -> Result<Target> {
    let place = Place::find(&cluster.stage.client, &cluster.stage.namespace, &cluster.claim(ordinal)).await?;
    let target = cluster.target(ordinal).await?;
    let flipped = shell(&place.host, FLIP, &[&place.path]).await?;
    println!("    flipped a bit of {}", flipped.trim());
    process::kill(&target).await?;
    until("its container restarted", SOON, async || {
        let now = cluster.target(ordinal).await?;
        ensure!(now.container_id != target.container_id, "not yet");
        Ok(now)
    })
    .await
}
