//! Locks taken and given back, side by side with etcd: how many per second, how long each takes, and how much
//! processor time of the members each costs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::statistics::{median, quantile, rounded};
use super::system::{Binaries, Client, Members, System};
use crate::progress::Progress;

/// Alternating, so that what else the machine does hits all alike.
const ROUNDS: usize = 5;
const CLIENTS: [usize; 2] = [1, 64];
/// Connections are open and caches warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// From its beginning to its end.
const MEASURED: Duration = Duration::from_secs(5);

/// Of one system with one number of clients, in one round.
struct Run {
    per_second: f64,
    cpu_us: f64,
    median_ms: f64,
    p99_ms: f64,
}

pub(super) async fn compare(binaries: &Binaries, folder: &Path, progress: &Progress) -> Result<Value> {
    let mut members = Vec::new();
    for system in System::ALL {
        let folder = folder.join(system.name().replace(' ', "-"));
        members
            .push(Members::start(system, binaries, &folder).await.with_context(|| system.name().to_owned())?);
    }
    let mut table = Vec::new();
    for clients in CLIENTS {
        let mut runs: Vec<Vec<Run>> = members.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (members, runs) in members.iter().zip(&mut runs) {
                runs.push(run(members, clients).await.with_context(|| members.system().name().to_owned())?);
            }
        }
        for (members, runs) in members.iter().zip(&runs) {
            let row = row(members.system(), clients, runs);
            progress.note(&row.to_string());
            table.push(row);
        }
    }
    Ok(json!(table))
}

fn row(system: System, clients: usize, runs: &[Run]) -> Value {
    let of = |value: fn(&Run) -> f64| rounded(median(&runs.iter().map(value).collect::<Vec<_>>()));
    json!({
        "system": system.name(), "clients": clients, "rounds": runs.len(),
        "lock_and_unlock_per_s": of(|run| run.per_second),
        "median_ms": of(|run| run.median_ms), "p99_ms": of(|run| run.p99_ms),
        "cpu_us_per_lock_and_unlock": of(|run| run.cpu_us),
        "all_per_s": runs.iter().map(|run| rounded(run.per_second)).collect::<Vec<_>>(),
    })
}

/// All clients at once, each asking again as soon as it is answered, spread evenly over the members.
async fn run(members: &Members, clients: usize) -> Result<Run> {
    let addresses = members.addresses();
    let mut opened = Vec::new();
    for number in 0..clients {
        let address = addresses[number % addresses.len()];
        opened.push(Client::open(members.system(), address, &format!("lock-{number}")).await?);
    }
    let mut tasks = JoinSet::new();
    let measured_from = Instant::now() + WARM_UP;
    for client in opened {
        tasks.spawn(work(client, measured_from, measured_from + MEASURED));
    }
    tokio::time::sleep_until(measured_from.into()).await;
    let cpu = members.cpu_seconds()?;
    tokio::time::sleep_until((measured_from + MEASURED).into()).await;
    let cpu = members.cpu_seconds()? - cpu;
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
    let count = times.len() as f64;
    Ok(Run {
        per_second: count / MEASURED.as_secs_f64(),
        cpu_us: cpu * 1e6 / count,
        median_ms: quantile(&times, 0.5).as_secs_f64() * 1e3,
        p99_ms: quantile(&times, 0.99).as_secs_f64() * 1e3,
    })
}

/// How long each operation took that ended while it was measured.
async fn work(mut client: Client, from: Instant, until: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let began = Instant::now();
        client.lock_and_unlock().await?;
        let ended = Instant::now();
        if ended > until {
            return Ok(times);
        }
        if ended > from {
            times.push(ended - began);
        }
    }
}
