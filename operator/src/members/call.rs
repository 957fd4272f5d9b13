//! Commands to members, as plans hold them: how the member is reached, and what its refusal means.

use std::fmt::{self, Display, Formatter};

use quartet_client::admin::{AdminError, MemberClient};

use super::{Members, observe::reach};
use crate::{
    failure::{Class, Failure},
    kube::Context,
};

/// One command to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<Command> {
    pub ordinal: u16,
    pub command: Command,
}

impl<Command: Display> Display for Call<Command> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "member {}: {}", self.ordinal, self.command)
    }
}

impl<Command: Display> Call<Command> {
    /// Whom it is for.
    pub fn member(&self, ctx: &Context, members: &Members) -> Result<MemberClient, Failure> {
        reach(ctx, members, self.ordinal)
            .map_err(|why| Failure::new(Class::Transient, format!("{self}: {why}")))
    }

    /// A refusal means that the member's state is not the one that was planned for: look again soon.
    pub fn refused(&self, why: &str) -> Failure {
        Failure::new(Class::Conflict, format!("{self}: {why}"))
    }

    pub fn failed(&self, error: AdminError) -> Failure {
        let class = match &error {
            AdminError::Refused { status: 409, .. } => Class::Conflict,
            _ => Class::Transient,
        };
        Failure::caused(class, self.to_string(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_command_is_a_conflict_and_anything_else_is_tried_again() {
        let call = Call { ordinal: 1, command: "drain" };
        let failed = |status| {
            call.failed(AdminError::Refused {
                path: "/v1/drain",
                address: ([10, 0, 0, 1], 8199).into(),
                status,
                code: "stale".into(),
                message: String::new(),
            })
        };
        assert_eq!(failed(409).class, Class::Conflict);
        assert_eq!(failed(503).class, Class::Transient);
        assert!(failed(503).chain().starts_with("member 1: drain: "), "{}", failed(503).chain());
    }
}
