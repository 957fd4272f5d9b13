//! What an operation records of members.

use quartet_crds::common::OperationMember;
use uuid::Uuid;

pub(super) fn member(ordinal: u16, incarnation: Uuid) -> OperationMember {
    OperationMember { ordinal: i32::from(ordinal), incarnation: Some(incarnation.to_string()), uid: None }
}

/// The ordinal and incarnation that an operation recorded of a member.
pub(super) fn recorded(member: &OperationMember) -> Option<(u16, Uuid)> {
    let incarnation = member.incarnation.as_deref()?.parse().ok()?;
    Some((u16::try_from(member.ordinal).ok()?, incarnation))
}
