//! Evaluates NetworkPolicies as the API documents them: who may open a connection to whom, on which port.
//!
//! Policies of a direction add up; a pod that none selects in a direction is free in it; a connection needs the
//! egress of its source and the ingress of its destination. An ipBlock is taken to match pods too: networks
//! differ there, and this is the reading that lets more through.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        core::v1::PodTemplateSpec,
        networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// None outside of the cluster.
    pub(crate) pod: Option<Pod>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    /// The container's ports by name: a policy may name them.
    pub(crate) ports: BTreeMap<String, i32>,
}

impl Endpoint {
    pub(crate) fn outside(name: &str, ip: &str) -> Self {
        Self { name: name.to_owned(), ip: ip.parse().unwrap(), pod: None }
    }

    pub(crate) fn pod(name: &str, ip: &str, namespace: &str, labels: Labels) -> Self {
        let pod = Pod { namespace: namespace.to_owned(), labels, ports: BTreeMap::new() };
        Self { pod: Some(pod), ..Self::outside(name, ip) }
    }

    /// A pod as a template makes it.
    pub(crate) fn of_template(name: &str, ip: &str, namespace: &str, template: &PodTemplateSpec) -> Self {
        let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        let mut endpoint = Self::pod(name, ip, namespace, labels.unwrap_or_default());
        let containers = template.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers.flat_map(|container| container.ports.iter().flatten());
        let named = ports.filter_map(|port| Some((port.name.clone()?, port.container_port)));
        if let Some(pod) = &mut endpoint.pod {
            pod.ports = named.collect();
        }
        endpoint
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) &'static str, pub(crate) i32);

/// Every namespace has the label that the API server gives it, and no other.
pub(crate) fn allowed(policies: &[NetworkPolicy], from: &Endpoint, to: &Endpoint, port: Port) -> bool {
    egress_allowed(policies, from, to, port) && ingress_allowed(policies, from, to, port)
}

fn egress_allowed(policies: &[NetworkPolicy], from: &Endpoint, to: &Endpoint, port: Port) -> bool {
    let mut selecting = policies.iter().filter(|policy| selects(policy, from, "Egress")).peekable();
    selecting.peek().is_none()
        || selecting.any(|policy| {
            policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten()).any(|rule| {
                peers_match(rule.to.as_deref(), policy, to) && ports_match(rule.ports.as_deref(), to, port)
            })
        })
}

fn ingress_allowed(policies: &[NetworkPolicy], from: &Endpoint, to: &Endpoint, port: Port) -> bool {
    let mut selecting = policies.iter().filter(|policy| selects(policy, to, "Ingress")).peekable();
    selecting.peek().is_none()
        || selecting.any(|policy| {
            policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten()).any(|rule| {
                peers_match(rule.from.as_deref(), policy, from)
                    && ports_match(rule.ports.as_deref(), to, port)
            })
        })
}

fn namespace(policy: &NetworkPolicy) -> &str {
    policy.metadata.namespace.as_deref().expect("a policy without a namespace")
}

fn selects(policy: &NetworkPolicy, endpoint: &Endpoint, direction: &str) -> bool {
    let (Some(spec), Some(pod)) = (&policy.spec, &endpoint.pod) else {
        return false;
    };
    let types = spec.policy_types.clone().filter(|types| !types.is_empty()).unwrap_or_else(|| {
        let egress = spec.egress.is_some().then_some("Egress");
        ["Ingress"].into_iter().chain(egress).map(str::to_owned).collect()
    });
    types.iter().any(|kind| kind == direction)
        && namespace(policy) == pod.namespace
        && spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
}

/// No peers, or an empty list of them: everybody.
fn peers_match(peers: Option<&[NetworkPolicyPeer]>, policy: &NetworkPolicy, other: &Endpoint) -> bool {
    let peers = peers.unwrap_or_default();
    peers.is_empty() || peers.iter().any(|peer| peer_matches(peer, policy, other))
}

fn peer_matches(peer: &NetworkPolicyPeer, policy: &NetworkPolicy, other: &Endpoint) -> bool {
    if let Some(block) = &peer.ip_block {
        return in_block(block, other.ip);
    }
    let Some(pod) = &other.pod else { return false };
    let namespace_matches = match &peer.namespace_selector {
        None => pod.namespace == namespace(policy),
        Some(selector) => matches(selector, &labels([("kubernetes.io/metadata.name", &pod.namespace)])),
    };
    namespace_matches && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
}

fn ports_match(ports: Option<&[NetworkPolicyPort]>, to: &Endpoint, wanted: Port) -> bool {
    let ports = ports.unwrap_or_default();
    ports.is_empty() || ports.iter().any(|port| port_matches(port, to, wanted))
}

fn port_matches(port: &NetworkPolicyPort, to: &Endpoint, Port(protocol, number): Port) -> bool {
    if port.protocol.as_deref().unwrap_or("TCP") != protocol {
        return false;
    }
    match &port.port {
        None => true,
        Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&number),
        Some(IntOrString::String(name)) => {
            to.pod.as_ref().and_then(|pod| pod.ports.get(name)) == Some(&number)
        }
    }
}

fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("operator {other} of a label selector"),
            }
        })
}

fn in_block(block: &IPBlock, ip: IpAddr) -> bool {
    in_cidr(&block.cidr, ip) && !block.except.iter().flatten().any(|except| in_cidr(except, ip))
}

fn in_cidr(cidr: &str, ip: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').expect("a CIDR has a length");
    let length: u32 = length.parse().unwrap();
    match (network.parse().unwrap(), ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(network) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(network) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}
