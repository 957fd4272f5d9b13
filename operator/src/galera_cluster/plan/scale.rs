//! Members come and go one at a time, and only while all others are Synced.
//!
//! A new pod joins by itself. One that leaves is drained, then its pod stops, then its volume goes: the others hold
//! everything that is on it.

use quartet_crds::{
    conditions::Reason,
    galera_cluster::{Operation, OperationKind},
};
use uuid::Uuid;

use super::{Step, World, drain, subject};
use crate::{
    members::pods::explain,
    plan::{Deletion, Grounds, ObjectKind, close, list},
};

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    world.cluster?;
    if let Some((id, operation)) = world.operation_of(OperationKind::Shrink)
        && let Some(leaving) = operation.to.and_then(|to| u16::try_from(to).ok())
    {
        return Some(go_on(world, id, operation, leaving));
    }
    let (known, wanted) = (world.known(), world.valid.replicas);
    if known > wanted {
        return Some(begin(world, known - 1));
    }
    (world.pods_wanted() < wanted || known < wanted).then(|| grow(world, known))
}

fn grow(world: &World<'_>, known: u16) -> Step {
    let unsynced = world.unsynced(known);
    if unsynced.is_empty() {
        return Step::wait(Reason::Growing, format!("{} is being added.", world.name(known)));
    }
    let message = format!(
        "{} is added once members {} are Synced.{}",
        world.name(known),
        list(&unsynced),
        explain(&world.seen.members.pods, &unsynced)
    );
    Step::wait(Reason::Growing, message)
}

fn begin(world: &World<'_>, leaving: u16) -> Step {
    let name = world.name(leaving);
    let unsynced = world.unsynced(leaving);
    if !unsynced.is_empty() {
        let message = format!(
            "{name} leaves once members {} are Synced.{}",
            list(&unsynced),
            explain(&world.seen.members.pods, &unsynced)
        );
        return Step::wait(Reason::Shrinking, message);
    }
    let claim = world.seen.members.claims.get(&leaving).and_then(|claim| claim.metadata.uid.clone());
    let (id, record) = world.open(Operation {
        from: Some(i32::from(leaving) + 1),
        to: Some(i32::from(leaving)),
        ..Operation::new(OperationKind::Shrink, vec![subject(world, leaving, claim)])
    });
    Step::wait(Reason::Shrinking, format!("{name} leaves: clients are moved off it."))
        .recording(record)
        .calling(drain::call(world, id, leaving))
}

fn go_on(world: &World<'_>, id: Uuid, operation: &Operation, leaving: u16) -> Step {
    let name = world.name(leaving);
    let stops = world.seen.members.asked_for().is_some_and(|live| live <= leaving);
    if !stops && world.valid.replicas > leaving {
        return Step::wait(Reason::Settled, format!("{name} stays after all.")).recording(Some(close()));
    }
    if world.pods_wanted() > leaving {
        return Step::wait(Reason::Shrinking, format!("{name} leaves: clients are moved off it."))
            .calling(drain::call(world, id, leaving));
    }
    if world.seen.members.pods.keys().any(|ordinal| *ordinal >= leaving) || !stops {
        return Step::wait(Reason::Shrinking, format!("{name} leaves: its pod is stopping."));
    }
    let unsynced = world.unsynced(leaving);
    if !unsynced.is_empty() {
        let message = format!(
            "{name} has left; its volume goes once members {} are Synced.{}",
            list(&unsynced),
            explain(&world.seen.members.pods, &unsynced)
        );
        return Step::wait(Reason::Shrinking, message);
    }
    remove_volume(world, id, operation, leaving)
}

fn remove_volume(world: &World<'_>, id: Uuid, operation: &Operation, leaving: u16) -> Step {
    let recorded = operation.members.first().and_then(|member| member.uid.as_deref());
    let name = world.name(leaving);
    let claim = world.seen.members.claims.get(&leaving);
    let Some(claim) = claim.filter(|claim| recorded.is_some() && claim.metadata.uid.as_deref() == recorded)
    else {
        return Step::wait(Reason::Shrinking, format!("{name} has left, and its volume is gone."))
            .recording(Some(close()));
    };
    let deletion = if claim.metadata.deletion_timestamp.is_none() {
        let grounds = Grounds::MemberRemoved { operation: id };
        Deletion::new(ObjectKind::PersistentVolumeClaim, &claim.metadata, grounds)
    } else {
        None
    };
    Step::wait(Reason::Shrinking, format!("{name} has left; its volume is being deleted."))
        .deleting(deletion.into_iter().collect())
}
