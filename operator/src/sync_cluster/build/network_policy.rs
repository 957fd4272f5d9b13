//! NetworkPolicy: who may reach a member on which port, and whom it may reach.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use quartet_client::admin;

use super::{
    super::{CLIENT_PORT, PEER_PORT, validate::Valid},
    metadata, selector,
};
use crate::names;

const DNS: u16 = 53;

/// Clients from anywhere on the client port, members on the peer port, the operator on the authenticated one.
pub fn network_policy(valid: &Valid, operator_namespace: &str) -> NetworkPolicy {
    let members = NetworkPolicyPeer { pod_selector: Some(selector(valid)), ..NetworkPolicyPeer::default() };
    let ingress = |from: Option<Vec<NetworkPolicyPeer>>, port: u16| NetworkPolicyIngressRule {
        from,
        ports: Some(vec![tcp(port)]),
    };
    let egress =
        |to: Option<Vec<NetworkPolicyPeer>>, ports| NetworkPolicyEgressRule { to, ports: Some(ports) };
    NetworkPolicy {
        metadata: metadata(valid, valid.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(valid)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                ingress(None, CLIENT_PORT),
                ingress(Some(vec![members.clone()]), PEER_PORT),
                ingress(Some(vec![operator(operator_namespace)]), admin::PORT),
            ]),
            egress: Some(vec![
                egress(Some(vec![members]), vec![tcp(PEER_PORT)]),
                egress(None, vec![port("UDP", DNS), port("TCP", DNS)]),
            ]),
        }),
    }
}

fn operator(namespace: &str) -> NetworkPolicyPeer {
    let labels = |key: &str, value: &str| {
        Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..LabelSelector::default()
        })
    };
    NetworkPolicyPeer {
        namespace_selector: labels("kubernetes.io/metadata.name", namespace),
        pod_selector: labels(names::NAME, names::OPERATOR),
        ..NetworkPolicyPeer::default()
    }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}
