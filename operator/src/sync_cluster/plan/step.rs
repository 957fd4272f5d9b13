//! An operation to be opened, and what it recorded of members.

use quartet_crds::{
    common::OperationMember,
    sync_cluster::{Operation, OperationKind},
};
use uuid::Uuid;

use super::World;
use crate::plan::{Record, open};

/// Everything but its id and time.
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

    /// The id under which it is recorded, with the record that has to be written before anything is done.
    pub(super) fn open(self, world: &World<'_>) -> (Uuid, Option<Record>) {
        let wanted = Operation {
            id: String::new(),
            kind: self.kind,
            cluster: self.cluster.map(|cluster| cluster.to_string()),
            members: self.members,
            from: self.from.map(i32::from),
            to: self.to.map(i32::from),
            started_at: None,
        };
        open(world.status.operation.as_ref(), wanted, world.given.ids[0], world.given.now)
    }
}

pub(super) fn member(ordinal: u16, incarnation: Uuid) -> OperationMember {
    OperationMember { ordinal: i32::from(ordinal), incarnation: Some(incarnation.to_string()), uid: None }
}

/// The ordinal and incarnation that an operation recorded of a member.
pub(super) fn recorded(member: &OperationMember) -> Option<(u16, Uuid)> {
    let incarnation = member.incarnation.as_deref()?.parse().ok()?;
    Some((u16::try_from(member.ordinal).ok()?, incarnation))
}
