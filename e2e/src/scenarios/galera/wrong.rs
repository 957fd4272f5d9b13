//! All killed, and what one volume says is not to be believed: it is never begun from.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::DeleteParams;
use quartet_client::galera::MemberState;
use quartet_crds::galera_cluster::MemberStatus;
use serde_json::json;

use super::stand::{HEALED, MEMBERS, SERVER, SOON, Stand};
use crate::cluster::hosts::shell;
use crate::faults::process;
use crate::galera_cluster::Cluster;
use crate::load::bank::TABLES;
use crate::stage::Stage;
use crate::subject::is;
use crate::wait::{throughout, until};

const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long it is looked that nobody begins all the same.
const STAYS: Duration = Duration::from_secs(15);
const FOREIGN: &str = "deadbeef-dead-11f0-8000-000000000001";
/// `$1` volume, `$2` uuid, `$3` seqno. As Galera writes it.
const FORGE: &str = "printf '# GALERA saved state\\nversion: 2.1\\nuuid:    %s\\nseqno:   %s\\nsafe_to_bootstrap: 1\\n' \
    \"$2\" \"$3\" > \"$1/mysql/grastate.dat\"";

/// Waits for a transfer to begin, and stops everything of the pod where it is. `$1` volume, `$2` UID of the pod, `$3` the
/// same as control groups may write it.
const HOLD: &str = "for look in $(seq 6000); do
  if [ -d \"$1/mysql/.sst\" ]; then kill -s STOP $(grep -lsE -- \"$2|$3\" /proc/[0-9]*/cgroup | cut -d/ -f3); exit 0; fi
  sleep 0.01
done
echo 'no transfer has begun' >&2; exit 1";

/// `$1` volume.
const KEEP: &str = "rm -rf \"$1.lost\" && cp -a \"$1\" \"$1.lost\"";
const BRING_BACK: &str =
    "find \"$1\" -mindepth 1 -delete && cp -a \"$1.lost/.\" \"$1\" && rm -rf \"$1.lost\" && sync -f \"$1\"";

/// In each round the member that is made to lie is another one.
pub(super) async fn forged_and_wiped(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let cluster = stand.cluster.status().await?.cluster.context("no history is recorded")?;
    for (liar, uuid, seqno) in
        [(0, cluster.as_str(), "99999999"), (1, FOREIGN, "99999999"), (2, FOREIGN, "-1")]
    {
        all_killed_with(&stand, liar, async |path, host| {
            shell(host, FORGE, &[path, uuid, seqno]).await.map(drop)
        })
        .await
        .with_context(|| format!("member {liar} says {uuid}:{seqno}"))?;
        let said = stand.cluster.stage.log(&stand.cluster.member(liar)).await?;
        ensure!(said.contains("not believed"), "member {liar} has not noticed what was forged");
        let now = stand.cluster.status().await?.cluster;
        ensure!(now.as_ref() == Some(&cluster), "another history: {now:?}");
    }
    for wiped in 0..MEMBERS {
        let before = incarnation(&stand, wiped).await?;
        all_killed_with(&stand, wiped, async |path, host| {
            shell(host, "find \"$1\" -mindepth 1 -delete", &[path]).await.map(drop)
        })
        .await
        .with_context(|| format!("the volume of member {wiped} wiped"))?;
        let now = incarnation(&stand, wiped).await?;
        ensure!(now != before, "member {wiped} takes its emptied volume for the one of before");
    }
    stand.end().await.map(drop)
}

async fn incarnation(stand: &Stand, ordinal: u16) -> Result<String> {
    let told = member(&stand.cluster, ordinal).await?;
    told.incarnation.with_context(|| format!("member {ordinal} tells no incarnation"))
}

/// Everything is killed at once while a member receives everything: it has half of the data.
pub(super) async fn transfer_interrupted(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for joiner in 0..MEMBERS {
        let (target, place) = (stand.cluster.target(joiner).await?, stand.place(joiner).await?);
        place.wipe(Some(&target)).await?;
        // Held where it is, so that what follows finds it there.
        shell(&place.host, HOLD, &[&place.path, &target.uid, &target.uid.replace('-', "_")]).await?;
        let since = stand.kill_all_pods().await?;
        let took = stand.load.writable(since, HEALED).await?;
        println!("    transfer to member {joiner} interrupted: writable after {:.1} s", took.as_secs_f64());
        stand.well_again().await?;
        let said = stand.cluster.stage.log(&stand.cluster.member(joiner)).await?;
        ensure!(said.contains("a transfer of data was interrupted"), "member {joiner} has not noticed it");
    }
    stand.end().await.map(drop)
}

/// Both volumes that hold everything are lost: nothing begins from the one that is behind without a human. What a human
/// begins is a history of its own: one of the volumes is found again, and nothing of it comes into that, whatever
/// happens.
pub(super) async fn what_was_acknowledged_is_gone(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let (behind, lost, found) = (2, [0, 1], 0);
    let paused = process::pause(&stand.cluster.target(behind).await?).await?;
    // No further than this has it come.
    let far = stand.cluster.server(0).await?.value("wsrep_last_committed").parse::<i64>()?;
    stand.load.flows(HEALED).await?;
    let known = stand.cluster.wait_status("what was acknowledged since", SOON, |status| {
        ensure!(status.highest_seqno.is_some_and(|highest| highest > far), "{:?}", status.highest_seqno);
        Ok(())
    });
    let old = known.await?.cluster.context("no history is recorded")?;
    lose(&stand, &lost, found).await?;
    paused.heal().await?;
    until("all members to tell what they hold", HEALED, async || {
        for member in lost {
            // One may have begun to join the one that is left, before that had noticed that it is alone.
            let nothing = [MemberState::Empty, MemberState::Unusable];
            let told = stand.cluster.peer(member).await?;
            ensure!(nothing.contains(&told.state) && told.position.is_none(), "member {member}: {told:?}");
        }
        let left = stand.cluster.peer(behind).await?;
        ensure!(left.state == MemberState::NonPrimary, "member {behind} is {:?}", left.state);
        left.position.context("no position is known yet")
    })
    .await?;
    refused(&stand, behind).await?;
    // What was lost is lost, as the human is told: the books of these clients need not hold.
    let Stand { cluster, load } = stand;
    load.stop().await?;
    begun_by_a_human(&cluster, behind, &old).await?;
    let load = super::stand::load(&cluster, &cluster.account().await?).await?;
    found_again(Stand { cluster, load }, found, &old).await
}

/// The status says what is missing and what to do, and nobody begins.
async fn refused(stand: &Stand, behind: u16) -> Result<()> {
    let since = Instant::now();
    let refused = stand.cluster.condition("Recovering", "True", "DataLost", HEALED).await?;
    let told = since.elapsed();
    println!("    told after {:.1} s: {}", told.as_secs_f64(), refused.message);
    ensure!(told <= TOLD_WITHIN, "told after {told:?} only");
    for part in ["bootstrapFrom", "missing", &stand.cluster.member(behind)] {
        ensure!(refused.message.contains(part), "{part} is missing: {}", refused.message);
    }
    // Nor later.
    throughout("nobody begins", STAYS, async || {
        let status = stand.cluster.status().await?;
        is(&status, "Quorate", "False", "PrimaryMissing").map(drop)
    })
    .await
}

/// From what is left, as a history of its own.
async fn begun_by_a_human(cluster: &Cluster, left: u16, old: &str) -> Result<()> {
    let told = member(cluster, left).await?;
    let position = told.position.context("the position is not told")?;
    let word = json!({"recovery": {"bootstrapFrom": {"member": cluster.member(left), "position": position}}});
    cluster.change(word).await?;
    cluster.synced(MEMBERS, HEALED).await?;
    let status = cluster.ready(HEALED).await?;
    is(&status, "Quorate", "True", "PrimaryComponent")?;
    let begun = status.cluster.context("no history is recorded")?;
    ensure!(begun != old, "it goes on as {old}, which lost volumes hold more of");
    cluster.equal_everywhere(MEMBERS, &TABLES, SOON).await.map(drop)
}

/// A volume of the history that was given up, which holds more of it than was begun from: neither joined nor begun from,
/// also when all others crash. Its member comes back once a human has deleted the claim.
async fn found_again(stand: Stand, ahead: u16, old: &str) -> Result<()> {
    let (target, place) = (stand.cluster.target(ahead).await?, stand.place(ahead).await?);
    let paused = process::pause(&target).await?;
    shell(&place.host, BRING_BACK, &[&place.path]).await?;
    process::kill(&target).await?;
    paused.heal().await?;
    for crash in [false, true] {
        if crash {
            let since = stand.kill_all_pods().await?;
            let took = stand.load.writable(since, HEALED).await?;
            println!("    all killed beside a volume of {old}: writable after {:.1} s", took.as_secs_f64());
        }
        until("the volume that was found again to be told", HEALED, async || {
            let told = member(&stand.cluster, ahead).await?;
            ensure!(told.uuid.as_deref() == Some(old), "its history is {:?}", told.uuid);
            let said = told.message.context("it says nothing")?;
            ensure!(said.contains("claim"), "it does not say what to do: {said}");
            Ok(())
        })
        .await?;
        throughout("it is left alone", STAYS, async || {
            let status = stand.cluster.status().await?;
            is(&status, "Quorate", "True", "PrimaryComponent")?;
            ensure!(status.cluster.as_deref().is_some_and(|cluster| cluster != old), "begun from {old}");
            let told = member(&stand.cluster, ahead).await?;
            ensure!(told.uuid.as_deref() == Some(old), "its history is {:?} now", told.uuid);
            Ok(())
        })
        .await?;
        stand.load.flows(SOON).await?;
    }
    let claims = stand.cluster.stage.api::<PersistentVolumeClaim>();
    claims.delete(&stand.cluster.claim(ahead), &DeleteParams::default()).await?;
    stand.replace(&stand.cluster.target(ahead).await?).await?;
    stand.well_again().await?;
    stand.end().await.map(drop)
}

async fn member(cluster: &Cluster, ordinal: u16) -> Result<MemberStatus> {
    let status = cluster.status().await?;
    let found = status.members.into_iter().find(|one| one.ordinal == i32::from(ordinal));
    found.with_context(|| format!("member {ordinal} is not in the status"))
}

/// All at once: no one of them is there for another to be filled from. What one of them held stays beside its volume.
async fn lose(stand: &Stand, members: &[u16], found: u16) -> Result<()> {
    let (mut targets, mut pauses) = (Vec::new(), Vec::new());
    for member in members {
        let target = stand.cluster.target(*member).await?;
        pauses.push(process::pause(&target).await?);
        targets.push(target);
    }
    for (member, target) in members.iter().zip(&targets) {
        let place = stand.place(*member).await?;
        if *member == found {
            shell(&place.host, KEEP, &[&place.path]).await?;
        }
        place.wipe(None).await?;
        process::kill(target).await?;
    }
    for pause in pauses {
        pause.heal().await?;
    }
    Ok(())
}

/// All are stopped where they are, their servers are killed, and one volume is changed under them; then all pods are
/// replaced. No manager sees any of it before the last.
async fn all_killed_with(
    stand: &Stand,
    member: u16,
    change: impl AsyncFnOnce(&str, &str) -> Result<()>,
) -> Result<()> {
    let targets = stand.cluster.targets(MEMBERS).await?;
    let mut pauses = Vec::new();
    for target in &targets {
        pauses.push(process::pause(target).await?);
    }
    for target in &targets {
        process::kill_named(target, SERVER).await?;
    }
    let place = stand.place(member).await?;
    change(&place.path, &place.host).await?;
    try_join_all(targets.iter().map(|target| stand.replace(target))).await?;
    let since = Instant::now();
    let took = stand.load.writable(since, HEALED).await?;
    println!("    volume of member {member} changed: writable after {:.1} s", took.as_secs_f64());
    drop(pauses);
    stand.well_again().await
}
