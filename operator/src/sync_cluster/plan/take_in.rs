//! Empty members become learners, and voters once they have caught up everywhere.
//!
//! A member that lost its volume takes the place of its old incarnation in one change; new members of a growing
//! cluster become voters together, so that the number of voters stays odd.

use quartet_client::admin::{GroupConfiguration, MemberState, Peer};
use quartet_crds::{
    conditions::Reason,
    sync_cluster::{Operation, OperationKind},
};
use uuid::Uuid;

use super::{
    Step, World,
    members::{self, Wanted},
    step::{member, recorded},
    world::is_caught_up,
};
use crate::{members::pods::explain, plan::list};

/// One member at a time: the one whose replacement is under way, else the lowest.
pub(super) fn replace(world: &World<'_>) -> Option<Step> {
    world.cluster?;
    let under_way = world
        .operation_of(OperationKind::Replace)
        .and_then(|(_, operation)| operation.members.first().and_then(recorded))
        .map(|(ordinal, _)| ordinal);
    let due = |ordinal: &u16| world.peer(*ordinal).filter(|peer| lost_its_place(world, *peer));
    let members = under_way.into_iter().chain(0..world.valid.replicas);
    let peer = members.filter(|ordinal| *ordinal < world.valid.replicas).find_map(|ordinal| due(&ordinal))?;
    let what = format!("Member {} lost its data", peer.ordinal);
    Some(drive(world, OperationKind::Replace, Reason::ReplacingMember, &[peer], None, &what))
}

/// Another incarnation votes in its place in some group.
fn lost_its_place(world: &World<'_>, peer: Peer) -> bool {
    let can_be_taken_in = world.seen.is_empty(peer.ordinal) || world.serving(peer.ordinal).is_some();
    can_be_taken_in
        && world.groups.iter().any(|group| {
            group.configuration.is_some_and(|now| {
                now.voters
                    .iter()
                    .any(|voter| voter.ordinal == peer.ordinal && voter.incarnation != peer.incarnation)
            })
        })
}

pub(super) fn grow(world: &World<'_>) -> Option<Step> {
    world.cluster?;
    let wanted = world.valid.replicas;
    let votes = |ordinal: u16| {
        world.groups.iter().all(|group| {
            group.configuration.is_none_or(|now| now.voters.iter().any(|voter| voter.ordinal == ordinal))
        })
    };
    let new: Vec<u16> = (0..wanted).filter(|ordinal| !votes(*ordinal)).collect();
    if new.is_empty() {
        return None;
    }
    let can_be_taken_in = |ordinal: &u16| {
        let state = world.seen.report(*ordinal).map(|report| report.state);
        state == Some(MemberState::Empty) || world.serving(*ordinal).is_some()
    };
    let silent: Vec<u16> = new.iter().filter(|ordinal| !can_be_taken_in(ordinal)).copied().collect();
    if !silent.is_empty() {
        let foreign =
            |ordinal: &u16| world.seen.report(*ordinal).is_some_and(|report| report.cluster.is_some());
        let message = if silent.iter().any(foreign) {
            let foreign: Vec<u16> = silent.iter().copied().filter(foreign).collect();
            format!(
                "The volumes of new members {} belong to another cluster: delete their claims and pods, and they are \
                 taken in as empty ones.",
                list(&foreign)
            )
        } else {
            format!(
                "New members {} have not answered yet.{}",
                list(&silent),
                explain(&world.seen.members.pods, &silent)
            )
        };
        return Some(Step::wait(Reason::Growing, message));
    }
    let peers: Vec<Peer> = new.iter().filter_map(|ordinal| world.peer(*ordinal)).collect();
    let what = format!("New members {}", list(&new));
    let from = wanted - u16::try_from(new.len()).unwrap_or(0);
    Some(drive(world, OperationKind::Grow, Reason::Growing, &peers, Some((from, wanted)), &what))
}

fn drive(
    world: &World<'_>,
    kind: OperationKind,
    reason: Reason,
    peers: &[Peer],
    counts: Option<(u16, u16)>,
    what: &str,
) -> Step {
    if !world.all_led() {
        let message = format!("{what}: taken in once partitions {} have a leader.", list(world.leaderless()));
        return Step::wait(reason, message);
    }
    let members = peers.iter().map(|peer| member(peer.ordinal, peer.incarnation)).collect();
    let (operation, record) = world.open(Operation {
        from: counts.map(|(from, _)| i32::from(from)),
        to: counts.map(|(_, to)| i32::from(to)),
        ..Operation::new(kind, members)
    });
    let step = |calls, message: String| Step::wait(reason, message).recording(record).calling(calls);
    let learning = learn(world, operation, peers);
    let all_there = world.groups.iter().all(|group| {
        group.quiet().is_some_and(|(_, report)| peers.iter().all(|peer| is_in(&report.configuration, *peer)))
    });
    if !all_there {
        return step(learning, format!("{what}: becoming learners of every partition."));
    }
    let behind = world.groups.iter().filter(|group| {
        group.leader.is_some_and(|(_, report)| {
            let votes = |peer: &Peer| report.configuration.voters.contains(peer);
            !peers.iter().all(|peer| votes(peer) || is_caught_up(report, *peer))
        })
    });
    let behind = behind.count();
    if behind > 0 {
        let partitions = world.groups.len();
        return step(Vec::new(), format!("{what}: catching up, {behind} of {partitions} partitions to go."));
    }
    step(members::changes(world, operation, |now| promoted(now, peers)), format!("{what}: becoming voters."))
}

fn is_in(now: &GroupConfiguration, peer: Peer) -> bool {
    now.voters.contains(&peer) || now.learners.contains(&peer)
}

fn learn(world: &World<'_>, operation: Uuid, peers: &[Peer]) -> Vec<super::Call> {
    members::changes(world, operation, |now| {
        let mut wanted = Wanted::of(now);
        for peer in peers.iter().filter(|peer| !is_in(now, **peer)) {
            wanted.learners.retain(|learner| learner.ordinal != peer.ordinal);
            wanted.learners.push(*peer);
        }
        wanted
    })
}

fn promoted(now: &GroupConfiguration, peers: &[Peer]) -> Wanted {
    let mut wanted = Wanted::of(now);
    for peer in peers {
        wanted.learners.retain(|learner| learner.ordinal != peer.ordinal);
        wanted.voters.retain(|voter| voter.ordinal != peer.ordinal);
        wanted.voters.push(*peer);
    }
    wanted
}
