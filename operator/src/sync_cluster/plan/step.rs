//! One step: what a plan does beyond its children.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use quartet_crds::{
    conditions::Reason,
    sync_cluster::{Operation, OperationKind, OperationMember},
};
use serde_json::json;
use uuid::Uuid;

use super::World;
use crate::{
    plan::{Deletion, Grounds, ObjectKind, Record},
    sync_cluster::Call,
};

/// How soon to look again while something is under way.
const SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub reason: Reason,
    pub message: String,
    pub record: Option<Record>,
    pub calls: Vec<Call>,
    pub delete: Vec<Deletion>,
    pub recheck_after: Duration,
}

impl Step {
    /// Nothing to be done now, for a reason that the status tells.
    pub fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            record: None,
            calls: Vec::new(),
            delete: Vec::new(),
            recheck_after: SOON,
        }
    }

    #[must_use]
    pub fn after(self, recheck_after: Duration) -> Self {
        Self { recheck_after, ..self }
    }

    #[must_use]
    pub fn recording(self, record: Option<Record>) -> Self {
        Self { record, ..self }
    }

    #[must_use]
    pub fn calling(self, calls: Vec<Call>) -> Self {
        Self { calls, ..self }
    }

    #[must_use]
    pub fn deleting(self, delete: Vec<Deletion>) -> Self {
        Self { delete, ..self }
    }
}

/// An operation to be opened: everything but its id and time.
pub(super) struct Intent {
    pub kind: OperationKind,
    pub cluster: Option<Uuid>,
    pub members: Vec<OperationMember>,
    pub from: Option<u16>,
    pub to: Option<u16>,
}

impl Intent {
    pub(super) fn new(kind: OperationKind, members: Vec<OperationMember>) -> Self {
        Self { kind, cluster: None, members, from: None, to: None }
    }

    /// The id under which this intent is recorded: that of the open operation if it is the same intent, else a fresh
    /// one, with the record that has to be written before anything is done.
    pub(super) fn open(self, world: &World<'_>) -> (Uuid, Option<Record>) {
        let (from, to) = (self.from.map(i32::from), self.to.map(i32::from));
        if let Some((id, open)) = world.operation()
            && open.kind == self.kind
            && open.members == self.members
            && (open.from, open.to) == (from, to)
            && self.cluster.is_none()
        {
            return (id, None);
        }
        let id = world.given.ids[0];
        let operation = Operation {
            id: id.to_string(),
            kind: self.kind,
            cluster: self.cluster.map(|cluster| cluster.to_string()),
            members: self.members,
            from,
            to,
            started_at: Some(Time(world.given.now)),
        };
        // A merge patch keeps what it does not name: absent parts of the operation before are named as null.
        let mut patch = json!({"cluster": null, "members": null, "from": null, "to": null});
        if let (Some(patch), Ok(serde_json::Value::Object(fields))) =
            (patch.as_object_mut(), serde_json::to_value(&operation))
        {
            patch.extend(fields);
        }
        (id, Some(Record { status: json!({"operation": patch}), operation: Some(id) }))
    }
}

/// Closes the open operation.
pub(super) fn close() -> Record {
    Record { status: json!({"operation": null}), operation: None }
}

pub(super) fn member(ordinal: u16, incarnation: Uuid) -> OperationMember {
    OperationMember { ordinal: i32::from(ordinal), incarnation: Some(incarnation.to_string()), uid: None }
}

/// The ordinal and incarnation that an operation recorded of a member.
pub(super) fn recorded(member: &OperationMember) -> Option<(u16, Uuid)> {
    let incarnation = member.incarnation.as_deref()?.parse().ok()?;
    Some((u16::try_from(member.ordinal).ok()?, incarnation))
}

impl Deletion {
    /// None for an object without the identity that a precondition needs.
    pub fn of(kind: ObjectKind, metadata: &ObjectMeta, grounds: Grounds) -> Option<Self> {
        Some(Self {
            kind,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
            grounds,
        })
    }
}

/// `0, 1 and 2`
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
