//! A GaleraCluster's.

use serde_json::json;

use super::{Judge, resource};
use crate::galera_cluster::GaleraCluster;

const KIND: Judge = Judge::of::<GaleraCluster>();

#[test]
fn an_empty_spec_is_three_members_behind_two_proxies() {
    KIND.accepts(&json!({}));
    let spec = resource::<GaleraCluster>("shop", &json!({})).spec;
    assert_eq!((spec.replicas, spec.proxy.replicas, spec.version.as_str()), (3, 2, "10.11"));
    assert_eq!((spec.proxy.stats.port, spec.server.gcache_size.as_str()), (8404, "128Mi"));
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    KIND.accepts(&json!({
        "replicas": 3, "version": "10.11", "storage": {"size": "2Gi"},
        "proxy": {"replicas": 2, "balance": "roundrobin",
            "stats": {"port": 8404, "credentialsSecretRef": {"name": "stats"}}},
        "databases": [{"name": "beauty", "initSql": "CREATE TABLE products (id INT PRIMARY KEY)"}],
        "users": [{"name": "app", "database": "beauty", "passwordSecretRef": {"name": "app", "key": "password"}}],
        "sst": "mariabackup",
    }));
}

#[test]
fn another_version_is_refused() {
    for version in ["10.6", "11.4", "10.11.6", "latest"] {
        KIND.refuses(&json!({"version": version}), "version must be \"10.11\"");
    }
}

#[test]
fn a_volume_holds_mariadb() {
    KIND.refuses(&json!({"storage": {"size": "256Mi"}}), "storage.size must be at least 512Mi");
}

#[test]
fn the_cache_of_write_sets_leaves_room_for_data() {
    KIND.accepts(&json!({"storage": {"size": "1Gi"}, "server": {"gcacheSize": "768Mi"}}));
    KIND.refuses(
        &json!({"storage": {"size": "1Gi"}, "server": {"gcacheSize": "1Gi"}}),
        "server.gcacheSize must leave at least 256Mi of storage.size",
    );
    KIND.refuses(&json!({"server": {"gcacheSize": "1Mi"}}), "server.gcacheSize must be at least 16Mi");
    KIND.refuses(
        &json!({"server": {"bufferPoolSize": "1Mi"}}),
        "server.bufferPoolSize must be at least 32Mi",
    );
}

#[test]
fn proxies_and_their_port_are_bounded() {
    for (proxy, why) in [
        (json!({"replicas": 0}), "proxy.replicas must be between 1 and 8"),
        (json!({"replicas": 9}), "proxy.replicas must be between 1 and 8"),
        (json!({"stats": {"port": 0}}), "proxy.stats.port must be between 1 and 65535"),
        (json!({"stats": {"port": 65536}}), "proxy.stats.port must be between 1 and 65535"),
    ] {
        KIND.refuses(&json!({"proxy": proxy}), why);
    }
    KIND.accepts(&json!({"proxy": {"replicas": 1, "balance": "leastconn", "stats": {"port": 80}}}));
}

#[test]
fn names_are_names_for_mariadb() {
    for name in ["beauty", "Shop_2", "x"] {
        KIND.accepts(&json!({"databases": [{"name": name}]}));
    }
    for name in ["2shop", "a-b", "a b", "`", "_a"] {
        KIND.refuses(&json!({"databases": [{"name": name}]}), "databases: name must be letters");
    }
    for name in ["mysql", "MySQL", "sys", "quartet", "Information_Schema", "performance_schema"] {
        KIND.refuses(&json!({"databases": [{"name": name}]}), "databases: name must not be mysql");
    }
    KIND.accepts(&json!({"databases": [{"name": "mysql2"}]}));
    for name in ["app", "app_2", "a"] {
        KIND.accepts(&json!({"users": [{"name": name}]}));
    }
    for name in ["App", "2app", "a-b", "app_", "a b", "a'b"] {
        KIND.refuses(&json!({"users": [{"name": name}]}), "users: name must be lower-case letters");
    }
    for name in ["root", "mysql", "mariadb", "quartet", "public"] {
        KIND.refuses(&json!({"users": [{"name": name}]}), "users: name must not be root");
    }
}

#[test]
fn a_user_has_rights_on_a_database_of_the_list() {
    let spec = |database: &str| json!({"databases": [{"name": "beauty"}], "users": [{"name": "app", "database": database}]});
    KIND.accepts(&spec("beauty"));
    KIND.refuses(&spec("other"), "users: database must be one of databases");
    KIND.accepts(&json!({"users": [{"name": "nobody"}]}));
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
    KIND.accepts(&from("6b1d3e2a-7c55-11f0-8de9-0242ac120002:1984"));
    for position in
        ["6b1d3e2a-7c55-11f0-8de9-0242ac120002", "6b1d3e2a-7c55-11f0-8de9-0242ac120002:-1", "1984"]
    {
        KIND.refuses(&from(position), "recovery.bootstrapFrom.position must be UUID:SEQNO");
    }
}
