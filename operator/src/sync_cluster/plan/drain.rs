//! Members that leave, for good or to restart: first their clients and leaderships go elsewhere.

use std::collections::BTreeSet;

use quartet_client::admin;
use quartet_crds::sync_cluster::Operation;
use uuid::Uuid;

use super::World;
use crate::sync_cluster::{Call, Command};

/// After so long members leave with clients and leaderships: one that cannot drain must not stay for ever.
const DRAIN_MAX_SECONDS: i64 = 60;

/// It lapses in members by itself, so it is said again as long as it shall last. A pod that is stopping drains without
/// being told.
pub(super) fn calls(world: &World<'_>, operation: Uuid, members: &BTreeSet<u16>) -> Vec<Call> {
    let Some(cluster) = world.cluster else { return Vec::new() };
    let known = world.groups.iter().filter_map(|group| group.configuration);
    let leaving: BTreeSet<_> = known
        .flat_map(|now| now.voters.iter().chain(&now.learners))
        .filter(|peer| members.contains(&peer.ordinal))
        .copied()
        .collect();
    let leaving: Vec<_> = leaving.into_iter().collect();
    let stays =
        |ordinal: &u16| world.pod(*ordinal).is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
    members
        .iter()
        .filter(|ordinal| stays(ordinal) && world.serving(**ordinal).is_some())
        .map(|ordinal| Call {
            ordinal: *ordinal,
            command: Command::Drain(admin::Drain { operation, cluster, leaving: leaving.clone() }),
        })
        .collect()
}

/// Those that clients still reach, or that still lead.
pub(super) fn under_way(world: &World<'_>, members: &BTreeSet<u16>) -> BTreeSet<u16> {
    let is_drained = |ordinal: u16| {
        // Endpoints go when the pod is not ready any more; whoever came before that is gone when it is quiet. A member
        // that is not ready and does not answer has nobody left to send away.
        let is_left = world.serving(ordinal).is_none_or(|report| report.draining && report.quiet);
        !world.is_ready(ordinal) && is_left && world.led_by(ordinal) == 0
    };
    members.iter().copied().filter(|ordinal| !is_drained(*ordinal)).collect()
}

pub(super) fn is_overdue(world: &World<'_>, operation: &Operation) -> bool {
    operation.started_at.as_ref().is_some_and(|started| {
        world.given.now.as_second().saturating_sub(started.0.as_second()) >= DRAIN_MAX_SECONDS
    })
}
