//! The rules of the CRDs, on the API server itself: each refuses what it is for and lets its neighbours pass.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const CRD: &str = "syncclusters.quartet.dev";
const FILE: &str = "synccluster.yaml";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const SOON: Duration = Duration::from_secs(30);

/// As the README has it for users without Helm; over what Helm installed, so that both ways go together.
pub(super) async fn kubectl_applies(stage: Stage) -> Result<()> {
    let paths = Paths::find()?;
    let kubectl = Kubectl::for_stage(&paths, &stage).await?;
    let said = kubectl.run().args(["apply", "-f"]).arg(paths.checkout().join("crds")).text().await?;
    ensure!(said.contains(CRD), "kubectl says: {said}");
    let crds = Api::<CustomResourceDefinition>::all(stage.client.clone());
    until("the CRD established", SOON, async || {
        let status = crds.get(CRD).await?.status.context("no status")?;
        let conditions = status.conditions.unwrap_or_default();
        let established = conditions.iter().find(|condition| condition.type_ == "Established");
        ensure!(established.is_some_and(|condition| condition.status == "True"), "{conditions:?}");
        Ok(())
    })
    .await?;
    // Helm has installed one before: what stands now must be the file's, and kubectl's.
    let text = std::fs::read_to_string(paths.checkout().join("crds").join(FILE))?;
    let file: CustomResourceDefinition = serde_norway::from_str(&text).context("read the CRD's file")?;
    let live = crds.get(CRD).await?;
    ensure!(live.annotations().contains_key(LAST_APPLIED), "kubectl has not applied it");
    holds(&serde_json::to_value(live.spec)?, &serde_json::to_value(file.spec)?, "spec")
}

/// Whether all of the file is there; the API server adds what it takes for granted.
fn holds(live: &Value, file: &Value, path: &str) -> Result<()> {
    match (live, file) {
        (Value::Object(live), Value::Object(file)) => file.iter().try_for_each(|(name, file)| {
            holds(live.get(name).unwrap_or(&Value::Null), file, &format!("{path}.{name}"))
        }),
        (Value::Array(live), Value::Array(file)) => {
            ensure!(live.len() == file.len(), "{path} has {} items, {} in the file", live.len(), file.len());
            let pairs = live.iter().zip(file).enumerate();
            pairs.into_iter().try_for_each(|(at, (live, file))| holds(live, file, &format!("{path}[{at}]")))
        }
        (live, file) => {
            ensure!(live == file, "{path} is {live}, {file} in the file");
            Ok(())
        }
    }
}

pub(super) async fn rules(stage: Stage) -> Result<()> {
    let mut refusals = String::new();
    for (spec, says) in refused_specs() {
        let said = refused(&stage, "demo", &spec).await?;
        ensure!(said.contains(says), "{spec} is refused otherwise than with \"{says}\": {said}");
        refusals.push_str(&said);
    }
    for (name, says) in refused_names() {
        let said = refused(&stage, &name, &json!({})).await?;
        ensure!(said.contains(says), "the name {name} is refused otherwise than with \"{says}\": {said}");
        refusals.push_str(&said);
    }
    for spec in accepted_specs() {
        create(&stage, &"a".repeat(40), &spec).await.with_context(|| format!("{spec} is not accepted"))?;
    }
    refusals.push_str(&changes(&stage).await?);
    let unproven: Vec<_> =
        rules_of(&stage).await?.into_iter().filter(|message| !refusals.contains(message)).collect();
    ensure!(unproven.is_empty(), "these rules refused nothing here: {unproven:#?}");
    Ok(())
}

/// Rules about a change. The resource is paused, so that nothing runs for it.
async fn changes(stage: &Stage) -> Result<String> {
    let spec = json!({"paused": true, "storage": {"size": "1Gi"}});
    Cluster::apply(stage, "plain", spec).await?;
    let spec = json!({"paused": true, "storage": {"size": "1Gi", "storageClassName": "standard"}});
    Cluster::apply(stage, "classed", spec).await?;
    let mut refusals = String::new();
    for (name, change, says) in [
        ("plain", json!({"partitions": 16}), "partitions is immutable"),
        ("plain", json!({"storage": {"size": "1000Mi"}}), "storage.size may not shrink"),
        (
            "plain",
            json!({"storage": {"storageClassName": "standard"}}),
            "storage.storageClassName is immutable",
        ),
        (
            "classed",
            json!({"storage": {"storageClassName": "fast"}}),
            "storage.storageClassName is immutable",
        ),
        ("classed", json!({"storage": {"storageClassName": null}}), "storage.storageClassName is immutable"),
        ("plain", json!({"hibernated": true}), "hibernated cannot change while paused"),
        ("plain", json!({"replicas": 4}), "replicas must be 1, 3, 5 or 7"),
    ] {
        let said = match patch(stage, name, &change).await {
            Ok(_) => bail!("the change to {change} is accepted"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(said.contains(says), "{change} is refused otherwise than with \"{says}\": {said}");
        refusals.push_str(&said);
    }
    for change in [
        json!({"storage": {"size": "1024Mi"}}),
        json!({"storage": {"size": "2Gi"}}),
        json!({"replicas": 5, "partitions": 8}),
        json!({"hibernated": true, "paused": false}),
    ] {
        patch(stage, "plain", &change).await.with_context(|| format!("{change} is not accepted"))?;
    }
    Ok(refusals)
}

fn refused_specs() -> Vec<(Value, &'static str)> {
    let mut cases = vec![
        (json!({"storage": {"size": "1Mi"}}), "storage.size must be at least 64Mi"),
        (json!({"tls": {"enabled": true}}), "tls.enabled: true is not available"),
        (json!({"queue": {"maxBytes": "1Ki"}}), "queue.maxBytes must be at least 1Mi"),
        (json!({"cache": {"maxBytes": "1Ki"}}), "cache.maxBytes must be at least 1Mi"),
        // What the schema says without a rule.
        (json!({"replicas": "three"}), "must be of type integer"),
        (json!({"deletionPolicy": "Sometimes"}), "Unsupported value"),
        (json!({"storage": {"size": "a lot"}}), "spec.storage.size"),
    ];
    for replicas in [-1, 0, 2, 4, 6, 8] {
        cases.push((json!({"replicas": replicas}), "replicas must be 1, 3, 5 or 7"));
    }
    for partitions in [-8, 0, 65] {
        cases.push((json!({"partitions": partitions}), "partitions must be between 1 and 64"));
    }
    for deliveries in [0, 1001] {
        let spec = json!({"queue": {"maxDeliveries": deliveries}});
        cases.push((spec, "queue.maxDeliveries must be between 1 and 1000"));
    }
    for (field, inner, values, says) in [
        (
            "queue",
            "visibilityTimeout",
            ["500ms", "13h"],
            "queue.visibilityTimeout must be between 1s and 12h",
        ),
        ("cache", "leaseDuration", ["99ms", "2m"], "cache.leaseDuration must be between 100ms and 1m"),
        ("lock", "defaultTtl", ["999ms", "25h"], "lock.defaultTtl must be between 1s and 24h"),
    ] {
        cases.extend(values.map(|value| (json!({field: {inner: value}}), says)));
    }
    cases
}

fn refused_names() -> Vec<(String, &'static str)> {
    let label = "metadata.name must be a DNS label";
    vec![
        ("a".repeat(41), "metadata.name must have at most 40 characters"),
        ("2demo".to_owned(), label),
        ("a.b".to_owned(), label),
    ]
}

fn accepted_specs() -> Vec<Value> {
    let mut specs: Vec<_> = [1, 3, 5, 7].map(|replicas| json!({"replicas": replicas})).into();
    specs.extend([1, 64].map(|partitions| json!({"partitions": partitions})));
    specs.extend([
        json!({"storage": {"size": "64Mi"}, "tls": {"enabled": false}}),
        json!({"queue": {"visibilityTimeout": "12h", "maxDeliveries": 1000, "maxBytes": "1Mi"}}),
        json!({"cache": {"leaseDuration": "100ms", "maxBytes": "1Mi"}, "lock": {"defaultTtl": "24h"}}),
    ]);
    specs
}

/// Nothing is stored: the API server only judges.
async fn create(stage: &Stage, name: &str, spec: &Value) -> Result<DynamicObject> {
    let object = serde_json::from_value(json!({
        "apiVersion": "quartet.dev/v1alpha1", "kind": "SyncCluster", "metadata": {"name": name}, "spec": spec,
    }))?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    Ok(stage.resources("SyncCluster").create(&parameters, &object).await?)
}

async fn patch(stage: &Stage, name: &str, spec: &Value) -> Result<DynamicObject> {
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": spec}));
    Ok(stage.resources("SyncCluster").patch(name, &parameters, &patch).await?)
}

async fn refused(stage: &Stage, name: &str, spec: &Value) -> Result<String> {
    match create(stage, name, spec).await {
        Ok(_) => bail!("{name} with {spec} is accepted"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// The messages of all rules that the API server has of the kind.
async fn rules_of(stage: &Stage) -> Result<BTreeSet<String>> {
    let crd = Api::<CustomResourceDefinition>::all(stage.client.clone()).get(CRD).await?;
    let mut messages = BTreeSet::new();
    collect(&serde_json::to_value(crd.spec)?, &mut messages);
    ensure!(messages.len() >= 14, "the CRD on the API server has too few rules: {messages:#?}");
    Ok(messages)
}

fn collect(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == "x-kubernetes-validations" {
                    let rules = inner.as_array().into_iter().flatten();
                    messages.extend(rules.filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
                } else {
                    collect(inner, messages);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        _ => {}
    }
}
