//! Every kind's.

use serde_json::json;

use super::Judge;
use crate::{galera_cluster::GaleraCluster, sync_cluster::SyncCluster};

const KINDS: [Judge; 2] = [Judge::of::<SyncCluster>(), Judge::of::<GaleraCluster>()];

#[test]
fn members_are_one_three_five_or_seven() {
    for kind in KINDS {
        for replicas in [1, 3, 5, 7] {
            kind.accepts(&json!({"replicas": replicas}));
        }
        for replicas in [0, 2, 4, 6, 8, 9, -1] {
            kind.refuses(&json!({"replicas": replicas}), "replicas must be 1, 3, 5 or 7");
        }
    }
}

#[test]
fn a_volume_grows_but_never_shrinks() {
    let size = |size: &str| json!({"storage": {"size": size}});
    for kind in KINDS {
        kind.accepts_update(&size("2Gi"), &size("1Gi"));
        kind.accepts_update(&size("1024Mi"), &size("1Gi"));
        kind.refuses_update(&size("1000Mi"), &size("1Gi"), "storage.size may not shrink");
    }
}

#[test]
fn the_storage_class_never_changes() {
    let class = |class: &str| json!({"storage": {"storageClassName": class}});
    for kind in KINDS {
        kind.accepts_update(&class("fast"), &class("fast"));
        kind.accepts_update(&json!({}), &json!({}));
        for (new, old) in
            [(class("fast"), class("slow")), (class("fast"), json!({})), (json!({}), class("fast"))]
        {
            kind.refuses_update(&new, &old, "storage.storageClassName is immutable");
        }
    }
}

#[test]
fn a_name_is_a_dns_label_and_leaves_room_for_its_children() {
    let (longest, longer) = ("a".repeat(40), "a".repeat(41));
    for kind in KINDS {
        for name in ["demo-2", longest.as_str()] {
            assert_eq!((kind.0)(name, &json!({}), None), None, "{name}");
        }
        let too_long = "metadata.name must have at most 40 characters";
        kind.refuses_named(&longer, &json!({}), too_long);
        for name in ["2demo", "a.b", "demo-"] {
            kind.refuses_named(name, &json!({}), "metadata.name must be a DNS label");
        }
    }
}

#[test]
fn hibernation_does_not_change_while_paused() {
    let spec = |hibernated: bool, paused: bool| json!({"hibernated": hibernated, "paused": paused});
    for kind in KINDS {
        kind.accepts_update(&spec(true, false), &spec(false, false));
        kind.accepts_update(&spec(true, true), &spec(true, false));
        kind.accepts_update(&spec(true, false), &spec(false, true));
        let why = "hibernated cannot change while paused";
        kind.refuses_update(&spec(true, true), &spec(false, true), why);
    }
}

#[test]
fn encryption_is_refused_while_it_does_not_exist() {
    for kind in KINDS {
        kind.accepts(&json!({"tls": {"enabled": false}}));
        let why = "tls.enabled: true is not available in this version";
        kind.refuses(&json!({"tls": {"enabled": true}}), why);
    }
}
