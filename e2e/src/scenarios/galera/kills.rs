//! Members killed under load, one to all of them: nothing that was acknowledged is lost, and nobody helps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::stand::{HEALED, MEMBERS, SOON, Stand};
use crate::stage::Stage;

const GAP_MAX: Duration = Duration::from_secs(2);
const WRITABLE_WITHIN: Duration = Duration::from_secs(10);
const ALL_BACK_WITHIN: Duration = Duration::from_secs(30);
const ROUNDS: usize = 20;

pub(super) async fn one_and_two(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for victim in 0..MEMBERS {
        one_killed(&stand, victim).await.with_context(|| format!("member {victim} killed"))?;
    }
    for survivor in 0..MEMBERS {
        two_killed(&stand, survivor).await.with_context(|| format!("all but member {survivor} killed"))?;
    }
    stand.end().await.map(drop)
}

pub(super) async fn all(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        // In turn only the servers, under managers that live, and whole pods: both must be survived.
        let with_pods = round % 2 == 1;
        let since =
            if with_pods { stand.kill_all_pods().await? } else { stand.kill_servers(0..MEMBERS).await? };
        let took =
            stand.load.writable(since, HEALED).await.with_context(|| format!("round {}", round + 1))?;
        let what = if with_pods { "pods" } else { "servers" };
        println!("    round {}, all {what} killed: writable after {:.1} s", round + 1, took.as_secs_f64());
        ensure!(took <= ALL_BACK_WITHIN, "writable after {took:?} only");
        stand.well_again().await.with_context(|| format!("round {}", round + 1))?;
        times.push(took);
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    println!(
        "    {ROUNDS} rounds: writable after {:.1} s in the median, {:.1} s at worst",
        median.as_secs_f64(),
        worst.as_secs_f64()
    );
    stand.end().await.map(drop)
}

/// The server dies, its manager tells the others, and it comes back with what it has and fetches the rest.
async fn one_killed(stand: &Stand, victim: u16) -> Result<()> {
    let since = Instant::now();
    stand.kill_servers([victim]).await?;
    stand.load.flows(SOON).await?;
    stand.well_again().await?;
    let waited = stand.load.look(|report| report.longest_wait(since, Instant::now()));
    println!("    member {victim} killed: a client waited for {:.2} s at most", waited.as_secs_f64());
    ensure!(waited <= GAP_MAX, "a client waited for {waited:?}");
    fetched_only_what_it_missed(stand, victim).await
}

async fn fetched_only_what_it_missed(stand: &Stand, member: u16) -> Result<()> {
    let said = stand.cluster.stage.log(&stand.cluster.member(member)).await?;
    let is_told = |line: &&str| line.contains("IST received") || line.contains("SST received");
    let last = said.lines().rev().find(is_told);
    let last = last.with_context(|| format!("member {member} says of no transfer"))?;
    ensure!(last.contains("IST received"), "it was given everything: {last}");
    Ok(())
}

async fn two_killed(stand: &Stand, survivor: u16) -> Result<()> {
    let since = stand.kill_servers((0..MEMBERS).filter(|ordinal| *ordinal != survivor)).await?;
    let writable = stand.load.writable(since, SOON).await?;
    println!("    all but member {survivor} killed: writable after {:.1} s", writable.as_secs_f64());
    ensure!(writable <= WRITABLE_WITHIN, "writable after {writable:?} only");
    stand.well_again().await
}
