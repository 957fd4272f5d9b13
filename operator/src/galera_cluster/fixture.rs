//! A model of one GaleraCluster's surroundings for tests: the StatefulSet's controller, pods, volumes, and what managers
//! and Galera make of them. Plans are carried out on it, action by action, so that an operator can be killed between
//! any two. It checks what must never happen: two Primary components, and one that lacks what was acknowledged.

mod galera;
mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{PersistentVolumeClaim, Secret},
    storage::v1::StorageClass,
};
use quartet_client::galera::Position;
use quartet_crds::{
    conditions::{self, Reason, Type},
    galera_cluster::{Database, GaleraCluster, GaleraClusterSpec, GaleraClusterStatus, User},
};
use uuid::Uuid;

use super::{Call, GaleraClusters, plan, status, validate};
use crate::{
    plan::{Guard, Object, ObjectKind, Plan},
    reconcile::{Given, Kind, Outcome, Settings, Verdict},
};

pub(crate) struct Cluster {
    pub(crate) resource: GaleraCluster,
    pub(crate) classes: Vec<StorageClass>,
    pub(crate) set: Option<StatefulSet>,
    pub(crate) proxy: Option<Deployment>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Secrets of the user's.
    pub(crate) named: BTreeMap<String, Secret>,
    pub(crate) claims: BTreeMap<u16, Claim>,
    pub(crate) pods: BTreeMap<u16, Member>,
    /// The highest seqno that any client was told of, by history: what no Primary component may lack.
    pub(crate) acknowledged: BTreeMap<Uuid, u64>,
    /// Members that neither the operator nor other members reach.
    pub(crate) cut: BTreeSet<u16>,
    /// Clients of each member that stay for so many ticks after a drain began.
    pub(crate) slow_clients: u32,
    /// The operator is there before a manager goes on by itself.
    pub(crate) slow_managers: bool,
    /// A human said that something may be lost.
    pub(crate) loss_allowed: bool,
    /// How often a Primary component was formed by leave.
    pub(crate) formed: u32,
    second: i64,
    ids: u128,
}

pub(crate) struct Claim {
    pub(crate) object: PersistentVolumeClaim,
    pub(crate) volume: Volume,
}

pub(crate) struct Volume {
    pub(crate) incarnation: Uuid,
    pub(crate) data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Data {
    None,
    At(Position),
    /// A transfer was interrupted.
    Torn,
}

#[derive(Clone, Default)]
pub(crate) struct Member {
    pub(crate) uid: String,
    pub(crate) revision: String,
    pub(crate) runs: bool,
    /// Its image exists.
    pub(crate) can_run: bool,
    pub(crate) terminating: bool,
    /// One start of the manager.
    pub(crate) run: Uuid,
    pub(crate) server: Option<Server>,
    pub(crate) granted: Option<Uuid>,
    /// Ticks since it was last told to drain.
    pub(crate) draining: Option<u32>,
    pub(crate) clients: u32,
}

/// A server that runs. `view`: the members that it counted when it last was part of a Primary component.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    pub(crate) view: BTreeSet<u16>,
    pub(crate) primary: bool,
}

pub(crate) fn storage_class(name: &str, expands: bool, default: bool) -> StorageClass {
    let mut class = StorageClass { allow_volume_expansion: Some(expands), ..StorageClass::default() };
    class.metadata.name = Some(name.to_owned());
    let key = "storageclass.kubernetes.io/is-default-class".to_owned();
    class.metadata.annotations = Some(BTreeMap::from([(key, default.to_string())]));
    class
}

/// A new resource that nobody has looked at yet: three members, a database and its user.
pub(crate) fn cluster() -> Cluster {
    let spec = GaleraClusterSpec {
        databases: vec![Database { name: "beauty".to_owned(), init_sql: None }],
        users: vec![User {
            name: "app".to_owned(),
            database: Some("beauty".to_owned()),
            password_secret_ref: None,
        }],
        ..GaleraClusterSpec::default()
    };
    let mut resource = GaleraCluster::new("shop", spec);
    resource.metadata.namespace = Some("default".to_owned());
    resource.metadata.uid = Some("owner".to_owned());
    resource.metadata.generation = Some(1);
    Cluster {
        resource,
        classes: vec![storage_class("standard", true, true)],
        set: None,
        proxy: None,
        secrets: BTreeMap::new(),
        named: BTreeMap::new(),
        claims: BTreeMap::new(),
        pods: BTreeMap::new(),
        acknowledged: BTreeMap::new(),
        cut: BTreeSet::new(),
        slow_clients: 2,
        slow_managers: false,
        loss_allowed: false,
        formed: 0,
        second: 1_000_000,
        ids: 0,
    }
}

/// What befalls it.
impl Cluster {
    pub(crate) fn with_spec(mut self, change: impl FnOnce(&mut GaleraClusterSpec)) -> Self {
        self.change(change);
        self
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut GaleraClusterSpec)) {
        change(&mut self.resource.spec);
        self.resource.metadata.generation =
            self.resource.metadata.generation.map(|generation| generation + 1);
    }

    /// Founded, and everything as the spec asks.
    pub(crate) fn settled(mut self) -> Self {
        self.settle();
        self
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        self.second += seconds;
    }

    fn fresh(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
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

    pub(crate) fn valid(&self) -> validate::Valid {
        validate::validate(&self.resource, &self.seen(), &self.given()).expect("a valid spec")
    }

    /// The plan, without acting.
    pub(crate) fn plan(&self) -> Plan<Call> {
        plan::next(&self.resource, &self.valid(), &self.seen(), &self.given())
    }

    pub(crate) fn status(&self) -> GaleraClusterStatus {
        self.status_of(&self.plan())
    }

    fn status_of(&self, plan: &Plan<Call>) -> GaleraClusterStatus {
        let valid = self.valid();
        let verdict = Verdict::<GaleraClusters> { faults: &[], valid: Some(&valid), plan };
        status::status(&self.resource, &self.seen(), &verdict, &Outcome::default(), &self.given())
    }

    /// Status and reason of a condition.
    pub(crate) fn condition(&self, r#type: Type) -> (String, String) {
        let status = self.status();
        let condition = conditions::find(&status.conditions, r#type).expect("every type has a condition");
        (condition.status.clone(), condition.reason.clone())
    }

    /// One reconciliation by an operator that is killed after so many actions.
    pub(crate) fn reconcile(&mut self, actions: usize) -> Plan<Call> {
        let plan = self.plan();
        let guard = Guard {
            retain: GaleraClusters::retains(&self.resource),
            open: GaleraClusters::operation(&self.resource),
        };
        plan.lint(guard, GaleraClusters::is_disruptive).unwrap_or_else(|breach| panic!("{breach}\n{plan}"));
        self.carry_out(&plan, actions);
        plan
    }

    fn carry_out(&mut self, plan: &Plan<Call>, actions: usize) {
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
            self.resource.status = Some(self.status_of(plan));
        }
    }

    fn merge(&mut self, patch: &serde_json::Value) {
        let mut status = serde_json::to_value(self.resource.status.clone().unwrap_or_default()).unwrap();
        merge(&mut status, patch);
        self.resource.status = Some(serde_json::from_value(status).unwrap());
    }

    fn apply(&mut self, object: &Object) {
        match object {
            Object::StatefulSet(set) => self.apply_set(set),
            Object::Deployment(proxy) => self.proxy = Some((**proxy).clone()),
            Object::Secret(secret) => {
                let name = secret.metadata.name.clone().unwrap();
                self.secrets.insert(name, (**secret).clone());
            }
            Object::PersistentVolumeClaim(claim) => self.apply_claim(claim),
            _ => {}
        }
    }

    fn delete(&mut self, deletion: &crate::plan::Deletion) {
        match deletion.kind {
            ObjectKind::Pod => self.delete_pod(deletion),
            ObjectKind::PersistentVolumeClaim => self.delete_claim(deletion),
            ObjectKind::PodDisruptionBudget | ObjectKind::Secret => {}
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
            quiet = if done && !plan.has_steps() { quiet + 1 } else { 0 };
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
