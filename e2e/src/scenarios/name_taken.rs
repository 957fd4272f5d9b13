//! Objects of the user's that have the names of children.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use serde_json::json;

use crate::objects;
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::{throughout, until};

const SOON: Duration = Duration::from_secs(30);
/// Nothing tells the operator that a stranger's object is gone: it looks again every 30 s.
const READY: Duration = Duration::from_secs(90);
const STILL: Duration = Duration::from_secs(5);
const OPERATOR: &str = "quartet-operator";

/// All children but the headless Service, which is to show that the rest goes on.
const THEIRS: &str = r#"
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-settings"}, "data": {"mine": "yes"}}
---
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo-admin"}, "data": {"token": "bWluZQ=="}}
---
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo"}, "spec": {"ports": [{"port": 80}]}}
---
{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "demo"},
 "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "mine"}}}}
---
{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "demo"},
 "spec": {"podSelector": {"matchLabels": {"app": "mine"}}}}
---
{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "demo"}, "spec": {
 "replicas": 0, "serviceName": "demo", "selector": {"matchLabels": {"app": "mine"}},
 "template": {"metadata": {"labels": {"app": "mine"}}, "spec": {"containers": [{"name": "mine", "image": "mine"}]}}}}
"#;

pub(super) async fn left_alone(stage: Stage) -> Result<()> {
    let theirs = stage.apply(THEIRS).await?;
    let spec = json!({"replicas": 3, "partitions": 2, "storage": {"size": "64Mi"}});
    let cluster = Cluster::apply(&stage, "demo", spec).await?;
    let degraded = cluster.condition("Degraded", "True", "NameTaken", SOON).await?;
    ensure!(degraded.message.contains("is not ours"), "{}", degraded.message);
    cluster.condition("Ready", "False", "NameTaken", SOON).await?;
    until("an event about each", SOON, async || {
        let told = events(&stage).await?;
        for object in &theirs {
            let title = objects::title(object);
            ensure!(told.iter().any(|note| note.contains(&title)), "none about {title}: {told:?}");
        }
        Ok(())
    })
    .await?;
    until("the headless Service, whose name is free", SOON, async || {
        stage.api::<Service>().get("demo-members").await.map(drop).context("the rest does not go on")
    })
    .await?;
    throughout("their objects as they were", STILL, async || untouched(&stage, &theirs).await).await?;

    for object in &theirs {
        let api = objects::api_of(&stage.client, object, &stage.namespace).await?;
        api.delete(&object.name_any(), &DeleteParams::default()).await?;
    }
    cluster.ready(READY).await.context("once the names are free")?;
    Ok(())
}

async fn events(stage: &Stage) -> Result<Vec<String>> {
    let events = stage.api::<Event>().list(&ListParams::default()).await?.items;
    let taken = events.into_iter().filter(|event| event.reason.as_deref() == Some("NameTaken"));
    Ok(taken.filter_map(|event| event.note).collect())
}

/// Same object, same content, and no field of it was ever written by the operator.
async fn untouched(stage: &Stage, theirs: &[DynamicObject]) -> Result<()> {
    for before in theirs {
        let title = objects::title(before);
        let api = objects::api_of(&stage.client, before, &stage.namespace).await?;
        let live = api.get(&before.name_any()).await?;
        let writers: Vec<_> =
            live.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
        ensure!(!writers.contains(&OPERATOR), "{title} was written by {writers:?}");
        let content = |object: &DynamicObject| {
            (
                object.uid(),
                object.labels().clone(),
                object.owner_references().to_vec(),
                object.data["spec"].clone(),
                object.data["data"].clone(),
            )
        };
        ensure!(content(&live) == content(before), "{title} has changed");
    }
    Ok(())
}
