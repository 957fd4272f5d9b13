//! Who reaches the members and proxies of a GaleraCluster on which port: all that is meant, and nothing else.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::PodTemplateSpec, networking::v1::NetworkPolicy};
use quartet_crds::galera_cluster::GaleraClusterSpec;
use quartet_operator::{
    children::Parent,
    galera_cluster::{LABEL, Seen, Valid, build},
};

use crate::{
    helm::{Chart, render},
    reachability::{Endpoint, Port, allowed, labels},
};

const CLIENT: Port = Port("TCP", 3306);
const WRITER: Port = Port("TCP", 3307);
const STATS: Port = Port("TCP", 8404);
const GROUP: Port = Port("TCP", 4567);
const GROUP_UDP: Port = Port("UDP", 4567);
const INCREMENTAL: Port = Port("TCP", 4568);
const TRANSFER: Port = Port("TCP", 4444);
const CHECKS: Port = Port("TCP", 8200);
const ADMIN: Port = Port("TCP", 8199);
const PORTS: [Port; 10] =
    [CLIENT, WRITER, STATS, GROUP, GROUP_UDP, INCREMENTAL, TRANSFER, CHECKS, ADMIN, Port("TCP", 22)];

fn cluster(name: &str) -> Valid {
    Valid {
        parent: Parent {
            api_version: "quartet.dev/v1alpha1".to_owned(),
            kind: "GaleraCluster".to_owned(),
            label: LABEL,
            name: name.to_owned(),
            namespace: "apps".to_owned(),
            uid: name.to_owned(),
        },
        replicas: 3,
        proxies: 2,
        mariadb_image: "quartet-mariadb:1".to_owned(),
        haproxy_image: "quartet-haproxy:1".to_owned(),
        node_image: "quartet-node:1".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        order: None,
        spec: GaleraClusterSpec::default(),
    }
}

fn member(name: &str) -> PodTemplateSpec {
    build::member::stateful_set(&cluster(name), 3, &Seen::default()).spec.unwrap().template
}

fn proxy(name: &str) -> PodTemplateSpec {
    build::proxy::deployment(&cluster(name)).spec.unwrap().template
}

/// A pod of each kind, and of another cluster in the same namespace.
fn world(chart: &Chart) -> Vec<Endpoint> {
    let operator = chart.only::<Deployment>("Deployment").spec.unwrap().template;
    let of =
        |name: &str, ip: &str, template: &PodTemplateSpec| Endpoint::of_template(name, ip, "apps", template);
    let pod = |name: &str, ip: &str, namespace: &str| {
        Endpoint::pod(name, ip, namespace, labels([("app.kubernetes.io/name", name)]))
    };
    vec![
        of("shop member 0", "10.244.1.1", &member("shop")),
        of("shop member 1", "10.244.1.2", &member("shop")),
        of("shop proxy 0", "10.244.1.3", &proxy("shop")),
        of("shop proxy 1", "10.244.1.4", &proxy("shop")),
        of("rival member", "10.244.1.5", &member("rival")),
        of("rival proxy", "10.244.1.6", &proxy("rival")),
        Endpoint::of_template("operator", "10.244.2.1", "quartet-system", &operator),
        Endpoint::of_template("false operator", "10.244.1.9", "apps", &operator),
        pod("prometheus", "10.244.3.1", "monitoring"),
        pod("client", "10.244.1.7", "apps"),
        Endpoint::outside("internet", "203.0.113.7"),
    ]
}

fn policies(chart: &Chart) -> Vec<NetworkPolicy> {
    let of_clusters = ["shop", "rival"].map(cluster);
    let of_clusters = of_clusters.iter().flat_map(|valid| {
        [build::network_policy::members(valid, "quartet-system"), build::network_policy::proxies(valid)]
    });
    let in_apps = of_clusters.map(|mut policy| {
        policy.metadata.namespace = Some("apps".to_owned());
        policy
    });
    in_apps.chain([chart.only("NetworkPolicy")]).collect()
}

/// What may be reached, by the names of the two ends.
fn meant(from: &str, to: &str) -> Vec<Port> {
    let cluster = |name: &str| name.split_once(' ').map_or("", |(cluster, _)| cluster).to_owned();
    let is = |name: &str, component: &str| name.contains(component);
    let one_of_ours = is(from, " member") || is(from, " proxy");
    let same = cluster(from) == cluster(to);
    if is(to, " member") {
        return match from {
            _ if same && is(from, " member") => vec![GROUP, GROUP_UDP, INCREMENTAL, TRANSFER, CHECKS],
            _ if same && is(from, " proxy") => vec![CLIENT, CHECKS],
            "operator" => vec![ADMIN],
            "prometheus" => vec![CHECKS],
            _ => vec![],
        };
    }
    match from {
        _ if one_of_ours => vec![],
        "operator" => vec![],
        "prometheus" => vec![CLIENT, WRITER, STATS, CHECKS],
        _ => vec![CLIENT, WRITER, STATS],
    }
}

#[test]
fn clients_reach_proxies_and_proxies_reach_members_and_nothing_else_is_open() {
    let chart = render(&[]);
    let (world, policies) = (world(&chart), policies(&chart));
    let ours = |endpoint: &Endpoint| endpoint.name.contains(" member") || endpoint.name.contains(" proxy");
    for from in &world {
        for to in world.iter().filter(|to| to.name != from.name && ours(to)) {
            for port in PORTS {
                let is = allowed(&policies, from, to, port);
                let meant = meant(&from.name, &to.name).contains(&port);
                assert_eq!(is, meant, "from {} to {} on {port:?}", from.name, to.name);
            }
        }
    }
}
