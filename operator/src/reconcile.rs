//! The one generic driver: observe → validate → plan → execute → report.
//!
//! A custom resource is a [`Kind`]: `validate`, `plan` and `status` are pure, `observe` and `call` do IO. Kinds
//! never import each other and hold no memory between reconciliations.
//!
//! Every child carries the labels `app.kubernetes.io/managed-by: quartet`, `app.kubernetes.io/name: <Kind::LABEL>`
//! and `app.kubernetes.io/instance: <name of the resource>`; pods and claims too. Watches find by them which
//! resource a change concerns.

use std::fmt::{Debug, Display};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::core::object::HasSpec;
use quartet_crds::common::{CommonSpec, DeletionPolicy, PullPolicy};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    failure::Failure,
    kube::Context,
    plan::{Guard, ObjectKind, Plan},
    spec::faults,
};

mod drive;
pub use drive::{Done, Situation, look, reconcile};

/// One custom resource and what is known about keeping it.
pub trait Kind: Send + Sync + 'static {
    type Resource: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasSpec<Spec: AsRef<CommonSpec> + AsMut<CommonSpec>>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// All that `observe` gathered: plain data.
    type Seen: Send + Sync;
    /// A spec that can be built from without failing.
    type Valid: Send + Sync;
    /// A command to a member.
    type Call: Clone + Debug + Display + PartialEq + Send + Sync;
    type Status: Serialize;

    /// The value of `app.kubernetes.io/name` on all children, and the kind's name in metrics: `synccluster`.
    const LABEL: &'static str;

    /// Live reads and probes. A member that doesn't answer is an observation, not a failure.
    fn observe(
        ctx: &Context,
        obj: &Self::Resource,
    ) -> impl Future<Output = Result<Self::Seen, Failure>> + Send;

    fn validate(obj: &Self::Resource, seen: &Self::Seen, given: &Given) -> Result<Self::Valid, Vec<Fault>>;

    /// The same for a spec that was accepted before and is kept to, whatever became of what it refers to since. None:
    /// no spec of this version of the schema.
    fn restore(accepted: &Self::Resource, given: &Given) -> Option<Self::Valid>;

    /// The accepted spec with those of the kind's own parts of the present one that are in force also where the rest of it
    /// is refused.
    fn in_force(_present: &Self::Resource, accepted: Self::Resource) -> Self::Resource {
        accepted
    }

    /// Which field of the resource a field of a child is made of, for the message about it.
    fn field(child: ObjectKind, path: &str) -> String {
        faults::origin(child, path)
    }

    /// `obj` carries the spec that `valid` was made of: the present one, or the last accepted one. Not asked for while
    /// the resource is paused.
    fn plan(obj: &Self::Resource, valid: &Self::Valid, seen: &Self::Seen, given: &Given) -> Plan<Self::Call>;

    /// Carries out one command. A refusal by the member is a failure of class Conflict.
    fn call(
        ctx: &Context,
        obj: &Self::Resource,
        seen: &Self::Seen,
        call: &Self::Call,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The whole next status. `obj` is the live object with its present spec and the status after `plan.record`.
    fn status(
        obj: &Self::Resource,
        seen: &Self::Seen,
        verdict: &Verdict<'_, Self>,
        outcome: &Outcome,
        given: &Given,
    ) -> Self::Status
    where
        Self: Sized;

    /// The id of the operation that the status holds open.
    fn operation(obj: &Self::Resource) -> Option<Uuid>;

    /// Takes something out of service: at most one such step per plan (deletions of pods count by themselves).
    fn is_disruptive(_call: &Self::Call) -> bool {
        false
    }
}

/// What every kind's spec has.
pub fn common<K: Kind>(obj: &K::Resource) -> &CommonSpec {
    obj.spec().as_ref()
}

/// What is to be done for a resource with this spec: nothing while it is paused.
pub fn plan<K: Kind>(obj: &K::Resource, valid: &K::Valid, seen: &K::Seen, given: &Given) -> Plan<K::Call> {
    if common::<K>(obj).paused { Plan::paused() } else { K::plan(obj, valid, seen, given) }
}

/// The accepted spec with those parts of the present one that are in force also where the rest of it is refused. Whoever
/// sets Retain means it at once: volumes depend on it.
pub fn in_force<K: Kind>(present: &K::Resource, mut accepted: K::Resource) -> K::Resource {
    let now = common::<K>(present);
    let kept: &mut CommonSpec = accepted.spec_mut().as_mut();
    (kept.deletion_policy, kept.paused) = (now.deletion_policy, now.paused);
    K::in_force(present, accepted)
}

/// What the lint has to know of it.
pub fn guard<K: Kind>(obj: &K::Resource) -> Guard {
    let retain = common::<K>(obj).deletion_policy == DeletionPolicy::Retain;
    Guard { retain, open: K::operation(obj) }
}

/// What a pure function needs from outside of the cluster.
#[derive(Clone, Debug)]
pub struct Given {
    pub settings: Settings,
    pub now: Timestamp,
    /// Fresh random ids, for a plan that opens an operation or names a cluster.
    pub ids: [Uuid; 2],
    /// Fresh random bytes as lower-case hex (64 characters), for a plan that makes a secret.
    pub secret: String,
}

/// How this operator was started, as far as plans depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Images of members and proxies, unless the spec names its own.
    pub node_image: String,
    pub mariadb_image: String,
    pub haproxy_image: String,
    pub image_pull_policy: String,
    /// Where the operator itself runs: members let it in to their authenticated port.
    pub namespace: String,
}

impl Settings {
    /// What a spec says, or else what the operator was started with.
    pub fn pull_policy(&self, own: Option<PullPolicy>) -> String {
        own.map_or_else(|| self.image_pull_policy.clone(), |policy| policy.as_str().to_owned())
    }
}

/// What is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path in the resource: `spec.storage.storageClassName`.
    pub field: String,
    /// Of the kind's closed set of reasons.
    pub reason: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What was decided.
pub struct Verdict<'a, K: Kind> {
    /// What is wrong with the present spec; empty: it is accepted.
    pub faults: &'a [Fault],
    /// What is being reconciled: the present spec, or the last accepted one. None: no spec was ever accepted.
    pub valid: Option<&'a K::Valid>,
    pub plan: &'a Plan<K::Call>,
}

/// What became of the plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Children whose names belong to objects that are not ours. They are left alone, the rest goes on.
    pub taken: Vec<(ObjectKind, String)>,
    /// A StatefulSet or Deployment was written: what becomes of it was not seen yet.
    pub rolls: bool,
    /// The first failure. One of a child keeps no step from being taken that does not need it.
    pub failure: Option<Failure>,
    /// The record, a deletion or a command failed, and not only a child.
    pub stuck: bool,
}
