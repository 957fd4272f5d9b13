//! Members with the highest ordinals leave: first their Service, then the configurations, then the pods, then the
//! volumes.

use std::collections::BTreeSet;

use quartet_crds::{
    common::OperationMember,
    conditions::Reason,
    sync_cluster::{Operation, OperationKind},
};
use uuid::Uuid;

use super::{
    Step, World, drain,
    members::{self, Wanted},
};
use crate::plan::{Deletion, Grounds, ObjectKind, close, list};

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    world.cluster?;
    if let Some((id, operation)) = world.operation_of(OperationKind::Shrink)
        && world.all_committed()
        && let Some(to) = operation.to.and_then(|to| u16::try_from(to).ok())
        && world.members_known() <= to
    {
        return Some(remove_volumes(world, id, operation, to));
    }
    let keep = world.valid.replicas;
    let known = world.members_known();
    if known > keep { Some(remove_members(world, keep, known)) } else { take_back(world, keep) }
}

/// A growth that was called off before its members were taken in: each says itself that its volume is empty. Volumes
/// that nobody speaks for are kept.
fn take_back(world: &World<'_>, keep: u16) -> Option<Step> {
    let beyond = world.seen.members.claims.keys().filter(|ordinal| **ordinal >= keep);
    let never: Vec<u16> = beyond.copied().filter(|ordinal| world.seen.is_empty(*ordinal)).collect();
    let highest = never.last()?;
    if !world.all_committed() {
        return None;
    }
    let members = never.iter().map(|ordinal| leaver(world, *ordinal)).collect();
    let (_, record) = world.open(shrink(highest + 1, keep, members));
    let message =
        format!("Members {} were not taken in yet; their empty volumes go with them.", list(&never));
    Some(Step::wait(Reason::Shrinking, message).recording(record))
}

fn shrink(from: u16, to: u16, members: Vec<OperationMember>) -> Operation {
    let (from, to) = (Some(i32::from(from)), Some(i32::from(to)));
    Operation { from, to, ..Operation::new(OperationKind::Shrink, members) }
}

fn remove_members(world: &World<'_>, keep: u16, known: u16) -> Step {
    let leaving: BTreeSet<u16> = (keep..known).collect();
    let what = format!("Members {} leave", list(&leaving));
    if !world.all_led() {
        let message = format!("{what} once partitions {} have a leader.", list(world.leaderless()));
        return Step::wait(Reason::Shrinking, message);
    }
    let unfit = unfit(world, keep);
    if !unfit.is_empty() {
        let message = format!("{what} once members {} answer and have caught up.", list(&unfit));
        return Step::wait(Reason::Shrinking, message);
    }
    let members = leaving.iter().map(|ordinal| leaver(world, *ordinal)).collect();
    // Once recorded, the claims that were seen then are what may be deleted: they may change, the record may not.
    let open = world
        .operation_of(OperationKind::Shrink)
        .filter(|(_, open)| open.to == Some(i32::from(keep)) && open.from >= Some(i32::from(known)));
    let (operation, record) = match open {
        Some((id, _)) => (id, None),
        None => world.open(shrink(known, keep, members)),
    };
    let draining = drain::calls(world, operation, &leaving);
    let in_use = drain::under_way(world, &leaving);
    if !in_use.is_empty() && !open.is_some_and(|(_, open)| drain::is_overdue(world, open)) {
        let message =
            format!("{what} once clients and leaderships of {} have gone elsewhere.", list(&in_use));
        return Step::wait(Reason::Shrinking, message).recording(record).calling(draining);
    }
    let mut calls = members::changes(world, operation, |now| Wanted {
        voters: now.voters.iter().filter(|peer| peer.ordinal < keep).copied().collect(),
        learners: now.learners.iter().filter(|peer| peer.ordinal < keep).copied().collect(),
    });
    calls.extend(draining);
    Step::wait(Reason::Shrinking, format!("{what} the configuration of every partition."))
        .recording(record)
        .calling(calls)
}

/// Those that stay have to hold everything before others go.
fn unfit(world: &World<'_>, keep: u16) -> BTreeSet<u16> {
    let mut unfit = BTreeSet::new();
    for group in &world.groups {
        let Some(now) = group.configuration else { continue };
        let staying = now.voters.iter().filter(|peer| peer.ordinal < keep);
        unfit.extend(staying.filter(|peer| !group.counts_on(**peer)).map(|peer| peer.ordinal));
    }
    unfit
}

fn leaver(world: &World<'_>, ordinal: u16) -> OperationMember {
    let incarnation = world.groups.iter().find_map(|group| {
        let now = group.configuration?;
        let peer = now.voters.iter().chain(&now.learners).find(|peer| peer.ordinal == ordinal)?;
        Some(peer.incarnation.to_string())
    });
    OperationMember {
        ordinal: i32::from(ordinal),
        incarnation,
        uid: world.seen.members.claims.get(&ordinal).and_then(|claim| claim.metadata.uid.clone()),
    }
}

/// The removal is committed in every group: a volume of a removed member may never come back as a voter.
fn remove_volumes(world: &World<'_>, id: Uuid, operation: &Operation, to: u16) -> Step {
    let running: Vec<u16> =
        world.seen.members.pods.keys().filter(|ordinal| **ordinal >= to).copied().collect();
    if !running.is_empty() {
        let message = format!("Members {} have left; their pods are stopping.", list(&running));
        return Step::wait(Reason::Shrinking, message);
    }
    let grounds = Grounds::MemberRemoved { operation: id };
    let left: Vec<_> = operation
        .members
        .iter()
        .filter_map(|member| {
            let claim = world.seen.members.claims.get(&u16::try_from(member.ordinal).ok()?)?;
            (claim.metadata.uid.is_some() && claim.metadata.uid == member.uid).then_some(claim)
        })
        .collect();
    if left.is_empty() {
        return Step::wait(Reason::Shrinking, "The volumes of the removed members are gone.")
            .recording(Some(close()));
    }
    let delete = left
        .iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none())
        .filter_map(|claim| Deletion::new(ObjectKind::PersistentVolumeClaim, &claim.metadata, grounds))
        .collect();
    Step::wait(Reason::Shrinking, "The volumes of the removed members are being deleted.").deleting(delete)
}
