//! StatefulSet of the members: MariaDB under its manager.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec},
};
use quartet_client::{admin, galera::CHECK_PORT};

use super::{
    super::{CLIENT_PORT, GROUP_PORT, INCREMENTAL_PORT, MEMBER, Seen, TRANSFER_PORT, validate::Valid},
    NODE, SETTINGS, USER, installer, settings,
};
use crate::{
    children::{
        pod::{self, field, mount, ordinal, port, read_only, variable},
        stateful_set::{self, Set},
    },
    members::observe::TOKEN,
    names,
};

const DATA: &str = "/data";
const ADMIN: &str = "/etc/quartet/admin";
const PASSWORDS: &str = "/etc/quartet/passwords";
/// Longer than a drain and the server's own end; one that is killed recovers all the same, and takes longer to.
const GRACE_SECONDS: i64 = 120;

pub fn stateful_set(valid: &Valid, replicas: u16, seen: &Seen) -> StatefulSet {
    let set = Set {
        replicas,
        pods: valid.parent.selector(Some(MEMBER)),
        template: template(valid),
        storage: &valid.spec.storage,
        claim_labels: valid.parent.labels(Some(MEMBER)),
    };
    stateful_set::stateful_set(&valid.parent, set, seen.members.stateful_set.as_ref())
}

fn template(valid: &Valid) -> PodTemplateSpec {
    let parent = &valid.parent;
    let spec = PodSpec {
        init_containers: Some(vec![installer(valid)]),
        containers: vec![member(valid)],
        volumes: Some(vec![
            pod::scratch("node"),
            pod::scratch("run"),
            pod::scratch("tmp"),
            pod::config("settings", names::settings(&parent.name)),
            pod::secret("passwords", names::passwords(&parent.name)),
            pod::secret("admin", names::admin(&parent.name)),
        ]),
        ..pod::spec(USER, &parent.selector(Some(MEMBER)), &valid.spec.common, GRACE_SECONDS)
    };
    pod::template(&valid.spec.common, parent.labels(Some(MEMBER)), settings::restart_hash(valid), spec)
}

fn member(valid: &Valid) -> Container {
    Container {
        name: "member".to_owned(),
        image: Some(valid.mariadb_image.clone()),
        image_pull_policy: pod::pull_policy(&valid.pull_policy),
        command: Some(vec![format!("{NODE}/quartet-node"), "galera".to_owned()]),
        env: Some(environment(valid)),
        ports: Some(vec![
            port("mysql", CLIENT_PORT),
            port("group", GROUP_PORT),
            port("incremental", INCREMENTAL_PORT),
            port("transfer", TRANSFER_PORT),
            port("checks", CHECK_PORT),
            port("admin", admin::PORT),
        ]),
        // Of the manager, which answers at once, whatever its server does: a recovery or a transfer may take its time.
        startup_probe: Some(pod::probe("/healthz", CHECK_PORT, 1, 60)),
        liveness_probe: Some(pod::probe("/healthz", CHECK_PORT, 10, 6)),
        // The operator learns by it that a server has ended: once is enough.
        readiness_probe: Some(pod::probe("/readyz", CHECK_PORT, 1, 1)),
        resources: Some(pod::resources(&valid.spec.resources, "100m", "384Mi")),
        security_context: Some(pod::restricted()),
        volume_mounts: Some(vec![
            mount(names::VOLUME, DATA),
            read_only("node", NODE),
            mount("run", "/run/mysqld"),
            mount("tmp", "/tmp"),
            read_only("settings", SETTINGS),
            read_only("passwords", PASSWORDS),
            read_only("admin", ADMIN),
        ]),
        ..Container::default()
    }
}

fn environment(valid: &Valid) -> Vec<EnvVar> {
    let listen = |port: u16| format!("0.0.0.0:{port}");
    let mut all = vec![
        ordinal("QUARTET_ID"),
        field("QUARTET_POD_NAME", "metadata.name"),
        field("QUARTET_POD_IP", "status.podIP"),
        variable("QUARTET_DATA", DATA),
        variable("QUARTET_SETTINGS", format!("{SETTINGS}/settings.json")),
        variable("QUARTET_PASSWORDS", PASSWORDS),
        variable("QUARTET_HTTP", listen(CHECK_PORT)),
        variable("QUARTET_ADMIN", listen(admin::PORT)),
        variable("QUARTET_ADMIN_TOKEN_FILE", format!("{ADMIN}/{TOKEN}")),
        variable("QUARTET_LOG_FORMAT", "json"),
        variable("QUARTET_DRAIN_TIMEOUT", "30s"),
    ];
    all.extend(server(valid).into_iter().map(|(name, value)| variable(name, value)));
    all
}

/// What the server reads only when it starts.
pub(super) fn server(valid: &Valid) -> [(&'static str, String); 3] {
    let server = &valid.spec.server;
    // The schema lets nothing else than sizes pass.
    let bytes = |size: &quartet_crds::quantity::Bytes| size.bytes().unwrap_or(128 << 20).to_string();
    [
        ("QUARTET_GCACHE_SIZE", bytes(&server.gcache_size)),
        ("QUARTET_BUFFER_POOL_SIZE", bytes(&server.buffer_pool_size)),
        ("QUARTET_SNAPSHOT_ISOLATION", server.snapshot_isolation.to_string()),
    ]
}
