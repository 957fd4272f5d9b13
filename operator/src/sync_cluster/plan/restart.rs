//! Members that run another pod template than the present one are restarted, one at a time.
//!
//! A pod in which nothing runs is replaced at once: it has nothing to lose, and reverting a bad template must be able
//! to recover. Any other is restarted only while all the rest are healthy, so that a template that cannot run costs
//! one member. The member that leads the most partitions goes last.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;
use quartet_crds::{
    common::OperationMember,
    conditions::Reason,
    sync_cluster::{Operation, OperationKind},
};

use super::{Step, World, drain};
use crate::{
    members::{
        pods::explain,
        rollout::{self, outdated, restart as deletion},
    },
    plan::list,
};

pub(super) fn replace_dead(world: &World<'_>) -> Option<Step> {
    if world.valid.spec.common.hibernated {
        return None;
    }
    rollout::replace_dead(&world.seen.members, |ordinal| format!("member {ordinal}"))
}

pub(super) fn roll(world: &World<'_>) -> Option<Step> {
    let outdated = outdated(&world.seen.members);
    if outdated.is_empty() {
        return None;
    }
    let members = world.valid.replicas;
    let to_go = outdated.len();
    if let Some(step) = rollout::returning(&world.seen.members, members, to_go) {
        return Some(step);
    }
    let unhealthy: Vec<u16> = (0..members).filter(|ordinal| !world.is_healthy(*ordinal)).collect();
    let only_itself = |ordinal: u16| unhealthy.iter().all(|other| *other == ordinal);
    let may_go = |ordinal: u16| members == 1 || (only_itself(ordinal) && world.is_settled(members));
    let under_way = under_way(world);
    let candidate = outdated.iter().filter(|(ordinal, _)| may_go(*ordinal)).min_by_key(|(ordinal, pod)| {
        (Some(pod.metadata.uid.as_deref()) != under_way.map(Some), world.led_by(*ordinal), Reverse(*ordinal))
    });
    let Some((ordinal, pod)) = candidate else {
        let message = if unhealthy.is_empty() {
            format!(
                "{to_go} members still run an old template; a change of the configurations is finished first."
            )
        } else {
            format!(
                "{to_go} members still run an old template; they are restarted once members {} are ready and have caught \
                 up.{}",
                list(&unhealthy),
                explain(&world.seen.members.pods, &unhealthy)
            )
        };
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
    let subject = OperationMember {
        ordinal: i32::from(ordinal),
        incarnation: world.seen.incarnation(ordinal).map(|incarnation| incarnation.to_string()),
        uid: pod.metadata.uid.clone(),
    };
    let (operation, record) = world.open(Operation::new(OperationKind::Restart, vec![subject]));
    let led = world.led_by(ordinal);
    let overdue = record.is_none()
        && world.operation().is_some_and(|(_, operation)| drain::is_overdue(world, operation));
    if led > 0 && world.valid.replicas > 1 && !overdue {
        let message =
            format!("{to_go} members run an old template; member {ordinal} hands over {led} partitions.");
        let draining = drain::calls(world, operation, &[ordinal].into());
        return Step::wait(Reason::RollingOut, message).recording(record).calling(draining);
    }
    let message = format!("{to_go} members run an old template; member {ordinal} restarts.");
    Step::wait(Reason::RollingOut, message).recording(record).deleting(deletion(pod))
}
