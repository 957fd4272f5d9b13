//! What `observe` gathered of one SyncCluster: plain data, live at the time of reading.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use quartet_client::admin::{MemberReport, MemberState};
use uuid::Uuid;

use crate::members::{self, Members, Probe};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub members: Members,
    /// Here only when it carries our owner UID.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// What every member whose pod has an address answered.
    pub probes: BTreeMap<u16, Probe<MemberReport>>,
}

impl Seen {
    pub fn report(&self, ordinal: u16) -> Option<&MemberReport> {
        members::report(&self.probes, ordinal)
    }

    /// The members that answered, in order.
    pub fn reports(&self) -> impl Iterator<Item = &MemberReport> {
        self.probes.keys().filter_map(|ordinal| self.report(*ordinal))
    }

    /// The member answers that its volume is empty.
    pub fn is_empty(&self, ordinal: u16) -> bool {
        self.report(ordinal).is_some_and(|report| report.state == MemberState::Empty)
    }

    pub fn incarnation(&self, ordinal: u16) -> Option<Uuid> {
        self.report(ordinal).map(|report| report.incarnation)
    }
}
