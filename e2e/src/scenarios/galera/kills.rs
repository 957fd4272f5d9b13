//! Members killed under load, one to all of them: nothing that was acknowledged is lost, and nobody helps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use super::stand::{HEALED, MEMBERS, SOON, Stand};
use crate::galera_cluster::Joined;
use crate::stage::Stage;

const GAP_MAX: Duration = Duration::from_secs(2);
const WRITABLE_WITHIN: Duration = Duration::from_secs(10);
const ALL_BACK_WITHIN: Duration = Duration::from_secs(30);
const ROUNDS: usize = 20;

/// Of a member.
#[derive(Clone, Copy, Debug)]
enum Victims {
    /// Under managers that live.
    Servers,
    Pods,
}

impl Victims {
    /// The moment from which they count as dead.
    async fn kill(self, stand: &Stand, members: impl IntoIterator<Item = u16>) -> Result<Instant> {
        match self {
            Self::Servers => stand.kill_servers(members).await,
            Self::Pods => stand.kill_pods(members).await,
        }
    }
}

pub(super) async fn one_and_two(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for victim in 0..MEMBERS {
        one_killed(&stand, victim).await.with_context(|| format!("member {victim} killed"))?;
    }
    for survivor in 0..MEMBERS {
        two_killed(&stand, survivor, Victims::Servers).await?;
    }
    stand.end().await.map(drop)
}

/// Of a pod nobody tells that it is dead before the next one has begun, at another address.
pub(super) async fn two_pods(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for survivor in 0..MEMBERS {
        two_killed(&stand, survivor, Victims::Pods).await?;
    }
    stand.end().await.map(drop)
}

pub(super) async fn all(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let victims = if round % 2 == 1 { Victims::Pods } else { Victims::Servers };
        let since = victims.kill(&stand, 0..MEMBERS).await?;
        let took =
            stand.load.writable(since, HEALED).await.with_context(|| format!("round {}", round + 1))?;
        println!("    round {}, all {victims:?}: writable after {:.1} s", round + 1, took.as_secs_f64());
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
    let (since, by_the_log) = (Instant::now(), Timestamp::now());
    stand.kill_servers([victim]).await?;
    stand.load.flows(SOON).await?;
    stand.well_again().await?;
    let waited = stand.load.look(|report| report.longest_wait(since, Instant::now()));
    let joined = stand.cluster.joined(victim, by_the_log).await?;
    println!(
        "    member {victim} killed: a client waited for {:.2} s at most; it came back {joined:?}",
        waited.as_secs_f64()
    );
    ensure!(waited <= GAP_MAX, "a client waited for {waited:?}");
    ensure!(joined != Joined::ByEverything, "it was given everything, not only what it missed");
    Ok(())
}

async fn two_killed(stand: &Stand, survivor: u16, victims: Victims) -> Result<()> {
    let what = format!("{victims:?} of all but member {survivor} killed");
    let since = victims.kill(stand, (0..MEMBERS).filter(|ordinal| *ordinal != survivor)).await?;
    let writable = stand.load.writable(since, SOON).await.with_context(|| what.clone())?;
    println!("    {what}: writable after {:.1} s", writable.as_secs_f64());
    ensure!(writable <= WRITABLE_WITHIN, "{what}: writable after {writable:?} only");
    stand.well_again().await.with_context(|| what)
}
