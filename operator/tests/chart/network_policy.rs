//! Every intended pair and port is allowed, every other denied: the chart's policy for the operator together with
//! the operator's policies for clusters, on the pods that the chart and the operator make.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::PodTemplateSpec, networking::v1::NetworkPolicy};
use quartet_crds::sync_cluster::SyncClusterSpec;
use quartet_operator::{
    children::Parent,
    sync_cluster::{LABEL, build, validate::Valid},
};

use crate::{
    helm::{Chart, render},
    reachability::{Endpoint, Port, allowed, labels},
};

const API: Port = Port("TCP", 6443);
const API_SERVICE: Port = Port("TCP", 443);
const DNS: Port = Port("UDP", 53);
const DNS_TCP: Port = Port("TCP", 53);
const METRICS: Port = Port("TCP", 8080);
const CLIENT: Port = Port("TCP", 8100);
const PEER: Port = Port("TCP", 8101);
const ADMIN: Port = Port("TCP", 8199);
const PORTS: [Port; 10] =
    [API, API_SERVICE, DNS, DNS_TCP, METRICS, CLIENT, PEER, ADMIN, Port("TCP", 22), Port("UDP", 8199)];

/// Each cluster of the test, and how many members of it are in the world.
const CLUSTERS: [(&str, &str, u8); 3] = [("apps", "demo", 2), ("apps", "rival", 1), ("other", "demo", 1)];

fn cluster(namespace: &str, name: &str) -> Valid {
    Valid {
        parent: Parent {
            api_version: "quartet.dev/v1alpha1".to_owned(),
            kind: "SyncCluster".to_owned(),
            label: LABEL,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: format!("{namespace}-{name}"),
        },
        replicas: 3,
        partitions: 8,
        image: "quartet-node:0.1.0".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        spec: SyncClusterSpec::default(),
    }
}

fn members() -> Vec<Endpoint> {
    let mut members = Vec::new();
    for (subnet, (namespace, name, count)) in (1..).zip(CLUSTERS) {
        let set = build::stateful_set::stateful_set(&cluster(namespace, name), 3, None);
        let template = set.spec.unwrap().template;
        for ordinal in 0..count {
            let ip = format!("10.245.{subnet}.{ordinal}");
            members.push(Endpoint::of_template(
                &format!("{namespace}/{name}-{ordinal}"),
                &ip,
                namespace,
                &template,
            ));
        }
    }
    members
}

fn operator(chart: &Chart) -> PodTemplateSpec {
    chart.only::<Deployment>("Deployment").spec.unwrap().template
}

/// Both replicas of the operator, all members, and everybody else.
fn world(chart: &Chart) -> Vec<Endpoint> {
    let named = |name| labels([("app.kubernetes.io/name", name)]);
    let replica = |name, ip| Endpoint::of_template(name, ip, "quartet-system", &operator(chart));
    let mut world = vec![
        replica("operator", "10.244.3.2"),
        replica("operator-2", "10.244.3.3"),
        Endpoint::of_template("false-operator", "10.244.1.8", "apps", &operator(chart)),
        Endpoint::outside("api", "172.18.0.2"),
        Endpoint::outside("internet", "203.0.113.7"),
        Endpoint::pod("dns", "10.244.0.2", "kube-system", labels([("k8s-app", "kube-dns")])),
        Endpoint::pod("false-dns", "10.244.1.9", "apps", labels([("k8s-app", "kube-dns")])),
        Endpoint::pod("prometheus", "10.244.1.2", "monitoring", named("prometheus")),
        Endpoint::pod("client", "10.244.1.3", "apps", named("client")),
        Endpoint::pod("neighbour", "10.244.1.4", "quartet-system", named("neighbour")),
    ];
    world.extend(members());
    world
}

/// As the API server would hold them.
fn policies(chart: &Chart) -> Vec<NetworkPolicy> {
    let of_clusters = CLUSTERS.map(|(namespace, name, _)| {
        let mut policy = build::network_policy::network_policy(&cluster(namespace, name), "quartet-system");
        policy.metadata.namespace = Some(namespace.to_owned());
        policy
    });
    of_clusters.into_iter().chain([chart.only("NetworkPolicy")]).collect()
}

fn is_operator(name: &str) -> bool {
    ["operator", "operator-2"].contains(&name)
}

/// `apps/demo` of `apps/demo-0`.
fn cluster_of(name: &str) -> Option<&str> {
    name.contains('/').then(|| name.rsplit_once('-').unwrap().0)
}

/// Holds what is allowed against what is meant, for each ordered pair with one of ours in it and each port.
/// `operator_out` says what the operator may reach that is none of ours; the rest never depends on values.
fn check(chart: &Chart, operator_out: impl Fn(&str) -> Vec<Port>, metrics_from: &[&str], watched: &[&str]) {
    let meant = |from: &str, to: &str, port: Port| -> bool {
        let wanted: Vec<Port> = match (cluster_of(from), cluster_of(to)) {
            (Some(one), Some(other)) if one == other => vec![PEER],
            (Some(_), Some(_)) => vec![],
            (None, Some(to)) if is_operator(from) => {
                if watched.iter().any(|namespace| to.starts_with(namespace)) { vec![ADMIN] } else { vec![] }
            }
            (None, Some(_)) => vec![CLIENT],
            (_, None) if is_operator(to) => {
                if metrics_from.contains(&from) {
                    vec![METRICS]
                } else {
                    vec![]
                }
            }
            // Where DNS is differs per cluster: for members its port is open towards everybody who lets them in.
            (Some(_), None) => vec![DNS, DNS_TCP],
            (None, None) => operator_out(to),
        };
        wanted.contains(&port)
    };
    let (world, policies) = (world(chart), policies(chart));
    let ours = |endpoint: &Endpoint| is_operator(&endpoint.name) || cluster_of(&endpoint.name).is_some();
    for from in &world {
        for to in world.iter().filter(|to| to.name != from.name && (ours(to) || ours(from))) {
            for port in PORTS {
                let is = allowed(&policies, from, to, port);
                assert_eq!(
                    is,
                    meant(&from.name, &to.name, port),
                    "from {} to {} on {port:?}",
                    from.name,
                    to.name
                );
            }
        }
    }
}

#[test]
fn by_default_everybody_reaches_what_they_should_and_nothing_else() {
    // Where the API server is differs per cluster, so its ports are open towards every address that lets us in.
    let out = |to: &str| match to {
        "dns" => vec![DNS, DNS_TCP, API, API_SERVICE],
        _ => vec![API, API_SERVICE],
    };
    check(&render(&[]), out, &["prometheus"], &["apps/", "other/"]);
}

#[test]
fn knowing_the_api_servers_address_closes_all_others() {
    let chart = render(&[
        r#"networkPolicy.apiServer={"to": [{"ipBlock": {"cidr": "172.18.0.2/32"}}], "ports": [6443]}"#,
        "networkPolicy.metrics.from=[]",
    ]);
    let out = |to: &str| match to {
        "api" => vec![API],
        "dns" => vec![DNS, DNS_TCP],
        _ => vec![],
    };
    check(&chart, out, &[], &["apps/", "other/"]);
}

#[test]
fn watching_one_namespace_closes_the_members_of_others() {
    let chart = render(&[r#"watchNamespace="apps""#, r#"networkPolicy.apiServer.to=[{"podSelector": {}}]"#]);
    let out = |to: &str| match to {
        "dns" => vec![DNS, DNS_TCP],
        "neighbour" => vec![API, API_SERVICE],
        _ => vec![],
    };
    check(&chart, out, &["prometheus"], &["apps/"]);
}
