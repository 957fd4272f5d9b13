//! Idle clusters cost the API server nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::audit::{self, Write};
use crate::cluster::OPERATOR_NAMESPACE;
use crate::faults::operator;
use crate::galera_cluster;
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const CLUSTERS: usize = 20;
const READY: Duration = Duration::from_mins(4);
const WATCHED: Duration = Duration::from_mins(2);
/// Of these quiet, the last steps of founding are over.
const CALM: Duration = Duration::from_secs(15);

pub(super) async fn writes_nothing(stage: Stage) -> Result<()> {
    let started = Instant::now();
    let spec = json!({"replicas": 1, "partitions": 2, "storage": {"size": "64Mi"}});
    let names: Vec<_> = (0..CLUSTERS).map(|number| format!("idle-{number}")).collect();
    let all = try_join_all(names.iter().map(|name| Cluster::apply(&stage, name, spec.clone()))).await?;
    let galera = json!({"replicas": 1, "storage": {"size": "1Gi"}, "proxy": {"replicas": 1}});
    let galera = galera_cluster::Cluster::apply(&stage, "idle-galera", galera).await?;
    try_join_all(all.iter().map(|cluster| cluster.ready(READY))).await?;
    galera.ready(READY).await?;
    println!(
        "    {CLUSTERS} SyncClusters and a GaleraCluster Ready after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    until("the operator calm", READY, async || {
        let since = Timestamp::now().checked_sub(CALM)?;
        let written = of_operator(since).await?;
        ensure!(written.is_empty(), "{written:?}");
        Ok(())
    })
    .await?;

    let since = Timestamp::now();
    // The log is read afterwards: nothing is to be waited for, only watched.
    tokio::time::sleep(WATCHED).await;
    let written = of_operator(since).await?;
    ensure!(written.is_empty(), "the operator writes though nothing changes: {written:#?}");
    // The log does see what the operator writes, and somebody was at work.
    let leases = audit::writes_since(since).await?;
    let renewed: usize = leases.iter().filter(|(write, _)| is_lease(write)).map(|(_, times)| times).sum();
    ensure!(renewed >= 10, "the Lease was renewed {renewed} times only: the operator did not run");
    Ok(())
}

async fn of_operator(since: Timestamp) -> Result<Vec<(Write, usize)>> {
    let written = audit::writes_since(since).await?;
    Ok(written.into_iter().filter(|(write, _)| is_operator(write) && !is_lease(write)).collect())
}

fn is_operator(write: &Write) -> bool {
    write.user.starts_with(&format!("system:serviceaccount:{OPERATOR_NAMESPACE}:"))
}

fn is_lease(write: &Write) -> bool {
    is_operator(write)
        && write.resource == "leases"
        && write.namespace == OPERATOR_NAMESPACE
        && write.name == operator::LEASE
}
