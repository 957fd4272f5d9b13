//! A foreign hand on what the operator owns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use quartet_client::admin::AdminError;
use serde_json::{Value, json};

use super::witness::Witness;
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, volumes};
use crate::wait::until;

const READY: Duration = Duration::from_secs(90);
/// The promise.
const BACK: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_mins(30);
/// Until Kubernetes has put a new token into the running pods.
const TOKEN: Duration = Duration::from_secs(150);

struct Child {
    kind: &'static str,
    api: Api<DynamicObject>,
    name: String,
    /// Merge patches, each of which damages the object in another way.
    edits: Vec<Value>,
}

fn children(stage: &Stage, cluster: &str) -> Vec<Child> {
    let stripped = || json!({"metadata": {"labels": null, "ownerReferences": null}});
    let child = |group, kind, plural: &str, name: String, edits: Vec<Value>| {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
        let api = Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
        Child { kind, api, name, edits: edits.into_iter().chain([stripped()]).collect() }
    };
    let container = json!([{"name": "sync", "image": "theirs", "args": ["sleep"]}]);
    vec![
        child(
            "",
            "Service",
            "services",
            cluster.to_owned(),
            vec![
                json!({"spec": {"selector": {"app.kubernetes.io/instance": "another"}}}),
                json!({"spec": {"ports": [{"name": "http", "port": 9999, "targetPort": 9999}]}}),
                json!({"spec": {"ports": [{"name": "http", "port": 8100, "targetPort": 8199}]}}),
            ],
        ),
        child(
            "",
            "Service",
            "services",
            format!("{cluster}-members"),
            vec![json!({"spec": {"publishNotReadyAddresses": false}})],
        ),
        child(
            "",
            "ConfigMap",
            "configmaps",
            format!("{cluster}-settings"),
            vec![json!({"data": {"QUARTET_LOCK_DEFAULT_TTL": "1s"}}), json!({"data": null})],
        ),
        child(
            "policy",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            cluster.to_owned(),
            vec![json!({"spec": {"minAvailable": 0}})],
        ),
        child(
            "networking.k8s.io",
            "NetworkPolicy",
            "networkpolicies",
            cluster.to_owned(),
            vec![json!({"spec": {"ingress": [{}]}}), json!({"spec": {"podSelector": {"matchLabels": null}}})],
        ),
        child(
            "apps",
            "StatefulSet",
            "statefulsets",
            cluster.to_owned(),
            vec![
                json!({"spec": {"replicas": 5}}),
                json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}}),
                json!({"spec": {"template": {"spec": {"containers": container}}}}),
            ],
        ),
    ]
}

pub(super) async fn put_back(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 3, "partitions": 2, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "demo", spec, READY).await?;
    let witness = Witness::take(&cluster, TTL).await?;
    let (claims, members) = (cluster.claims().await?, volumes(&cluster.status().await?));
    let mut longest = Duration::ZERO;
    for child in children(&stage, "demo") {
        for edit in &child.edits {
            longest = longest.max(edited(&child, edit).await?);
        }
        longest = longest.max(deleted(&child, &DeleteParams::default()).await?);
    }
    longest = longest.max(accepted_specs(&stage).await?);
    cluster.ready(READY).await.context("after each child was edited and deleted")?;

    // Its pods stay and are taken over, or go with it, or are scaled away: their volumes are the user's.
    let sets = children(&stage, "demo").pop().context("the StatefulSet")?;
    longest = longest.max(deleted(&sets, &DeleteParams::orphan()).await?);
    cluster.ready(READY).await.context("after the StatefulSet was deleted without its pods")?;
    longest = longest.max(edited(&sets, &json!({"spec": {"replicas": 0}})).await?);
    cluster.ready(READY).await.context("after the StatefulSet was scaled to none")?;
    println!("    put back after {:.1} s at most", longest.as_secs_f64());

    // The foreign scaling to five has left two more, of members that never were: what became of them is the user's to say.
    let left = cluster.claims().await?;
    let lost: Vec<_> = claims.iter().filter(|(name, uid)| left.get(*name) != Some(uid)).collect();
    ensure!(lost.is_empty(), "volumes were lost: {lost:?}");
    let now = volumes(&cluster.ready(READY).await?);
    ensure!(now == members, "members {members:?} are {now:?} now");
    witness.holds_after_rest(&cluster).await
}

/// Waits until the object is as it was; how long that took.
async fn edited(child: &Child, edit: &Value) -> Result<Duration> {
    let what = format!("{} {} put back after {edit}", child.kind, child.name);
    let before = child.api.get(&child.name).await?;
    let patch = PatchParams { field_manager: Some("foreign-hand".to_owned()), ..PatchParams::default() };
    let edited = child.api.patch(&child.name, &patch, &Patch::Merge(edit)).await.context(what.clone())?;
    ensure!(content(&edited) != content(&before), "{edit} changes nothing of {} {}", child.kind, child.name);
    let started = Instant::now();
    until(&what, BACK, async || {
        let live = child.api.get(&child.name).await?;
        ensure!(live.uid() == before.uid(), "another object");
        ensure!(content(&live) == content(&before), "{}", differences(&content(&before), &content(&live)));
        Ok(())
    })
    .await?;
    Ok(started.elapsed())
}

/// Waits until another object of that content is there; how long that took.
async fn deleted(child: &Child, how: &DeleteParams) -> Result<Duration> {
    let before = child.api.get(&child.name).await?;
    child.api.delete(&child.name, how).await?;
    let started = Instant::now();
    until(&format!("{} {} made again", child.kind, child.name), BACK, async || {
        let live = child.api.get(&child.name).await?;
        ensure!(live.uid() != before.uid(), "still the one that is being deleted");
        let (was, is) = (stable(content(&before)), stable(content(&live)));
        ensure!(is == was, "{}", differences(&was, &is));
        Ok(())
    })
    .await?;
    Ok(started.elapsed())
}

/// The revision that keeps the accepted spec: without it a bad spec would stop healing.
async fn accepted_specs(stage: &Stage) -> Result<Duration> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "ControllerRevision"));
    let api = Api::<DynamicObject>::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let kept = async || -> Result<DynamicObject> {
        let all = api.list(&ListParams::default()).await?.items;
        let ours = all.into_iter().find(|revision| revision.name_any().starts_with("demo-accepted-"));
        ours.context("no accepted spec is kept")
    };
    let before = kept().await?;
    let mut longest = Duration::ZERO;
    let name = before.name_any();
    for edit in [json!({"metadata": {"labels": null}}), json!({"metadata": {"ownerReferences": null}})] {
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
    }
    let started = Instant::now();
    until("the accepted spec with its labels and owner", BACK, async || {
        let live = kept().await?;
        ensure!(live.labels() == before.labels(), "labels {:?}", live.labels());
        ensure!(live.owner_references() == before.owner_references(), "owners {:?}", live.owner_references());
        Ok(())
    })
    .await?;
    longest = longest.max(started.elapsed());
    let uid = kept().await?.uid();
    api.delete(&name, &DeleteParams::default()).await?;
    let started = Instant::now();
    until("the accepted spec kept again", BACK, async || {
        let live = kept().await?;
        ensure!(live.uid() != uid, "still the one that was deleted");
        ensure!(live.data["data"] == before.data["data"], "another spec");
        Ok(())
    })
    .await?;
    Ok(longest.max(started.elapsed()))
}

/// The token's Secret: members learn a new one from their mounted file, and nothing restarts.
pub(super) async fn token(stage: Stage) -> Result<()> {
    let spec = json!({"replicas": 1, "partitions": 1, "storage": {"size": "64Mi"}});
    let cluster = Cluster::make_within(&stage, "demo", spec, READY).await?;
    let secrets = stage.api::<Secret>();
    let before = secrets.get("demo-admin").await?;
    let (lost, pod) = (cluster.token().await?, cluster.target(0).await?);
    cluster.report(0).await.context("with the token of before")?;
    secrets.delete("demo-admin", &DeleteParams::default()).await?;
    let made = until("another token", BACK, async || {
        let live = secrets.get("demo-admin").await?;
        ensure!(live.uid() != before.uid(), "the Secret is the same");
        ensure!(live.data != before.data, "the token is the same");
        Ok(live)
    })
    .await?;
    for edit in [json!({"data": null}), json!({"metadata": {"labels": null, "ownerReferences": null}})] {
        let edited = secrets.patch("demo-admin", &PatchParams::default(), &Patch::Merge(&edit)).await?;
        let damaged = edited.data.is_none() || edited.owner_references().is_empty();
        ensure!(damaged, "{edit} changes nothing");
        until("the Secret put back", BACK, async || {
            let live = secrets.get("demo-admin").await?;
            let token = live.data.as_ref().and_then(|data| data.get("token"));
            ensure!(token.is_some_and(|token| token.0.len() >= 32), "no token");
            ensure!(live.labels() == made.labels(), "labels {:?}", live.labels());
            ensure!(live.owner_references() == made.owner_references(), "no owner");
            Ok(())
        })
        .await?;
    }
    // Ready may be of before: the member itself tells which token it takes, and that it takes no other.
    until("the new token in force", TOKEN, async || {
        cluster.report(0).await.map(drop).context("the member does not take it yet")
    })
    .await?;
    let refused =
        cluster.report_with(0, &lost).await.err().context("the token that was lost is still taken")?;
    let refused = refused.downcast::<AdminError>()?;
    ensure!(matches!(refused, AdminError::Refused { status: 403, .. }), "{refused:?}");
    cluster.ready(READY).await.context("with another token")?;
    ensure!(cluster.target(0).await? == pod, "a new token restarts members");
    Ok(())
}

/// All that somebody meant, without what the API server and other controllers keep in it.
fn content(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
    }
    json!({
        "labels": object.labels(), "annotations": object.annotations(),
        "owners": object.owner_references(), "rest": data,
    })
}

/// Without what another object of the same content has of its own.
fn stable(mut content: Value) -> Value {
    if let Some(spec) = content["rest"]["spec"].as_object_mut() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    content
}

fn differences(was: &Value, is: &Value) -> String {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let names: std::collections::BTreeSet<_> = was.keys().chain(is.keys()).collect();
            let differ = names.into_iter().filter(|name| was.get(*name) != is.get(*name));
            let told = differ.map(|name| {
                let part = |all: &serde_json::Map<_, _>| all.get(name).cloned().unwrap_or_default();
                format!("{name}.{}", differences(&part(was), &part(is)))
            });
            told.collect::<Vec<_>>().join(", ")
        }
        (was, is) => format!(" is {is}, was {was}"),
    }
}
