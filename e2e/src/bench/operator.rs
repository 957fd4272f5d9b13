//! What the operator costs: memory and processor time with 1 and 20 SyncClusters, and how soon they are Ready.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};

use super::statistics;
use crate::args::Up;
use crate::cluster::hosts::shell;
use crate::faults::operator;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::up;

const MANY: usize = 20;
const READY: Duration = Duration::from_mins(4);
/// Measured from its beginning to its end.
const IDLE: Duration = Duration::from_mins(1);
/// `/proc/PID/stat` counts in these, on every Linux that Kubernetes runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// `$1` container id. Resident and highest resident memory in KiB, then processor time of user and system in ticks.
const USAGE: &str = "pid=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 | head -1)
awk '/^VmRSS|^VmHWM/ {print $2}' /proc/$pid/status
sed 's/.*) //' /proc/$pid/stat | awk '{print $12 + $13}'";

pub(super) async fn run(paths: &Paths, progress: &Progress) -> Result<Value> {
    let standing = up::bring_up(paths, progress, &Up { existing: false }).await?;
    let stage = Stage::set(standing.client, "bench-operator", standing.images).await?;
    let idle = progress.step("no cluster", async { idle(&stage.client).await }).await?;
    let single = json!({"replicas": 1, "partitions": 8, "storage": {"size": "64Mi"}});
    let triple = json!({"replicas": 3, "partitions": 8, "storage": {"size": "64Mi"}});
    let one =
        progress.step("one cluster of three members", made(&stage, &["one".to_owned()], &triple)).await?;
    let with_one = progress.step("idle with one", async { idle_with(&stage.client).await }).await?;
    let names: Vec<_> = (1..MANY).map(|number| format!("many-{number}")).collect();
    let many = progress.step("19 clusters of one member more", made(&stage, &names, &single)).await?;
    let with_many = progress.step("idle with 20", async { idle_with(&stage.client).await }).await?;
    stage.clear().await?;
    Ok(json!({
        "without": idle, "one": one, "idle_with_one": with_one, "nineteen_more": many, "idle_with_20": with_many,
    }))
}

async fn idle(client: &Client) -> Result<(Value, String)> {
    let usage = Usage::now(client).await?;
    Ok((json!({"resident_mib": usage.resident_mib}), format!("{:.1} MiB", usage.resident_mib)))
}

/// Memory, and the share of a processor that it takes to do nothing.
async fn idle_with(client: &Client) -> Result<(Value, String)> {
    let (before, started) = (Usage::now(client).await?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let after = Usage::now(client).await?;
    let millicores = (after.cpu_seconds - before.cpu_seconds) / started.elapsed().as_secs_f64() * 1000.0;
    let said =
        format!("{:.1} MiB, at most {:.1} MiB, {millicores:.1}m", after.resident_mib, after.highest_mib);
    let value = json!({
        "resident_mib": after.resident_mib, "highest_resident_mib": after.highest_mib, "millicores": millicores,
    });
    Ok((value, said))
}

/// Applies them all at once and waits for each to be Ready.
async fn made(stage: &Stage, names: &[String], spec: &Value) -> Result<(Value, String)> {
    let before = Usage::now(&stage.client).await?;
    let each = try_join_all(names.iter().map(|name| async move {
        let started = Instant::now();
        Cluster::make_within(stage, name, spec.clone(), READY).await?;
        anyhow::Ok(started.elapsed().as_secs_f64())
    }));
    let seconds = each.await?;
    let cpu_seconds = Usage::now(&stage.client).await?.cpu_seconds - before.cpu_seconds;
    let median = statistics::median(&seconds);
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    let said = format!(
        "Ready after {median:.1} s (median), {worst:.1} s (worst), for {cpu_seconds:.2} s of processor"
    );
    let value = json!({
        "ready_median_seconds": median, "ready_worst_seconds": worst, "operator_cpu_seconds": cpu_seconds,
    });
    Ok((value, said))
}

/// Of the replica that leads.
struct Usage {
    resident_mib: f64,
    highest_mib: f64,
    cpu_seconds: f64,
}

impl Usage {
    async fn now(client: &Client) -> Result<Self> {
        let leader = operator::leader(client).await?;
        let said = shell(&leader.host, USAGE, &[&leader.container_id]).await?;
        let numbers: Vec<f64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
        // The kernel tells the highest first.
        let [highest, resident, ticks] = numbers.as_slice() else {
            anyhow::bail!("not three numbers: {said}");
        };
        Ok(Self {
            resident_mib: resident / 1024.0,
            highest_mib: highest / 1024.0,
            cpu_seconds: ticks / TICKS_PER_SECOND,
        })
    }
}
