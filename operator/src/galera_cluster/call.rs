//! Carries out a plan's commands on members.

use quartet_client::manager::ManagerClient;

use super::{Call, Command, Seen};
use crate::{failure::Failure, kube::Context};

pub async fn call(ctx: &Context, seen: &Seen, call: &Call) -> Result<(), Failure> {
    let manager = ManagerClient::new(call.member(ctx, &seen.members)?);
    let answer = match &call.command {
        Command::Bootstrap(command) => manager.bootstrap(command).await,
        Command::Drain(command) => manager.drain(command).await,
    };
    answer.map_err(|error| call.failed(error))
}
