//! Parts of pod templates: restricted security, where pods may run, and the pieces of containers.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMapVolumeSource, ContainerPort, EmptyDirVolumeSource, EnvVar,
        EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, Pod, PodAffinityTerm,
        PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
        SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
        WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use quartet_crds::{
    common::{CommonSpec, ResourceAmounts, Resources, Scheduling},
    quantity,
};

use crate::names;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// `settings`: hash of what the pods have to be restarted for.
pub fn template(
    common: &CommonSpec,
    labels: BTreeMap<String, String>,
    settings: String,
    spec: PodSpec,
) -> PodTemplateSpec {
    let extra = common.pod_template.metadata.clone().unwrap_or_default();
    let mut all = extra.labels;
    all.extend(labels);
    let mut annotations = extra.annotations;
    annotations.insert(names::SETTINGS_HASH.to_owned(), settings);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

/// Of a container; Kubernetes' own where there is none.
pub fn pull_policy(policy: &str) -> Option<String> {
    (!policy.is_empty()).then(|| policy.to_owned())
}

/// A pod as every kind's are, without containers: not root, kept apart on hosts, without rights in the cluster.
pub fn spec(user: i64, pods: &LabelSelector, common: &CommonSpec, grace_seconds: i64) -> PodSpec {
    let (scheduling, secrets) = (&common.scheduling, &common.image_pull_secrets);
    PodSpec {
        affinity: Some(scheduling.affinity.clone().unwrap_or_else(|| apart(pods))),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: some(
            secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
        ),
        node_selector: Some(scheduling.node_selector.clone()).filter(|selector| !selector.is_empty()),
        security_context: Some(PodSecurityContext {
            fs_group: Some(user),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            run_as_group: Some(user),
            run_as_non_root: Some(true),
            run_as_user: Some(user),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(grace_seconds),
        tolerations: some(scheduling.tolerations.clone()),
        topology_spread_constraints: Some(spread(pods, scheduling)),
        ..PodSpec::default()
    }
}

/// Of every container.
pub fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// Two members on one host fail together: other hosts are preferred, not demanded, so that a small cluster still runs.
fn apart(pods: &LabelSelector) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: PodAffinityTerm {
                    label_selector: Some(pods.clone()),
                    topology_key: HOSTNAME.to_owned(),
                    ..PodAffinityTerm::default()
                },
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn spread(pods: &LabelSelector, scheduling: &Scheduling) -> Vec<TopologySpreadConstraint> {
    let given = &scheduling.topology_spread;
    if given.is_empty() {
        return vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: HOSTNAME.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(pods.clone()),
            ..TopologySpreadConstraint::default()
        }];
    }
    given
        .iter()
        .cloned()
        .map(|mut constraint| {
            constraint.label_selector.get_or_insert_with(|| pods.clone());
            constraint
        })
        .collect()
}

/// Small by default, and never above a limit that the user set.
pub fn resources(spec: &Resources, cpu: &str, memory: &str) -> ResourceRequirements {
    let limits = spec.limits.clone().unwrap_or_default();
    let requests = spec.requests.clone().unwrap_or_default();
    let or_default = |request: Option<Quantity>, limit: &Option<Quantity>, default: &str| {
        request.or_else(|| {
            let limit = limit.as_ref().filter(|limit| quantity::milli(&limit.0) < quantity::milli(default));
            Some(limit.cloned().unwrap_or_else(|| Quantity(default.to_owned())))
        })
    };
    let requests = ResourceAmounts {
        cpu: or_default(requests.cpu, &limits.cpu, cpu),
        memory: or_default(requests.memory, &limits.memory, memory),
    };
    ResourceRequirements { requests: amounts(&requests), limits: amounts(&limits), claims: None }
}

fn amounts(amounts: &ResourceAmounts) -> Option<BTreeMap<String, Quantity>> {
    let all = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
    let map: BTreeMap<_, _> =
        all.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?))).collect();
    Some(map).filter(|map| !map.is_empty())
}

pub fn probe(path: &str, port: u16, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

pub fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

pub fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..EnvVar::default() }
}

/// What Kubernetes knows of the pod.
pub fn field(name: &str, path: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.into(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// The member's ordinal.
pub fn ordinal(name: &str) -> EnvVar {
    field(name, format!("metadata.labels['{}']", names::POD_INDEX))
}

pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

pub fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}

pub fn secret(volume: &str, secret: impl Into<String>) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub fn config(volume: &str, config_map: impl Into<String>) -> Volume {
    Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.into(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Goes with the pod.
pub fn scratch(volume: &str) -> Volume {
    Volume { name: volume.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

pub fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// Known to be made of a template of ours.
fn is_ours(live: &Pod) -> bool {
    live.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::SETTINGS_HASH))
        && live.metadata.deletion_timestamp.is_none()
}

/// What a pod has lost of the labels by which we, its Service and its StatefulSet find it. None: nothing, or it is not
/// known to be of our making.
pub fn lost_labels(labels: BTreeMap<String, String>, live: &Pod) -> Option<Pod> {
    let present = live.metadata.labels.as_ref();
    let complete =
        labels.iter().all(|(key, value)| present.and_then(|present| present.get(key)) == Some(value));
    (!complete && is_ours(live)).then(|| Pod {
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    })
}

/// Labels and annotations that a pod of ours shall carry while it runs; what it carries already is no change.
pub fn marked(
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    live: &Pod,
) -> Option<Pod> {
    is_ours(live).then(|| Pod {
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    })
}
