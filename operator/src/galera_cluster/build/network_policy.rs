//! NetworkPolicies: who may reach a member or a proxy on which port, and whom they may reach.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use quartet_client::{admin, galera::CHECK_PORT};

use super::super::{
    CLIENT_PORT, GROUP_PORT, INCREMENTAL_PORT, MEMBER, PROXY, STATS_PORT, TRANSFER_PORT, WRITER_PORT,
    validate::Valid,
};
use crate::{
    children::network::{admit, operator, pods, policy, prometheus, reach, tcp, udp},
    names,
};

/// Clients come through the proxies; only members replicate.
pub fn members(valid: &Valid, operator_namespace: &str) -> NetworkPolicy {
    let selector = |component| valid.parent.selector(Some(component));
    let (members, proxies) = (pods(selector(MEMBER)), pods(selector(PROXY)));
    let between = || {
        let galera = [tcp(GROUP_PORT), udp(GROUP_PORT), tcp(INCREMENTAL_PORT), tcp(TRANSFER_PORT)];
        galera.into_iter().chain([tcp(CHECK_PORT)]).collect::<Vec<_>>()
    };
    let ingress = vec![
        admit(Some(vec![proxies.clone()]), vec![tcp(CLIENT_PORT), tcp(CHECK_PORT)]),
        admit(Some(vec![members.clone()]), between()),
        admit(Some(vec![operator(operator_namespace)]), vec![tcp(admin::PORT)]),
        admit(Some(vec![prometheus()]), vec![tcp(CHECK_PORT)]),
    ];
    let egress = vec![reach(Some(vec![members]), between())];
    policy(&valid.parent, valid.parent.name.clone(), selector(MEMBER), ingress, egress)
}

/// Clients and viewers of statistics from anywhere: they show a password.
pub fn proxies(valid: &Valid) -> NetworkPolicy {
    let members = pods(valid.parent.selector(Some(MEMBER)));
    let ingress = vec![
        admit(None, vec![tcp(CLIENT_PORT), tcp(WRITER_PORT), tcp(STATS_PORT)]),
        admit(Some(vec![prometheus()]), vec![tcp(CHECK_PORT)]),
    ];
    let egress = vec![reach(Some(vec![members]), vec![tcp(CLIENT_PORT), tcp(CHECK_PORT)])];
    let name = names::proxy(&valid.parent.name);
    policy(&valid.parent, name, valid.parent.selector(Some(PROXY)), ingress, egress)
}
