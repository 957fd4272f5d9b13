//! The whole cluster stopped on purpose and started again, and its resource deleted and made anew.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::stand::{MEMBERS, NAME, SOON, Stand};
use crate::galera_cluster::{Cluster, READY_DEADLINE};
use crate::load::bank::{Books, Report, TABLES};
use crate::stage::Stage;
use crate::wait::until;

/// Members stop one after the other, each once its clients have gone.
const ASLEEP: Duration = Duration::from_mins(4);
const GONE: Duration = Duration::from_mins(3);

pub(super) async fn stopped_and_begun_anew(stage: Stage) -> Result<()> {
    let Stand { cluster, load } = Stand::make(&stage).await?;
    let history = cluster.status().await?.cluster.context("no history is recorded")?;
    let kept = cluster.claims().await?;
    ensure!(kept.len() == usize::from(MEMBERS), "claims: {kept:?}");
    let report = load.stop().await?;

    cluster.change(json!({"hibernated": true})).await?;
    cluster.condition("Ready", "False", "Hibernated", ASLEEP).await?;
    ensure!(cluster.member_pods().await?.is_empty(), "members run while it is Hibernated");
    ensure!(cluster.claims().await? == kept, "hibernation costs volumes");
    cluster.change(json!({"hibernated": false})).await?;
    cluster.ready(READY_DEADLINE).await.context("woken")?;
    holds(&cluster, &history, &report).await.context("woken")?;

    cluster.delete(GONE).await?;
    until("nothing but volumes left", GONE, async || {
        let left = cluster.pods().await?.len();
        ensure!(left == 0, "{left} pods are there");
        Ok(())
    })
    .await?;
    ensure!(cluster.claims().await? == kept, "deletion costs volumes");
    let (cluster, _) =
        Cluster::make(&stage, NAME, Cluster::spec(MEMBERS)).await.context("made anew on its volumes")?;
    holds(&cluster, &history, &report).await.context("made anew on its volumes")
}

async fn holds(cluster: &Cluster, history: &str, report: &Report) -> Result<()> {
    let now = cluster.status().await?.cluster;
    ensure!(now.as_deref() == Some(history), "another history: {now:?}");
    cluster.equal_everywhere(MEMBERS, &TABLES, SOON).await?;
    Books::check(&cluster.account().await?, report).await
}
