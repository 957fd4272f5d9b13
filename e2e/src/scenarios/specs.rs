//! Specs that cannot be put into force: refused with the field named, while the last accepted one is kept.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::ready::pod_is_ready;
use crate::inventory::inventory;
use crate::load::{LockLoad, Options};
use crate::stage::Stage;
use crate::subject::is;
use crate::sync_cluster::Cluster;
use crate::wait::{throughout, until};

const READY: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
/// A rollout of three members takes less.
const STUCK: Duration = Duration::from_secs(15);

/// Name, what the spec has, the reason and the field that must be named.
fn bad() -> [(&'static str, Value, &'static str, &'static str); 8] {
    let amounts =
        |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
    let label = |key: &str| json!({"podTemplate": {"metadata": {"labels": {key: "mine"}}}});
    [
        (
            "class",
            json!({"storage": {"storageClassName": "nowhere"}}),
            "StorageClassNotFound",
            "spec.storage.storageClassName",
        ),
        (
            "request",
            amounts(json!({"cpu": "2"}), json!({"cpu": "1"})),
            "ResourcesImpossible",
            "spec.resources.requests.cpu",
        ),
        (
            "zero",
            amounts(json!({}), json!({"memory": "0"})),
            "ResourcesImpossible",
            "spec.resources.limits.memory",
        ),
        ("image", json!({"image": "not an image"}), "ImageInvalid", "spec.image"),
        ("reserved", label("app.kubernetes.io/name"), "ReservedKey", "spec.podTemplate.metadata.labels"),
        ("revision", label("controller-revision-hash"), "ReservedKey", "spec.podTemplate.metadata.labels"),
        ("label", label("not a key"), "SpecInvalid", "spec.podTemplate.metadata.labels"),
        (
            "selector",
            json!({"scheduling": {"nodeSelector": {"disk": "not a value"}}}),
            "SpecInvalid",
            "spec.scheduling.nodeSelector",
        ),
    ]
}

pub(super) async fn refused(stage: Stage) -> Result<()> {
    let before = inventory(&stage).await?;
    let made = try_join_all(bad().map(|(name, spec, reason, field)| {
        let stage = &stage;
        async move {
            let mut whole = json!({"replicas": 1, "partitions": 1});
            if let (Some(whole), Some(fields)) = (whole.as_object_mut(), spec.as_object()) {
                whole.extend(fields.clone());
            }
            let cluster = Cluster::apply(stage, name, whole).await?;
            for kind in ["Accepted", "Ready"] {
                let condition = cluster.condition(kind, "False", reason, SOON).await?;
                ensure!(condition.message.contains(field), "{name} names no {field}: {}", condition.message);
            }
            anyhow::Ok(cluster)
        }
    }))
    .await?;
    let now = inventory(&stage).await?;
    let children: Vec<_> = now.difference(&before).filter(|thing| thing.kind != "SyncCluster").collect();
    ensure!(children.is_empty(), "refused, and yet made: {children:?}");
    // Corrected, it comes up.
    let corrected = made.into_iter().find(|cluster| cluster.name == "image").context("no such case")?;
    corrected.change(json!({"image": null})).await?;
    corrected.ready(READY).await?;
    Ok(())
}

pub(super) async fn last_accepted(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 3, "partitions": 4, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "demo", spec, READY).await?;
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;

    // Refused: not a part of it comes into force, and what is lost is put back by the spec before.
    cluster.change(json!({"replicas": 5, "image": "not an image"})).await?;
    cluster.condition("Accepted", "False", "ImageInvalid", SOON).await?;
    let pods = stage.api::<Pod>();
    let lost = pods.get("demo-1").await?;
    pods.delete("demo-1", &DeleteParams::default()).await?;
    stage.api::<Service>().delete("demo-members", &DeleteParams::default()).await?;
    until("what was lost put back", READY, async || {
        let pod = pods.get("demo-1").await?;
        ensure!(pod.uid() != lost.uid() && pod_is_ready(&pod), "demo-1 is not back");
        stage.api::<Service>().get("demo-members").await?;
        Ok(())
    })
    .await?;
    let kept = cluster.wait_status("healed", SOON, |status| {
        is(status, "Available", "True", "Serving")?;
        is(status, "MembershipStable", "True", "AllMembersVote")?;
        is(status, "Ready", "False", "ImageInvalid")?;
        // The pod is ready a moment before the status tells of it.
        ensure!(status.ready_replicas == 3, "{} members are ready", status.ready_replicas);
        Ok(())
    });
    kept.await?;
    ensure!(cluster.pods().await?.len() == 3, "it grew by a refused spec");
    cluster.change(json!({"replicas": 3, "image": null})).await?;
    cluster.ready(READY).await?;

    // Accepted, and yet it cannot succeed: one member is lost to it, the others stay as they are.
    cluster.change(json!({"image": "quartet-node:there-is-no-such-tag"})).await?;
    until("a pod that cannot start", READY, async || {
        let stuck = cluster.pods().await?.iter().filter(|pod| !pod_is_ready(pod)).count();
        ensure!(stuck > 0, "all run");
        Ok(())
    })
    .await?;
    throughout("at most one member lost", STUCK, async || {
        let ready = cluster.pods().await?.iter().filter(|pod| pod_is_ready(pod)).count();
        ensure!(ready >= 2, "{ready} members are Ready");
        Ok(())
    })
    .await?;
    load.flows(SOON).await.context("with a stuck rollout")?;
    let waiting = cluster.wait_status("a rollout that waits", SOON, |status| {
        is(status, "Available", "True", "Serving")?;
        is(status, "Ready", "False", "RolloutWaiting").map(drop)
    });
    waiting.await?;
    cluster.change(json!({"image": null})).await?;
    cluster.ready(READY).await.context("after the image was set back")?;
    let report = load.stop().await?;
    report.refused_only_with(&["503", "unreachable", "no answer"])?;
    report.check()
}
