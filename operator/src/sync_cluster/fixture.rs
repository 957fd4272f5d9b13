//! A model of one SyncCluster's surroundings for tests: the StatefulSet's controller, pods, volumes, and what Raft
//! makes of configurations. Plans are carried out on it, action by action, so that an operator can be killed between
//! any two. After every step it checks what must never happen.

mod kubernetes;
mod raft;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Secret},
    policy::v1::PodDisruptionBudget,
    storage::v1::StorageClass,
};
use quartet_crds::{
    conditions::{self, Reason, Type},
    sync_cluster::{SyncCluster, SyncClusterSpec, SyncClusterStatus},
};
use uuid::Uuid;

use super::{Call, SyncClusters, plan, status, validate};
use crate::{
    plan::{Guard, Object, ObjectKind, Plan},
    reconcile::{Given, Kind, Outcome, Settings, Verdict},
};

pub(crate) struct Cluster {
    pub(crate) resource: SyncCluster,
    pub(crate) classes: Vec<StorageClass>,
    pub(crate) set: Option<StatefulSet>,
    pub(crate) secret: Option<Secret>,
    pub(crate) budget: Option<PodDisruptionBudget>,
    pub(crate) claims: BTreeMap<u16, Claim>,
    pub(crate) pods: BTreeMap<u16, Member>,
    /// What Raft has made of the groups, by cluster: more than one entry is a second cluster.
    pub(crate) clusters: BTreeMap<Uuid, Vec<raft::Truth>>,
    /// Members that nobody reaches.
    pub(crate) cut: BTreeSet<u16>,
    /// Members that hear that they shall drain, and do not.
    pub(crate) stubborn: BTreeSet<u16>,
    /// Pods that the operator deleted although something ran in them, that are not back yet.
    pub(crate) restarting: BTreeSet<u16>,
    accepted: Option<SyncClusterSpec>,
    second: i64,
    ids: u128,
}

pub(crate) struct Claim {
    pub(crate) object: PersistentVolumeClaim,
    pub(crate) volume: Volume,
}

pub(crate) struct Volume {
    pub(crate) incarnation: Uuid,
    pub(crate) cluster: Option<Uuid>,
    pub(crate) damaged: bool,
    /// Holds everything that its groups have acknowledged.
    pub(crate) complete: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Member {
    pub(crate) uid: String,
    pub(crate) revision: String,
    pub(crate) runs: bool,
    /// Its image exists.
    pub(crate) can_run: bool,
    pub(crate) terminating: bool,
    pub(crate) lost_labels: Vec<String>,
    pub(crate) drain: Option<Drain>,
}

/// In seconds of the model's clock.
#[derive(Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) since: i64,
    /// Unless it is told again.
    pub(crate) until: i64,
}

pub(crate) fn storage_class(name: &str, expands: bool, default: bool) -> StorageClass {
    let mut class = StorageClass { allow_volume_expansion: Some(expands), ..StorageClass::default() };
    class.metadata.name = Some(name.to_owned());
    let key = "storageclass.kubernetes.io/is-default-class".to_owned();
    class.metadata.annotations = Some(BTreeMap::from([(key, default.to_string())]));
    class
}

/// A new resource that nobody has looked at yet: three members, three partitions.
pub(crate) fn cluster() -> Cluster {
    let mut resource =
        SyncCluster::new("demo", SyncClusterSpec { partitions: 3, ..SyncClusterSpec::default() });
    resource.metadata.namespace = Some("default".to_owned());
    resource.metadata.uid = Some("owner".to_owned());
    resource.metadata.generation = Some(1);
    Cluster {
        resource,
        classes: vec![storage_class("standard", true, true)],
        set: None,
        secret: None,
        budget: None,
        claims: BTreeMap::new(),
        pods: BTreeMap::new(),
        clusters: BTreeMap::new(),
        cut: BTreeSet::new(),
        stubborn: BTreeSet::new(),
        restarting: BTreeSet::new(),
        accepted: None,
        second: 1_000_000,
        ids: 0,
    }
}

/// What befalls it.
impl Cluster {
    pub(crate) fn with_spec(mut self, change: impl FnOnce(&mut SyncClusterSpec)) -> Self {
        self.change(change);
        self
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut SyncClusterSpec)) {
        change(&mut self.resource.spec);
        self.resource.metadata.generation =
            self.resource.metadata.generation.map(|generation| generation + 1);
    }

    pub(crate) fn scaled(self, replicas: i32) -> Self {
        self.with_spec(|spec| spec.replicas = replicas)
    }

    /// Founded, and everything as the spec asks.
    pub(crate) fn settled(mut self) -> Self {
        self.settle();
        self
    }

    pub(crate) fn three_members(self) -> Self {
        self.scaled(3).settled()
    }

    /// The volume is another one, and empty.
    pub(crate) fn wiped(mut self, ordinal: u16) -> Self {
        self.wipe(ordinal);
        self
    }

    pub(crate) fn wipe(&mut self, ordinal: u16) {
        let volume = self.empty_volume();
        self.claims.get_mut(&ordinal).unwrap().volume = volume;
    }

    pub(crate) fn damaged(mut self, ordinal: u16) -> Self {
        self.claims.get_mut(&ordinal).unwrap().volume.damaged = true;
        self
    }

    pub(crate) fn cut(mut self, ordinal: u16) -> Self {
        self.cut.insert(ordinal);
        self
    }

    /// Time passes until the next elections and starts are over.
    pub(crate) fn later(mut self) -> Self {
        for _ in 0..3 {
            self.tick();
        }
        self
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        self.second += seconds;
    }

    fn fresh(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn empty_volume(&mut self) -> Volume {
        Volume { incarnation: self.fresh(), cluster: None, damaged: false, complete: false }
    }
}

/// The operator's turn.
impl Cluster {
    pub(crate) fn given(&self) -> Given {
        Given {
            settings: Settings {
                node_image: "quartet/node:1".to_owned(),
                mariadb_image: "quartet/mariadb:1".to_owned(),
                haproxy_image: "quartet/haproxy:1".to_owned(),
                image_pull_policy: "IfNotPresent".to_owned(),
                namespace: "quartet-system".to_owned(),
            },
            now: Timestamp::from_second(self.second).unwrap(),
            // Not those of volumes and pods.
            ids: [1, 2].map(|id| Uuid::from_u128(u128::from(self.second.unsigned_abs()) << 64 | id)),
            secret: "00".repeat(32),
        }
    }

    /// The plan and what the status would say, without acting.
    pub(crate) fn plan(&self) -> Plan<Call> {
        let (resource, valid) = self.judged();
        plan::next(&resource, &valid, &self.seen(), &self.given())
    }

    /// The resource with the spec in force: the present one, or the last that was accepted.
    fn judged(&self) -> (SyncCluster, validate::Valid) {
        let (seen, given) = (self.seen(), self.given());
        let mut resource = self.resource.clone();
        if let Ok(valid) = validate::validate(&resource, &seen, &given) {
            return (resource, valid);
        }
        let present = resource.clone();
        resource.spec = self.accepted.clone().expect("a spec that was accepted before");
        let resource = SyncClusters::in_force(&present, resource);
        let valid = validate::restore(&resource, &given).expect("still readable");
        (resource, valid)
    }

    pub(crate) fn status(&self) -> SyncClusterStatus {
        let (resource, valid) = self.judged();
        let plan = plan::next(&resource, &valid, &self.seen(), &self.given());
        self.status_of(&plan, &valid)
    }

    fn status_of(&self, plan: &Plan<Call>, valid: &validate::Valid) -> SyncClusterStatus {
        let (seen, given) = (self.seen(), self.given());
        let faults = validate::validate(&self.resource, &seen, &given).err().unwrap_or_default();
        let verdict = Verdict::<SyncClusters> { faults: &faults, valid: Some(valid), plan };
        status::status(&self.resource, &seen, &verdict, &Outcome::default(), &given)
    }

    /// Status and reason of a condition.
    pub(crate) fn condition(&self, r#type: Type) -> (String, String) {
        let status = self.status();
        let condition = conditions::find(&status.conditions, r#type).expect("every type has a condition");
        (condition.status.clone(), condition.reason.clone())
    }

    /// One reconciliation by an operator that is killed after so many actions.
    pub(crate) fn reconcile(&mut self, actions: usize) -> Plan<Call> {
        let (resource, valid) = self.judged();
        let plan = plan::next(&resource, &valid, &self.seen(), &self.given());
        let guard =
            Guard { retain: SyncClusters::retains(&resource), open: SyncClusters::operation(&resource) };
        plan.lint(guard, SyncClusters::is_disruptive).unwrap_or_else(|breach| panic!("{breach}\n{plan}"));
        self.accepted = Some(resource.spec);
        let mut left = actions;
        let mut next = || {
            left = left.saturating_sub(1);
            left > 0
        };
        if let Some(record) = plan.record.as_ref().filter(|_| next()) {
            self.merge(&record.status);
        }
        for child in plan.apply.iter().take_while(|_| next()) {
            self.apply(&child.object);
        }
        for deletion in plan.delete.iter().take_while(|_| next()) {
            self.delete(deletion);
        }
        for call in plan.calls.iter().take_while(|_| next()) {
            self.call(call);
        }
        if next() {
            self.resource.status = Some(self.status_of(&plan, &valid));
        }
        plan
    }

    fn merge(&mut self, patch: &serde_json::Value) {
        let mut status = serde_json::to_value(self.resource.status.clone().unwrap_or_default()).unwrap();
        merge(&mut status, patch);
        self.resource.status = Some(serde_json::from_value(status).unwrap());
    }

    fn apply(&mut self, object: &Object) {
        match object {
            Object::StatefulSet(set) => self.apply_set(set),
            Object::Secret(secret) => self.secret = Some((**secret).clone()),
            Object::PodDisruptionBudget(budget) => {
                self.budget = Some((**budget).clone());
                kubernetes::identify(&mut self.budget.as_mut().unwrap().metadata, "budget");
            }
            Object::PersistentVolumeClaim(claim) => self.apply_claim(claim),
            Object::Pod(pod) => self.apply_pod(pod),
            _ => {}
        }
    }

    fn delete(&mut self, deletion: &crate::plan::Deletion) {
        match deletion.kind {
            ObjectKind::Pod => self.delete_pod(deletion),
            ObjectKind::PersistentVolumeClaim => self.delete_claim(deletion),
            ObjectKind::PodDisruptionBudget => self.budget = None,
            other => panic!("a plan never deletes a {other}"),
        }
    }

    /// Reconciles and lets time pass until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        self.settle_with(|_| usize::MAX);
    }

    /// `actions` says for each reconciliation after how many actions its operator is killed.
    pub(crate) fn settle_with(&mut self, mut actions: impl FnMut(usize) -> usize) {
        let mut quiet = 0;
        for round in 0..600 {
            let plan = self.reconcile(actions(round));
            self.tick();
            let done =
                [Reason::Settled, Reason::Hibernated].iter().any(|reason| reason.as_str() == plan.reason);
            let acts = plan.record.is_some() || !plan.calls.is_empty() || !plan.delete.is_empty();
            quiet = if done && !acts { quiet + 1 } else { 0 };
            if quiet == 5 {
                // The last status may have fallen to a killed operator.
                self.reconcile(usize::MAX);
                return;
            }
        }
        panic!("never settles: {}\n{:#?}", self.plan(), self.resource.status);
    }

    /// Reconciles until a plan gives this reason.
    pub(crate) fn until(&mut self, reason: Reason) -> Plan<Call> {
        for _ in 0..100 {
            let plan = self.plan();
            if plan.reason == reason.as_str() {
                return plan;
            }
            self.reconcile(usize::MAX);
            self.tick();
        }
        panic!("never {reason}: {}", self.plan());
    }
}

fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(patch) = patch.as_object() else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(serde_json::Value::Null), value);
        }
    }
}
