//! Changes of the groups' configurations, and members that have to give up their data.

use std::{collections::BTreeMap, time::Duration};

use quartet_client::admin::{self, ChangeMembership, GroupChange, GroupConfiguration, MemberState, Peer};
use quartet_crds::{
    conditions::Reason,
    sync_cluster::{Operation, OperationKind},
};
use uuid::Uuid;

use super::{
    Step, World,
    step::{member, recorded},
};
use crate::sync_cluster::{Call, Command, build::quorum};

/// Voters and learners that a group shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub voters: Vec<Peer>,
    pub learners: Vec<Peer>,
}

impl Wanted {
    pub(super) fn of(now: &GroupConfiguration) -> Self {
        Self { voters: now.voters.clone(), learners: now.learners.clone() }
    }

    fn differs(&self, now: &GroupConfiguration) -> bool {
        let sorted = |peers: &[Peer]| {
            let mut peers = peers.to_vec();
            peers.sort_unstable();
            peers
        };
        sorted(&self.voters) != sorted(&now.voters) || sorted(&self.learners) != sorted(&now.learners)
    }
}

/// The commands that bring every group to what is wanted, to the members that lead them. A group with a change under
/// way is left alone until it is through.
pub(super) fn changes(
    world: &World<'_>,
    operation: Uuid,
    wanted: impl Fn(&GroupConfiguration) -> Wanted,
) -> Vec<Call> {
    let Some(cluster) = world.cluster else { return Vec::new() };
    let mut by_leader: BTreeMap<u16, Vec<GroupChange>> = BTreeMap::new();
    for group in &world.groups {
        let Some((leader, report)) = group.quiet() else { continue };
        let wanted = wanted(&report.configuration);
        if wanted.differs(&report.configuration) && !wanted.voters.is_empty() {
            let addresses = |peers: &[Peer]| peers.iter().map(|peer| world.address(*peer)).collect();
            by_leader.entry(leader).or_default().push(GroupChange {
                group: group.id,
                expected_index: report.configuration.index,
                voters: addresses(&wanted.voters),
                learners: addresses(&wanted.learners),
            });
        }
    }
    by_leader
        .into_iter()
        .map(|(ordinal, groups)| Call {
            ordinal,
            command: Command::ChangeMembership(ChangeMembership { operation, cluster, groups }),
        })
        .collect()
}

/// A damaged member, or one with the volume of a member that was removed, becomes empty: then it is taken in again
/// like any other that lost its data.
pub(super) fn reset(world: &World<'_>) -> Option<Step> {
    world.cluster?;
    (0..world.pods_wanted()).find_map(|ordinal| {
        let peer = world.peer(ordinal)?;
        match world.seen.report(ordinal)?.state {
            MemberState::Blocked => Some(reset_blocked(world, peer)),
            MemberState::Serving if is_removed(world, peer) => Some(command(
                world,
                peer,
                format!("Member {ordinal} came back with the volume of a member that was removed."),
            )),
            _ => None,
        }
    })
}

fn reset_blocked(world: &World<'_>, peer: Peer) -> Step {
    let ordinal = peer.ordinal;
    let detail = world.seen.report(ordinal).and_then(|report| report.message.clone()).unwrap_or_default();
    if world.valid.replicas > 1 && can_lose(world, peer) {
        return command(
            world,
            peer,
            format!("Member {ordinal}'s data is damaged ({detail}); the others have all of it."),
        );
    }
    // Never a backup of one member's volume: it would have forgotten votes that it gave.
    let message = if world.valid.replicas > 1 {
        format!(
            "Member {ordinal}'s data is damaged ({detail}), and the others are no quorum without it: bring them back \
             first."
        )
    } else {
        format!(
            "Member {ordinal}'s data is damaged ({detail}), and nobody else has it: look at its disk, or delete the \
             resource and its claim to begin without data."
        )
    };
    Step::wait(Reason::MemberBlocked, message).after(Duration::from_secs(5))
}

/// In no group's configuration, though all of them are known, and not about to be taken in.
fn is_removed(world: &World<'_>, peer: Peer) -> bool {
    let being_taken_in = world.operation().is_some_and(|(_, operation)| {
        matches!(operation.kind, OperationKind::Replace | OperationKind::Grow)
            && operation
                .members
                .iter()
                .filter_map(recorded)
                .any(|known| known == (peer.ordinal, peer.incarnation))
    });
    // Committed: another leader might still count on this member otherwise.
    let outside = world.groups.iter().all(|group| {
        group.quiet().is_some_and(|(_, report)| {
            let now = &report.configuration;
            !now.voters.contains(&peer) && !now.learners.contains(&peer)
        })
    });
    outside && !being_taken_in && world.serving(peer.ordinal).is_some()
}

/// Every group has a leader and a quorum within its reach that does not count this member.
fn can_lose(world: &World<'_>, peer: Peer) -> bool {
    world.groups.iter().all(|group| {
        group.quiet().is_some_and(|(_, report)| {
            let now = &report.configuration;
            let rest = now.voters.iter().filter(|voter| voter.ordinal != peer.ordinal);
            let needed = usize::from(quorum(u16::try_from(now.voters.len()).unwrap_or(u16::MAX)));
            rest.filter(|voter| group.counts_on(**voter)).count() >= needed
        })
    })
}

fn command(world: &World<'_>, peer: Peer, message: String) -> Step {
    let members = vec![member(peer.ordinal, peer.incarnation)];
    let (operation, record) = world.open(Operation::new(OperationKind::Reset, members));
    let reset = admin::Reset { operation, incarnation: peer.incarnation };
    Step::wait(Reason::ResettingMember, message)
        .recording(record)
        .calling(vec![Call { ordinal: peer.ordinal, command: Command::Reset(reset) }])
}
