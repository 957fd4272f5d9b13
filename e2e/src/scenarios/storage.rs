//! Volumes that are to grow: refused where their class does not allow it, asked for where it does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use quartet_crds::galera_cluster::GaleraCluster;
use quartet_crds::sync_cluster::SyncCluster;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::subject::{Kind, Subject, is};
use crate::wait::until;

const GONE: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
/// What a scenario that makes several things at once needs beyond the time that is promised.
const BUSY: Duration = Duration::from_secs(30);

/// Of a volume, before and after.
#[derive(Clone, Copy)]
struct Sizes {
    small: &'static str,
    large: &'static str,
}

pub(super) async fn of_sync_cluster(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 1, "partitions": 1});
    growth::<SyncCluster>(stage, spec, Sizes { small: "64Mi", large: "128Mi" }).await
}

pub(super) async fn of_galera_cluster(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 1, "proxy": {"replicas": 1}});
    growth::<GaleraCluster>(stage, spec, Sizes { small: "1Gi", large: "2Gi" }).await
}

async fn growth<K: Kind>(stage: Stage, spec: Value, sizes: Sizes) -> Result<()> {
    // Classes are everybody's: each scenario has its own.
    let class = |what: &str| format!("{}-{what}", stage.namespace);
    let (rigid, elastic) = (class("rigid"), class("elastic"));
    copy_default_class(&stage, &rigid, None).await?;
    copy_default_class(&stage, &elastic, Some(true)).await?;
    let on = |class: &str| {
        let mut spec = spec.clone();
        spec["storage"] = json!({"size": sizes.small, "storageClassName": class});
        spec["deletionPolicy"] = json!("Delete");
        spec
    };
    let (refused, growing) =
        tokio::try_join!(refused::<K>(&stage, on(&rigid), sizes), grown::<K>(&stage, on(&elastic), sizes))?;
    for subject in [refused, growing] {
        subject.delete(GONE).await?;
    }
    for class in [rigid, elastic] {
        Api::<StorageClass>::all(stage.client.clone()).delete(&class, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn refused<K: Kind>(stage: &Stage, spec: Value, sizes: Sizes) -> Result<Subject<K>> {
    let ready = K::READY_DEADLINE + BUSY;
    let subject = Subject::make_within(stage, "fixed", spec, ready).await?;
    subject.change(json!({"storage": {"size": sizes.large}})).await?;
    let accepted = subject.condition("Accepted", "False", "StorageNotExpandable", SOON).await?;
    ensure!(accepted.message.contains("spec.storage.size"), "names no field: {}", accepted.message);
    ensure!(size(&subject).await? == sizes.small, "the claim was changed");
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
    subject.change(json!({"storage": {"size": sizes.small}})).await.context("set the size back")?;
    subject.ready(ready).await?;
    Ok(subject)
}

async fn grown<K: Kind>(stage: &Stage, spec: Value, sizes: Sizes) -> Result<Subject<K>> {
    let subject = Subject::make_within(stage, "grows", spec, K::READY_DEADLINE + BUSY).await?;
    subject.change(json!({"storage": {"size": sizes.large}})).await?;
    until("a claim that asks for more", SOON, async || {
        let size = size(&subject).await?;
        ensure!(size == sizes.large, "it asks for {size}");
        Ok(())
    })
    .await?;
    subject.condition("Accepted", "True", "SpecAccepted", SOON).await?;
    // Where the driver is quick, the volume has grown by now.
    subject
        .wait_status("told growth", SOON, |status| {
            is(status, "Progressing", "True", "ResizingVolumes")
                .or_else(|_| is(status, "Ready", "True", "AllMembersReady"))
                .map(drop)
        })
        .await?;
    Ok(subject)
}

async fn size<K: Kind>(subject: &Subject<K>) -> Result<String> {
    let claim = subject.stage.api::<PersistentVolumeClaim>().get(&subject.claim(0)).await?;
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
