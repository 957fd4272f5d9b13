//! Kubernetes objects of any kind: applied from YAML, waited for, told apart by name.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wait::until;

/// The one field manager of the tests.
pub const MANAGER: &str = "quartet-e2e";

/// Server-side applies every document of the text; objects without a namespace get this one.
pub async fn apply(client: &Client, namespace: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut applied = Vec::new();
    for object in documents(yaml)? {
        applied.push(apply_one(client, namespace, object).await?);
    }
    Ok(applied)
}

pub fn documents(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in serde_norway::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document).context("read YAML")?;
        if !value.is_null() {
            objects.push(
                serde_json::from_value(value).context("an object needs apiVersion, kind and metadata")?,
            );
        }
    }
    Ok(objects)
}

async fn apply_one(client: &Client, namespace: &str, object: DynamicObject) -> Result<DynamicObject> {
    let api = api_of(client, &object, namespace).await?;
    let parameters = PatchParams::apply(MANAGER).force();
    let title = title(&object);
    api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("apply {title}"))
}

/// The API of an object's kind, in its own namespace or else in the given one.
pub async fn api_of(client: &Client, object: &DynamicObject, namespace: &str) -> Result<Api<DynamicObject>> {
    let types = object.types.as_ref().context("an object without apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("the API server knows no {}", kind.kind))?;
    Ok(match capabilities.scope {
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
        discovery::Scope::Namespaced => {
            let own = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &own, &resource)
        }
    })
}

/// Waits for the condition Ready of the object's current generation; objects without conditions are ready at once.
pub async fn wait_ready(client: &Client, object: &DynamicObject, deadline: Duration) -> Result<()> {
    if !is_ours(object) {
        return Ok(());
    }
    let api = api_of(client, object, "default").await?;
    let name = object.name_any();
    until(&format!("{} Ready", title(object)), deadline, async || {
        let live = api.get(&name).await?;
        ready(&live)
    })
    .await
}

/// An error tells what the conditions say instead.
pub fn ready(object: &DynamicObject) -> Result<()> {
    let Some(ready) = condition(object, "Ready") else { bail!("no condition Ready yet") };
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    if ready["observedGeneration"].as_i64() < object.metadata.generation {
        return Err(anyhow!("Ready speaks of an older generation"));
    }
    if text("status") == "True" {
        return Ok(());
    }
    Err(anyhow!("Ready={} {}: {}", text("status"), text("reason"), text("message")))
}

pub fn condition<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

fn is_ours(object: &DynamicObject) -> bool {
    object.types.as_ref().is_some_and(|types| types.api_version.starts_with("quartet.dev/"))
}

/// `SyncCluster demo`, for messages.
pub fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind} {}", object.name_any())
}

/// A namespace under the restricted pod security standard.
pub async fn ensure_namespace(client: &Client, name: &str, labels: &[(&str, &str)]) -> Result<()> {
    let mut all = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    for (label, value) in labels {
        all[*label] = json!(value);
    }
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}});
    let api = Api::<Namespace>::all(client.clone());
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("namespace {name}"))?;
    Ok(())
}

/// The resource of one of our kinds, without discovery.
pub fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("quartet.dev", "v1alpha1", kind))
}
