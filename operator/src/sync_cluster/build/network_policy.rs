//! NetworkPolicy: who may reach a member on which port, and whom it may reach.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use quartet_client::admin;

use super::super::{CLIENT_PORT, PEER_PORT, validate::Valid};
use crate::children::network::{admit, operator, pods, policy, reach, tcp};

/// Clients from anywhere on the client port, members on the peer port, the operator on the authenticated one.
pub fn network_policy(valid: &Valid, operator_namespace: &str) -> NetworkPolicy {
    let parent = &valid.parent;
    let members = pods(parent.selector(None));
    let ingress = vec![
        admit(None, vec![tcp(CLIENT_PORT)]),
        admit(Some(vec![members.clone()]), vec![tcp(PEER_PORT)]),
        admit(Some(vec![operator(operator_namespace)]), vec![tcp(admin::PORT)]),
    ];
    let egress = vec![reach(Some(vec![members]), vec![tcp(PEER_PORT)])];
    policy(parent, parent.name.clone(), parent.selector(None), ingress, egress)
}
