//! What the children are, as sentences.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::PodSpec};
use quartet_crds::{
    common::{PodMetadata, ResourceAmounts, Resources},
    duration::Duration,
    quantity::Bytes,
    sync_cluster::SyncClusterSpec,
};
use serde_json::{Value, json};

use super::{disruption_budget, services, settings, stateful_set};
use crate::{
    children::secrets,
    names,
    sync_cluster::{Valid, fixture::cluster, validate::validate},
};

fn valid(change: impl FnOnce(&mut SyncClusterSpec)) -> Valid {
    let cluster = cluster().with_spec(change);
    validate(&cluster.resource, &cluster.seen(), &cluster.given()).unwrap()
}

fn set(change: impl FnOnce(&mut SyncClusterSpec)) -> StatefulSet {
    stateful_set::stateful_set(&valid(change), 3, None)
}

fn pod(change: impl FnOnce(&mut SyncClusterSpec)) -> PodSpec {
    set(change).spec.unwrap().template.spec.unwrap()
}

fn value(object: impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

#[test]
fn a_pod_is_what_restricted_pod_security_demands() {
    let pod = value(pod(|_| {}));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[test]
fn the_operator_orders_restarts_and_volumes_outlive_the_set() {
    let set = value(set(|_| {}));
    assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(
        set["spec"]["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
}

#[test]
fn a_change_of_settings_changes_the_template() {
    let template = |change: fn(&mut SyncClusterSpec)| set(change).spec.unwrap().template;
    assert_eq!(template(|_| {}), template(|spec| spec.replicas = 5));
    assert_ne!(template(|_| {}), template(|spec| spec.lock.default_ttl = Duration::new("5s")));
    let data = settings::settings(&valid(|spec| spec.lock.default_ttl = Duration::new("5s"))).data.unwrap();
    assert_eq!((data["QUARTET_LOCK_DEFAULT_TTL"].as_str(), data["QUARTET_PARTITIONS"].as_str()), ("5s", "3"));
    assert_eq!(data["QUARTET_CLUSTER"], "demo");
}

#[test]
fn labels_of_the_user_never_replace_ours() {
    let set = set(|spec| {
        let labels = [("team".to_owned(), "a".to_owned())].into();
        spec.common.pod_template.metadata = Some(PodMetadata { labels, ..PodMetadata::default() });
    });
    let labels = set.spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["team"], "a");
    assert_eq!(labels[names::INSTANCE], "demo");
    assert_eq!(labels[names::MANAGED_BY], "quartet");
}

#[test]
fn members_prefer_different_hosts_unless_told_otherwise() {
    let pod = value(pod(|_| {}));
    let spread = &pod["topologySpreadConstraints"][0];
    assert_eq!(spread["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(spread["whenUnsatisfiable"], "ScheduleAnyway");
    let own = value(self::pod(|spec| {
        spec.common.scheduling.topology_spread = serde_json::from_value(json!([
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ]))
        .unwrap();
    }));
    assert_eq!(own["topologySpreadConstraints"].as_array().unwrap().len(), 1);
    let constraint = &own["topologySpreadConstraints"][0];
    assert_eq!(constraint["labelSelector"]["matchLabels"][names::INSTANCE], "demo");
}

#[test]
fn a_default_request_is_never_above_a_limit() {
    let limits = ResourceAmounts { memory: serde_json::from_value(json!("32Mi")).unwrap(), cpu: None };
    let pod = value(pod(|spec| spec.resources = Resources { requests: None, limits: Some(limits) }));
    let resources = &pod["containers"][0]["resources"];
    assert_eq!(resources["requests"], json!({"cpu": "50m", "memory": "32Mi"}));
    assert_eq!(resources["limits"], json!({"memory": "32Mi"}));
}

#[test]
fn the_claim_template_of_a_live_set_stays() {
    let live = set(|_| {});
    let grown = valid(|spec| spec.storage.size = Bytes::new("5Gi"));
    let template = |set: StatefulSet| set.spec.unwrap().volume_claim_templates.unwrap();
    assert_eq!(template(stateful_set::stateful_set(&grown, 3, Some(&live))), template(live.clone()));
    assert_ne!(template(stateful_set::stateful_set(&grown, 3, None)), template(live));
}

#[test]
fn only_the_headless_service_has_the_authenticated_port_and_unready_members() {
    let ports = |service: &Value| -> Vec<i64> {
        service["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["port"].as_i64().unwrap())
            .collect()
    };
    let (clients, members) =
        (value(services::clients(&valid(|_| {}))), value(services::members(&valid(|_| {}))));
    assert_eq!(ports(&clients), [8100]);
    assert_eq!(ports(&members), [8101, 8199]);
    assert_eq!(members["spec"]["clusterIP"], "None");
    assert_eq!(members["spec"]["publishNotReadyAddresses"], true);
    assert!(clients["spec"]["publishNotReadyAddresses"].is_null());
}

#[test]
fn a_budget_keeps_a_quorum_of_the_larger_number() {
    let least = |voters| {
        let budget = disruption_budget::disruption_budget(&valid(|_| {}), voters)?;
        value(budget)["spec"]["minAvailable"].as_i64()
    };
    assert_eq!([1, 3, 5, 7].map(least), [None, Some(2), Some(3), Some(4)]);
}

#[test]
fn an_emptied_token_is_made_anew_and_a_live_one_stays() {
    let mut secret = secrets::admin(&valid(|_| {}).parent, None, "fresh");
    assert_eq!(secret.metadata.uid, None, "there is none yet");
    secret.metadata.uid = Some("first".to_owned());
    let token =
        |secret: &k8s_openapi::api::core::v1::Secret| secret.data.as_ref().unwrap()["token"].0.clone();
    let again = secrets::admin(&valid(|_| {}).parent, Some(&secret), "other");
    assert_eq!(token(&again), b"fresh");
    assert_eq!(again.metadata.uid.as_deref(), Some("first"), "it is in that one only");
    secret.data = None;
    assert_eq!(token(&secrets::admin(&valid(|_| {}).parent, Some(&secret), "other")), b"other");
}
