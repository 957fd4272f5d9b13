//! The pod template of a member.

use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, Container, EnvFromSource, EnvVar, Pod, PodSpec, PodTemplateSpec,
};
use quartet_client::admin;

use super::{
    super::{CLIENT_PORT, PEER_PORT, validate::Valid},
    settings,
};
use crate::{
    children::pod::{self, mount, ordinal, port, probe, read_only, variable},
    members::observe::TOKEN,
    names,
};

const USER: i64 = 65532;
const DATA: &str = "/data";
const ADMIN: &str = "/etc/quartet/admin";
/// Longer than the drain: a member first leaves the Service, then serves on until connections have gone.
const GRACE_SECONDS: i64 = 45;

pub(super) fn template(valid: &Valid) -> PodTemplateSpec {
    let (parent, spec) = (&valid.parent, &valid.spec);
    let pod = PodSpec {
        containers: vec![member(valid)],
        volumes: Some(vec![pod::secret("admin", names::admin(&parent.name))]),
        ..pod::spec(USER, &parent.selector(None), &spec.common, GRACE_SECONDS)
    };
    pod::template(&spec.common, parent.labels(None), settings::hash(valid), pod)
}

/// What a pod has lost of its labels.
pub fn labels(valid: &Valid, live: &Pod) -> Option<Pod> {
    pod::lost_labels(valid.parent.labels(None), live)
}

fn member(valid: &Valid) -> Container {
    Container {
        name: "member".to_owned(),
        image: Some(valid.image.clone()),
        image_pull_policy: pod::pull_policy(&valid.pull_policy),
        args: Some(vec!["sync".to_owned()]),
        env: Some(environment()),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource {
                name: names::settings(&valid.parent.name),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]),
        ports: Some(vec![port("http", CLIENT_PORT), port("peer", PEER_PORT), port("admin", admin::PORT)]),
        // A long log takes its time to be read: ten minutes before a start counts as failed.
        startup_probe: Some(probe("/healthz", CLIENT_PORT, 1, 600)),
        liveness_probe: Some(probe("/healthz", CLIENT_PORT, 10, 6)),
        readiness_probe: Some(probe("/readyz", CLIENT_PORT, 2, 2)),
        resources: Some(pod::resources(&valid.spec.resources, "50m", "64Mi")),
        security_context: Some(pod::restricted()),
        volume_mounts: Some(vec![mount(names::VOLUME, DATA), read_only("admin", ADMIN)]),
        ..Container::default()
    }
}

fn environment() -> Vec<EnvVar> {
    let listen = |port: u16| format!("0.0.0.0:{port}");
    vec![
        ordinal("QUARTET_ID"),
        variable("QUARTET_DATA", DATA),
        variable("QUARTET_HTTP", listen(CLIENT_PORT)),
        variable("QUARTET_LISTEN", listen(PEER_PORT)),
        variable("QUARTET_ADMIN", listen(admin::PORT)),
        variable("QUARTET_ADMIN_TOKEN_FILE", format!("{ADMIN}/{TOKEN}")),
        variable("QUARTET_LOG_FORMAT", "json"),
        variable("QUARTET_DRAIN_TIMEOUT", "30s"),
    ]
}
