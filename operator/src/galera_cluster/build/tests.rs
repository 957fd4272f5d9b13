//! What the children are, as sentences.

use k8s_openapi::api::core::v1::Secret;
use quartet_client::galera::Settings;
use quartet_crds::galera_cluster::{GaleraClusterSpec, SecretKeyRef, SecretRef, User};
use serde_json::{Value, json};

use super::{disruption_budget, marks, member, network_policy, proxy, secrets, services, settings};
use crate::{
    galera_cluster::{Seen, Valid, fixture::cluster, validate},
    names,
};

fn valid(change: impl FnOnce(&mut GaleraClusterSpec)) -> Valid {
    let cluster = cluster().with_spec(change);
    validate::restore(&cluster.resource, &cluster.given()).unwrap()
}

fn value(object: impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

fn member_pod(change: impl FnOnce(&mut GaleraClusterSpec)) -> Value {
    value(member::stateful_set(&valid(change), 3, &Seen::default()))["spec"]["template"].clone()
}

fn proxy_pod(change: impl FnOnce(&mut GaleraClusterSpec)) -> Value {
    value(proxy::deployment(&valid(change)))["spec"]["template"].clone()
}

#[test]
fn pods_are_what_restricted_pod_security_demands() {
    for template in [member_pod(|_| {}), proxy_pod(|_| {})] {
        let pod = &template["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 999);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in [&pod["containers"][0], &pod["initContainers"][0]] {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        }
    }
}

#[test]
fn the_manager_is_copied_in_and_is_the_first_process() {
    let member = &member_pod(|_| {})["spec"];
    assert_eq!(member["initContainers"][0]["image"], "quartet/node:1");
    assert_eq!(member["initContainers"][0]["args"], json!(["install", "/node"]));
    assert_eq!(member["containers"][0]["image"], "quartet/mariadb:1");
    assert_eq!(member["containers"][0]["command"], json!(["/node/quartet-node", "galera"]));
    let proxy = &proxy_pod(|_| {})["spec"];
    assert_eq!(proxy["containers"][0]["image"], "quartet/haproxy:1");
    assert_eq!(proxy["containers"][0]["command"], json!(["/node/quartet-node", "galera-proxy"]));
}

#[test]
fn only_what_the_server_reads_at_its_start_changes_the_template() {
    assert_ne!(member_pod(|_| {}), member_pod(|spec| spec.server.snapshot_isolation = true));
    for change in [
        |spec: &mut GaleraClusterSpec| spec.users.clear(),
        |spec: &mut GaleraClusterSpec| spec.databases[0].init_sql = Some("SELECT 1".into()),
        |spec: &mut GaleraClusterSpec| spec.sst = quartet_crds::galera_cluster::Sst::Rsync,
        |spec: &mut GaleraClusterSpec| spec.proxy.balance = quartet_crds::galera_cluster::Balance::Leastconn,
    ] {
        assert_eq!(member_pod(|_| {}), member_pod(change));
        assert_eq!(proxy_pod(|_| {}), proxy_pod(change));
    }
}

#[test]
fn settings_are_what_managers_read() {
    let valid = valid(|_| {});
    let map = settings::settings(&valid, 5, &settings::Word::default());
    let read: Settings = serde_json::from_str(&map.data.unwrap()["settings.json"]).unwrap();
    assert_eq!(read.members.len(), 5);
    assert_eq!(read.members[2], "shop-2.shop-members.default.svc");
    assert_eq!((read.databases[0].name.as_str(), read.users[0].name.as_str()), ("beauty", "app"));
    assert!(read.cluster_name.len() <= 32 && read.cluster_name.starts_with("shop-"), "{}", read.cluster_name);
    let mut other = valid.clone();
    other.parent.uid = "another".into();
    assert_ne!(settings::cluster_name(&other), settings::cluster_name(&valid));
    assert_eq!(settings::schema(&other), settings::schema(&valid));
}

#[test]
fn clients_reach_proxies_and_members_are_found_before_they_are_ready() {
    let valid = valid(|spec| spec.proxy.stats.port = 80);
    let ports = |service: &Value| -> Vec<(i64, i64)> {
        let ports = service["spec"]["ports"].as_array().unwrap().iter();
        ports.map(|port| (port["port"].as_i64().unwrap(), port["targetPort"].as_i64().unwrap())).collect()
    };
    let clients = value(services::clients(&valid));
    assert_eq!(ports(&clients), [(3306, 3306), (3300, 3306)]);
    assert_eq!(clients["spec"]["selector"][names::COMPONENT], "proxy");
    assert_eq!(ports(&value(services::writer(&valid))), [(3306, 3307)]);
    assert_eq!(ports(&value(services::stats(&valid))), [(80, 8404)]);
    let members = value(services::members(&valid));
    assert_eq!(members["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(members["spec"]["selector"][names::COMPONENT], "member");
    assert!(ports(&members).contains(&(8199, 8199)));
}

#[test]
fn members_take_clients_only_through_proxies() {
    let policy = value(network_policy::members(&valid(|_| {}), "quartet-system"));
    let from = |port: i64| -> Vec<Value> {
        let rules = policy["spec"]["ingress"].as_array().unwrap().iter();
        let opens = |rule: &&Value| {
            rule["ports"].as_array().unwrap().iter().any(|one| one["port"].as_i64() == Some(port))
        };
        rules.filter(opens).map(|rule| rule["from"].clone()).collect()
    };
    let clients = from(3306);
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0][0]["podSelector"]["matchLabels"][names::COMPONENT], "proxy");
    for port in [4567, 4568, 4444] {
        assert_eq!(from(port)[0][0]["podSelector"]["matchLabels"][names::COMPONENT], "member");
    }
    let operator = &from(8199)[0][0];
    assert_eq!(operator["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "quartet-system");
}

#[test]
fn a_host_is_drained_of_one_member_and_only_while_all_others_are_synced() {
    let most = |members, spares_one| {
        let budget = disruption_budget::members(&valid(|_| {}), members, spares_one)?;
        value(budget)["spec"]["maxUnavailable"].as_i64()
    };
    assert_eq!(
        [most(3, true), most(3, false), most(1, true), most(0, false)],
        [Some(1), Some(0), None, None]
    );
    assert!(disruption_budget::proxies(&valid(|spec| spec.proxy.replicas = 1)).is_none());
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), crate::children::secrets::text(value)));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

#[test]
fn generated_passwords_differ_and_are_made_once() {
    let two = |spec: &mut GaleraClusterSpec| {
        spec.users.push(User { name: "other_app".into(), database: None, password_secret_ref: None });
    };
    let valid = valid(two);
    let mut seen = Seen::default();
    let made = secrets::of_users(&valid, &seen, "fresh");
    assert_eq!(made[1].metadata.name.as_deref(), Some("shop-user-other-app"));
    assert_eq!(
        (text(&made[0], "host"), text(&made[0], "database")),
        ("shop.default.svc".into(), "beauty".into())
    );
    let passwords = secrets::passwords(&valid, &seen, "fresh");
    assert_eq!(text(&passwords, "app"), text(&made[0], "password"));
    assert_ne!(text(&passwords, "app"), text(&passwords, "other_app"));
    assert_ne!(text(&passwords, "app"), text(&secrets::passwords(&valid, &seen, "another"), "app"));
    seen.made = made.into_iter().map(|secret| (secret.metadata.name.clone().unwrap(), secret)).collect();
    assert_eq!(secrets::passwords(&valid, &seen, "another").data, passwords.data);
}

#[test]
fn passwords_are_kept_in_the_very_objects_that_hold_them() {
    let cluster = cluster().settled();
    let (valid, seen) = (cluster.valid(), cluster.seen());
    let made = [secrets::passwords(&valid, &seen, "fresh"), secrets::stats(&valid, &seen, "fresh").unwrap()];
    let all: Vec<Secret> = made.into_iter().chain(secrets::of_users(&valid, &seen, "fresh")).collect();
    assert_eq!(all.len(), 3);
    for secret in all {
        let live = &seen.made[secret.metadata.name.as_deref().unwrap()];
        assert_eq!((&secret.data, &secret.metadata.uid), (&live.data, &live.metadata.uid));
        assert!(secret.metadata.uid.is_some());
    }
}

#[test]
fn a_users_own_password_is_followed_and_kept_when_its_secret_goes() {
    let valid = valid(|spec| {
        let named = SecretKeyRef { name: "mine".into(), key: "word".into() };
        spec.users[0].password_secret_ref = Some(named);
    });
    let mut seen = Seen::default();
    seen.named.insert("mine".into(), secret(&[("word", "first")]));
    let passwords = secrets::passwords(&valid, &seen, "fresh");
    assert_eq!(text(&passwords, "app"), "first");
    assert!(secrets::of_users(&valid, &seen, "fresh").is_empty());
    seen.made.insert("shop-passwords".into(), passwords);
    seen.named.clear();
    assert_eq!(text(&secrets::passwords(&valid, &seen, "fresh"), "app"), "first");
}

#[test]
fn credentials_of_statistics_are_generated_unless_named() {
    let seen = Seen::default();
    let made = secrets::stats(&valid(|_| {}), &seen, "fresh").unwrap();
    assert_eq!(text(&made, "username"), "stats");
    let named =
        valid(|spec| spec.proxy.stats.credentials_secret_ref = Some(SecretRef { name: "mine".into() }));
    assert!(secrets::stats(&named, &seen, "fresh").is_none());
    assert_eq!(secrets::stats_name(&named), "mine");
}

/// What a pod carries tells its host to look at what is mounted: members for passwords too, proxies for settings.
#[test]
fn running_pods_are_told_when_what_they_mount_changes() {
    let cluster = cluster().settled();
    let hash = |settings: &str, passwords: &str| {
        let pods = marks(&cluster.valid(), &cluster.seen(), settings, passwords);
        assert_eq!(pods.len(), 3);
        pods[0].metadata.annotations.as_ref().unwrap()[names::MOUNTED_HASH].clone()
    };
    assert_eq!(hash("a", "b"), hash("a", "b"));
    assert_ne!(hash("a", "b"), hash("a", "c"));
    assert_ne!(hash("a", "b"), hash("c", "b"));
}
