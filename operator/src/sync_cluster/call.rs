//! Carries out a plan's commands on members.

use quartet_client::admin::{AdminError, CommandOutcome};

use super::{Call, Command, Seen};
use crate::{
    failure::{Class, Failure},
    kube::Context,
    members::observe::reach,
};

pub async fn call(ctx: &Context, seen: &Seen, call: &Call) -> Result<(), Failure> {
    let what = call.to_string();
    let member = match reach(ctx, &seen.members, call.ordinal) {
        Ok(member) => member,
        Err(why) => return Err(Failure::new(Class::Transient, format!("{what}: {why}"))),
    };
    let answer = match &call.command {
        Command::Found(command) => member.found(command).await,
        Command::ChangeMembership(command) => member.change_membership(command).await,
        Command::Drain(command) => member.drain(command).await,
        Command::Reset(command) => member.reset(command).await,
    };
    judge(what, answer)
}

/// A refusal means that the member's state is not the one that was planned for: look again soon.
fn judge(what: String, answer: Result<CommandOutcome, AdminError>) -> Result<(), Failure> {
    match answer {
        Ok(outcome) => match refusals(&outcome) {
            None => Ok(()),
            Some(refusals) => Err(Failure::new(Class::Conflict, format!("{what}: {refusals}"))),
        },
        Err(error) => {
            let class = match &error {
                AdminError::Refused { status: 409, .. } => Class::Conflict,
                _ => Class::Transient,
            };
            Err(Failure::caused(class, what, error))
        }
    }
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
    use quartet_client::admin::GroupOutcome;

    use super::*;

    #[test]
    fn a_refused_group_is_a_conflict_that_says_why() {
        let accepted = GroupOutcome { accepted: true, refusal: None };
        let refused = GroupOutcome { accepted: false, refusal: Some("configuration is at 9".into()) };
        let outcome = CommandOutcome { groups: [(0, accepted.clone()), (1, refused)].into() };
        let failure = judge("change".into(), Ok(outcome)).unwrap_err();
        assert_eq!(failure.class, Class::Conflict);
        assert_eq!(failure.chain(), "change: group 1: configuration is at 9");
        assert!(judge("change".into(), Ok(CommandOutcome { groups: [(0, accepted)].into() })).is_ok());
    }

    #[test]
    fn a_stale_command_is_a_conflict_and_anything_else_is_tried_again() {
        let refused = |status| AdminError::Refused {
            path: "/v1/found",
            address: ([10, 0, 0, 1], 8199).into(),
            status,
            code: "stale".into(),
            message: String::new(),
        };
        assert_eq!(judge(String::new(), Err(refused(409))).unwrap_err().class, Class::Conflict);
        assert_eq!(judge(String::new(), Err(refused(503))).unwrap_err().class, Class::Transient);
    }
}
