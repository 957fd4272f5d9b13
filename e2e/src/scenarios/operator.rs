//! The operator itself is lost: killed, hung, scaled away.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;

use crate::faults::{operator, process};
use crate::stage::Stage;
use crate::wait::until;

/// Issue of the Lease to another replica.
const TAKEOVER: Duration = Duration::from_secs(20);
const BACK: Duration = Duration::from_mins(1);

/// A leader that hangs is the harder case than one that dies: its pod stays, and nothing restarts it at once.
pub async fn takeover(stage: Stage) -> Result<()> {
    let client = &stage.client;
    operator::scale(client, 2, BACK).await?;
    let hung = until("a leader", BACK, async || operator::leader(client).await).await?;
    let paused = process::pause(&hung).await?;
    let started = Instant::now();
    let successor = until("another replica to lead", TAKEOVER, async || {
        let leader = operator::leader(client).await?;
        ensure!(leader.pod != hung.pod, "{} still leads", hung.pod);
        Ok(leader)
    })
    .await?;
    println!("    took over after {:.1} s", started.elapsed().as_secs_f64());
    paused.heal().await?;

    let killed = Timestamp::now();
    process::kill(&successor).await?;
    let leader = until("a leader after the kill", TAKEOVER, async || {
        let leader = operator::leader_since(client, killed).await?;
        ensure!(leader.container_id != successor.container_id, "the lease names one that is dead");
        Ok(leader)
    })
    .await?;
    println!("    after a kill -9: {} leads", leader.pod);
    operator::scale(client, 2, BACK).await
}
