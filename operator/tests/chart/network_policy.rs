//! Every intended pair and port is allowed, every other denied: the chart's policy for the operator.

use k8s_openapi::api::{apps::v1::Deployment, networking::v1::NetworkPolicy};

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

fn operator_pod(chart: &Chart, name: &str, ip: &str) -> Endpoint {
    let template = chart.only::<Deployment>("Deployment").spec.unwrap().template;
    Endpoint::of_template(name, ip, "quartet-system", &template)
}

fn member(name: &str, ip: &str, namespace: &str) -> Endpoint {
    let labels = labels([
        ("app.kubernetes.io/managed-by", "quartet"),
        ("app.kubernetes.io/name", "synccluster"),
        ("app.kubernetes.io/instance", "demo"),
    ]);
    Endpoint::pod(name, ip, namespace, labels)
}

/// Everybody that the operator could talk to, and could be talked to by.
fn world() -> Vec<Endpoint> {
    let named = |name| labels([("app.kubernetes.io/name", name)]);
    vec![
        Endpoint::outside("api", "172.18.0.2"),
        Endpoint::outside("internet", "203.0.113.7"),
        Endpoint::pod("dns", "10.244.0.2", "kube-system", labels([("k8s-app", "kube-dns")])),
        Endpoint::pod("false-dns", "10.244.1.9", "apps", labels([("k8s-app", "kube-dns")])),
        Endpoint::pod("prometheus", "10.244.1.2", "monitoring", named("prometheus")),
        Endpoint::pod("client", "10.244.1.3", "apps", named("client")),
        Endpoint::pod("neighbour", "10.244.1.4", "quartet-system", named("neighbour")),
        member("member", "10.244.2.2", "apps"),
        member("member-elsewhere", "10.244.2.3", "other"),
    ]
}

/// Holds the operator's policy against what is meant, for each pair with the operator and each port.
fn check(chart: &Chart, meant: impl Fn(&str, &str, Port) -> bool) {
    let policies = [chart.only::<NetworkPolicy>("NetworkPolicy")];
    let mut seen_allowed = 0;
    let operator = operator_pod(chart, "operator", "10.244.3.2");
    for other in world().into_iter().chain([operator_pod(chart, "operator-2", "10.244.3.3")]) {
        for port in PORTS {
            for (from, to) in [(&operator, &other), (&other, &operator)] {
                let (is, should) = (allowed(&policies, from, to, port), meant(&from.name, &to.name, port));
                assert_eq!(is, should, "from {} to {} on {port:?}", from.name, to.name);
                seen_allowed += usize::from(is);
            }
        }
    }
    assert!(seen_allowed > 0, "a policy that denies everything would pass for any lack of intentions");
}

#[test]
fn the_operator_reaches_the_api_dns_and_members_and_only_prometheus_reaches_it() {
    // Where the API server is differs per cluster, so by default its ports are open towards every address.
    check(&render(&[]), |from, to, port| match (from, to) {
        ("prometheus", "operator") => port == METRICS,
        // The other replica has a policy of its own, which lets in only Prometheus.
        (_, "operator" | "operator-2") => false,
        ("operator", "dns") => [DNS, DNS_TCP, API, API_SERVICE].contains(&port),
        ("operator", "member" | "member-elsewhere") => [ADMIN, API, API_SERVICE].contains(&port),
        ("operator", _) => [API, API_SERVICE].contains(&port),
        _ => unreachable!("every pair has the operator in it"),
    });
}

#[test]
fn knowing_the_api_servers_address_closes_all_others() {
    let chart = render(&[
        r#"networkPolicy.apiServer={"to": [{"ipBlock": {"cidr": "172.18.0.2/32"}}], "ports": [6443]}"#,
        "networkPolicy.metrics.from=[]",
    ]);
    check(&chart, |from, to, port| match (from, to) {
        ("operator", "api") => port == API,
        ("operator", "dns") => [DNS, DNS_TCP].contains(&port),
        ("operator", "member" | "member-elsewhere") => port == ADMIN,
        _ => false,
    });
}

#[test]
fn watching_one_namespace_closes_the_members_of_others() {
    let chart = render(&[
        r#"watchNamespace="apps""#,
        r#"networkPolicy.apiServer={"to": [{"ipBlock": {"cidr": "172.18.0.2/32"}}], "ports": [6443]}"#,
    ]);
    check(&chart, |from, to, port| match (from, to) {
        ("operator", "api") => port == API,
        ("operator", "dns") => [DNS, DNS_TCP].contains(&port),
        ("operator", "member") => port == ADMIN,
        ("prometheus", "operator") => port == METRICS,
        _ => false,
    });
}
