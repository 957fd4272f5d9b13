//! Carries out a plan's commands on members.

use quartet_client::admin::{AdminError, CommandOutcome};

use super::{Call, Command, Seen};
use crate::{failure::Failure, kube::Context};

pub async fn call(ctx: &Context, seen: &Seen, call: &Call) -> Result<(), Failure> {
    let member = call.member(ctx, &seen.members)?;
    let answer = match &call.command {
        Command::Found(command) => member.found(command).await,
        Command::ChangeMembership(command) => member.change_membership(command).await,
        Command::Drain(command) => member.drain(command).await,
        Command::Reset(command) => member.reset(command).await,
    };
    judge(call, answer)
}

/// One group may refuse what another one accepts.
fn judge(call: &Call, answer: Result<CommandOutcome, AdminError>) -> Result<(), Failure> {
    let outcome = answer.map_err(|error| call.failed(error))?;
    refusals(&outcome).map_or(Ok(()), |refusals| Err(call.refused(&refusals)))
}

fn refusals(outcome: &CommandOutcome) -> Option<String> {
    let refused: Vec<_> = outcome
        .groups
        .iter()
        .filter(|(_, group)| !group.accepted)
        .map(|(number, group)| format!("group {number}: {}", group.refusal.as_deref().unwrap_or("refused")))
        .collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

#[cfg(test)]
mod tests {
    use quartet_client::admin::{GroupOutcome, Reset};
    use uuid::Uuid;

    use super::*;
    use crate::failure::Class;

    #[test]
    fn a_refused_group_is_a_conflict_that_says_why() {
        let reset = Reset { operation: Uuid::nil(), incarnation: Uuid::nil() };
        let call = Call { ordinal: 1, command: Command::Reset(reset) };
        let accepted = GroupOutcome { accepted: true, refusal: None };
        let refused = GroupOutcome { accepted: false, refusal: Some("configuration is at 9".into()) };
        let outcome = CommandOutcome { groups: [(0, accepted.clone()), (1, refused)].into() };
        let failure = judge(&call, Ok(outcome)).unwrap_err();
        assert_eq!(failure.class, Class::Conflict);
        assert_eq!(failure.chain(), format!("{call}: group 1: configuration is at 9"));
        assert!(judge(&call, Ok(CommandOutcome { groups: [(0, accepted)].into() })).is_ok());
    }
}
