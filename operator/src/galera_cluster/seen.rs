//! What `observe` gathered of one GaleraCluster: plain data, live at the time of reading.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
    policy::v1::PodDisruptionBudget,
};
use quartet_client::galera::MemberReport;

use crate::members::{self, Members, Probe};

/// Children are here only when they carry our owner UID.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub members: Members,
    /// What every member whose pod has an address answered.
    pub probes: BTreeMap<u16, Probe<MemberReport>>,
    pub proxy: Option<Deployment>,
    pub proxy_pods: Vec<Pod>,
    pub budget: Option<PodDisruptionBudget>,
    pub proxy_budget: Option<PodDisruptionBudget>,
    /// Secrets that we made, by name.
    pub made: BTreeMap<String, Secret>,
    /// Secrets that the spec names, whoever's they are, by name.
    pub named: BTreeMap<String, Secret>,
}

impl Seen {
    pub fn report(&self, ordinal: u16) -> Option<&MemberReport> {
        members::report(&self.probes, ordinal)
    }

    /// The members that answered, in order.
    pub fn reports(&self) -> impl Iterator<Item = &MemberReport> {
        self.probes.keys().filter_map(|ordinal| self.report(*ordinal))
    }

    pub fn ready_proxies(&self) -> u16 {
        let ready = self.proxy.as_ref().and_then(|proxy| proxy.status.as_ref()?.ready_replicas);
        ready.and_then(|ready| u16::try_from(ready).ok()).unwrap_or(0)
    }
}
