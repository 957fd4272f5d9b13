//! A SyncCluster's.

use serde_json::{Value, json};

use crate::{
    quantity::Bytes,
    sync_cluster::{SyncCluster, SyncClusterSpec},
};

/// A resource as an author writes it: what is left out takes its default.
fn cluster(spec: Value) -> SyncCluster {
    named("demo", spec)
}

fn named(name: &str, spec: Value) -> SyncCluster {
    let spec: SyncClusterSpec = serde_json::from_value(spec).unwrap();
    SyncCluster::new(name, spec)
}

fn refusal(cluster: &SyncCluster) -> String {
    cluster.validate_cel().unwrap_err().to_string()
}

fn refusal_of_update(new: Value, old: Value) -> String {
    cluster(new).validate_cel_update(&cluster(old)).unwrap_err().to_string()
}

fn accepts(spec: &Value) {
    cluster(spec.clone()).validate_cel().unwrap_or_else(|why| panic!("{spec}: {why}"));
}

fn accepts_update(new: &Value, old: Value) {
    cluster(new.clone()).validate_cel_update(&cluster(old)).unwrap_or_else(|why| panic!("{new}: {why}"));
}

#[test]
fn an_empty_spec_is_three_members_with_eight_partitions() {
    accepts(&json!({}));
    let spec = cluster(json!({})).spec;
    assert_eq!((spec.replicas, spec.partitions, spec.storage.size), (3, 8, Bytes::new("1Gi")));
    assert_eq!(spec.queue.visibility_timeout.as_str(), "15s");
}

#[test]
fn members_are_one_three_five_or_seven() {
    for replicas in [1, 3, 5, 7] {
        accepts(&json!({"replicas": replicas}));
    }
    for replicas in [0, 2, 4, 6, 8, 9, -1] {
        let why = refusal(&cluster(json!({"replicas": replicas})));
        assert!(why.contains("replicas must be 1, 3, 5 or 7"), "{why}");
    }
}

#[test]
fn partitions_are_bounded() {
    for partitions in [1, 8, 64] {
        accepts(&json!({"partitions": partitions}));
    }
    for partitions in [0, 65, -8] {
        let why = refusal(&cluster(json!({"partitions": partitions})));
        assert!(why.contains("partitions must be between 1 and 64"), "{why}");
    }
}

#[test]
fn partitions_never_change() {
    accepts_update(&json!({"partitions": 4, "replicas": 5}), json!({"partitions": 4}));
    let why = refusal_of_update(json!({"partitions": 16}), json!({}));
    assert!(why.contains("partitions is immutable"), "{why}");
}

#[test]
fn a_volume_grows_but_never_shrinks() {
    let size = |size: &str| json!({"storage": {"size": size}});
    accepts_update(&size("2Gi"), size("1Gi"));
    accepts_update(&size("1024Mi"), size("1Gi"));
    let why = refusal_of_update(size("1000Mi"), size("1Gi"));
    assert!(why.contains("storage.size may not shrink"), "{why}");
}

#[test]
fn a_size_that_was_refused_can_be_taken_back() {
    let size = |size: &str| cluster(json!({"storage": {"size": size}}));
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
    accepts(&json!({"storage": {"size": "64Mi"}}));
    let why = refusal(&cluster(json!({"storage": {"size": "1Mi"}})));
    assert!(why.contains("storage.size must be at least 64Mi"), "{why}");
}

#[test]
fn the_storage_class_never_changes() {
    let class = |class: &str| json!({"storage": {"storageClassName": class}});
    accepts_update(&class("fast"), class("fast"));
    accepts_update(&json!({}), json!({}));
    for (new, old) in [(class("fast"), class("slow")), (class("fast"), json!({})), (json!({}), class("fast"))]
    {
        let why = refusal_of_update(new, old);
        assert!(why.contains("storage.storageClassName is immutable"), "{why}");
    }
}

#[test]
fn a_name_leaves_room_for_its_children() {
    named(&"a".repeat(40), json!({})).validate_cel().unwrap();
    let why = refusal(&named(&"a".repeat(41), json!({})));
    assert!(why.contains("metadata.name must have at most 40 characters"), "{why}");
}

#[test]
fn a_name_is_a_dns_label() {
    named("demo-2", json!({})).validate_cel().unwrap();
    for name in ["2demo", "a.b", "demo-"] {
        let why = refusal(&named(name, json!({})));
        assert!(why.contains("metadata.name must be a DNS label"), "{name}: {why}");
    }
}

#[test]
fn hibernation_does_not_change_while_paused() {
    accepts_update(&json!({"hibernated": true}), json!({"hibernated": false}));
    accepts_update(&json!({"hibernated": true, "paused": true}), json!({"hibernated": true}));
    accepts_update(
        &json!({"hibernated": true, "paused": false}),
        json!({"hibernated": false, "paused": true}),
    );
    let why = refusal_of_update(json!({"hibernated": true, "paused": true}), json!({"paused": true}));
    assert!(why.contains("hibernated cannot change while paused"), "{why}");
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
        let why = refusal(&cluster(json!({field: value})));
        assert!(why.contains(allowed), "{field} {value}: {why}");
    }
    accepts(
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
        let why = refusal(&cluster(json!({field: value})));
        assert!(why.contains(allowed), "{field} {value}: {why}");
    }
    accepts(&json!({"queue": {"maxBytes": "1Mi", "maxDeliveries": 1}, "cache": {"maxBytes": "1Mi"}}));
}

#[test]
fn encryption_is_refused_while_it_does_not_exist() {
    accepts(&json!({"tls": {"enabled": false}}));
    let why = refusal(&cluster(json!({"tls": {"enabled": true}})));
    assert!(why.contains("tls.enabled: true is not available in this version"), "{why}");
}
