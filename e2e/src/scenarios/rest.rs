//! Asleep and hands off: hibernated and paused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;
use quartet_client::lock::{Acquire, Mode, Release};
use serde_json::json;

use crate::stage::Stage;
use crate::subject::{Subject, incarnations};
use crate::wait::{throughout, until};

const READY: Duration = Duration::from_secs(90);
const ASLEEP: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
/// As long as a foreign deletion may take to be put back when it is.
const STILL: Duration = Duration::from_secs(10);

pub(super) async fn hibernated(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 3, "partitions": 2, "storage": {"size": "64Mi"}});
    let subject = Subject::ready(&stage, "sleeper", &spec, READY).await?;
    let lock = Acquire {
        resource: "report".to_owned(),
        owner: "alice".to_owned(),
        mode: Mode::Exclusive,
        ttl_ms: Some(60_000),
        wait_ms: None,
    };
    let granted = subject.client().await?.acquire(&lock).await?;
    let claims = subject.claims().await?;
    let awake = subject.get().await?.status.context("a status")?;

    subject.change(json!({"hibernated": true})).await?;
    subject.condition("Ready", "False", "Hibernated", ASLEEP).await?;
    ensure!(subject.pods().await?.is_empty(), "pods run while it is Hibernated");
    ensure!(subject.claims().await? == claims, "hibernation costs volumes");
    // It is known how many they are, and one more or fewer while asleep is not a new cluster's founding.
    let asleep = subject.get().await?.status.context("a status")?;
    ensure!(incarnations(&asleep) == incarnations(&awake), "{:?}", asleep.members);

    subject.change(json!({"hibernated": false})).await?;
    let back = subject.wait_ready(READY).await?;
    ensure!(incarnations(&back) == incarnations(&awake), "other members woke: {:?}", back.members);
    ensure!(back.cluster_id == awake.cluster_id, "another cluster woke");
    let release = Release {
        resource: "report".to_owned(),
        owner: "alice".to_owned(),
        fencing_token: Some(granted.fencing_token),
    };
    subject.client().await?.release(&release).await.context("the lock did not survive the sleep")?;
    Ok(())
}

pub(super) async fn paused(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 1, "partitions": 1, "storage": {"size": "64Mi"}});
    let subject = Subject::ready(&stage, "paused", &spec, READY).await?;
    subject.change(json!({"paused": true})).await?;
    subject.condition("Ready", "Unknown", "Paused", SOON).await?;

    let services = stage.api::<Service>();
    services.delete("paused", &DeleteParams::default()).await?;
    subject.change(json!({"replicas": 3})).await?;
    subject.condition("Ready", "Unknown", "Paused", SOON).await.context("the new generation is seen")?;
    throughout("hands off", STILL, async || {
        ensure!(services.get_opt("paused").await?.is_none(), "the Service was put back");
        let set = stage.api::<StatefulSet>().get("paused").await?;
        ensure!(set.spec.and_then(|spec| spec.replicas) == Some(1), "the StatefulSet was scaled");
        Ok(())
    })
    .await?;

    subject.change(json!({"paused": false})).await?;
    until("the Service put back", SOON, async || {
        services.get("paused").await.map(drop).context("after paused was set to false")
    })
    .await?;
    let status = subject.wait_ready(READY).await?;
    ensure!(status.member_summary.as_deref() == Some("3/3"), "{:?}", status.member_summary);
    Ok(())
}
