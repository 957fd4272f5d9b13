//! Pods stopped in order, one at a time from the highest ordinal, volumes kept.

use std::time::Duration;

use quartet_crds::conditions::Reason;

use super::{World, step::Step};

const ASLEEP: Duration = Duration::from_mins(10);

/// One fewer than run, once the one before is gone.
pub(super) fn replicas(world: &World<'_>) -> u16 {
    let live = world.seen.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas);
    let live = live.and_then(|live| u16::try_from(live).ok()).unwrap_or(0);
    let stopping = world.seen.pods.keys().any(|ordinal| *ordinal >= live);
    if stopping { live } else { live.saturating_sub(1) }
}

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    world.valid.spec.hibernated.then(|| match world.seen.pods.len() {
        0 => Step::wait(
            Reason::Hibernated,
            "All pods are stopped and the volumes kept; set hibernated to false to wake.",
        )
        .after(ASLEEP),
        running => {
            Step::wait(Reason::Hibernating, format!("{running} pods still run; they are stopped one by one."))
        }
    })
}
