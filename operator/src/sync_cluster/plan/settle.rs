//! The end of every operation: nothing else is due, so it is closed once its members are well.

use quartet_crds::conditions::Reason;

use super::{Step, World};
use crate::{
    members::{pods::explain, volumes},
    plan::{WAITING, close, list},
};

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    let members = world.valid.replicas;
    if !world.all_led() {
        let message =
            format!("Partitions {} have no leader that a quorum follows.", list(world.leaderless()));
        return Some(Step::wait(Reason::LeaderMissing, message).after(WAITING));
    }
    if !world.is_settled(members) {
        return Some(Step::wait(Reason::MembershipChanging, "A change of the configurations is under way."));
    }
    let unhealthy: Vec<u16> = (0..members).filter(|ordinal| !world.is_healthy(*ordinal)).collect();
    if !unhealthy.is_empty() {
        let message = format!(
            "Members {} are not ready, or have not caught up.{}",
            list(&unhealthy),
            explain(&world.seen.members.pods, &unhealthy)
        );
        return Some(Step::wait(Reason::MembersUnready, message).after(WAITING));
    }
    if world.status.operation.is_some() {
        return Some(Step::wait(Reason::Settled, "The last operation is done.").recording(Some(close())));
    }
    volumes::resizing(&world.seen.members, world.valid.replicas)
}
