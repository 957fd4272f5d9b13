//! Patches of the status.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Map, Value, json};

use super::{Context, FIELD_MANAGER, request};
use crate::failure::Failure;

/// Merges a patch into the status of the very version that was observed; any other version refuses it.
pub async fn patch(
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
        return (!is_same(old, new)).then(|| new.clone());
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

/// The API server gives a number back as it likes to write it: `0` for `0.0`.
fn is_same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) => {
            old == new || ((old.is_f64() || new.is_f64()) && old.as_f64() == new.as_f64())
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            let same = |(key, old): (&String, &Value)| new.get(key).is_some_and(|new| is_same(old, new));
            old.len() == new.len() && old.iter().all(same)
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_status_is_not_written_again() {
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}], "replicas": 3});
        assert_eq!(merge_patch(&status, &status), None);
    }

    #[test]
    fn a_number_written_in_another_way_is_the_same() {
        let old = json!({"members": [{"paused": 0, "seqno": 7}], "load": 1});
        let new = json!({"members": [{"paused": 0.0, "seqno": 7}], "load": 1.0});
        assert_eq!(merge_patch(&old, &new), None);
        let more = json!({"members": [{"paused": 0.25, "seqno": 7}], "load": 1});
        assert_eq!(merge_patch(&old, &more), Some(json!({"members": [{"paused": 0.25, "seqno": 7}]})));
        // Of whole numbers each counts, however large.
        let (large, next) = (json!({"seqno": u64::MAX - 1}), json!({"seqno": u64::MAX}));
        assert_eq!(merge_patch(&large, &next), Some(next.clone()));
        for (old, new) in [(json!([1, 2]), json!([1])), (json!([{"a": 1}]), json!([{"a": 1, "b": 2}]))] {
            assert_eq!(merge_patch(&old, &new), Some(new.clone()));
        }
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
