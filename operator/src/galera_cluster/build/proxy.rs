//! Deployment of the proxies: HAProxy under its manager.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{Container, EmptyDirVolumeSource, PodSpec, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use quartet_client::galera::CHECK_PORT;

use super::{
    super::{CLIENT_PORT, PROXY, STATS_PORT, WRITER_PORT, validate::Valid},
    NODE, SETTINGS, USER, installer, secrets,
};
use crate::{
    children::pod::{self, mount, port, read_only, variable},
    names,
};

const CREDENTIALS: &str = "/etc/quartet/stats";
const RUN: &str = "/run/haproxy";
/// Longer than the proxy serves on after it was told to stop.
const GRACE_SECONDS: i64 = 45;

pub fn deployment(valid: &Valid) -> Deployment {
    let count = |count: i32| Some(IntOrString::Int(count));
    // Asleep, there is nobody to lead to.
    let replicas = if valid.spec.common.hibernated { 0 } else { i32::from(valid.proxies) };
    Deployment {
        metadata: valid.parent.metadata(names::proxy(&valid.parent.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: valid.parent.selector(Some(PROXY)),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: count(1),
                    max_unavailable: count(0),
                }),
            }),
            template: template(valid),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn template(valid: &Valid) -> PodTemplateSpec {
    let parent = &valid.parent;
    let memory =
        EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..EmptyDirVolumeSource::default() };
    let spec = PodSpec {
        init_containers: Some(vec![installer(valid)]),
        containers: vec![proxy(valid)],
        volumes: Some(vec![
            pod::scratch("node"),
            Volume { name: "run".to_owned(), empty_dir: Some(memory), ..Volume::default() },
            pod::scratch("tmp"),
            pod::config("settings", names::settings(&parent.name)),
            pod::secret("stats", secrets::stats_name(valid)),
        ]),
        ..pod::spec(USER, &parent.selector(Some(PROXY)), &valid.spec.common, GRACE_SECONDS)
    };
    // Settings reach a running proxy; it is never restarted for them.
    pod::template(&valid.spec.common, parent.labels(Some(PROXY)), "none".to_owned(), spec)
}

fn proxy(valid: &Valid) -> Container {
    Container {
        name: "proxy".to_owned(),
        image: Some(valid.haproxy_image.clone()),
        image_pull_policy: pod::pull_policy(&valid.pull_policy),
        command: Some(vec![format!("{NODE}/quartet-node"), "galera-proxy".to_owned()]),
        env: Some(vec![
            variable("QUARTET_SETTINGS", format!("{SETTINGS}/settings.json")),
            variable("QUARTET_STATS_CREDENTIALS", CREDENTIALS),
            variable("QUARTET_HTTP", format!("0.0.0.0:{CHECK_PORT}")),
            variable("QUARTET_LOG_FORMAT", "json"),
        ]),
        ports: Some(vec![
            port("mysql", CLIENT_PORT),
            port("writer", WRITER_PORT),
            port("stats", STATS_PORT),
            port("checks", CHECK_PORT),
        ]),
        startup_probe: Some(pod::probe("/healthz", CHECK_PORT, 1, 60)),
        liveness_probe: Some(pod::probe("/healthz", CHECK_PORT, 10, 6)),
        readiness_probe: Some(pod::probe("/readyz", CHECK_PORT, 1, 2)),
        resources: Some(pod::resources(&valid.spec.proxy.resources, "50m", "64Mi")),
        security_context: Some(pod::restricted()),
        volume_mounts: Some(vec![
            read_only("node", NODE),
            mount("run", RUN),
            mount("tmp", "/tmp"),
            read_only("settings", SETTINGS),
            read_only("stats", CREDENTIALS),
        ]),
        ..Container::default()
    }
}
