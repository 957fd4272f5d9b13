//! Does the live object still say what we want it to say?
//!
//! What we want is a subset of what is there: the API server adds defaults, other controllers add fields of their
//! own. So the desired object is walked and every field of it looked up in the live one. A field that we no longer
//! want is found otherwise: the hash of all that we last applied is an annotation of the object, and when it
//! changes, server-side apply itself removes what we own and no longer name.

use std::cmp::Ordering;

use quartet_crds::quantity;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Lists that Kubernetes merges by key, and their keys. All other lists are compared position by position.
const KEYED_LISTS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("imagePullSecrets", &["name"]),
    ("ports", &["containerPort", "port", "protocol"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("ownerReferences", OWNERS),
];

/// Others may own an object too.
const OWNERS: &[&str] = &["uid"];

/// Maps that the API server drops when they are empty.
const DROPPED_WHEN_EMPTY: &[&str] =
    &["labels", "annotations", "nodeSelector", "matchLabels", "data", "requests", "limits"];

/// Path of the first field in which the live object differs from the desired one.
pub fn difference(desired: &Value, live: &Value) -> Option<String> {
    let mut path = Vec::new();
    differs(desired, Some(live), &mut path).then(|| path.join("."))
}

/// A short, stable hash: the order of keys doesn't matter.
pub fn hash(value: &Value) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(sorted(value).to_string());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// serde_json keeps the order of insertion when any crate of the build asks it to.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(
                entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Leaves in `path` where the difference is.
fn differs(desired: &Value, live: Option<&Value>, path: &mut Vec<String>) -> bool {
    match (desired, live) {
        (Value::Null, _) => false,
        (_, None | Some(Value::Null)) => !means_nothing(desired, path),
        (Value::Object(desired), Some(Value::Object(live))) => desired.iter().any(|(key, value)| {
            path.push(key.clone());
            let found = differs(value, live.get(key), path);
            if !found {
                path.pop();
            }
            found
        }),
        (Value::Array(desired), Some(Value::Array(live))) => lists_differ(desired, live, path),
        (desired, Some(live)) if is_quantity(path) => !same_quantity(desired, live),
        (desired, Some(live)) => desired != live,
    }
}

/// The API server leaves such values out.
fn means_nothing(value: &Value, path: &[String]) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => {
            map.is_empty() && path.last().is_some_and(|key| DROPPED_WHEN_EMPTY.contains(&key.as_str()))
        }
        Value::Bool(true) => false,
    }
}

fn lists_differ(desired: &[Value], live: &[Value], path: &mut Vec<String>) -> bool {
    let keys = path
        .last()
        .and_then(|field| KEYED_LISTS.iter().find(|(name, _)| name == field))
        .map(|(_, keys)| *keys)
        // The ports of a NetworkPolicy are a plain list.
        .filter(|_| !path.iter().any(|field| field == "ingress" || field == "egress"));
    if keys.is_none() && desired.len() != live.len() {
        return true;
    }
    // Of an entry that nobody of us made, a container beside ours or one more port of a Service, nothing good comes.
    let is_ours =
        |candidate: &Value, keys: &[&str]| desired.iter().any(|item| same_key(item, candidate, keys));
    if let Some(keys) = keys.filter(|keys| *keys != OWNERS)
        && let Some(index) = live.iter().position(|candidate| !is_ours(candidate, keys))
    {
        path.push(index.to_string());
        return true;
    }
    desired.iter().enumerate().any(|(index, item)| {
        let other = match keys {
            Some(keys) => live.iter().find(|candidate| same_key(item, candidate, keys)),
            None => live.get(index),
        };
        path.push(index.to_string());
        let found = differs(item, other, path);
        if !found {
            path.pop();
        }
        found
    })
}

/// A part of the key that the desired item leaves out is the API server's default.
fn same_key(desired: &Value, live: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| match desired.get(key) {
        Some(value) => live.get(key) == Some(value),
        None => *key != "protocol" || live.get(key).is_none_or(|protocol| protocol == "TCP"),
    })
}

fn is_quantity(path: &[String]) -> bool {
    let above = path.len().checked_sub(2).and_then(|index| path.get(index)).map(String::as_str);
    matches!(above, Some("requests" | "limits" | "capacity"))
        || path.last().is_some_and(|key| key == "sizeLimit")
}

fn same_quantity(desired: &Value, live: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (desired, live) = (text(desired), text(live));
    desired == live || quantity::compare(&desired, &live) == Some(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_defaults_is_no_difference() {
        let desired = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "node", "image": "quartet-node:1", "ports": [{"name": "http", "containerPort": 8100}]}]}}}});
        let live = json!({"spec": {"replicas": 3, "revisionHistoryLimit": 10, "template": {"spec": {
            "dnsPolicy": "ClusterFirst", "containers": [
            {"name": "node", "image": "quartet-node:1", "imagePullPolicy": "IfNotPresent",
             "ports": [{"name": "http", "containerPort": 8100, "protocol": "TCP"}]}]}}}});
        assert_eq!(difference(&desired, &live), None);
    }

    #[test]
    fn a_foreign_edit_is_found_and_named() {
        let desired = json!({"spec": {"replicas": 3}, "metadata": {"labels": {"a": "b"}}});
        assert_eq!(
            difference(&desired, &json!({"spec": {"replicas": 2}, "metadata": {"labels": {"a": "b"}}})),
            Some("spec.replicas".into())
        );
        assert_eq!(
            difference(&desired, &json!({"spec": {"replicas": 3}, "metadata": {}})),
            Some("metadata.labels".into())
        );
    }

    #[test]
    fn an_entry_beside_ours_is_a_foreign_edit_but_another_owner_is_none() {
        let desired = json!({"containers": [{"name": "node"}]});
        let live = json!({"containers": [{"name": "node"}, {"name": "theirs"}]});
        assert_eq!(difference(&desired, &live), Some("containers.1".into()));

        let desired = json!({"ports": [{"name": "http", "port": 8100}]});
        let opened = json!({"ports": [{"name": "http", "port": 8100, "protocol": "TCP"}, {"name": "in", "port": 8199}]});
        assert_eq!(difference(&desired, &opened), Some("ports.1".into()));

        let desired = json!({"ownerReferences": [{"uid": "ours"}]});
        assert_eq!(
            difference(&desired, &json!({"ownerReferences": [{"uid": "theirs"}, {"uid": "ours"}]})),
            None
        );
    }

    #[test]
    fn plain_lists_are_compared_whole() {
        let desired = json!({"args": ["sync"]});
        assert_eq!(difference(&desired, &json!({"args": ["sync", "--fast"]})), Some("args".into()));
        let policy = json!({"ingress": [{"ports": [{"port": 8100}]}]});
        let wider = json!({"ingress": [{"ports": [{"port": 8100, "protocol": "TCP"}, {"port": 1}]}]});
        assert_eq!(difference(&policy, &wider), Some("ingress.0.ports".into()));
    }

    #[test]
    fn quantities_are_compared_by_amount() {
        let desired = json!({"resources": {"requests": {"cpu": "0.5", "storage": "1024Mi"}}});
        let live = json!({"resources": {"requests": {"cpu": "500m", "storage": "1Gi"}}});
        assert_eq!(difference(&desired, &live), None);
        let grown = json!({"resources": {"requests": {"cpu": "500m", "storage": "2Gi"}}});
        assert_eq!(difference(&desired, &grown), Some("resources.requests.storage".into()));
    }

    #[test]
    fn what_the_api_server_leaves_out_is_no_difference() {
        let desired = json!({"hostNetwork": false, "nodeSelector": {}, "tolerations": [], "x": null});
        assert_eq!(difference(&desired, &json!({})), None);
        // But an empty source of a volume is a choice.
        assert_eq!(difference(&json!({"emptyDir": {}}), &json!({})), Some("emptyDir".into()));
        assert_eq!(difference(&json!({"hostNetwork": true}), &json!({})), Some("hostNetwork".into()));
    }

    #[test]
    fn a_number_that_became_zero_is_a_difference_while_the_live_one_is_not() {
        assert_eq!(difference(&json!({"replicas": 0}), &json!({"replicas": 3})), Some("replicas".into()));
    }

    #[test]
    fn the_hash_ignores_order_and_sees_every_removed_field() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#).unwrap();
        assert_eq!(hash(&one), hash(&other));
        assert_ne!(hash(&one), hash(&json!({"a": 1, "b": {"c": 2}})));
        assert_eq!(hash(&one).len(), 16);
    }
}
