//! Writes: server-side apply of what differs, guarded deletes, patches of the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::ApiResource,
};
use serde_json::{Map, Value, json};

use super::{Context, FIELD_MANAGER, differ, request, request_optional, store};
use crate::{
    failure::{Class, Failure},
    plan::{Child, Deletion},
};

/// Hash of all that we last applied: when it changes, a field may have to be removed.
const APPLIED: &str = "quartet.dev/applied";
/// Our owner's UID once more: a foreign hand that strips the owner reference doesn't make the object a stranger.
const OWNER: &str = "quartet.dev/owner-uid";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Unchanged,
    Written,
    /// The name belongs to an object that isn't ours; it was not touched.
    Taken,
}

/// Whose is the object that has a child's name?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody's: there is none.
    Free,
    Ours,
    /// Ours, and already on its way out: wait until it is gone.
    Leaving,
    Taken,
    /// An existing object was meant, and this is not it any more.
    Replaced,
}

pub fn claim(live: Option<&ObjectMeta>, owner_uid: &str, existing: Option<&str>) -> Claim {
    let Some(live) = live else { return if existing.is_some() { Claim::Replaced } else { Claim::Free } };
    let ours = match existing {
        Some(uid) if live.uid.as_deref() != Some(uid) => return Claim::Replaced,
        Some(_) => true,
        None => is_owned(live, owner_uid),
    };
    match (ours, live.deletion_timestamp.is_some()) {
        (false, _) => Claim::Taken,
        (true, true) => Claim::Leaving,
        (true, false) => Claim::Ours,
    }
}

pub fn is_owned(live: &ObjectMeta, owner_uid: &str) -> bool {
    let annotated =
        live.annotations.as_ref().and_then(|all| all.get(OWNER)).is_some_and(|uid| uid == owner_uid);
    is_referenced(live, owner_uid) || annotated
}

pub fn is_referenced(live: &ObjectMeta, owner_uid: &str) -> bool {
    live.owner_references.iter().flatten().any(|reference| reference.uid == owner_uid)
}

pub fn owner_annotation(uid: &str) -> (String, String) {
    (OWNER.to_owned(), uid.to_owned())
}

/// Applies a child if it is ours and differs from the live one in a field that we set.
pub async fn apply(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    child: &Child,
) -> Result<Applied, Failure> {
    let kind = child.object.kind();
    let name = child.name();
    let what = format!("apply {kind} {name}");
    let resource = store::api_resource(kind);
    let live = store::raw(ctx, &resource, namespace, name).await?;
    let force = match claim(live.as_ref().map(|live| &live.metadata), &owner.uid, child.existing.as_deref()) {
        // Not by force: should the name be taken in this very moment, the fields of the other stay as they are.
        Claim::Free => false,
        Claim::Ours => true,
        Claim::Taken => return Ok(Applied::Taken),
        Claim::Leaving => return Ok(Applied::Unchanged),
        Claim::Replaced => {
            return Err(Failure::new(Class::Conflict, format!("{what}: another object by now")));
        }
    };
    let object =
        child.object.to_value().map_err(|error| Failure::caused(Class::Invalid, what.clone(), error))?;
    let desired = complete(object, owner, namespace, child.existing.as_deref());
    if let Some(live) = &live {
        let live = serde_json::to_value(live)
            .map_err(|error| Failure::caused(Class::Invalid, what.clone(), error))?;
        match differ::difference(&desired, &live) {
            None => return Ok(Applied::Unchanged),
            Some(field) => tracing::info!(%kind, name, namespace, field, "the live object differs"),
        }
    } else {
        tracing::info!(%kind, name, namespace, "missing");
    }
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, &resource);
    let params = PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) };
    let applied = request(what, api.patch(name, &params, &Patch::Apply(&desired))).await;
    match (applied, live) {
        (Err(refused), Some(live)) if refused.class == Class::Invalid => {
            repair(&api, name, &live, &desired).await.map_err(|_| refused)?;
        }
        (applied, _) => drop(applied?),
    }
    Ok(Applied::Written)
}

/// A foreign hand can change the key of a list's entry (a Service's port): the entry is theirs then, ours would come
/// beside it, and the object would be invalid with both. So the lists are first set to ours alone, then applied.
async fn repair(
    api: &Api<DynamicObject>,
    name: &str,
    live: &DynamicObject,
    desired: &Value,
) -> Result<(), Failure> {
    let mut whole = desired.clone();
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".into(), json!(live.metadata.uid));
        metadata.insert("resourceVersion".into(), json!(live.metadata.resource_version));
    }
    let update = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let what = |step| format!("{step} {name}");
    request(what("set the lists of"), api.patch(name, &update, &Patch::Merge(&whole))).await?;
    let force = PatchParams::apply(FIELD_MANAGER).force();
    let applied = request(what("apply"), api.patch(name, &force, &Patch::Apply(desired))).await?;
    // As long as we also own the fields as an update, a field that we no longer apply would stay.
    let Some(owners) = without_updates(&applied.metadata) else { return Ok(()) };
    let strip = json!({"metadata": {
        "uid": applied.metadata.uid, "resourceVersion": applied.metadata.resource_version, "managedFields": owners,
    }});
    request(what("give up the updated fields of"), api.patch(name, &update, &Patch::Merge(&strip)))
        .await
        .map(drop)
}

/// The owners of fields but for our own updates; None when there are none of those.
fn without_updates(metadata: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let all = metadata.managed_fields.as_ref()?;
    let is_update = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Update")
            && entry.subresource.is_none()
    };
    let others: Vec<_> = all.iter().filter(|entry| !is_update(entry)).cloned().collect();
    (others.len() < all.len()).then_some(others)
}

/// What the frame adds to every child.
fn complete(mut object: Value, owner: &OwnerReference, namespace: &str, existing: Option<&str>) -> Value {
    let hash = differ::hash(&object);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    metadata.insert("namespace".into(), json!(namespace));
    if let Some(uid) = existing {
        // A precondition of the apply: never another object of this name, and never a new one.
        metadata.insert("uid".into(), json!(uid));
    } else {
        metadata.insert("ownerReferences".into(), json!([owner]));
    }
    if let Some(annotations) = metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut() {
        annotations.insert(APPLIED.into(), json!(hash));
        if existing.is_none() {
            annotations.insert(OWNER.into(), json!(owner.uid));
        }
    }
    object
}

/// Deletes this very object in this very version. One that is gone is as good as deleted.
pub async fn delete(ctx: &Context, namespace: &str, deletion: &Deletion) -> Result<(), Failure> {
    let resource = store::api_resource(deletion.kind);
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, &resource);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(deletion.uid.clone()),
            resource_version: Some(deletion.resource_version.clone()),
        }),
        ..DeleteParams::background()
    };
    let what = format!("delete {} {}", deletion.kind, deletion.name);
    request_optional(what, api.delete(&deletion.name, &params)).await.map(|_| ())
}

/// Merges a patch into the status of the very version that was observed; any other version refuses it.
pub async fn patch_status(
    ctx: &Context,
    resource: &ApiResource,
    observed: &DynamicObject,
    status: Value,
) -> Result<DynamicObject, Failure> {
    let name = observed.metadata.name.as_deref().unwrap_or_default();
    let namespace = observed.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, resource);
    let patch = json!({
        "metadata": {"uid": observed.metadata.uid, "resourceVersion": observed.metadata.resource_version},
        "status": status,
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let what = format!("write the status of {} {name}", resource.kind);
    request(what, api.patch_status(name, &params, &Patch::Merge(&patch))).await
}

/// The JSON merge patch (RFC 7396) that turns `old` into `new`; None when they are the same.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    fn owner() -> OwnerReference {
        OwnerReference { uid: "owner".into(), name: "demo".into(), ..OwnerReference::default() }
    }

    fn owned_by(uid: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some("child".into()),
            owner_references: Some(vec![OwnerReference { uid: uid.into(), ..OwnerReference::default() }]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_with_a_childs_name_and_another_owner_is_taken() {
        assert_eq!(claim(None, "owner", None), Claim::Free);
        assert_eq!(claim(Some(&owned_by("owner")), "owner", None), Claim::Ours);
        assert_eq!(claim(Some(&owned_by("another")), "owner", None), Claim::Taken);
        assert_eq!(claim(Some(&ObjectMeta::default()), "owner", None), Claim::Taken);
    }

    #[test]
    fn a_stripped_owner_reference_makes_no_stranger_of_a_child() {
        let annotations = [(OWNER.to_owned(), "owner".to_owned())].into();
        let live = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        assert_eq!(claim(Some(&live), "owner", None), Claim::Ours);
        assert_eq!(claim(Some(&live), "the next of this name", None), Claim::Taken);
    }

    #[test]
    fn a_child_on_its_way_out_is_waited_for() {
        let mut live = owned_by("owner");
        live.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(claim(Some(&live), "owner", None), Claim::Leaving);
    }

    #[test]
    fn an_existing_object_is_changed_only_while_it_is_that_object() {
        let live = owned_by("the StatefulSet, or nobody");
        assert_eq!(claim(Some(&live), "owner", Some("child")), Claim::Ours);
        assert_eq!(claim(Some(&live), "owner", Some("the one before")), Claim::Replaced);
        assert_eq!(claim(None, "owner", Some("child")), Claim::Replaced);
    }

    #[test]
    fn a_desired_child_is_no_different_from_itself_applied() {
        let object = ConfigMap {
            metadata: ObjectMeta { name: Some("demo".into()), ..ObjectMeta::default() },
            data: Some([("a".to_owned(), "b".to_owned())].into()),
            ..ConfigMap::default()
        };
        let value = |object: &ConfigMap| serde_json::to_value(object).unwrap();
        let applied = complete(value(&object), &owner(), "default", None);
        assert_eq!(differ::difference(&applied, &applied), None);
        assert_eq!(applied.pointer("/metadata/ownerReferences/0/uid"), Some(&json!("owner")));

        // A removed field shows in the hash alone.
        let less = ConfigMap { data: None, ..object };
        let next = complete(value(&less), &owner(), "default", None);
        assert_eq!(
            differ::difference(&next, &applied),
            Some("metadata.annotations.quartet.dev/applied".into())
        );
    }

    #[test]
    fn only_our_own_updates_are_given_up() {
        let entry = |manager: &str, operation: &str, subresource: Option<&str>| ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some(operation.into()),
            subresource: subresource.map(str::to_owned),
            ..ManagedFieldsEntry::default()
        };
        let (apply, theirs) = (entry(FIELD_MANAGER, "Apply", None), entry("kubectl", "Update", None));
        let status = entry(FIELD_MANAGER, "Update", Some("status"));
        let owned = |all: &[&ManagedFieldsEntry]| ObjectMeta {
            managed_fields: Some(all.iter().copied().cloned().collect()),
            ..ObjectMeta::default()
        };
        let update = entry(FIELD_MANAGER, "Update", None);
        let others = without_updates(&owned(&[&apply, &update, &theirs, &status]));
        assert_eq!(others, Some(vec![apply.clone(), theirs.clone(), status.clone()]));
        assert_eq!(without_updates(&owned(&[&apply, &theirs, &status])), None);
    }

    #[test]
    fn the_same_status_is_not_written_again() {
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}], "replicas": 3});
        assert_eq!(merge_patch(&status, &status), None);
    }

    #[test]
    fn a_merge_patch_changes_and_removes() {
        let old = json!({"a": 1, "gone": {"x": 1}, "deep": {"same": 1, "other": 2}, "list": [1, 2]});
        let new = json!({"a": 1, "deep": {"same": 1, "other": 3}, "list": [1], "new": true});
        assert_eq!(
            merge_patch(&old, &new),
            Some(json!({"gone": null, "deep": {"other": 3}, "list": [1], "new": true}))
        );
    }
}
