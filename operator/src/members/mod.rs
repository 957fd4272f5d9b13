//! Members: the pods of a StatefulSet with their volumes, as every kind has them.
//!
//! What `observe` reads of them, and what plans ask about them. What never lives here: what else a member
//! answers than who it is, and what it is for.

pub mod call;
pub mod hibernate;
pub mod observe;
pub mod pods;
pub mod rollout;
pub mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
    storage::v1::StorageClass,
};
use quartet_client::{admin, galera};

/// Children are here only when they carry our owner UID (pods: when their StatefulSet does; claims: by name). An
/// object of somebody else with a child's name is seen by whoever applies the child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    pub stateful_set: Option<StatefulSet>,
    /// With the token of the members' authenticated port.
    pub secret: Option<Secret>,
    /// The pods of the StatefulSet, by ordinal, those that are being deleted included.
    pub pods: BTreeMap<u16, Pod>,
    /// The claims `data-NAME-ORDINAL`, by ordinal.
    pub claims: BTreeMap<u16, PersistentVolumeClaim>,
    /// All classes of the cluster.
    pub storage_classes: Vec<StorageClass>,
}

/// A member's answer on its authenticated port, or why there was none.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe<Report> {
    Answered(Box<Report>),
    Failed(String),
}

/// What a member says of itself.
pub trait Report {
    fn ordinal(&self) -> u16;
}

impl Report for admin::MemberReport {
    fn ordinal(&self) -> u16 {
        self.ordinal
    }
}

impl Report for galera::MemberReport {
    fn ordinal(&self) -> u16 {
        self.ordinal
    }
}

/// The member's own answer: an address may be another's by now.
pub fn report<R: Report>(probes: &BTreeMap<u16, Probe<R>>, ordinal: u16) -> Option<&R> {
    match probes.get(&ordinal)? {
        Probe::Answered(report) if report.ordinal() == ordinal => Some(report),
        _ => None,
    }
}

impl Members {
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

    /// How many pods the live StatefulSet asks for.
    pub fn asked_for(&self) -> Option<u16> {
        let replicas = self.stateful_set.as_ref()?.spec.as_ref()?.replicas?;
        u16::try_from(replicas).ok()
    }
}
