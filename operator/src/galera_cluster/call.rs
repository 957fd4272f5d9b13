//! Carries out a plan's commands on members.

use quartet_client::{admin::AdminError, manager::ManagerClient};

use super::{Call, Command, Seen};
use crate::{
    failure::{Class, Failure},
    kube::Context,
    members::observe::reach,
};

pub async fn call(ctx: &Context, seen: &Seen, call: &Call) -> Result<(), Failure> {
    let what = call.to_string();
    let manager = match reach(ctx, &seen.members, call.ordinal) {
        Ok(member) => ManagerClient::new(member),
        Err(why) => return Err(Failure::new(Class::Transient, format!("{what}: {why}"))),
    };
    let answer = match &call.command {
        Command::Bootstrap(command) => manager.bootstrap(command).await,
        Command::Drain(command) => manager.drain(command).await,
    };
    // A refusal means that the member's state is not the one that was planned for: look again soon.
    answer.map_err(|error| {
        let class = match &error {
            AdminError::Refused { status: 409, .. } => Class::Conflict,
            _ => Class::Transient,
        };
        Failure::caused(class, what, error)
    })
}
