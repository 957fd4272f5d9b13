//! A SyncCluster's.

use serde_json::json;

use super::{Judge, resource};
use crate::{quantity::Bytes, sync_cluster::SyncCluster};

const KIND: Judge = Judge::of::<SyncCluster>();

#[test]
fn an_empty_spec_is_three_members_with_eight_partitions() {
    KIND.accepts(&json!({}));
    let spec = resource::<SyncCluster>("demo", &json!({})).spec;
    assert_eq!((spec.replicas, spec.partitions, spec.storage.size), (3, 8, Bytes::new("1Gi")));
    assert_eq!(spec.queue.visibility_timeout.as_str(), "15s");
}

#[test]
fn partitions_are_bounded() {
    for partitions in [1, 8, 64] {
        KIND.accepts(&json!({"partitions": partitions}));
    }
    for partitions in [0, 65, -8] {
        KIND.refuses(&json!({"partitions": partitions}), "partitions must be between 1 and 64");
    }
}

#[test]
fn partitions_never_change() {
    KIND.accepts_update(&json!({"partitions": 4, "replicas": 5}), &json!({"partitions": 4}));
    KIND.refuses_update(&json!({"partitions": 16}), &json!({}), "partitions is immutable");
}

#[test]
fn a_size_that_was_refused_can_be_taken_back() {
    let size = |size: &str| -> SyncCluster { resource("demo", &json!({"storage": {"size": size}})) };
    let judged = |accepted: &str| {
        let mut old = size("2Gi");
        let condition = json!({
            "type": "Accepted", "status": accepted, "reason": "Any", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        old.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
        size("1Gi").validate_cel_update(&old)
    };
    judged("False").unwrap();
    assert!(judged("True").unwrap_err().to_string().contains("storage.size may not shrink"));
    assert!(judged("Unknown").is_err());
}

#[test]
fn a_volume_has_room_for_a_log() {
    KIND.accepts(&json!({"storage": {"size": "64Mi"}}));
    KIND.refuses(&json!({"storage": {"size": "1Mi"}}), "storage.size must be at least 64Mi");
}

#[test]
fn durations_are_bounded() {
    for (field, value, allowed) in [
        (
            "queue",
            json!({"visibilityTimeout": "999ms"}),
            "queue.visibilityTimeout must be between 1s and 12h",
        ),
        ("queue", json!({"visibilityTimeout": "13h"}), "queue.visibilityTimeout must be between 1s and 12h"),
        ("cache", json!({"leaseDuration": "99ms"}), "cache.leaseDuration must be between 100ms and 1m"),
        ("cache", json!({"leaseDuration": "61s"}), "cache.leaseDuration must be between 100ms and 1m"),
        ("lock", json!({"defaultTtl": "0s"}), "lock.defaultTtl must be between 1s and 24h"),
        ("lock", json!({"defaultTtl": "25h"}), "lock.defaultTtl must be between 1s and 24h"),
    ] {
        KIND.refuses(&json!({field: value}), allowed);
    }
    KIND.accepts(
        &json!({"queue": {"visibilityTimeout": "12h"}, "cache": {"leaseDuration": "100ms"}, "lock": {"defaultTtl": "1440m"}}),
    );
}

#[test]
fn sizes_and_counts_are_bounded() {
    for (field, value, allowed) in [
        ("queue", json!({"maxBytes": "1Ki"}), "queue.maxBytes must be at least 1Mi"),
        ("queue", json!({"maxDeliveries": 0}), "queue.maxDeliveries must be between 1 and 1000"),
        ("queue", json!({"maxDeliveries": 1001}), "queue.maxDeliveries must be between 1 and 1000"),
        ("cache", json!({"maxBytes": "1Ki"}), "cache.maxBytes must be at least 1Mi"),
    ] {
        KIND.refuses(&json!({field: value}), allowed);
    }
    KIND.accepts(&json!({"queue": {"maxBytes": "1Mi", "maxDeliveries": 1}, "cache": {"maxBytes": "1Mi"}}));
}
