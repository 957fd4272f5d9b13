//! The pod template of a member.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource, EnvVar,
        EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, Pod, PodAffinityTerm,
        PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
        SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
        WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use quartet_client::admin;
use quartet_crds::{common::ResourceAmounts, quantity};

use super::{
    super::{CLIENT_PORT, LABEL, PEER_PORT, validate::Valid},
    admin_secret, selector, settings,
};
use crate::names;

const USER: i64 = 65532;
const DATA: &str = "/data";
const ADMIN: &str = "/etc/quartet/admin";
const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) fn template(valid: &Valid) -> PodTemplateSpec {
    let extra = valid.spec.pod_template.metadata.clone().unwrap_or_default();
    let mut labels = extra.labels;
    labels.extend(names::labels(LABEL, &valid.name));
    let mut annotations = extra.annotations;
    annotations.insert(names::SETTINGS_HASH.to_owned(), settings::hash(valid));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(valid)),
    }
}

/// What a pod has lost of the labels by which we, its Service and its StatefulSet find it. None: nothing, or it is not
/// known to be of our making.
pub fn labels(valid: &Valid, live: &Pod) -> Option<Pod> {
    let labels = names::labels(LABEL, &valid.name);
    let present = live.metadata.labels.as_ref();
    let complete =
        labels.iter().all(|(key, value)| present.and_then(|present| present.get(key)) == Some(value));
    let made_of_our_template =
        live.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::SETTINGS_HASH));
    (!complete && made_of_our_template && live.metadata.deletion_timestamp.is_none()).then(|| Pod {
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    })
}

fn spec(valid: &Valid) -> PodSpec {
    let scheduling = &valid.spec.scheduling;
    PodSpec {
        affinity: Some(scheduling.affinity.clone().unwrap_or_else(|| apart(valid))),
        automount_service_account_token: Some(false),
        containers: vec![member(valid)],
        enable_service_links: Some(false),
        image_pull_secrets: some(
            valid
                .spec
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect(),
        ),
        node_selector: Some(scheduling.node_selector.clone()).filter(|selector| !selector.is_empty()),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        // Longer than the drain: a member first leaves the Service, then serves on until connections have gone.
        termination_grace_period_seconds: Some(45),
        tolerations: some(scheduling.tolerations.clone()),
        topology_spread_constraints: Some(spread(valid)),
        volumes: Some(vec![Volume {
            name: "admin".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::admin(&valid.name)),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn member(valid: &Valid) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "member".to_owned(),
        image: Some(valid.image.clone()),
        image_pull_policy: Some(valid.pull_policy.clone()).filter(|policy| !policy.is_empty()),
        args: Some(vec!["sync".to_owned()]),
        env: Some(environment()),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: names::settings(&valid.name), optional: None }),
            ..EnvFromSource::default()
        }]),
        ports: Some(vec![port("http", CLIENT_PORT), port("peer", PEER_PORT), port("admin", admin::PORT)]),
        // A long log takes its time to be read: ten minutes before a start counts as failed.
        startup_probe: Some(probe("/healthz", 1, 600)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        resources: Some(resources(valid)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount(names::VOLUME, DATA, false), mount("admin", ADMIN, true)]),
        ..Container::default()
    }
}

fn environment() -> Vec<EnvVar> {
    let value =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let listen = |port: u16| format!("0.0.0.0:{port}");
    vec![
        EnvVar {
            name: "QUARTET_ID".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: format!("metadata.labels['{}']", names::POD_INDEX),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
        value("QUARTET_DATA", DATA.to_owned()),
        value("QUARTET_HTTP", listen(CLIENT_PORT)),
        value("QUARTET_LISTEN", listen(PEER_PORT)),
        value("QUARTET_ADMIN", listen(admin::PORT)),
        value("QUARTET_ADMIN_TOKEN_FILE", format!("{ADMIN}/{}", admin_secret::TOKEN)),
        value("QUARTET_LOG_FORMAT", "json".to_owned()),
        value("QUARTET_DRAIN_TIMEOUT", "30s".to_owned()),
    ]
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(CLIENT_PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// Small by default, and never above a limit that the user set.
fn resources(valid: &Valid) -> ResourceRequirements {
    let spec = &valid.spec.resources;
    let limits = spec.limits.clone().unwrap_or_default();
    let requests = spec.requests.clone().unwrap_or_default();
    let or_default = |request: Option<Quantity>, limit: &Option<Quantity>, default: &str| {
        request.or_else(|| {
            let limit = limit.as_ref().filter(|limit| quantity::milli(&limit.0) < quantity::milli(default));
            Some(limit.cloned().unwrap_or_else(|| Quantity(default.to_owned())))
        })
    };
    let requests = ResourceAmounts {
        cpu: or_default(requests.cpu, &limits.cpu, "50m"),
        memory: or_default(requests.memory, &limits.memory, "64Mi"),
    };
    ResourceRequirements { requests: amounts(&requests), limits: amounts(&limits), claims: None }
}

fn amounts(amounts: &ResourceAmounts) -> Option<BTreeMap<String, Quantity>> {
    let all = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
    let map: BTreeMap<_, _> =
        all.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?))).collect();
    Some(map).filter(|map| !map.is_empty())
}

/// Two members on one host fail together: other hosts are preferred, not demanded, so that a small cluster still runs.
fn apart(valid: &Valid) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: PodAffinityTerm {
                    label_selector: Some(selector(valid)),
                    topology_key: HOSTNAME.to_owned(),
                    ..PodAffinityTerm::default()
                },
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn spread(valid: &Valid) -> Vec<TopologySpreadConstraint> {
    let given = &valid.spec.scheduling.topology_spread;
    if given.is_empty() {
        return vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: HOSTNAME.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector(valid)),
            ..TopologySpreadConstraint::default()
        }];
    }
    given
        .iter()
        .cloned()
        .map(|mut constraint| {
            constraint.label_selector.get_or_insert_with(|| selector(valid));
            constraint
        })
        .collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
