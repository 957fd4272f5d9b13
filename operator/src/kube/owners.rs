//! Who owns which field of an object, as server-side apply keeps it.
//!
//! A field that we no longer apply is removed by the API server only where we own it by apply. What we own by a create
//! or an update stays for ever, so that it is turned into what we own by apply, or given up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, apply::change, request};
use crate::failure::Failure;

/// The owners with what we created or updated made ours by apply; None when there is nothing of it.
pub(super) fn as_applied(metadata: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let (updates, mut owners): (Vec<_>, Vec<_>) =
        metadata.managed_fields.as_ref()?.iter().cloned().partition(is_our_update);
    let mut ours = updates.into_iter().next()?;
    ours.operation = Some("Apply".to_owned());
    if let Some(at) = owners.iter().position(|entry| is_ours(entry) && entry.operation == ours.operation) {
        let applied = owners.swap_remove(at);
        ours.fields_v1 = match (ours.fields_v1, applied.fields_v1) {
            (Some(mut some), Some(more)) => {
                unite(&mut some.0, more.0);
                Some(some)
            }
            (some, more) => some.or(more),
        };
    }
    owners.push(ours);
    Some(owners)
}

fn unite(fields: &mut Value, more: Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else { return };
    for (key, inner) in more {
        unite(fields.entry(key).or_insert_with(|| json!({})), inner);
    }
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.is_none()
}

fn is_our_update(entry: &ManagedFieldsEntry) -> bool {
    is_ours(entry) && entry.operation.as_deref() == Some("Update")
}

/// Sets the owners of this very version of the object.
pub(super) async fn write(
    api: &Api<DynamicObject>,
    live: &DynamicObject,
    owners: Vec<ManagedFieldsEntry>,
) -> Result<DynamicObject, Failure> {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {
        "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version, "managedFields": owners,
    }});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    request(
        format!("set the owners of the fields of {name}"),
        api.patch(name, &params, &Patch::Merge(&patch)),
    )
    .await
}

/// A foreign hand can change the key of a list's entry (a Service's port): the entry is theirs then, ours would come
/// beside it, and the object would be invalid with both. So the lists are first set to ours alone, then applied.
pub(super) async fn repair(
    api: &Api<DynamicObject>,
    name: &str,
    live: &DynamicObject,
    desired: &Value,
) -> Result<(), Failure> {
    let mut whole = desired.clone();
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".into(), json!(live.metadata.uid));
        metadata.insert("resourceVersion".into(), json!(live.metadata.resource_version));
        // Others may own it too; that we do is for the apply to say.
        metadata.remove("ownerReferences");
    }
    let update = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    request(format!("set the lists of {name}"), api.patch(name, &update, &Patch::Merge(&whole))).await?;
    let applied = change(api, name, live, desired, false).await?;
    // As long as we also own the fields as an update, a field that we no longer apply would stay.
    let Some(owners) = without_updates(&applied.metadata) else { return Ok(()) };
    write(api, &applied, owners).await.map(drop)
}

/// The owners of fields but for our own updates; None when there are none of those.
fn without_updates(metadata: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let all = metadata.managed_fields.as_ref()?;
    let others: Vec<_> = all.iter().filter(|entry| !is_our_update(entry)).cloned().collect();
    (others.len() < all.len()).then_some(others)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;

    use super::*;

    #[test]
    fn what_we_created_becomes_ours_by_apply() {
        let entry = |manager: &str, operation: &str, fields: Value| ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some(operation.into()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        let owned =
            |all: Vec<ManagedFieldsEntry>| ObjectMeta { managed_fields: Some(all), ..ObjectMeta::default() };
        let theirs = entry("kubectl", "Update", json!({"f:data": {"f:theirs": {}}}));
        let created = entry(FIELD_MANAGER, "Update", json!({"f:data": {".": {}, "f:a": {}}}));
        let applied = entry(FIELD_MANAGER, "Apply", json!({"f:data": {"f:b": {}}}));
        assert_eq!(as_applied(&owned(vec![theirs.clone(), applied.clone()])), None);
        assert_eq!(
            as_applied(&owned(vec![created.clone(), theirs.clone()])),
            Some(vec![
                theirs.clone(),
                entry(FIELD_MANAGER, "Apply", json!({"f:data": {".": {}, "f:a": {}}}))
            ])
        );
        assert_eq!(
            as_applied(&owned(vec![created, applied])),
            Some(vec![entry(FIELD_MANAGER, "Apply", json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}))])
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
}
