//! All killed, and what one volume says is not to be believed: it is never begun from.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::stand::{HEALED, MEMBERS, SERVER, SOON, Stand};
use crate::cluster::hosts::shell;
use crate::faults::process;
use crate::galera_cluster::is;
use crate::stage::Stage;
use crate::wait::until;

const TOLD_WITHIN: Duration = Duration::from_secs(2);
const FOREIGN: &str = "deadbeef-dead-11f0-8000-000000000001";
/// `$1` volume, `$2` uuid, `$3` seqno. As Galera writes it.
const FORGE: &str = "printf '# GALERA saved state\\nversion: 2.1\\nuuid:    %s\\nseqno:   %s\\nsafe_to_bootstrap: 1\\n' \
    \"$2\" \"$3\" > \"$1/mysql/grastate.dat\"";

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
        let now = stand.cluster.status().await?.cluster;
        ensure!(now.as_ref() == Some(&cluster), "another history: {now:?}");
    }
    for wiped in 0..MEMBERS {
        all_killed_with(&stand, wiped, async |path, host| {
            shell(host, "find \"$1\" -mindepth 1 -delete", &[path]).await.map(drop)
        })
        .await
        .with_context(|| format!("the volume of member {wiped} wiped"))?;
    }
    stand.end().await.map(drop)
}

/// Everything is killed at once while a member receives everything: it has half of the data.
pub(super) async fn transfer_interrupted(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for joiner in 0..MEMBERS {
        let target = stand.cluster.target(joiner).await?;
        stand.place(joiner).await?.wipe(Some(&target)).await?;
        until(&format!("member {joiner} to receive everything"), SOON, async || {
            let log = stand.cluster.stage.log(&stand.cluster.member(joiner)).await?;
            ensure!(log.contains("Running: 'wsrep_sst_"), "not yet");
            Ok(())
        })
        .await?;
        let since = stand.kill_all_pods().await?;
        let took = stand.load.writable(since, HEALED).await?;
        println!("    transfer to member {joiner} interrupted: writable after {:.1} s", took.as_secs_f64());
        stand.well_again().await?;
    }
    stand.end().await.map(drop)
}

/// All volumes but the one that is furthest behind are lost: nothing begins from it without a human.
pub(super) async fn what_was_acknowledged_is_gone(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let behind = 2;
    let paused = process::pause(&stand.cluster.target(behind).await?).await?;
    stand.load.flows(HEALED).await?;
    for lost in (0..MEMBERS).filter(|member| *member != behind) {
        let target = stand.cluster.target(lost).await?;
        stand.place(lost).await?.wipe(Some(&target)).await?;
    }
    paused.heal().await?;
    let refused = stand.cluster.condition("Recovering", "True", "DataLost", HEALED).await?;
    println!("    {}", refused.message);
    let since = Instant::now();
    ensure!(
        refused.message.contains("bootstrapFrom"),
        "it does not say what can be done: {}",
        refused.message
    );
    let position = until("the position of the member that is left", TOLD_WITHIN, async || {
        let members = stand.cluster.status().await?.members;
        let left = members.into_iter().find(|member| member.ordinal == i32::from(behind));
        left.and_then(|member| member.position).context("none is told")
    })
    .await?;
    println!("    its position is told {:.1} s after the refusal", since.elapsed().as_secs_f64());
    let member = stand.cluster.member(behind);
    let word = serde_json::json!({"recovery": {"bootstrapFrom": {"member": member, "position": position}}});
    stand.cluster.change(word).await?;
    stand.cluster.synced(MEMBERS, HEALED).await?;
    let status = stand.cluster.ready(HEALED).await?;
    is(&status, "Quorate", "True", "PrimaryComponent")?;
    // What was lost is lost, as the human was told: the books need not hold, the members must agree.
    stand.load.stop().await?;
    stand.cluster.equal_everywhere(MEMBERS, &crate::load::bank::TABLES, SOON).await.map(drop)
}

/// All servers are killed and kept from beginning while one volume is changed under them.
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
    // The managers too: they begin with what they find.
    for target in &targets {
        process::kill(target).await?;
    }
    drop(pauses);
    for target in &targets {
        stand.replace(target).await?;
    }
    let since = Instant::now();
    let took = stand.load.writable(since, HEALED).await?;
    println!("    volume of member {member} changed: writable after {:.1} s", took.as_secs_f64());
    stand.well_again().await
}
