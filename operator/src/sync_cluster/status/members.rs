//! The members of a status, and what is counted of them.

use quartet_client::admin::{MemberReport, MemberState, Peer};
use quartet_crds::sync_cluster::{MemberRole, MemberStatus, SyncClusterStatus};

use super::super::plan::World;
use crate::{names, status::oldest};

/// `asked_for`: what the present spec asks for, also where it is not accepted.
pub(super) fn fill(
    after: &mut SyncClusterStatus,
    before: &SyncClusterStatus,
    world: &World<'_>,
    asked_for: i32,
) {
    let asleep =
        world.valid.spec.common.hibernated.then_some(before.members.len()).filter(|known| *known > 0);
    // Asleep, they are not gone: to wake it needs to be known how many they were.
    let members = asleep.and_then(|known| u16::try_from(known).ok()).unwrap_or_else(|| world.pods_wanted());
    after.members = (0..members).map(|ordinal| one(world, before, ordinal)).collect();
    let ready = (0..members).filter(|ordinal| {
        world.is_ready(*ordinal) && world.peer(*ordinal).is_some_and(|peer| world.votes_everywhere(peer))
    });
    after.ready_replicas = i32::try_from(ready.count()).unwrap_or(i32::MAX);
    after.member_summary = Some(format!("{}/{asked_for}", after.ready_replicas));
    after.leader = leader(world, members);
    let versions = (0..members).filter_map(|ordinal| Some(world.seen.report(ordinal)?.version.clone()));
    after.version = oldest(versions).or_else(|| before.version.clone());
}

fn one(world: &World<'_>, before: &SyncClusterStatus, ordinal: u16) -> MemberStatus {
    let report = world.seen.report(ordinal);
    let last = before.members.iter().find(|member| member.ordinal == i32::from(ordinal));
    MemberStatus {
        name: names::member(&world.valid.parent.name, ordinal),
        ordinal: i32::from(ordinal),
        incarnation: report
            .map(|report| report.incarnation.to_string())
            .or_else(|| last.and_then(|last| last.incarnation.clone())),
        role: report.map_or(MemberRole::Unreachable, |report| role(world, report)),
        partitions_led: i32::try_from(world.led_by(ordinal)).unwrap_or(i32::MAX),
        host: world.pod(ordinal).and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
        version: report
            .map(|report| report.version.clone())
            .or_else(|| last.and_then(|last| last.version.clone())),
    }
}

fn role(world: &World<'_>, report: &MemberReport) -> MemberRole {
    let peer = Peer { ordinal: report.ordinal, incarnation: report.incarnation };
    let in_some = world.groups.iter().filter_map(|group| group.configuration).any(|now| {
        now.voters.contains(&peer) || now.outgoing.contains(&peer) || now.learners.contains(&peer)
    });
    match report.state {
        MemberState::Empty => MemberRole::Empty,
        MemberState::Blocked => MemberRole::Blocked,
        MemberState::Serving if world.votes_everywhere(peer) => MemberRole::Voter,
        MemberState::Serving if in_some => MemberRole::Learner,
        MemberState::Serving => MemberRole::Outside,
    }
}

/// The member that leads the most partitions; the lowest of several.
fn leader(world: &World<'_>, members: u16) -> Option<String> {
    let (ordinal, led) = (0..members)
        .rev()
        .map(|ordinal| (ordinal, world.led_by(ordinal)))
        .max_by_key(|(_, led)| *led)
        .filter(|(_, led)| *led > 0)?;
    Some(format!("{} ({led}/{})", names::member(&world.valid.parent.name, ordinal), world.groups.len()))
}
