//! SyncCluster's figures: apply → Ready, failover, and locks per second and their cost, with etcd beside it.

mod failover;
mod system;
mod throughput;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::chart::{Bar, Chart};
use crate::args::Up;
use crate::cluster::images;
use crate::machine::tools::{self, Need};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::stage::Stage;
use crate::up;
use system::Binaries;

/// Everything.
pub(super) async fn run(paths: &Paths, progress: &Progress) -> Result<Value> {
    let beside = beside_etcd(paths, progress).await?;
    Ok(json!({"beside_etcd": beside, "kind": on_kind(paths, progress).await?}))
}

/// Only what needs no cluster.
pub(super) async fn peers(paths: &Paths, progress: &Progress) -> Result<Value> {
    beside_etcd(paths, progress).await
}

/// Only what needs one.
pub(super) async fn kind(paths: &Paths, progress: &Progress) -> Result<Value> {
    Ok(json!({"kind": on_kind(paths, progress).await?}))
}

async fn on_kind(paths: &Paths, progress: &Progress) -> Result<Value> {
    let standing = up::bring_up(paths, progress, &Up { existing: false }).await?;
    progress
        .step("apply to Ready, and failover on kind", async {
            let stage = Stage::set(standing.client, "bench-synccluster", standing.images).await?;
            let figures = failover::on_kind(&stage, progress).await?;
            stage.clear().await?;
            Ok((figures, "done".to_owned()))
        })
        .await
}

async fn beside_etcd(paths: &Paths, progress: &Progress) -> Result<Value> {
    let binaries = progress
        .step("binaries", async {
            let ours = images::build_binaries(paths).await?.join("quartet-node");
            tools::ensure(paths, progress, Need::Only("etcd")).await?;
            let binaries = Binaries { quartet: ours, etcd: tools::path(paths, "etcd") };
            Ok((binaries, "quartet-node, etcd".to_owned()))
        })
        .await?;
    // On the disk of the checkout: a folder in memory would make every sync free.
    let folder = paths.checkout().join("target/bench/data");
    let throughput = progress
        .step("locks per second, beside etcd", async {
            Ok((throughput::compare(&binaries, &folder, progress).await?, "done".to_owned()))
        })
        .await?;
    let failover = progress
        .step("failover of processes, beside etcd", async {
            Ok((failover::beside_etcd(&binaries, &folder, progress).await?, "done".to_owned()))
        })
        .await?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(json!({
        "method": "three members each; one closed-loop client per connection and lock, HTTP/1.1 with JSON for both \
            (etcd's own gateway), members and clients on this machine, medians of alternating rounds; failover: \
            kill -9 of the leader, longest time without an answer of a partition that it led, asked every 10 ms",
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "etcd": "3.6.5, its defaults: heartbeats every 100 ms, elections after 1 s",
        "throughput": throughput, "failover": failover,
    }))
}

/// Of all figures.
pub(super) fn charts(result: &Value) -> Vec<Chart> {
    std::iter::once(kind_chart(result)).chain(peers_charts(&result["beside_etcd"])).collect()
}

/// Of the figures that need a cluster.
pub(super) fn kind_charts(result: &Value) -> Vec<Chart> {
    vec![kind_chart(result)]
}

fn kind_chart(result: &Value) -> Chart {
    let kind = &result["kind"];
    let bars = [("apply to Ready", "apply_to_ready"), ("silence after the leader's kill", "failover")]
        .into_iter()
        .flat_map(|(title, field)| {
            ["median_s", "worst_s"].map(|which| {
                let label = format!("{title} - {}", which.trim_end_matches("_s"));
                Bar::new(label, kind[field][which].as_f64().unwrap_or_default())
            })
        });
    Chart { title: "on kind, in seconds".to_owned(), bars: bars.collect() }
}

/// Of the figures beside etcd's.
pub(super) fn peers_charts(result: &Value) -> Vec<Chart> {
    let rows = |table: &Value| table.as_array().cloned().unwrap_or_default();
    let name = |row: &Value| row["system"].as_str().unwrap_or_default().to_owned();
    let chart = |title: &str, field: &str| {
        let bars = rows(&result["throughput"]).into_iter().map(|row| {
            let label = format!("{} - {}", name(&row), row["clients"]);
            Bar::new(label, row[field].as_f64().unwrap_or_default())
        });
        Chart { title: title.to_owned(), bars: bars.collect() }
    };
    let failover = rows(&result["failover"]).into_iter().flat_map(|row| {
        ["median_s", "worst_s"].map(|field| {
            let label = format!("{} - {}", name(&row), field.trim_end_matches("_s"));
            Bar::new(label, row["failover"][field].as_f64().unwrap_or_default())
        })
    });
    vec![
        chart("lock and unlock per second, by clients", "lock_and_unlock_per_s"),
        chart("median of one, in ms", "median_ms"),
        chart("processor time of the members for one, in us", "cpu_us_per_lock_and_unlock"),
        Chart { title: "failover, in seconds".to_owned(), bars: failover.collect() },
    ]
}
