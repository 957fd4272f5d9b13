//! Members that run another pod template than the present one are restarted, one at a time.
//!
//! A pod in which nothing runs is replaced at once, and one whose server fails while there is no Primary component: it
//! has nothing to lose, and reverting a bad template must be able to recover. Any other is restarted only while all the
//! rest are Synced, and after its clients have been moved away. The member that writers are led to goes last.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;
use quartet_client::galera::MemberState;
use quartet_crds::{
    conditions::Reason,
    galera_cluster::{Operation, OperationKind},
};

use super::{Step, World, drain, subject};
use crate::{
    members::{
        pods::explain,
        rollout::{self, outdated, restart as deletion},
    },
    plan::{Deletion, list},
};

pub(super) fn replace_dead(world: &World<'_>) -> Option<Step> {
    if world.valid.spec.common.hibernated {
        return None;
    }
    rollout::replace_dead(&world.seen.members, |ordinal| world.name(ordinal))
}

/// Where no Primary component can be waited for: a template under which no server runs must be put right by the next.
pub(super) fn replace_failed(world: &World<'_>) -> Option<Step> {
    let failed =
        |ordinal: u16| world.seen.report(ordinal).is_some_and(|report| report.state == MemberState::Failed);
    let (ordinal, pod) = outdated(&world.seen.members).into_iter().find(|(ordinal, _)| failed(*ordinal))?;
    let message = format!(
        "The server of {} fails, and its template is an old one: it is replaced.",
        world.name(ordinal)
    );
    Some(Step::wait(Reason::RollingOut, message).deleting(deletion(pod)))
}

/// By a human's word: their pods are restarted, one after the other, so that no server runs beside what is begun.
pub(super) fn end(world: &World<'_>, running: &[u16], begins: u16) -> Step {
    let stays = |ordinal: &u16| world.pod(*ordinal).filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let delete: Vec<Deletion> = running.iter().find_map(stays).map(deletion).unwrap_or_default();
    let message = format!(
        "By a human's word, {} begins a new history. First the servers that run without a Primary component are ended, by \
         deleting their pods: those of members {}.",
        world.name(begins),
        list(running)
    );
    Step::wait(Reason::Recovering, message).deleting(delete)
}

pub(super) fn roll(world: &World<'_>) -> Option<Step> {
    let outdated = outdated(&world.seen.members);
    if outdated.is_empty() {
        return None;
    }
    let (members, to_go) = (world.pods_wanted(), outdated.len());
    if let Some(step) = rollout::returning(&world.seen.members, members, to_go) {
        return Some(step);
    }
    let unsynced = world.unsynced(members);
    let may_go = |ordinal: u16| unsynced.iter().all(|other| *other == ordinal);
    let (under_way, writer) = (under_way(world), world.writer());
    let candidate = outdated.iter().filter(|(ordinal, _)| may_go(*ordinal)).min_by_key(|(ordinal, pod)| {
        (
            Some(pod.metadata.uid.as_deref()) != under_way.map(Some),
            writer == Some(*ordinal),
            Reverse(*ordinal),
        )
    });
    let Some((ordinal, pod)) = candidate else {
        let message = format!(
            "{to_go} members still run an old template; they are restarted once members {} are Synced.{}",
            list(&unsynced),
            explain(&world.seen.members.pods, &unsynced)
        );
        return Some(Step::wait(Reason::RolloutWaiting, message));
    };
    Some(restart(world, *ordinal, pod, to_go))
}

/// UID of the pod whose restart is recorded.
fn under_way<'a>(world: &'a World<'_>) -> Option<&'a str> {
    let (_, operation) = world.operation_of(OperationKind::Restart)?;
    operation.members.first()?.uid.as_deref()
}

fn restart(world: &World<'_>, ordinal: u16, pod: &Pod, to_go: usize) -> Step {
    let live = world.status.operation.as_ref();
    let member = subject(world, ordinal, pod.metadata.uid.clone());
    let (id, record) = world.open(Operation::new(OperationKind::Restart, vec![member]));
    let name = world.name(ordinal);
    // Just recorded, it has not been drained for any time yet.
    let drained = match live {
        Some(operation) if record.is_none() => drain::is_done(world, operation, ordinal),
        _ => false,
    };
    if drained {
        let message = format!("{to_go} members run an old template; {name} restarts.");
        return Step::wait(Reason::RollingOut, message).recording(record).deleting(deletion(pod));
    }
    let message = format!("{to_go} members run an old template; clients are moved off {name}.");
    Step::wait(Reason::RollingOut, message).recording(record).calling(drain::call(world, id, ordinal))
}
