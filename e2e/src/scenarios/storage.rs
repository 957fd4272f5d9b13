//! Volumes that are to grow: refused where their class does not allow it, asked for where it does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::sync_cluster::{Cluster, is};
use crate::wait::until;

const READY: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn growth(stage: Stage) -> Result<()> {
    let (rigid, elastic) = ("quartet-e2e-rigid", "quartet-e2e-elastic");
    copy_default_class(&stage, rigid, None).await?;
    copy_default_class(&stage, elastic, Some(true)).await?;
    let on = |class: &str| {
        let storage = json!({"size": "64Mi", "storageClassName": class});
        json!({"replicas": 1, "partitions": 1, "storage": storage, "deletionPolicy": "Delete"})
    };
    let (refused, growing) = tokio::try_join!(refused(&stage, on(rigid)), grown(&stage, on(elastic)))?;
    for cluster in [refused, growing] {
        cluster.delete(READY).await?;
    }
    for class in [rigid, elastic] {
        Api::<StorageClass>::all(stage.client.clone()).delete(class, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn refused(stage: &Stage, spec: Value) -> Result<Cluster> {
    let cluster = Cluster::make_within(stage, "fixed", spec, READY).await?;
    cluster.change(json!({"storage": {"size": "128Mi"}})).await?;
    let accepted = cluster.condition("Accepted", "False", "StorageNotExpandable", SOON).await?;
    ensure!(accepted.message.contains("spec.storage.size"), "names no field: {}", accepted.message);
    ensure!(size(&cluster).await? == "64Mi", "the claim was changed");
    // What was accepted last goes on being kept.
    let services = stage.api::<Service>();
    let before = services.get("fixed").await?.uid();
    services.delete("fixed", &DeleteParams::default()).await?;
    until("the Service put back", SOON, async || {
        let live = services.get("fixed").await?.uid();
        ensure!(live != before, "not deleted yet");
        Ok(())
    })
    .await?;
    // The way back that the message tells.
    cluster.change(json!({"storage": {"size": "64Mi"}})).await.context("set the size back")?;
    cluster.ready(READY).await?;
    Ok(cluster)
}

async fn grown(stage: &Stage, spec: Value) -> Result<Cluster> {
    let cluster = Cluster::make_within(stage, "grows", spec, READY).await?;
    cluster.change(json!({"storage": {"size": "128Mi"}})).await?;
    until("a claim that asks for more", SOON, async || {
        let size = size(&cluster).await?;
        ensure!(size == "128Mi", "it asks for {size}");
        Ok(())
    })
    .await?;
    cluster.condition("Accepted", "True", "SpecAccepted", SOON).await?;
    // Where the driver is quick, the volume has grown by now.
    cluster
        .wait_status("told growth", SOON, |status| {
            is(status, "Progressing", "True", "ResizingVolumes")
                .or_else(|_| is(status, "Ready", "True", "AllMembersReady"))
                .map(drop)
        })
        .await?;
    Ok(cluster)
}

async fn size(cluster: &Cluster) -> Result<String> {
    let claim = cluster.stage.api::<PersistentVolumeClaim>().get(&cluster.claim(0)).await?;
    let requests = claim.spec.and_then(|spec| spec.resources?.requests);
    let size = requests.and_then(|requests| Some(requests.get("storage")?.0.clone()));
    size.context("the claim asks for no storage")
}

/// The cluster's default class under another name, with or without permission to grow.
async fn copy_default_class(stage: &Stage, name: &str, expansion: Option<bool>) -> Result<()> {
    let classes = Api::<StorageClass>::all(stage.client.clone());
    if classes.get_opt(name).await?.is_some() {
        // Of a run that failed.
        classes.delete(name, &DeleteParams::default()).await?;
    }
    let default = classes.list(&ListParams::default()).await?.items.into_iter().find(|class| {
        class.annotations().get("storageclass.kubernetes.io/is-default-class").is_some_and(|is| is == "true")
    });
    let class = StorageClass {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        allow_volume_expansion: expansion,
        ..default.context("the cluster has no default StorageClass")?
    };
    classes.create(&PostParams::default(), &class).await?;
    Ok(())
}
