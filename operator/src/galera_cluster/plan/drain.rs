//! Clients are moved off a member before its pod goes.

use std::time::Duration;

use quartet_client::galera::{Drain, MemberState};
use quartet_crds::galera_cluster::Operation;
use uuid::Uuid;

use super::World;
use crate::galera_cluster::{Call, Command};

/// From when on a member's clients are no longer waited for.
const LONGEST: Duration = Duration::from_secs(45);

/// To be repeated while the member shall stay drained: it lapses.
pub(super) fn call(world: &World<'_>, operation: Uuid, ordinal: u16) -> Vec<Call> {
    let stays = world.pod(ordinal).is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
    let drain =
        world.seen.report(ordinal).filter(|_| stays).map(|report| Drain { operation, run: report.run });
    drain.map(|drain| Call { ordinal, command: Command::Drain(drain) }).into_iter().collect()
}

/// Nobody is left on the member who could be moved away, or it took too long.
pub(super) fn is_done(world: &World<'_>, operation: &Operation, ordinal: u16) -> bool {
    let Some(report) = world.seen.report(ordinal) else { return true };
    let serves = matches!(report.state, MemberState::Synced | MemberState::Donor);
    let clients = report.server.as_ref().map_or(0, |server| server.connections);
    !serves || (report.draining && clients == 0) || is_overdue(world, operation)
}

fn is_overdue(world: &World<'_>, operation: &Operation) -> bool {
    let started = operation.started_at.as_ref().map_or(0, |time| time.0.as_second());
    let limit = i64::try_from(LONGEST.as_secs()).unwrap_or(i64::MAX);
    world.given.now.as_second() >= started.saturating_add(limit)
}

/// The pod of the member that leaves goes now, or is gone already: once asked for, it is taken back only when the others
/// have lost their Primary component, for its volume may hold the newest then.
pub(super) fn may_stop(world: &World<'_>, operation: &Operation, leaving: u16) -> bool {
    let stops = world.seen.members.asked_for().is_some_and(|live| live <= leaving);
    let spared = if stops { world.is_quorate() } else { world.unsynced(leaving).is_empty() };
    let holds = world.seen.members.claims.contains_key(&leaving);
    (stops && !holds) || (spared && (stops || is_done(world, operation, leaving)))
}
