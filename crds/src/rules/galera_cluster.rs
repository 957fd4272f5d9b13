//! A GaleraCluster's.

use serde_json::{Value, json};

use crate::galera_cluster::{GaleraCluster, GaleraClusterSpec};

/// A resource as an author writes it: what is left out takes its default.
fn cluster(spec: Value) -> GaleraCluster {
    let spec: GaleraClusterSpec = serde_json::from_value(spec).unwrap();
    GaleraCluster::new("shop", spec)
}

fn refuses(spec: &Value, why: &str) {
    let refusal = cluster(spec.clone()).validate_cel().map_err(|error| error.to_string()).unwrap_err();
    assert!(refusal.contains(why), "{spec}: {refusal}");
}

fn refuses_update(new: Value, old: Value, why: &str) {
    let refusal = cluster(new).validate_cel_update(&cluster(old)).unwrap_err().to_string();
    assert!(refusal.contains(why), "{refusal}");
}

fn accepts(spec: &Value) {
    cluster(spec.clone()).validate_cel().unwrap_or_else(|why| panic!("{spec}: {why}"));
}

fn accepts_update(new: &Value, old: Value) {
    cluster(new.clone()).validate_cel_update(&cluster(old)).unwrap_or_else(|why| panic!("{new}: {why}"));
}

#[test]
fn an_empty_spec_is_three_members_behind_two_proxies() {
    accepts(&json!({}));
    let spec = cluster(json!({})).spec;
    assert_eq!((spec.replicas, spec.proxy.replicas, spec.version.as_str()), (3, 2, "10.11"));
    assert_eq!((spec.proxy.stats.port, spec.server.gcache_size.as_str()), (8404, "128Mi"));
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    accepts(&json!({
        "replicas": 3, "version": "10.11", "storage": {"size": "2Gi"},
        "proxy": {"replicas": 2, "balance": "roundrobin",
            "stats": {"port": 8404, "credentialsSecretRef": {"name": "stats"}}},
        "databases": [{"name": "beauty", "initSql": "CREATE TABLE products (id INT PRIMARY KEY)"}],
        "users": [{"name": "app", "database": "beauty", "passwordSecretRef": {"name": "app", "key": "password"}}],
        "sst": "mariabackup",
    }));
}

#[test]
fn members_are_one_three_five_or_seven() {
    for replicas in [1, 3, 5, 7] {
        accepts(&json!({"replicas": replicas}));
    }
    for replicas in [0, 2, 4, 6, 8, 9, -1] {
        refuses(&json!({"replicas": replicas}), "replicas must be 1, 3, 5 or 7");
    }
}

#[test]
fn another_version_is_refused() {
    for version in ["10.6", "11.4", "10.11.6", "latest"] {
        refuses(&json!({"version": version}), "version must be \"10.11\"");
    }
}

#[test]
fn a_volume_grows_but_never_shrinks_and_holds_mariadb() {
    let size = |size: &str| json!({"storage": {"size": size}});
    accepts_update(&size("2Gi"), size("1Gi"));
    refuses_update(size("1000Mi"), size("1Gi"), "storage.size may not shrink");
    refuses(&size("256Mi"), "storage.size must be at least 512Mi");
    refuses_update(
        json!({"storage": {"storageClassName": "fast"}}),
        json!({}),
        "storage.storageClassName is immutable",
    );
}

#[test]
fn the_cache_of_write_sets_leaves_room_for_data() {
    accepts(&json!({"storage": {"size": "1Gi"}, "server": {"gcacheSize": "768Mi"}}));
    refuses(
        &json!({"storage": {"size": "1Gi"}, "server": {"gcacheSize": "1Gi"}}),
        "server.gcacheSize must leave at least 256Mi of storage.size",
    );
    refuses(&json!({"server": {"gcacheSize": "1Mi"}}), "server.gcacheSize must be at least 16Mi");
    refuses(&json!({"server": {"bufferPoolSize": "1Mi"}}), "server.bufferPoolSize must be at least 32Mi");
}

#[test]
fn proxies_and_their_port_are_bounded() {
    for (proxy, why) in [
        (json!({"replicas": 0}), "proxy.replicas must be between 1 and 8"),
        (json!({"replicas": 9}), "proxy.replicas must be between 1 and 8"),
        (json!({"stats": {"port": 0}}), "proxy.stats.port must be between 1 and 65535"),
        (json!({"stats": {"port": 65536}}), "proxy.stats.port must be between 1 and 65535"),
    ] {
        refuses(&json!({"proxy": proxy}), why);
    }
    accepts(&json!({"proxy": {"replicas": 1, "balance": "leastconn", "stats": {"port": 80}}}));
}

#[test]
fn names_are_names_for_mariadb() {
    for name in ["beauty", "Shop_2", "x"] {
        accepts(&json!({"databases": [{"name": name}]}));
    }
    for name in ["2shop", "a-b", "a b", "`", "_a"] {
        refuses(&json!({"databases": [{"name": name}]}), "databases: name must be letters");
    }
    for name in ["mysql", "MySQL", "sys", "quartet", "Information_Schema", "performance_schema"] {
        refuses(&json!({"databases": [{"name": name}]}), "databases: name must not be mysql");
    }
    accepts(&json!({"databases": [{"name": "mysql2"}]}));
    for name in ["app", "app_2", "a"] {
        accepts(&json!({"users": [{"name": name}]}));
    }
    for name in ["App", "2app", "a-b", "app_", "a b", "a'b"] {
        refuses(&json!({"users": [{"name": name}]}), "users: name must be lower-case letters");
    }
    for name in ["root", "mysql", "mariadb", "quartet", "public"] {
        refuses(&json!({"users": [{"name": name}]}), "users: name must not be root");
    }
}

#[test]
fn a_user_has_rights_on_a_database_of_the_list() {
    let spec = |database: &str| json!({"databases": [{"name": "beauty"}], "users": [{"name": "app", "database": database}]});
    accepts(&spec("beauty"));
    refuses(&spec("other"), "users: database must be one of databases");
    accepts(&json!({"users": [{"name": "nobody"}]}));
}

/// The API server refuses a key that is there twice; the lists merge by it when they are applied.
#[test]
fn databases_and_users_are_unique_by_name() {
    let crd = serde_json::to_value(<GaleraCluster as kube::CustomResourceExt>::crd()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for list in ["databases", "users"] {
        assert_eq!(spec[list]["x-kubernetes-list-type"], "map");
        assert_eq!(spec[list]["x-kubernetes-list-map-keys"], json!(["name"]));
    }
}

#[test]
fn a_human_names_a_position_in_full() {
    let from =
        |position: &str| json!({"recovery": {"bootstrapFrom": {"member": "shop-1", "position": position}}});
    accepts(&from("6b1d3e2a-7c55-11f0-8de9-0242ac120002:1984"));
    for position in
        ["6b1d3e2a-7c55-11f0-8de9-0242ac120002", "6b1d3e2a-7c55-11f0-8de9-0242ac120002:-1", "1984"]
    {
        refuses(&from(position), "recovery.bootstrapFrom.position must be UUID:SEQNO");
    }
}

#[test]
fn hibernation_does_not_change_while_paused() {
    accepts_update(&json!({"hibernated": true}), json!({"hibernated": false}));
    refuses_update(
        json!({"hibernated": true, "paused": true}),
        json!({"paused": true}),
        "hibernated cannot change while paused",
    );
}

#[test]
fn encryption_is_refused_while_it_does_not_exist() {
    refuses(&json!({"tls": {"enabled": true}}), "tls.enabled: true is not available in this version");
}
