//! A plan: what one reconciliation will do, as data that can be compared, printed and checked before it acts.
//!
//! Kinds build plans in pure functions; `reconcile` carries them out in this order: `record`, `apply`, `delete`,
//! `calls`. Where the record fails nothing is done. What never lives here: clients, clocks, randomness.

use std::{fmt, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use quartet_crds::conditions::Reason;
use serde_json::Value;
use uuid::Uuid;

mod lint;
mod step;
pub use lint::{Breach, Guard};
pub use step::{IDLE, Step, WAITING, close, list, open, opened, optional};

/// `Call` is the kind's own type for a command to a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<Call> {
    /// Intent before act: written to the status, under the resourceVersion that was observed, before anything else.
    pub record: Option<Record>,
    pub apply: Vec<Child>,
    pub delete: Vec<Deletion>,
    pub calls: Vec<Call>,
    /// One CamelCase word of the kind's closed set of reasons: why this plan.
    pub reason: &'static str,
    /// The same for a human.
    pub message: String,
    /// None: the resync interval.
    pub recheck_after: Option<Duration>,
}

impl<Call> Plan<Call> {
    /// Nothing to do, for a reason.
    pub fn idle(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            record: None,
            apply: Vec::new(),
            delete: Vec::new(),
            calls: Vec::new(),
            reason,
            message: message.into(),
            recheck_after: None,
        }
    }

    /// The resource is paused.
    pub fn paused() -> Self {
        Self::idle(Reason::Paused.as_str(), "paused is true: the operator does nothing but report")
    }

    /// Pods are to be made anew by what it has written: it was decided by those that there were before, and nobody is to
    /// take them for the new ones.
    pub fn rolls(&mut self) {
        if self.reason == Reason::Settled.as_str() {
            self.reason = Reason::RollingOut.as_str();
            "What is asked for has been written, and is being put into force.".clone_into(&mut self.message);
        }
    }

    /// Something beyond children.
    pub fn has_steps(&self) -> bool {
        self.record.is_some() || !self.delete.is_empty() || !self.calls.is_empty()
    }
}

/// Facts that must be in the status before the plan acts on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// A JSON merge patch (RFC 7396) of `status`: `{"operation": {…}}`, or `{"operation": null}` to close one.
    pub status: Value,
    /// The operation that this record opens, when it opens one.
    pub operation: Option<Uuid>,
}

/// A desired child. The frame itself sets the namespace and the controller owner reference, so builders leave both
/// out. Secrets carry `data`, never `stringData` (which can't be compared with the live object). One whose
/// `metadata.uid` is set is written only while it is that very object, and never created: it holds what was taken of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub object: Object,
    /// For an object that the operator did not create (a claim or pod made by the StatefulSet): the UID of the live one.
    /// It is changed only while it is that very object, never created, and gets no owner reference by the frame;
    /// its builder says whether it has one.
    pub existing: Option<String>,
}

impl Child {
    pub fn new(object: impl Into<Object>) -> Self {
        Self { object: object.into(), existing: None }
    }

    pub fn existing(object: impl Into<Object>, uid: impl Into<String>) -> Self {
        Self { object: object.into(), existing: Some(uid.into()) }
    }

    pub fn name(&self) -> &str {
        self.object.metadata().name.as_deref().unwrap_or_default()
    }
}

/// One object, guarded by preconditions: a later one of the same name is never deleted in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub kind: ObjectKind,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub grounds: Grounds,
}

/// What entitles the operator to delete an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// A pod that its StatefulSet makes anew.
    Restart,
    /// The volume of a member whose removal is committed, under the recorded operation.
    MemberRemoved { operation: Uuid },
    /// A child that the spec no longer asks for (never a volume).
    Obsolete,
}

macro_rules! objects {
    ($($kind:ident: $group:literal, $plural:literal;)*) => {
        /// The kinds of object that a plan may apply.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($kind(Box<$kind>),)*
        }

        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        })*

        impl Object {
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)*
                }
            }

            pub fn kind(&self) -> ObjectKind {
                match self {
                    $(Self::$kind(_) => ObjectKind::$kind,)*
                }
            }

            pub fn to_value(&self) -> Result<Value, serde_json::Error> {
                match self {
                    $(Self::$kind(object) => serde_json::to_value(object),)*
                }
            }
        }

        /// The kinds of object that a plan may touch, all of version v1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ObjectKind {
            $($kind,)*
            ControllerRevision,
        }

        impl ObjectKind {
            pub const ALL: &[Self] = &[$(Self::$kind,)* Self::ControllerRevision];

            /// API group and plural name; the core group is empty.
            pub fn resource(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$kind => ($group, $plural),)*
                    Self::ControllerRevision => ("apps", "controllerrevisions"),
                }
            }

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                    Self::ControllerRevision => "ControllerRevision",
                }
            }
        }
    };
}

objects! {
    StatefulSet: "apps", "statefulsets";
    Deployment: "apps", "deployments";
    Service: "", "services";
    ConfigMap: "", "configmaps";
    Secret: "", "secrets";
    PodDisruptionBudget: "policy", "poddisruptionbudgets";
    NetworkPolicy: "networking.k8s.io", "networkpolicies";
    PersistentVolumeClaim: "", "persistentvolumeclaims";
    Pod: "", "pods";
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart => f.write_str("restart"),
            Self::MemberRemoved { operation } => write!(f, "its member is removed, operation {operation}"),
            Self::Obsolete => f.write_str("no longer wanted"),
        }
    }
}

/// One line per step. Contents of objects are left out: a Secret is among them.
impl<Call: fmt::Display> fmt::Display for Plan<Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)?;
        if let Some(record) = &self.record {
            write!(f, "\nrecord {}", record.status)?;
        }
        for child in &self.apply {
            write!(f, "\napply {}/{}", child.object.kind(), child.name())?;
        }
        for deletion in &self.delete {
            write!(f, "\ndelete {}/{} ({})", deletion.kind, deletion.name, deletion.grounds)?;
        }
        for call in &self.calls {
            write!(f, "\ncall {call}")?;
        }
        match self.recheck_after {
            Some(wait) => write!(f, "\nrecheck after {} s", wait.as_secs_f64()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_before_it_was_changed_is_not_settled_and_what_was_not_keeps_its_reason() {
        let mut plan = Plan::<()>::idle(Reason::Settled.as_str(), "Everything is as the spec asks.");
        plan.rolls();
        assert_eq!(plan.reason, "RollingOut");
        assert!(plan.message.contains("being put into force"));
        let mut plan = Plan::<()>::idle(Reason::Founding.as_str(), "All members are empty.");
        plan.rolls();
        assert_eq!((plan.reason, plan.message.as_str()), ("Founding", "All members are empty."));
    }
}
