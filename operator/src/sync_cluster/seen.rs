//! What `observe` gathered of one SyncCluster: plain data, live at the time of reading.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
    policy::v1::PodDisruptionBudget,
    storage::v1::StorageClass,
};
use quartet_client::admin::{MemberReport, MemberState};
use uuid::Uuid;

/// Children are here only when they carry our owner UID (pods: when their StatefulSet does; claims: by name). An
/// object of somebody else with a child's name is seen by whoever applies the child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub stateful_set: Option<StatefulSet>,
    pub secret: Option<Secret>,
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The pods of the StatefulSet, by ordinal, those that are being deleted included.
    pub pods: BTreeMap<u16, Pod>,
    /// The claims `data-NAME-ORDINAL`, by ordinal.
    pub claims: BTreeMap<u16, PersistentVolumeClaim>,
    /// All classes of the cluster.
    pub storage_classes: Vec<StorageClass>,
    /// What every member whose pod has an address answered.
    pub probes: BTreeMap<u16, Probe>,
}

/// A member's answer on its authenticated port, or why there was none.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    Answered(Box<MemberReport>),
    Failed(String),
}

impl Seen {
    pub fn report(&self, ordinal: u16) -> Option<&MemberReport> {
        match self.probes.get(&ordinal)? {
            Probe::Answered(report) if report.ordinal == ordinal => Some(report),
            _ => None,
        }
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

    pub fn class(&self, name: &str) -> Option<&StorageClass> {
        self.storage_classes.iter().find(|class| class.metadata.name.as_deref() == Some(name))
    }

    pub fn default_class(&self) -> Option<&StorageClass> {
        self.storage_classes.iter().find(|class| {
            let annotations = class.metadata.annotations.as_ref();
            annotations
                .and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"))
                .is_some_and(|value| value == "true")
        })
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}
